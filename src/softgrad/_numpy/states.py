"""States of rows: kernels of NumPy's arrays where they apply, the formulas elsewhere.

The kernels are for T = 1 and know every type but longdouble. Unlike the formulas they return rows in the dtype of `x`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from softgrad._formulas import states
from softgrad._formulas.namespace import Array, is_one, namespace
from softgrad._formulas.states import State
from softgrad._numpy import kernels, threads


def state(x: Array, where: Array | None = None, temperature: Array | float = 1.0) -> State:
    """The state of every row."""
    if not has_kernel(x, temperature):
        return states.state(x, where, temperature)
    return State(*_parts("state", len(State._fields), x, where))


def normalizer(x: Array, where: Array | None = None, temperature: Array | float = 1.0) -> State:
    """The state of every row without its gap, which takes half the time and is not what softmax is of."""
    if not has_kernel(x, temperature):
        return states.state(x, where, temperature)
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
    if not has_kernel(x, temperature) or s.max.dtype != np.float64:
        return formula(x, s, where, temperature)
    y = np.empty_like(x, subok=False)
    of_slice = tuple(np.asarray(part) for part in (s.max, s.others, s.others_low))
    kernels.run(kernel, (x, *of_slice), (y,), threads.count(None, x.size, x.dtype))
    if where is not None:
        np.copyto(y, y.dtype.type(masked_out), where=~where)
    return y


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
