"""Fenchel–Young losses of entmax as array formulas.

The loss of logits x and a distribution y is Ω*(x) + Ω(y) − ⟨x, y⟩ with Ω(p) = Σ (p^α − p)/(α s), s = α − 1 (Blondel,
Martins & Niculae, "Learning with Fenchel–Young losses", JMLR 21 (2020)). With p = entmax(x), the gaps d = max x − x and
σ = max p^s it is a sum of terms that are not negative,

    Σ D(y, p) + Σ_{p = 0} (d − σ/s) y,   D(y, p) = (y^α + s p^α − α p^s y)/(α s),

where D is the Bregman divergence of Ω. Nothing cancels, and the loss is 0 exactly where p = y. The gradient is p − y;
of the sum above, where Σ y is not 1, p − y + (Σ y − 1) q/Σq with q = p^(2−α) on the support: at α = 1 (Σ y) p − y, as
that of cross-entropy.
"""

from __future__ import annotations

from typing import Any

from softgrad._formulas.compensated import compensated_sum
from softgrad._formulas.information import expm1_over
from softgrad._formulas.namespace import Array, as_column, infinity, namespace, one_hot, per_entry, row_sum
from softgrad._formulas.precision import as_wide, silent, value_dtype
from softgrad._formulas.softmax import by_logits, shifted_logits
from softgrad._formulas.sparse import entmax
from softgrad._formulas.sparse_derivatives import shares as shares_of
from softgrad._formulas.target import Target

TERMS = 54
"""Of the series below: each is at most half of the one before."""


@silent
def entmax_loss(x: Array, target: Target, alpha: Array | float, temperature: Array | float = 1.0) -> Array:
    """The loss of every row."""
    return loss_grad(x, target, alpha, temperature, entmax(as_wide(x), alpha, None, temperature))[0]


@silent
def entmax_loss_grad(
    x: Array, target: Target, alpha: Array | float, temperature: Array | float = 1.0
) -> tuple[Array, Array]:
    """The loss of every row and its gradient, (p − y)/T."""
    return loss_grad(x, target, alpha, temperature, entmax(as_wide(x), alpha, None, temperature))


def outside_slope(xp: Any, gap: Array, p: Array, s: Array) -> Array:
    """What y = 0 adds where p = 0 to the derivative of the loss with respect to y: d − σ/s; at α = 1, d − log max p."""
    largest = xp.max(p, axis=-1, keepdims=True)
    divisor = xp.where(s == 0, xp.ones_like(s), s)
    return xp.where(s == 0, gap - xp.log(largest), gap - largest**divisor / divisor)


@silent
def loss_grad(
    x: Array, target: Target, alpha: Array | float, temperature: Array | float, p: Array
) -> tuple[Array, Array]:
    """Both, where p is the entmax of x in the wide type."""
    xp, wide = namespace(x), as_wide(x)
    temperature = per_entry(temperature)
    _, shifted, _ = shifted_logits(xp, wide, None, temperature)
    alpha = as_column(xp, wide, alpha)
    of_target = _of_label if target.labels is not None else _of_distribution
    loss, grad = of_target(xp, p, -shifted, target, alpha)
    loss, grad = xp.where(xp.any(xp.isnan(p), axis=-1), xp.full_like(loss, xp.nan), loss), by_logits(grad, temperature)
    loss, grad = target.weighted(loss, of_entries=False), target.weighted(grad, of_entries=True)
    return xp.astype(loss, value_dtype(xp, x.dtype), copy=False), xp.astype(grad, x.dtype, copy=False)


def _of_label(xp: Any, p: Array, gap: Array, target: Target, alpha: Array) -> tuple[Array, Array]:
    assert target.labels is not None
    at_label = one_hot(xp, target.labels[..., None], p)
    zero = xp.zeros_like(p)
    own, own_gap = row_sum(xp.where(at_label, p, zero)), row_sum(xp.where(at_label, gap, zero))
    others = xp.where(at_label, zero, p)
    rest, low = compensated_sum(xp, others)
    rest = rest + low
    s, limit = alpha - 1, infinity(xp, p)
    positive = own > 0
    logs = xp.where(rest < 0.5, xp.log1p(-rest), xp.log(xp.where(positive, own, xp.ones_like(own))))
    divergence = _below(xp, rest, logs, s, alpha)
    missed = outside_slope(xp, own_gap, p, s) + _own(xp, xp.ones_like(own), s, alpha)
    first = xp.where(positive, divergence, missed)
    terms, error = compensated_sum(xp, others ** xp.where(alpha == limit, 2 * xp.ones_like(alpha), alpha))
    loss = first + (terms + error) / alpha
    loss = xp.where(alpha == limit, own_gap, loss)
    return loss[..., 0], xp.where(at_label, 0 - rest, p)


