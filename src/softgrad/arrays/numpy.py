"""NumPy arrays: the native kernels where they apply, the generic formulas elsewhere, rows spread over threads.

Every function takes operands of one floating dtype whose last axis is the slice, and an optional `out` of the result's
shape and dtype. The kernels know float16, bfloat16, float32 and float64; half precision is computed in float32 and
rounded once.
"""

from __future__ import annotations

import os
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from softgrad.arrays import generic
from softgrad.arrays.threads import AUTOMATIC_FROM, over_rows

try:
    from softgrad import _kernels
except ImportError:  # built without the extension
    _kernels = None  # type: ignore[assignment]

Array = np.ndarray[Any, Any]

LONG_ROW = 2**21
"""Entries from which a row goes in pieces: it no longer fits into the caches, and has work for several threads."""

LEVELS: tuple[str, ...] = (*(_kernels.levels() if _kernels else ()), "generic")
"""What this machine can run, best first. `generic` is NumPy's own arithmetic."""


def _load(level: str) -> SimpleNamespace | None:
    if level not in LEVELS:
        raise ImportError(f"SOFTGRAD_ISA must be one of {', '.join(LEVELS)} on this machine; got {level!r}")
    if level == "generic":
        return None
    return SimpleNamespace(**_kernels.ufuncs(level), direct=_kernels.direct(level, AUTOMATIC_FROM))


level: str = os.environ.get("SOFTGRAD_ISA") or LEVELS[0]
kernels: SimpleNamespace | None = _load(level)
"""The kernels as generalized ufuncs; and in `direct`, by name, as functions of plain arrays that one thread computes,
which answer NotImplemented to any other call."""


def softmax(
    x: Array, where: Array | None = None, temperature: Array | float = 1.0, out: Array | None = None, workers: int = 1
) -> Array:
    """e^(x/T) / Σ e^(x/T)."""
    return _forward("softmax", x, where, temperature, out, workers)


def log_softmax(
    x: Array, where: Array | None = None, temperature: Array | float = 1.0, out: Array | None = None, workers: int = 1
) -> Array:
    """x/T − log Σ e^(x/T)."""
    return _forward("log_softmax", x, where, temperature, out, workers)


def logsumexp(
    x: Array, where: Array | None = None, b: Array | None = None, out: Array | None = None, workers: int = 1
) -> Array:
    """Log Σ b e^x, one value per row."""
    if b is not None:
        log, sign = signed_logsumexp(x, where, b, workers)
        return _deliver(_of_positive(log, sign), x.dtype, out)
    if not has_kernel(x):
        return _formula("logsumexp", (x, where, None), x.dtype, out)
    if where is None and x.shape[-1] >= LONG_ROW:
        return _deliver(_long_rows().logsumexp(x, workers), x.dtype, out)
    if where is None:
        return _native_call("logsumexp", (x,), out, workers)
    return _native_call("logsumexp_where", (x, where), out, workers)


def signed_logsumexp(x: Array, where: Array | None, b: Array, workers: int = 1) -> tuple[Array, Array]:
    """Log |Σ b e^x| and the sign of the sum, one of each per row; where b is 0, x is not read."""
    if not has_kernel(x):
        return generic.signed_logsumexp(x, where, b)
    if where is not None:
        b = np.where(where, b, b.dtype.type(0))
    outs = np.empty(x.shape[:-1], x.dtype), np.empty(x.shape[:-1], x.dtype)
    run_kernel("signed_logsumexp", (x, b), outs, workers)
    return outs


@np.errstate(invalid="ignore")  # NaN is a result here
def _of_positive(log: Array, sign: Array) -> Array:
    """The logarithm of the sum itself: NaN where it is negative."""
    return np.where(sign < 0, log.dtype.type(np.nan), log)


def softmax_vjp(p: Array, g: Array, out: Array | None = None, workers: int = 1) -> Array:
    """p ∘ (g − Σ p g)."""
    return _backward("softmax_vjp", p, g, out, workers)


def log_softmax_vjp(y: Array, g: Array, out: Array | None = None, workers: int = 1) -> Array:
    """g − e^y Σ g."""
    return _backward("log_softmax_vjp", y, g, out, workers)


def log_softmax_jvp(y: Array, v: Array, out: Array | None = None, workers: int = 1) -> Array:
    """v − Σ e^y v."""
    return _backward("log_softmax_jvp", y, v, out, workers)


