"""Losses and their derivatives as array formulas: complete for every array library, and the reference of the kernels.

Every function works on the last axis; an entry that is masked out is −inf. As in `softmax.py`, types narrower than the
widest, which is float64 as a rule, are computed in that, where the rounding errors that would show are kept.

Nothing here subtracts nearly equal numbers on a saturated row: with k the largest entry, 1 − p_k is Σ_{j≠k} p_j, and
the gradient W p − t of Σ t_j (lse − x_j), W = Σ t, is p_k Σ_{j≠k} t_j − t_k Σ_{j≠k} p_j there.
"""

from __future__ import annotations

from typing import Any

from softgrad._formulas.compensated import compensated_sum, two_product, two_sum
from softgrad._formulas.namespace import Array, namespace, per_entry, row_sum
from softgrad._formulas.precision import silent, wide_dtype
from softgrad._formulas.row import Row
from softgrad._formulas.target import Target


@silent
def cross_entropy(x: Array, target: Target, temperature: Array | float = 1.0) -> Array:
    """The loss of every row."""
    row = Row.of(x, temperature)
    return row.narrowed(row.scaled(_loss(row, target), target))


@silent
def cross_entropy_grad(x: Array, target: Target, temperature: Array | float = 1.0) -> tuple[Array, Array]:
    """The loss of every row and its gradient."""
    row = Row.of(x, temperature)
    loss, grad = row.scaled(_loss(row, target), target), row.scaled(_gradient(row, target), target)
    return row.narrowed(loss), row.narrowed(grad)


@silent
def cross_entropy_grad_hess(
    x: Array, target: Target, factor: Array | float | None, temperature: Array | float = 1.0
) -> tuple[Array, Array, Array]:
    """The loss of every row, its gradient and `factor` times its Hessian's diagonal (None: the gradient's size)."""
    row = Row.of(x, temperature)
    loss, grad = row.scaled(_loss(row, target), target), row.scaled(_gradient(row, target), target)
    if factor is None:
        hess = row.xp.abs(grad)
    else:
        hess = row.scaled(_hessian_diagonal(row, target) * per_entry(row.xp.asarray(factor, dtype=grad.dtype)), target)
    return row.narrowed(loss), row.narrowed(grad), row.narrowed(hess)


def smoothed(targets: Array, weight: Array | float, smoothing: float, count: Array | int, dtype: Any) -> Array:
    """Weight·((1 − ε) targets + ε/count), rounded once."""
    xp = namespace(targets)
    targets, smooth = xp.astype(targets, wide_dtype(xp, dtype)), smoothing > 0
    weight, count, smoothing = (xp.asarray(a, dtype=targets.dtype) for a in (weight, count, smoothing))
    if not smooth:
        return xp.astype(targets * weight, dtype)
    keep, keep_low = two_sum(xp.ones_like(smoothing), -smoothing)
    kept, kept_low = two_product(targets, keep)
    share = smoothing / count
    back, back_low = two_product(share, count)
    share_low = ((smoothing - back) - back_low) / count
    total, low = two_sum(kept, share)
    product, product_low = two_product(total, weight)
    low = low + kept_low + targets * keep_low + share_low
    return xp.astype(product + (product_low + low * weight), dtype)


def _loss(row: Row, target: Target) -> Array:
    xp, t = row.xp, row.coefficients(target)
    product, low = two_product(t, -row.shifted)
    low = low - t * row.error
    zero = (t == 0) & ~xp.isnan(row.shifted)  # 0·(−inf) is 0
    product = xp.where(zero, row.zeros, product)
    low = xp.where(zero | ~xp.isfinite(low), row.zeros, low)
    (gap, error), (weight, weight_error) = compensated_sum(xp, product), compensated_sum(xp, t)
    normalizer = (weight + weight_error) * row.log
    loss = (gap + normalizer) + (error + row_sum(low))
    if target.z_loss:
        loss = loss + target.z_loss * row.lse**2
    return loss[..., 0]


def _gradient(row: Row, target: Target) -> Array:
    xp, t = row.xp, row.coefficients(target)
    at_argmax = row_sum(xp.where(row.is_argmax, t, row.zeros))
    others, error = compensated_sum(xp, xp.where(row.is_argmax, row.zeros, t))
    others = others + error
    of_z_loss = 2 * target.z_loss * row.lse if target.z_loss else row.zeros
    saturated = row.p * (others + of_z_loss) - t * row.complement
    return row.by_logits(xp.where(row.is_argmax, saturated, row.p * ((at_argmax + others) + of_z_loss) - t))


def _hessian_diagonal(row: Row, target: Target) -> Array:
    weight, error = compensated_sum(row.xp, row.coefficients(target))
    weight = weight + error
    variance = row.p * row.complement
    diagonal = weight * variance
    if target.z_loss:
        diagonal = (weight + 2 * target.z_loss * row.lse) * variance + 2 * target.z_loss * row.p**2
    return row.by_logits(row.by_logits(diagonal))
