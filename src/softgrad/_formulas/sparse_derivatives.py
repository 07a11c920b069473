"""Derivatives of sparsemax and entmax as array formulas, from their outputs.

With s = α − 1 and q = p^(1−s) on the support of p, 0 elsewhere, the Jacobian is diag(q) − q qᵀ/Σq: that of softmax for
the shares q/Σq, times Σq (Peters, Niculae & Martins 2019, section 3).
"""

from __future__ import annotations

import math
from typing import Any

from softgrad._formulas.compensated import compensated_sum
from softgrad._formulas.derivatives import softmax_vjp
from softgrad._formulas.namespace import Array, as_column, infinity, namespace, one_hot, row_sum
from softgrad._formulas.precision import as_wide, computed_wide, silent

TERMS = 24
"""Of the series for arguments below 2, where the closed form would cancel: the next one is below 2^25/25!."""


@computed_wide
def sparsemax_vjp(xp: Any, p: Array, g: Array) -> Array:
    """g − the mean of g over the support of p, on that support."""
    return _product(xp, p, _powers(xp, p, 2.0), g)


@computed_wide
def entmax_vjp(xp: Any, p: Array, g: Array, alpha: Array | float) -> Array:
    """q ∘ (g − Σ q g / Σ q)."""
    if isinstance(alpha, float) and alpha == 1:
        of_softmax: Array = softmax_vjp(p, g)
        return of_softmax
    return _product(xp, p, _powers(xp, p, alpha), g)


@computed_wide
def entmax_alpha_vjp(xp: Any, p: Array, g: Array, alpha: Array | float) -> Array:
    """Σ g ∂p/∂α of every row; as Σ ∂p/∂α = 0, from g − g_k with k the largest entry."""
    if p.shape[-1] == 0:
        return xp.sum(p * g, axis=-1)
    if p.shape != g.shape:
        p, g = xp.broadcast_arrays(p, g)
    slopes = _by_alpha(xp, p, alpha)
    total, error = compensated_sum(xp, slopes * _relative(xp, p, p, g))
    return (total + error)[..., 0]


@computed_wide
def entmax_by_alpha(xp: Any, p: Array, alpha: Array | float) -> Array:
    """∂p/∂α."""
    return p if p.shape[-1] == 0 else _by_alpha(xp, p, alpha)


@silent
def shares(p: Array, alpha: Array | float) -> tuple[Array, Array]:
    """The shares q/Σq, in the dtype of p, and Σq of every row, in that of computation; 1 where nothing is valid."""
    xp, wide = namespace(p), as_wide(p)
    q = _powers(xp, wide, alpha)
    if p.shape[-1] == 0:
        return p, xp.ones(p.shape[:-1], dtype=wide.dtype)
    total, low = compensated_sum(xp, q)
    total = total + low
    total = xp.where(total == 0, xp.ones_like(total), total)
    return xp.astype(q / total, p.dtype, copy=False), total[..., 0]


def _powers(xp: Any, p: Array, alpha: Array | float) -> Array:
    """q = p^(2−α) on the support of p; 0 at α = ∞, where p is a step."""
    support = ~(p == 0)  # NaN stays
    one, zero = xp.ones_like(p), xp.zeros_like(p)
    if isinstance(alpha, float) and alpha in (1.5, 2, math.inf):
        q = xp.sqrt(p) if alpha == 1.5 else xp.where(xp.isnan(p), p, one if alpha == 2 else zero)
        return xp.where(support, q, zero)
    alpha = as_column(xp, p, alpha)
    is_step = alpha == infinity(xp, p)
    exponent = 2 - xp.where(is_step, xp.ones_like(alpha), alpha)
    q = xp.where(support, p, one) ** exponent
    return xp.where(support & ~is_step, q, xp.where(xp.isnan(p), p, zero))