def softmax_second(p: Array, u: Array, v: Array, out: Array | None = None, workers: int = 1) -> Array:
    """p ∘ ((u−ū)(v−v̄) − Cov_p(u, v)), by the formula on one thread."""
    return _formula("softmax_second", (p, u, v), p.dtype, out)


def jacobian(p: Array, temperature: Array | float = 1.0, out: Array | None = None, workers: int = 1) -> Array:
    """(diag(p) − p pᵀ)/T, shape (..., n, n)."""
    if not has_kernel(p):
        return _formula("jacobian", (p, _per_row(temperature)), p.dtype, out)
    return _native_call("jacobian", (p, temperature), out, workers)


def textbook_softmax(
    x: Array, where: Array | None = None, temperature: Array | float = 1.0, log: bool = False
) -> Array:
    """The formula without the shift, with NumPy's own warnings where it overflows."""
    return np.asarray(generic.textbook_softmax(x, where, _per_row(temperature), log))


def _forward(
    name: str, x: Array, where: Array | None, temperature: Array | float, out: Array | None, workers: int
) -> Array:
    plain = where is None and isinstance(temperature, float) and temperature == 1.0
    if not has_kernel(x):
        return _formula(name, (x, where, _per_row(temperature)), x.dtype, out)
    if plain and x.shape[-1] >= LONG_ROW:
        return np.asarray(_long_rows().forward(name, x, out, workers))
    if plain:
        return _native_call(name, (x,), out, workers)
    if where is None:  # one True for all entries, made four times as quickly as by np.broadcast_to
        where = np.ndarray(x.shape, np.bool, b"\1", strides=(0,) * x.ndim)
    return _native_call(f"{name}_where", (x, where, temperature), out, workers)


def _backward(name: str, y: Array, g: Array, out: Array | None, workers: int) -> Array:
    if not has_kernel(y):
        return _formula(name, (y, g), y.dtype, out)
    return _native_call(name, (y, g), out, workers)


def has_kernel(x: Array) -> bool:
    """Whether the kernels compute the dtype of `x`."""
    return kernels is not None and (x.dtype.itemsize <= 4 or x.dtype == np.float64)


def _native_call(name: str, operands: tuple[Any, ...], out: Array | None, workers: int) -> Array:
    result: Array = run_kernel(name, operands, out, workers)
    return result


def run_kernel(name: str, operands: tuple[Any, ...], out: Array | tuple[Array, ...] | None, workers: int) -> Any:
    """The kernel called `name` on rows of the first operand's dtype, spread over threads."""
    ufunc: np.ufunc = getattr(kernels, name)
    dtype = operands[0].dtype
    if dtype.kind == "f":
        return over_rows(ufunc, operands, out, workers)
    # bfloat16 is no type that gufuncs know: its bits come as integers, which mean nothing else to a kernel.
    outs = out if isinstance(out, tuple) else (out,)
    bits = [a.view(np.uint16) if getattr(a, "dtype", None) == dtype else a for a in (*operands, *outs)]
    given = bits[len(operands) :]
    result = over_rows(ufunc, tuple(bits[: len(operands)]), tuple(given) if given[0] is not None else None, workers)
    return out if out is not None else result.view(dtype)


def _long_rows() -> ModuleType:
    from softgrad.arrays import long_rows  # noqa: PLC0415  few rows are so long

    return long_rows


def _formula(name: str, operands: tuple[Any, ...], dtype: np.dtype[Any], out: Array | None) -> Array:
    return _deliver(getattr(generic, name)(*operands), dtype, out)


@np.errstate(all="ignore")  # a cast may underflow or overflow, and that is its result
def _deliver(result: Array, dtype: np.dtype[Any], out: Array | None) -> Array:
    if out is None:
        return result.astype(dtype, copy=False)
    np.copyto(out, result, casting="same_kind")
    return out


def _per_row(temperature: Array | float) -> Array | float:
    return temperature if isinstance(temperature, float) else temperature[..., np.newaxis]


def backend() -> str:
    """The instruction-set level that the NumPy functions run on.

    Returns
    -------
    str
        ``"x86-64-v4"`` (AVX-512), ``"x86-64-v3"`` (AVX2), ``"x86-64-v2"`` or ``"neon"`` for the native kernels, and
        ``"generic"`` for NumPy's own arithmetic. The environment variable ``SOFTGRAD_ISA``, read when softgrad is
        imported, chooses another level that the machine has.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.backend() in ("x86-64-v4", "x86-64-v3", "x86-64-v2", "neon", "generic")
    True
    """
    return level
