"""softmax and its derivatives of NumPy arrays: the native kernels where they apply, the formulas elsewhere.

Every function takes operands of one floating dtype whose last axis is the slice, and an optional `out` of the result's
shape and dtype.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from softgrad._formulas import softmax as formulas
from softgrad._numpy import kernels

Array = np.ndarray[Any, Any]

LONG_ROW = 2**21
"""Entries from which a row goes in pieces: it no longer fits into the caches, and has work for several threads."""


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
    if not kernels.has_kernel(x):
        return _formula("logsumexp", (x, where, None), x.dtype, out)
    if where is None and x.shape[-1] >= LONG_ROW:
        return _deliver(_long_rows().logsumexp(x, workers), x.dtype, out)
    if where is None:
        return _run("logsumexp", (x,), out, workers)
    return _run("logsumexp_where", (x, where), out, workers)


def signed_logsumexp(x: Array, where: Array | None, b: Array, workers: int = 1) -> tuple[Array, Array]:
    """Log |Σ b e^x| and the sign of the sum, one of each per row; where b is 0, x is not read."""
    if not kernels.has_kernel(x):
        return formulas.signed_logsumexp(x, where, b)
    if where is not None:
        b = np.where(where, b, b.dtype.type(0))
    outs = np.empty(x.shape[:-1], x.dtype), np.empty(x.shape[:-1], x.dtype)
    kernels.run("signed_logsumexp", (x, b), outs, workers)
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
    if not kernels.has_kernel(p):
        return _formula("jacobian", (p, _per_row(temperature)), p.dtype, out)
    return _run("jacobian", (p, temperature), out, workers)


def textbook_softmax(
    x: Array, where: Array | None = None, temperature: Array | float = 1.0, log: bool = False
) -> Array:
    """The formula without the shift, with NumPy's own warnings where it overflows."""
    return np.asarray(formulas.textbook_softmax(x, where, _per_row(temperature), log))


def _forward(
    name: str, x: Array, where: Array | None, temperature: Array | float, out: Array | None, workers: int
) -> Array:
    plain = where is None and isinstance(temperature, float) and temperature == 1.0
    if not kernels.has_kernel(x):
        return _formula(name, (x, where, _per_row(temperature)), x.dtype, out)
    if plain and x.shape[-1] >= LONG_ROW:
        return np.asarray(_long_rows().forward(name, x, out, workers))
    if plain:
        return _run(name, (x,), out, workers)
    if where is None:  # one True for all entries, made four times as quickly as by np.broadcast_to
        where = np.ndarray(x.shape, np.bool, b"\1", strides=(0,) * x.ndim)
    return _run(f"{name}_where", (x, where, temperature), out, workers)


def _backward(name: str, y: Array, g: Array, out: Array | None, workers: int) -> Array:
    if not kernels.has_kernel(y):
        return _formula(name, (y, g), y.dtype, out)
    return _run(name, (y, g), out, workers)


def _run(name: str, operands: tuple[Any, ...], out: Array | None, workers: int) -> Array:
    result: Array = kernels.run(name, operands, out, workers)
    return result


def _long_rows() -> ModuleType:
    from softgrad._numpy import long_rows  # noqa: PLC0415  few rows are so long

    return long_rows


def _formula(name: str, operands: tuple[Any, ...], dtype: np.dtype[Any], out: Array | None) -> Array:
    return _deliver(getattr(formulas, name)(*operands), dtype, out)


@np.errstate(all="ignore")  # a cast may underflow or overflow, and that is its result
def _deliver(result: Array, dtype: np.dtype[Any], out: Array | None) -> Array:
    if out is None:
        return result.astype(dtype, copy=False)
    np.copyto(out, result, casting="same_kind")
    return out


def _per_row(temperature: Array | float) -> Array | float:
    return temperature if isinstance(temperature, float) else temperature[..., np.newaxis]