def _relative(xp: Any, p: Array, q: Array, g: Array) -> Array:
    """g − g_k with k the largest q; 0 where p is 0, and g is not read."""
    read = ~(p == 0)
    is_argmax = one_hot(xp, xp.argmax(q, axis=-1, keepdims=True), q)
    at_argmax = row_sum(xp.where(is_argmax & read, g, xp.zeros_like(g)))
    return xp.where(read, g - at_argmax, xp.zeros_like(g))


def _product(xp: Any, p: Array, q: Array, g: Array) -> Array:
    if p.shape[-1] == 0:
        return p * g
    if p.shape != g.shape:
        p, q, g = xp.broadcast_arrays(p, q, g)
    relative = _relative(xp, p, q, g)
    zero = xp.zeros_like(relative)
    # At the largest q itself, which may be infinite for α > 2, the product is −(q/Σq) Σ_{j≠k} q_j (g_j − g_k).
    is_argmax = one_hot(xp, xp.argmax(q, axis=-1, keepdims=True), q)
    # There g_k − g_k stands for its term: 0, or NaN if g_k is no number.
    others = xp.where(p == 0, zero, xp.where(is_argmax, xp.ones_like(q), q) * relative)
    (total, low), (moment, error) = compensated_sum(xp, q), compensated_sum(xp, others)
    total = total + low
    mean = (moment + error) / xp.where(total == 0, xp.ones_like(total), total)
    largest = row_sum(xp.where(is_argmax, q, zero))
    share = xp.where(total == infinity(xp, total), xp.ones_like(total), largest / total)
    at_argmax = -xp.where(total == 0, total, share) * (moment + error)
    result = xp.where(is_argmax, at_argmax + zero, q * (relative - mean))
    return xp.where(q == 0, zero, result)


def _by_alpha(xp: Any, p: Array, alpha: Array | float) -> Array:
    """∂p/∂α = p ((B − β) − s (ℓ B − β L)) / Σ p^(1−s), the formula of Correia, Niculae & Martins (2019, Prop. 1).

    Here ℓ = log p, β = ℓ² φ(−sℓ) with φ(t) = (e^t − 1 − t)/t², and L and B are the means of ℓ and β under p. So nothing
    cancels near α = 1, where the original divides by (α − 1)².
    """
    alpha = as_column(xp, p, alpha)
    is_step = alpha == infinity(xp, p)
    s = xp.where(is_step, xp.ones_like(alpha), alpha) - 1
    support = ~(p == 0)
    log = xp.where(support, xp.log(xp.where(support, p, xp.ones_like(p))), xp.zeros_like(p))
    t = -s * log
    # β and Σ p^(1−s) are both divided by e^(largest t), which may overflow.
    scale = xp.max(t, axis=-1, keepdims=True)
    beta = log * log * _phi(xp, t, scale)
    (mean_log, low), (mean_beta, lost) = compensated_sum(xp, p * log), compensated_sum(xp, p * beta)
    mean_log, mean_beta = mean_log + low, mean_beta + lost
    total, error = compensated_sum(xp, xp.where(support, p * xp.exp(t - scale), xp.zeros_like(p)))
    total = total + error
    total = xp.where(total == 0, xp.ones_like(total), total)  # nothing is valid
    slope = p * ((mean_beta - beta) - s * (log * mean_beta - beta * mean_log)) / total
    return xp.where(is_step & ~xp.isnan(p), xp.zeros_like(slope), slope)


def _phi(xp: Any, t: Array, scale: Array) -> Array:
    """(e^t − 1 − t)/t² times e^−scale, for t ≥ 0."""
    small = t < 2
    near, far = xp.where(small, t, xp.zeros_like(t)), xp.where(small, xp.ones_like(t), t)
    series = xp.zeros_like(t)
    for k in range(TERMS, 1, -1):
        series = series * near + 1 / math.factorial(k)
    closed = (xp.exp(far - scale) - (1 + far) * xp.exp(-scale)) / (far * far)
    return xp.where(small, series * xp.exp(-scale), closed)
