"""States of rows: kernels of NumPy's arrays where they apply, the formulas elsewhere.

The kernels know every type but longdouble. They are for T = 1; at other temperatures they get (x − m)/T, which is exact
to float64 for narrower types, and for float64 has a second word that corrects their results to first order. Unlike the
formulas they return rows in the dtype of `x`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from softgrad._formulas import states
from softgrad._formulas.compensated import plus
from softgrad._formulas.namespace import Array, is_one, namespace, per_entry
from softgrad._formulas.precision import silent
from softgrad._formulas.softmax import shifted_logits
from softgrad._formulas.states import State
from softgrad._numpy import kernels, threads

TEMPERATURES = 2.0**-500, 2.0**500
"""Between these, the parts of (x − m)/T and of its error stay in the range of float64."""

LEAST_SPAN = 64
"""Entries of a slice that are divided by T at once, however many slices there are."""


def state(x: Array, where: Array | None = None, temperature: Array | float = 1.0) -> State:
    """The state of every row."""
    if not has_kernel(x, temperature):
        return states.state(x, where, temperature)
    return State(*_parts("state", len(State._fields), x, where))


def normalizer(x: Array, where: Array | None = None, temperature: Array | float = 1.0) -> State:
    """The state of every row without its gap, which takes half the time and is not what softmax is of."""
    if not has_kernel(x, temperature):
        return (_tempered_normalizer if _is_tempered(x, temperature) else states.state)(x, where, temperature)
    largest, others, low = _parts("max_and_rest", 3, x, where)
    zero = np.zeros_like(largest)
    return State(largest, others, low, zero, zero)


def merge(a: State, b: State, temperature: Array | float = 1.0) -> State:
    """The state of the entries of both."""
    wide = namespace(a.max) is np and a.max.dtype == b.max.dtype == np.float64
    if kernels.table is None or not (is_one(temperature) and wide):
        return states.merge(a, b, temperature)
    return merged_along_last_axis(*(np.stack(pair, axis=-1) for pair in zip(a, b, strict=True)))


def merged_along_last_axis(*parts: Array) -> State:
    """The state of slices from those of their chunks, along the last axis of `parts`, the parts of a state."""
    outs = tuple(np.empty(parts[0].shape[:-1]) for _ in parts)
    kernels.run("merge_states", parts, outs, 1)
    return State(*outs)


def softmax(x: Array, s: State, where: Array | None = None, temperature: Array | float = 1.0) -> Array:
    """e^(x/T) / Σ e^(x/T) of rows that are blocks of the slices of the state."""
    return _of_state(states.softmax, "softmax_of_state", x, s, where, temperature, masked_out=0.0)


def log_softmax(x: Array, s: State, where: Array | None = None, temperature: Array | float = 1.0) -> Array:
    """x/T − log Σ e^(x/T) of rows that are blocks of the slices of the state."""
    return _of_state(states.log_softmax, "log_softmax_of_state", x, s, where, temperature, masked_out=-np.inf)


def _of_state(
    formula: Callable[..., Array],
    kernel: str,
    x: Array,
    s: State,
    where: Array | None,
    temperature: Array | float,
    *,
    masked_out: float,
) -> Array:
    of_numpy = isinstance(x, np.ndarray) and s.max.dtype == np.float64
    if not of_numpy or not (has_kernel(x, temperature) or _is_tempered(x, temperature)):
        return formula(x, s, where, temperature)
    y = np.empty_like(x, subok=False)
    if is_one(temperature):
        _run_of_state(kernel, x, s.max, s.others, s.others_low, y)
    else:
        _write_tempered(kernel, x, s, temperature, y)
    if where is not None:
        np.copyto(y, y.dtype.type(masked_out), where=~where)
    return y


def _run_of_state(kernel: str, x: Array, largest: Array, others: Array, low: Array, y: Array) -> None:
    of_slice = tuple(np.asarray(part) for part in (largest, others, low))
    kernels.run(kernel, (x, *of_slice), (y,), threads.count(None, x.size, x.dtype))


def _parts(name: str, count: int, x: Array, where: Array | None) -> tuple[Array, ...]:
    if where is not None:
        x = np.where(where, x, x.dtype.type(-np.inf))
    parts = tuple(np.empty(x.shape[:-1]) for _ in range(count))
    kernels.run(name, (x,), parts, threads.count(None, x.size, x.dtype))
    if where is not None:
        present = np.any(where, axis=-1)
        for part in parts[1:]:
            np.copyto(part, 0.0, where=~present)
    return parts


def has_kernel(x: Array, temperature: Array | float = 1.0) -> bool:
    """Whether the kernels know the type of `x` and the temperature."""
    return is_one(temperature) and x.shape[-1] > 0 and kernels.has_kernel(x)


def _is_tempered(x: Array, temperature: Array | float) -> bool:
    """Whether the kernels know the type of `x`, and (x − m)/T can be computed from it."""
    low, high = TEMPERATURES
    return has_kernel(x) and bool(np.all((np.asarray(temperature) > low) & (np.asarray(temperature) < high)))


@silent
def _tempered_normalizer(x: Array, where: Array | None, temperature: Array | float) -> State:
    """The state of every row at a temperature, without its gap: one of (x − m)/T, in spans that stay in the cache."""
    if where is not None:
        x = np.where(where, x, x.dtype.type(-np.inf))
    largest = _parts("max_and_rest", 3, x, None)[0]
    found = []
    for span in _spans(x):
        z, error = _quotients(x[..., span], largest, temperature)
        top, others, low = _parts("max_and_rest", 3, z, None)
        if error is not None:  # Σ e^(z + error) = Σ e^z + Σ e^z error, relative to the largest of the span
            e, zero = np.empty_like(z), np.zeros_like(top)
            _run_of_state("softmax_of_state", z, top, zero, zero, e)
            more = np.where(np.isfinite(top), (e * error).sum(axis=-1), 0.0)
            others, low = plus((others, low), (more, zero))
        found.append((top, others, low, np.zeros_like(top), np.zeros_like(top)))
    _, *sums = merged_along_last_axis(*(np.stack(parts, axis=-1) for parts in zip(*found, strict=True)))
    if where is not None:
        sums = [np.where(where.any(axis=-1), part, 0.0) for part in sums]
    return State(largest, *sums)


@silent
def _write_tempered(kernel: str, x: Array, s: State, temperature: Array | float, y: Array) -> None:
    """Softmax or log_softmax of rows at a temperature, from their state."""
    zero = np.zeros_like(s.max)
    for span in _spans(x):
        z, error = _quotients(x[..., span], s.max, temperature)
        _run_of_state(kernel, z, zero, s.others, s.others_low, z)
        if error is not None:
            z += error if kernel == "log_softmax_of_state" else z * error
        y[..., span] = z


def _quotients(x: Array, largest: Array, temperature: Array | float) -> tuple[Array, Array | None]:
    """(x − m)/T in float64, and what it lacks where x − m has more digits."""
    m, T = largest[..., None], per_entry(np.asarray(temperature, np.float64))
    if x.dtype != np.float64:
        return (x.astype(np.float64) - m) / T, None
    _, z, error = shifted_logits(np, x, None, T, shift=m)
    return z, error


def _spans(x: Array) -> list[slice]:
    """Spans of the last axis with about as many entries as a block that is widened."""
    n = x.shape[-1]
    step = max(LEAST_SPAN, kernels.WIDENED * n // max(1, x.size))
    return [slice(start, start + step) for start in range(0, n, step)]
