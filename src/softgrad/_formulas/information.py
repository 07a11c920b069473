"""Entropy, divergence and selected log-probabilities as array formulas."""

from __future__ import annotations

from typing import Any

from softgrad._formulas.compensated import Pair, compensated_sum, two_sum
from softgrad._formulas.namespace import Array, as_column, infinity, is_one, namespace, per_entry, row_sum
from softgrad._formulas.precision import as_wide, silent, value_dtype
from softgrad._formulas.row import Row
from softgrad._formulas.softmax import over_temperature


@silent
def log_sum(x: Array, temperature: Array | float = 1.0) -> tuple[Array, Array, Array]:
    """max x and log Σ e^((x − max x)/T) of every row in two parts, (max, high, low), in the dtype of computation."""
    row = Row.of(x, temperature)
    return row.m[..., 0], row.log[..., 0], row.log_low[..., 0]


@silent
def entropy(x: Array, temperature: Array | float = 1.0) -> Array:
    """−Σ p log p of every row."""
    row = Row.of(x, temperature)
    return row.narrowed((row.log + _mean_gap(row))[..., 0])


@silent
def entropy_grad(x: Array, temperature: Array | float = 1.0) -> tuple[Array, Array]:
    """The entropy of every row and its gradient, p ∘ (a − Σ p a)/T with a = (max x − x)/T."""
    row = Row.of(x, temperature)
    xp, mean = row.xp, _mean_gap(row)
    grad = xp.where(row.p == 0, row.zeros, row.p * ((-row.shifted - mean) - row.error))
    return row.narrowed((row.log + mean)[..., 0]), row.narrowed(row.by_logits(grad))


@silent
def kl_divergence(a: Array, b: Array, temperature: Array | float = 1.0) -> Array:
    """Σ p (log p − log q) of every row, p and q the probabilities of the logits a and b."""
    p, q = Row.of(a, temperature), Row.of(b, temperature)
    return p.narrowed(_divergence(p, q))


@silent
def kl_divergence_grad(a: Array, b: Array, temperature: Array | float = 1.0) -> tuple[Array, Array, Array]:
    """The divergence and its gradients with respect to a, p ∘ (d − Σ p d)/T with d = (a − b)/T, and b, (q − p)/T.

    Where the rows are near each other q − p cancels: it is p (e^−r − 1) there, with r = log p − log q, which is
    d − Σ p d and the divergence.
    """
    p, q = Row.of(a, temperature), Row.of(b, temperature)
    xp = p.xp
    relative, near = _centred_difference(p, q)
    underflowed = p.impossible | ((p.p == 0) & xp.isinf(relative))  # a difference over a small T may be infinite
    grad_p = xp.where(underflowed, p.zeros, p.p * relative) + 0 * (p.log + q.log)  # NaN where either row is
    # Where both are largest at the same entry, q − p = (1 − p) − (1 − q) there, of smaller terms if p + q > 1.
    saturated = p.is_argmax & q.is_argmax & (p.complement + q.complement < 1)
    grad_q = xp.where(saturated, p.complement - q.complement, q.p - p.p)
    divergence = _divergence(p, q)
    possible = near & (p.p > 0)
    ratio = xp.where(possible, relative + divergence[..., None], p.zeros)
    grad_q = xp.where(possible, p.p * xp.expm1(-ratio), grad_q)
    return p.narrowed(divergence), *(p.narrowed(p.by_logits(grad)) for grad in (grad_p, grad_q))


@silent
def log_probabilities(x: Array, index: Array, temperature: Array | float = 1.0) -> Array:
    """log p at the entries `index`, shape (..., k), of every row: x − max − log, no array of the size of x."""
    return namespace(x).astype(selected(x, index, log_sum(x, temperature), temperature), x.dtype, copy=False)


@silent
def selected(x: Array, index: Array, parts: tuple[Array, ...], temperature: Array | float = 1.0) -> Array:
    """log p at the entries `index` of rows whose `log_sum` is at hand, in its dtype."""
    high, low = selected_in_parts(x, index, parts, temperature)
    return high + low


def selected_in_parts(x: Array, index: Array, parts: tuple[Array, ...], temperature: Array | float = 1.0) -> Pair:
    """log p as by `selected`, and what its rounding lost: what is made of it may multiply the error."""
    xp = namespace(x)
    m, high, low = (part[..., None] for part in parts)
    at = xp.astype(xp.take_along_axis(x, index, axis=-1), m.dtype, copy=False)
    shifted, error = two_sum(at, -m)
    if not is_one(temperature):
        impossible = (at == -infinity(xp, at)) & xp.isfinite(m)
        T = xp.astype(xp.asarray(per_entry(temperature)), m.dtype)
        shifted, error = over_temperature(xp, shifted, error, T)
        shifted = xp.where(impossible, at, shifted)
    result, lost = two_sum(shifted, -high)
    return result, xp.where(xp.isfinite(result), (lost + error) - low, xp.zeros_like(result))


@silent
def tsallis_entropy(p: Array, alpha: Array | float) -> Array:
    """Σ (p − p^α)/(α (α − 1)) of every row."""
    xp, wide = namespace(p), as_wide(p)
    alpha = as_column(xp, wide, alpha)
    is_limit = alpha == infinity(xp, wide)
    alpha = xp.where(is_limit, 2 * xp.ones_like(alpha), alpha)
    positive = ~(wide == 0)
    log = xp.log(xp.where(positive, wide, xp.ones_like(wide)))
    terms = xp.where(positive, -wide * expm1_over(xp, log, alpha - 1), xp.zeros_like(wide))
    total, error = compensated_sum(xp, terms) if p.shape[-1] else (row_sum(terms), 0.0)
    entropy = xp.where(is_limit & ~xp.isnan(total), xp.zeros_like(total), (total + error) / alpha)
    return xp.astype(entropy[..., 0], value_dtype(xp, p.dtype), copy=False)


def expm1_over(xp: Any, log: Array, s: Array) -> Array:
    """(e^(s log) − 1)/s, which is log at s = 0."""
    divisor = xp.where(s == 0, xp.ones_like(s), s)
    return xp.where(s == 0, log, xp.expm1(divisor * log) / divisor)


def _mean_gap(row: Row) -> Array:
    """Σ p (max x − x)."""
    xp = row.xp
    mean, error = compensated_sum(xp, xp.where(row.p == 0, row.zeros, row.p * (-row.shifted - row.error)))
    return mean + error


def _centred_difference(p: Row, q: Row) -> tuple[Array, Array]:
    """d − Σ p d with d = (a − b)/T, of the logits themselves; and whether it is small in every entry that counts.

    Where q is within a factor e of p everywhere it is below 1.47: the logarithm of a ratio, and the divergence.
    """
    xp = p.xp
    d, error = two_sum(p.x, -q.x)
    at_argmax = row_sum(xp.where(p.is_argmax, d, p.zeros))
    relative, lost = two_sum(d, -at_argmax)
    error = error + lost - row_sum(xp.where(p.is_argmax, error, p.zeros))
    relative = relative + xp.where(xp.isfinite(error), error, p.zeros)
    terms = xp.where(p.p == 0, p.zeros, p.p * relative)
    mean, lost = compensated_sum(xp, xp.where(q.impossible & ~p.impossible, infinity(xp, terms), terms))
    relative = p.by_logits(((relative - mean) - lost) + (mean - mean))  # NaN where the divergence is infinite
    nothing = (p.p == 0) & (q.p == 0)
    return relative, xp.all(nothing | (xp.abs(relative) <= 1.5), axis=-1, keepdims=True)


def _divergence(p: Row, q: Row) -> Array:
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
