"""The Jacobian of softmax as array formulas: what its operators return.

p has shape (..., n), T broadcasts against it, and sums keep the axis.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from softgrad._formulas.derivatives import centred, complement
from softgrad._formulas.namespace import Array, row_sum
from softgrad._formulas.precision import computed_wide


@computed_wide
def quotient(xp: Any, x: Array, T: Array) -> Array:
    return x / T


@computed_wide
def diagonal(xp: Any, p: Array, T: Array) -> Array:
    return p * complement(xp, p) / T


@computed_wide
def trace(xp: Any, p: Array, T: Array) -> Array:
    return row_sum(p * complement(xp, p)) / T


@computed_wide
def variance(xp: Any, p: Array, v: Array, T: Array) -> Array:
    deviation = centred(xp, p, v)
    return row_sum(xp.where(p == 0, xp.zeros_like(deviation), p * deviation * deviation)) / T


@computed_wide
def root_product(xp: Any, p: Array, v: Array, T: Array) -> Array:
    scaled = xp.sqrt(p) * v
    return (scaled - p * row_sum(scaled)) / T**0.5


@computed_wide
def transposed_root_product(xp: Any, p: Array, v: Array, T: Array) -> Array:
    return xp.sqrt(p) * centred(xp, p, v) / T**0.5


@computed_wide
def pseudo_inverse(xp: Any, p: Array, v: Array, T: Array) -> Array:
    support = p > 0
    count = row_sum(xp.astype(support, p.dtype))

    def without_mean(x: Array) -> Array:
        x = xp.where(support, x, xp.zeros_like(x))
        return xp.where(support, x - row_sum(x) / xp.where(count > 0, count, xp.ones_like(count)), xp.zeros_like(x))

    return without_mean(without_mean(v) / xp.where(support, p, xp.ones_like(p))) * T


@computed_wide
def damped_solution(xp: Any, p: Array, b: Array, T: Array, damping: float) -> Array:
    # diag(p + λ) − p pᵀ; the denominator 1 − Σ p²/(p+λ) is λ Σ p/(p+λ), which does not cancel.
    scaled = damping * T
    weight = p / (p + scaled)
    x = b / (p + scaled)
    return T * (x + weight * (row_sum(p * x) / (scaled * row_sum(weight))))


@computed_wide
def log_pseudo_determinant(xp: Any, p: Array, T: Array) -> Array:
    support = p > 0
    count = row_sum(xp.astype(support, p.dtype))
    missing = xp.where(p == 0, xp.zeros_like(p), p * xp.nan)
    logs = row_sum(xp.where(support, xp.log(xp.where(support, p, xp.ones_like(p))), missing))
    return logs + xp.log(xp.where(count > 0, count, xp.ones_like(count))) - (count - 1) * xp.log(xp.asarray(T))


@computed_wide
def eigenvalues(xp: Any, p: Array, T: Array) -> Array:
    """Bisection in every gap at once, on the bits of μ = λ − lower end: numbers ≥ 0 are ordered as their bits."""
    dtype, p = p.dtype, np.sort(np.asarray(p, np.float64), axis=-1)
    low = p[..., :-1, None]
    offsets = p[..., None, :] - low
    left, right = np.zeros(low.shape), p[..., 1:, None] - low
    for _ in range(64):
        middle = ((left.view(np.int64) + right.view(np.int64)) // 2).view(np.float64)
        # Σ p/(p − λ) increases in λ, from −∞ to +∞ between neighbouring poles.
        above = np.sum(p[..., None, :] / (offsets - middle), axis=-1, keepdims=True) > 0
        left, right = np.where(above, left, middle), np.where(above, middle, right)
    zero = np.where(np.isnan(p[..., :1]), np.nan, 0.0)
    eigenvalues = np.concatenate([zero[..., : p.shape[-1]], (low + left)[..., 0]], axis=-1)
    return xp.asarray(eigenvalues, dtype=dtype) / T
