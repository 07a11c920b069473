"""Losses and their derivatives as array formulas: complete for every array library, and the reference of the kernels.

Every function works on the last axis; where an entry takes no part it is −inf. As in the module `generic`, types
narrower than the widest, which is float64 as a rule, are computed in that, where the rounding errors that would show
are kept.

Nothing here subtracts nearly equal numbers on a saturated row: with k the largest entry, 1 − p_k is Σ_{j≠k} p_j, and
the gradient W p − t of Σ t_j (lse − x_j), W = Σ t, is p_k Σ_{j≠k} t_j − t_k Σ_{j≠k} p_j there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from softgrad._formulas.compensated import compensated_sum, log1p_in_parts, two_product, two_sum
from softgrad._formulas.namespace import infinity, namespace, one_hot, widest
from softgrad._formulas.softmax import exponentials, sum_without_argmax
from softgrad._formulas.target import Target

Array = Any


def cross_entropy(x: Array, target: Target) -> Array:
    """The loss of every row."""
    row = _Row.of(x)
    return row.narrowed(row.scaled(_loss(row, target), target))


def cross_entropy_grad(x: Array, target: Target) -> tuple[Array, Array]:
    """The loss of every row and its gradient."""
    row = _Row.of(x)
    loss, grad = row.scaled(_loss(row, target), target), row.scaled(_gradient(row, target), target)
    return row.narrowed(loss), row.narrowed(grad)


def cross_entropy_grad_hess(x: Array, target: Target, factor: Array | float | None) -> tuple[Array, Array, Array]:
    """The loss of every row, its gradient and `factor` times its Hessian's diagonal (None: the gradient's size)."""
    row = _Row.of(x)
    loss, grad = row.scaled(_loss(row, target), target), row.scaled(_gradient(row, target), target)
    if factor is None:
        hess = row.xp.abs(grad)
    else:
        hess = row.scaled(_hessian_diagonal(row, target) * _per_entry(factor, grad.dtype, row.xp), target)
    return row.narrowed(loss), row.narrowed(grad), row.narrowed(hess)


def log_sum(x: Array) -> tuple[Array, Array, Array]:
    """log Σ e^x of every row in three parts whose sum it is, (max, high, low), of float64 or wider."""
    row = _Row.of(x)
    return row.m[..., 0], row.log[..., 0], row.log_low[..., 0]


def entropy(x: Array) -> Array:
    """−Σ p log p of every row."""
    row = _Row.of(x)
    return row.narrowed((row.log + _mean_depth(row))[..., 0])


def entropy_grad(x: Array) -> tuple[Array, Array]:
    """The entropy of every row and its gradient, p ∘ (a − Σ p a) with a = max x − x."""
    row = _Row.of(x)
    xp, mean = row.xp, _mean_depth(row)
    grad = xp.where(row.p == 0, row.zeros, row.p * ((-row.shifted - mean) - row.error))
    return row.narrowed((row.log + mean)[..., 0]), row.narrowed(grad)


def kl_divergence(a: Array, b: Array) -> Array:
    """Σ p (log p − log q) of every row, p and q the probabilities of the logits a and b."""
    p, q = _Row.of(a), _Row.of(b)
    return p.narrowed(_divergence(p, q))


def kl_divergence_grad(a: Array, b: Array) -> tuple[Array, Array, Array]:
    """The divergence of every row and its gradients with respect to a, p ∘ (d − Σ p d) with d = a − b, and b, q − p."""
    p, q = _Row.of(a), _Row.of(b)
    xp = p.xp
    relative, _ = _centred_difference(p, q)
    grad_p = xp.where(p.impossible, p.zeros, p.p * relative) + 0 * (p.log + q.log)  # NaN beside NaN
    # Where both are largest at the same entry, q − p = (1 − p) − (1 − q) there, of smaller terms if p + q > 1.
    saturated = p.peak & q.peak & (p.others + q.others < 1)
    grad_q = xp.where(saturated, p.others - q.others, q.p - p.p)
    return p.narrowed(_divergence(p, q)), p.narrowed(grad_p), p.narrowed(grad_q)


@np.errstate(all="ignore")
def log_probabilities(x: Array, index: Array) -> Array:
    """log p at the entries `index`, shape (..., k), of every row: x − max − log, no array of the size of x."""
    return namespace(x).astype(selected(x, index, log_sum(x)), x.dtype, copy=False)


@np.errstate(all="ignore")
def focal(x: Array, labels: Array, gamma: float) -> tuple[Array, Array]:
    """(1 − p)^γ ℓ at the label, ℓ = −log p, and its derivative with respect to ℓ, in float64 or wider."""
    return focused(-selected(x, labels[..., None], log_sum(x))[..., 0], gamma)


def selected(x: Array, index: Array, parts: tuple[Array, ...]) -> Array:
    """log p at the entries `index` of rows whose `log_sum` is at hand, in its dtype."""
    xp = namespace(x)
    m, high, low = (part[..., None] for part in parts)
    at = xp.astype(xp.take_along_axis(x, index, axis=-1), m.dtype, copy=False)
    shifted, error = two_sum(at, -m)
    result, lost = two_sum(shifted, -high)
    return xp.where(xp.isfinite(result), result + ((lost + error) - low), result)


def focused(loss: Array, gamma: float) -> tuple[Array, Array]:
    """(1 − p)^γ ℓ of ℓ = −log p, and its derivative (1 − p)^γ + γ (1 − p)^(γ−1) p ℓ with respect to ℓ."""
    xp = namespace(loss)
    one = xp.ones_like(loss)
    if gamma == 0:
        return loss, xp.where(xp.isnan(loss), loss, one)
    p, others = xp.exp(-loss), -xp.expm1(-loss)
    certain = loss == 0
    finite = xp.where(loss == infinity(xp, loss), xp.zeros_like(loss), loss)
    factor = others**gamma
    # (1 − p)^(γ−1) ℓ as (1 − p)^γ times ℓ/(1 − p), which tends to 1 where both vanish.
    ratio = xp.where(certain, one, finite / xp.where(certain, one, others))
    return factor * loss, factor * (1 + gamma * p * ratio)


def smoothed(targets: Array, weight: Array | float, smoothing: float, count: Array | int, dtype: Any) -> Array:
    """Weight·((1 − ε) targets + ε/count), rounded once."""
    xp = namespace(targets)
    narrow = dtype != getattr(xp, "longdouble", None)
    targets, smooth = xp.astype(targets, widest(xp) if narrow else dtype), smoothing > 0
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


@dataclass(frozen=True, slots=True)
class _Row:
    """What softmax knows of every row; with k the largest entry, p and 1 − p are exact to a few ulp everywhere."""

    xp: Any
    dtype: Any  # of the operands; everything here has float64 or wider
    x: Array
    m: Array
    shifted: Array  # x − m, and its rounding error
    error: Array
    log: Array  # log Σ e^(x − m), and what its rounding left
    log_low: Array
    p: Array
    others: Array  # 1 − p
    peak: Array

    @classmethod
    def of(cls, x: Array) -> _Row:
        xp, dtype = namespace(x), x.dtype
        if dtype != getattr(xp, "longdouble", None):
            x = xp.astype(x, widest(xp), copy=False)
        m, shifted, error, e = exponentials(xp, x, None, 1.0)
        rest, rest_low = sum_without_argmax(xp, e)
        log = log1p_in_parts(xp, rest, rest_low)
        total, low = compensated_sum(xp, e)
        p = e / total
        p = p - p * (low / total)
        peak = one_hot(xp, xp.argmax(e, axis=-1, keepdims=True), e)
        others = xp.where(peak, (rest + rest_low) / total, 1 - p)
        return cls(xp, dtype, x, m, shifted, error, *log, p, others, peak)

    @property
    def zeros(self) -> Array:
        return self.xp.zeros_like(self.p)

    @property
    def lse(self) -> Array:
        return self.m + self.log

    @property
    def impossible(self) -> Array:
        """Where p is 0, and not merely too small for a number."""
        return self.x == -infinity(self.xp, self.x)

    def scaled(self, part: Array, target: Target) -> Array:
        """`part` times the scale of its row."""
        scale = self.xp.asarray(target.scale, dtype=self.p.dtype)
        if part.ndim == self.p.ndim and scale.ndim:
            scale = scale[..., None]
        return self.xp.where(scale == 0, self.xp.zeros_like(part), part * scale)

    def narrowed(self, result: Array) -> Array:
        return self.xp.astype(result, self.dtype, copy=False)

    def coefficients(self, target: Target) -> Array:
        """The coefficients t."""
        xp, t = self.xp, self.zeros
        if target.base is not None:
            t = t + xp.astype(target.base, t.dtype, copy=False)
        if target.labels is not None:
            at_label = one_hot(xp, target.labels[..., None], t)
            t = xp.where(at_label, t + _per_entry(target.label_weight, t.dtype, xp), t)
        return t


def _loss(row: _Row, target: Target) -> Array:
    xp, t = row.xp, row.coefficients(target)
    product, low = two_product(t, -row.shifted)
    low = low - t * row.error
    zero = (t == 0) & ~xp.isnan(row.shifted)  # 0·(−inf) is 0
    product = xp.where(zero, row.zeros, product)
    low = xp.where(zero | ~xp.isfinite(low), row.zeros, low)
    (depth, error), (weight, weight_error) = compensated_sum(xp, product), compensated_sum(xp, t)
    spread = (weight + weight_error) * row.log
    loss = (depth + spread) + (error + xp.sum(low, axis=-1, keepdims=True))
    if target.z_loss:
        loss = loss + target.z_loss * row.lse**2
    return loss[..., 0]


def _gradient(row: _Row, target: Target) -> Array:
    xp, t = row.xp, row.coefficients(target)
    at_peak = xp.sum(xp.where(row.peak, t, row.zeros), axis=-1, keepdims=True)
    rest, error = compensated_sum(xp, xp.where(row.peak, row.zeros, t))
    rest = rest + error
    pull = 2 * target.z_loss * row.lse if target.z_loss else row.zeros
    saturated = row.p * (rest + pull) - t * row.others
    return xp.where(row.peak, saturated, row.p * ((at_peak + rest) + pull) - t)


def _hessian_diagonal(row: _Row, target: Target) -> Array:
    weight, error = compensated_sum(row.xp, row.coefficients(target))
    weight = weight + error
    variance = row.p * row.others
    if not target.z_loss:
        return weight * variance
    return (weight + 2 * target.z_loss * row.lse) * variance + 2 * target.z_loss * row.p**2


def _mean_depth(row: _Row) -> Array:
    """Σ p (max x − x)."""
    xp = row.xp
    mean, error = compensated_sum(xp, xp.where(row.p == 0, row.zeros, row.p * (-row.shifted - row.error)))
    return mean + error


def _centred_difference(p: _Row, q: _Row) -> tuple[Array, Array]:
    """d − Σ p d with d = a − b, the logits themselves; and whether it is small in every entry that counts.

    Where q is within a factor e of p everywhere it is below 1.47: the logarithm of a ratio, and the divergence.
    """
    xp = p.xp
    d, error = two_sum(p.x, -q.x)
    at_peak = xp.sum(xp.where(p.peak, d, p.zeros), axis=-1, keepdims=True)
    relative, lost = two_sum(d, -at_peak)
    error = error + lost - xp.sum(xp.where(p.peak, error, p.zeros), axis=-1, keepdims=True)
    relative = relative + xp.where(xp.isfinite(error), error, p.zeros)
    terms = xp.where(p.p == 0, p.zeros, p.p * relative)
    mean, lost = compensated_sum(xp, xp.where(q.impossible & ~p.impossible, infinity(xp, terms), terms))
    relative = ((relative - mean) - lost) + (mean - mean)  # NaN where the divergence is infinite
    nothing = (p.p == 0) & (q.p == 0)
    return relative, xp.all(nothing | (xp.abs(relative) <= 1.5), axis=-1, keepdims=True)


def _divergence(p: _Row, q: _Row) -> Array:
    xp = p.xp
    relative, near = _centred_difference(p, q)
    # log Σ p e^−d, whose terms p (e^−d − 1 + d) are all positive.
    relative = xp.where(near & (p.p > 0), relative, p.zeros)
    close, close_lost = compensated_sum(xp, p.p * (xp.expm1(-relative) + relative))
    log_p, log_q = p.shifted - p.log, q.shifted - q.log
    ratio = (log_p - log_q) + (p.error - q.error)
    terms = xp.where(p.p > 0, p.p * ratio, p.zeros)
    far, far_lost = compensated_sum(xp, xp.where(q.impossible & ~p.impossible, infinity(xp, terms), terms))
    result = xp.where(near, xp.log1p(close + close_lost), far + far_lost)
    nan = p.log + q.log
    return xp.where(xp.isnan(nan), nan, xp.where(result < 0, xp.zeros_like(result), result))[..., 0]


def _per_entry(value: Array | float, dtype: Any, xp: Any) -> Array:
    """A number, or one per row, ready to multiply the entries of rows."""
    value = xp.asarray(value, dtype=dtype)
    return value[..., None] if value.ndim else value