def _of_distribution(xp: Any, p: Array, gap: Array, target: Target, alpha: Array) -> tuple[Array, Array]:
    y = xp.astype(target.soft, p.dtype) + xp.zeros_like(p)
    zero, one = xp.zeros_like(p), xp.ones_like(p)
    is_limit, limited = alpha == infinity(xp, p), alpha[..., 0] if alpha.ndim else alpha
    alpha = xp.where(is_limit, 2 * xp.ones_like(alpha), alpha)
    s = alpha - 1
    both = (p > 0) & (y > 0)
    larger, smaller = xp.where(p > y, p, y), xp.where(p > y, y, p)
    larger, smaller = xp.where(both, larger, one), xp.where(both, smaller, one)
    r = (larger - smaller) / larger
    log = xp.where(r < 0.5, xp.log1p(-r), xp.log(smaller / larger))
    near = larger**alpha * xp.where(p > y, _above(xp, r, log, s, alpha), _below(xp, r, log, s, alpha))
    far = xp.where(p > 0, p**alpha / alpha, zero)  # y = 0
    outside = (p == 0) & (y > 0)
    above = xp.where(outside, y, one)
    missed = above * (outside_slope(xp, xp.where(outside, gap, zero), p, s) + _own(xp, above, s, alpha))
    terms = xp.where(both, near, xp.where(outside, missed, far))
    linear = xp.where(y > 0, y * xp.where(y > 0, gap, zero), zero)  # α = ∞: Ω is 0
    terms = xp.where(is_limit, linear, terms)
    terms = xp.where(y >= 0, terms, xp.full_like(terms, xp.nan))
    total, error = compensated_sum(xp, terms)
    excess, low = compensated_sum(xp, y)
    shares, _ = shares_of(p, limited)
    return (total + error)[..., 0], (p - y) + ((excess - 1) + low) * shares


def _own(xp: Any, y: Array, s: Array, alpha: Array) -> Array:
    """D(y, 0)/y = y^s/(α s); at α = 1, log y − 1, which leaves out what the infinite slope has."""
    divisor = xp.where(s == 0, xp.ones_like(s), s)
    return xp.where(s == 0, xp.log(y) - 1, y**divisor / (alpha * divisor))


def _below(xp: Any, r: Array, log: Array, s: Array, alpha: Array) -> Array:
    """D(1, 1 − r) = ∫₀^r t (1 − t)^(s−1) dt, with `log` = log(1 − r)."""
    small = (r <= 0.5) & (s * r <= 1)
    direct = (-expm1_over(xp, log, s) - xp.exp(s * log) * r) / alpha
    return xp.where(small, _series(xp, xp.where(small, r, xp.zeros_like(r)), s, lambda m: m + 2), direct)


def _above(xp: Any, r: Array, log: Array, s: Array, alpha: Array) -> Array:
    """D(1 − r, 1) = ∫₀^r (r − t) (1 − t)^(s−1) dt, with `log` = log(1 − r)."""
    small = (r <= 0.5) & (s * r <= 1)
    direct = ((1 - r) * expm1_over(xp, log, s) + r) / alpha
    return xp.where(small, _series(xp, xp.where(small, r, xp.zeros_like(r)), s, lambda m: (m + 1) * (m + 2)), direct)


def _series(xp: Any, r: Array, s: Array, divisor: Any) -> Array:
    """r² Σ (1−s)(2−s)…(m−s)/m! r^m / divisor(m)."""
    term, total = xp.ones_like(r) + s * 0, xp.zeros_like(r) + s * 0
    for m in range(TERMS):
        total = total + term / divisor(m)
        term = term * r * ((m + 1 - s) / (m + 1))
    return r * r * total
