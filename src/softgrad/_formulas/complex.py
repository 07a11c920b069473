"""Softmax of complex numbers, for NumPy: formulas on the last axis, z = x + iy.

Everything is taken relative to the entry k with the largest term: e^(z_j − z_k) = e^(x_j − x_k) (cos d + i sin d) with
d = y_j − y_k. Its own term is exactly 1, so that log |Σ| keeps small terms, and the rounding errors of both
differences are kept (Knuth) and put back to first order. complex64 is computed in complex128 and rounded once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from softgrad._formulas.compensated import compensated_sum, two_sum
from softgrad._formulas.namespace import NDArray as Array
from softgrad._formulas.precision import silent


@silent
def softmax(z: Array) -> Array:
    """e^z / Σ e^z along the last axis."""
    terms = _Terms.of(_wide(z), None)
    p: Array = terms.relative / terms.total
    return p.astype(z.dtype)


@silent
def log_softmax(z: Array) -> Array:
    """z − z_k − log Σ e^(z − z_k) along the last axis, with the principal logarithm."""
    terms = _Terms.of(_wide(z), None)
    return _complex(terms.x - terms.log_total, terms.y - np.angle(terms.total)).astype(z.dtype)


@silent
def logsumexp(z: Array, b: Array | None) -> tuple[Array, Array]:
    """Log |Σ b e^z| over the last axis and the sum's phase Σ b e^z / |Σ b e^z|; −inf and 0 where the sum is 0.

    Where terms are infinite both are NaN: the phase of such a sum is a convention, and the caller's. The results have
    the dtype of computation.
    """
    z = _wide(z)
    if z.shape[-1] == 0:
        return np.full(z.shape[:-1], -np.inf, z.real.dtype), np.zeros(z.shape[:-1], z.dtype)
    terms = _Terms.of(z, None if b is None else b.astype(np.result_type(b.dtype, z.real.dtype)))
    log = terms.log_size + terms.log_total
    phase = terms.phase * (terms.total / np.abs(terms.total))
    log, phase = np.where(terms.nothing, -np.inf, log), np.where(terms.nothing, 0, phase)
    return log[..., 0], phase[..., 0]


def logarithm(log: Array, phase: Array) -> Array:
    """The principal logarithm of a sum from its absolute value's and its phase."""
    return _complex(log, np.angle(phase))


class _Terms(NamedTuple):
    """The terms b e^z of slices, divided by the largest of each; one number per slice has a last axis of 1."""

    x: Array
    y: Array
    """z − z_k, in parts."""
    relative: Array
    """b_j e^(z_j − z_k) / b_k, which is 1 for j = k."""
    log_size: Array
    """Log |b_k e^(z_k)|."""
    phase: Array
    """b_k e^(z_k) / |b_k e^(z_k)|."""
    total: Array
    """Σ `relative`; NaN where the largest term is 0, infinite or NaN."""
    log_total: Array
    """Log |`total`|."""
    nothing: Array
    """Whether the sum is 0."""

    @classmethod
    def of(cls, z: Array, b: Array | None) -> _Terms:
        """The terms of z, in the widest dtype, and of b, real or complex; where b is 0, z is not read."""
        x, y = z.real, z.imag
        if b is not None:
            x = np.where(b == 0, -np.inf, x)
        y = np.where(x == -np.inf, 0, y)  # e^z is 0, whatever the phase
        log_b = np.zeros_like(x) if b is None else np.where(b == 0, 0, np.log(np.abs(b)))
        has_nan = np.any(~np.isfinite(y) | np.isnan(x + log_b), axis=-1, keepdims=True)
        largest = x + log_b == np.max(x + log_b, axis=-1, keepdims=True)
        # Among equals the one of the largest y: this, too, is how NumPy orders complex numbers, and so which branch of
        # the logarithm SciPy's log_softmax has.
        k = np.argmax(np.where(largest, y, -np.inf), axis=-1, keepdims=True)
        x_k, y_k = np.take_along_axis(x, k, -1), np.take_along_axis(y, k, -1)
        dx, error = two_sum(x, -x_k)
        e = np.exp(dx)
        e = np.where(x == -np.inf, 0, e + e * np.where(np.isfinite(error), error, 0))
        dy, error = two_sum(y, -y_k)
        cos, sin = np.cos(dy), np.sin(dy)
        direction = _complex(cos - error * sin, sin + error * cos)
        phase = _complex(np.cos(y_k), np.sin(y_k))
        if b is not None:
            b_k = np.take_along_axis(b, k, -1)
            direction = direction * np.where(b == b_k, 1, b / b_k)
            phase = phase * (b_k / np.abs(b_k) if np.iscomplexobj(b) else np.sign(b_k))
        relative = np.where(e == 0, 0, e * direction)
        others = np.where(np.arange(x.shape[-1]) == k, 0, relative)
        real, imag = (part + low for part, low in (compensated_sum(np, others.real), compensated_sum(np, others.imag)))
        log_size = x_k + np.take_along_axis(log_b, k, -1)
        usable = np.isfinite(log_size) & ~has_nan
        total = np.where(usable, _complex(1 + real, imag), np.nan)
        # (1 + real)² + imag² beside 1, where the square itself would lose the small terms.
        near_one = np.log1p(real * (2 + real) + imag * imag) / 2
        log_total = np.where(np.abs(np.abs(total) - 1) < 0.5, near_one, np.log(np.abs(total)))
        return cls(
            dx,
            dy,
            relative,
            log_size,
            phase,
            total,
            np.where(usable, log_total, np.nan),
            ((log_size == -np.inf) | (total == 0)) & ~has_nan,
        )


def _wide(z: Array) -> Array:
    return z.astype(np.complex128, copy=False) if z.dtype == np.complex64 else z


def _complex(real: Array, imag: Array) -> Array:
    """real + i·imag; the product i·inf would have a NaN."""
    z = np.empty(np.broadcast_shapes(real.shape, imag.shape), np.result_type(real.dtype, np.complex64))
    z.real, z.imag = real, imag
    return z
