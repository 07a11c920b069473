"""sparsemax and entmax as array formulas: complete for every array library, and the reference of the kernels.

With s = α − 1 and the gaps d_j = (max x − x_j)/T ≥ 0, the α-entmax of a row is

    p_j = q_j / Q,   q_j = (1 − s d_j/σ)_+^(1/s),   Q = Σ q_j,   σ = Q^(−s),

where σ = max p^s lies in [n^(−s), 1]. This is [(α−1) x_j/T − τ]_+^(1/(α−1)) with τ = (α−1) max x/T − σ (Peters, Niculae
& Martins, "Sparse sequence-to-sequence models", ACL 2019, section 3), written so that its limit for s → 0 is softmax,
q_j = e^(−d_j).

σ is the number at which the norm h(σ) = ‖(σ − s d)_+‖_(1/s) = σ Q^s is 1. Newton's method has the step
(1 − h) Q^(1−s) / Σ q^(1−s). For s ≤ 1 the norm is convex, so that the steps from σ = 1 fall monotonically. For s > 1
its slope is infinite where an entry becomes positive: see `_by_kinks`.

At the edge of the support σ − s d_j is a difference of nearly equal numbers, so σ and s d_j are pairs. For α = 2 and
α = 1.5, whose sums need only products, the last steps know σ to twice the digits, and every entry is right to its last
digit. For other α the sum has the digits of exp and log.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from softgrad._formulas.compensated import Pair, compensated_sum, over, plus, times, two_product
from softgrad._formulas.namespace import Array, as_column, is_known, per_entry, repeated, row_sum, widest
from softgrad._formulas.precision import computed_wide
from softgrad._formulas.softmax import shifted_logits, softmax

STEPS = 64
"""Steps to the root at most; a handful where Newton's method takes them all.

Of a convex function the product of value and slope falls at least fourfold with each of Newton's steps.
"""

POLISH = 2
"""Last steps, with pairs: the first finds the support that the rounded root may have missed."""

KINKS = 16
"""Last steps at most where Σ p is known to twice the digits, with a kink at every entry for α = 2."""


@computed_wide
def sparsemax(xp: Any, x: Array, where: Array | None = None, temperature: Array | float = 1.0) -> Array:
    """The point of the simplex nearest to x/T."""
    return _of_number(xp, x, 2.0, where, temperature)


@computed_wide
def entmax(
    xp: Any, x: Array, alpha: Array | float, where: Array | None = None, temperature: Array | float = 1.0
) -> Array:
    """[(α−1) x/T − τ]_+^(1/(α−1)), with the τ for which the entries sum to 1; α is at least 1."""
    if isinstance(alpha, float):
        return _of_number(xp, x, alpha, where, temperature)
    alpha = as_column(xp, x, alpha)
    lower, upper = xp.ones_like(alpha) + 1, xp.ones_like(alpha) * 3
    p = xp.where(
        alpha < 2,
        _of(xp, x, xp.where((alpha > 1) & (alpha < 2), alpha, lower), where, temperature, _by_powers),
        _of(xp, x, xp.where(alpha > 2, alpha, upper), where, temperature, _by_kinks),
    )
    for special in (1.0, 1.5, 2.0, math.inf):  # the same bits as of one number for all
        here = alpha == special
        if xp.any(here) if is_known(here) else special in (1.0, math.inf):
            p = xp.where(here, _of_number(xp, x, special, where, temperature), p)
    return p


def _of_number(xp: Any, x: Array, alpha: float, where: Array | None, temperature: Array | float) -> Array:
    if alpha == 1:
        p: Array = softmax(x, where, temperature)
        return p
    solve = _by_products if alpha in (1.5, 2.0) else _by_powers if alpha < 2 else _by_kinks
    return _of(xp, x, xp.asarray(alpha, dtype=x.dtype), where, temperature, _by_ties if alpha == math.inf else solve)


def _of(
    xp: Any,
    x: Array,
    alpha: Array,
    where: Array | None,
    temperature: Array | float,
    solve: Callable[[Any, Pair, Array], Array],
) -> Array:
    """Entmax of the gaps by one of the functions below."""
    if x.shape[-1] == 0:
        return x
    _, y, error = shifted_logits(xp, x, where, per_entry(temperature))
    has_nan = xp.any(xp.isnan(y), axis=-1, keepdims=True)
    zero = xp.zeros_like(y)
    p = solve(xp, (xp.where(has_nan, zero, -y), xp.where(has_nan, zero, -error)), alpha - 1)
    p = xp.where(has_nan, xp.full_like(p, xp.nan), p)
    return p if where is None else xp.where(where, p, xp.zeros_like(p))


def _by_ties(xp: Any, gap: Pair, s: Array) -> Array:
    """α = ∞: the largest entries share the probability."""
    ties = xp.astype(gap[0] == 0, gap[0].dtype)
    return ties / row_sum(ties)


def _margins(xp: Any, gap: Pair, s: Array) -> Pair:
    """s d as pairs; 2, beyond every σ, where it is more than 1 and may overflow."""
    candidate = s * gap[0] <= 1
    high, low = (xp.where(candidate, part, xp.zeros_like(part)) for part in gap)
    u = times((high, low), (s, xp.zeros_like(s)))
    return xp.where(candidate, u[0], xp.full_like(high, 2.0)), xp.where(candidate, u[1], xp.zeros_like(low))


def _candidates(xp: Any, u: Pair) -> Pair:
    """The margins in ascending order: those below 1, which alone determine σ, and as many more as make a power of 2.

    Sums by halves of such a row do not depend on how far it is filled up, which other rows decide.
    """
    for part in (1, 0):
        order = xp.argsort(u[part], axis=-1, stable=True)
        u = xp.take_along_axis(u[0], order, axis=-1), xp.take_along_axis(u[1], order, axis=-1)
    found, n = xp.sum(xp.astype(u[0] < 2, xp.int32), axis=-1), u[0].shape[-1]
    largest = int(xp.max(found)) if is_known(found) and 0 not in found.shape else n
    count = 1 << (max(largest, 1) - 1).bit_length()
    high, low = u[0][..., : min(count, n)], u[1][..., : min(count, n)]
    if count > n:
        end = xp.zeros_like(high[..., :1]) + xp.zeros(count - n, dtype=high.dtype)
        high, low = xp.concat([high, end + 2], axis=-1), xp.concat([low, end], axis=-1)
    return high, low


def _by_products(xp: Any, gap: Pair, s: Array) -> Array:
    """α = 2 or 1.5: p = σ − d, or the square of σ − d/2."""
    every, is_square = _margins(xp, gap, s), s == 0.5
    few = _candidates(xp, every)
    sigma = _root(xp, few[0], s)
    finest = 16 * float(xp.finfo(sigma.dtype).eps) ** 2

    def powers(root: Pair, u: Pair) -> tuple[Pair, Pair]:
        w = _above(xp, root, u)
        squared = times(w, w)
        return w, (xp.where(is_square, squared[0], w[0]), xp.where(is_square, squared[1], w[1]))

    # From the wrong side of the root the first step leads to the right one. Where entries are within the rounding of
    # the root, further ones find the support.
    def step(state: tuple[Array, ...]) -> tuple[Array, ...]:
        high, low, done = state
        w, p = powers((high, low), few)
        total, lost = compensated_sum(xp, p[0])
        excess = (total - 1) + (lost + compensated_sum(xp, p[1])[0])
        slope = compensated_sum(xp, xp.where(is_square, 2 * w[0], xp.astype(w[0] > 0, sigma.dtype)))[0]
        following = plus((high, low), (-excess / slope, xp.zeros_like(sigma)))
        high, low = (xp.where(done, *parts) for parts in zip((high, low), following, strict=True))
        return high, low, done | ~(xp.abs(excess) > finest * slope)

    *root, _ = repeated(step, (sigma, xp.zeros_like(sigma), sigma < 0), KINKS)
    high, low = powers((root[0], root[1]), every)[1]
    return high + low


def _above(xp: Any, sigma: Pair, u: Pair) -> Pair:
    """(σ − u)_+ as pairs."""
    high, low = plus(sigma, (-u[0], -u[1]))
    inside = high > 0
    return xp.where(inside, high, xp.zeros_like(high)), xp.where(inside, low, xp.zeros_like(low))


def _by_powers(xp: Any, gap: Pair, s: Array) -> Array:
    """α below 2."""
    u = _margins(xp, gap, s)
    few = _candidates(xp, u)
    sigma = _root(xp, few[0], s)
    root = sigma, xp.zeros_like(sigma)
    for _ in range(POLISH):
        inside, log, low = _logs(xp, root, few, s)
        total, lost, slope = _sums(xp, inside, log, low, s)
        excess = xp.expm1(s * (xp.log(total) + lost / total) + (xp.log(root[0]) + root[1] / root[0]))
        root = plus(root, (-excess * root[0] * (total / slope), xp.zeros_like(sigma)))
    return _normalized(xp, *_logs(xp, root, u, s))


def _by_kinks(xp: Any, gap: Pair, s: Array) -> Array:
    """α above 2, where the slope of p is infinite at the edge of the support.

    The unknown is the smallest positive entry, π, of the gap r: the others are p_j = (c_j + π^s)^(1/s) with
    c_j = r − s d_j, which is a norm of (c_j^(1/s), π) and so convex in π. From the tangent at π = 0 Newton's steps
    fall monotonically.
    """
    u = _margins(xp, gap, s)
    few = _candidates(xp, u)
    r = _kink(xp, few, s)

    def logs(u: Pair, pi: Array) -> tuple[Array, Array, Array]:
        c = plus(r, (-u[0], -u[1]))
        is_last = (c[0] == 0) & (c[1] == 0)
        zero = xp.zeros_like(c[0])
        w = plus(c, (xp.exp(s * xp.log(pi)) + zero, zero))
        usable = (c[0] > 0) & (w[0] > 0)
        high = xp.where(usable, w[0], zero + 1)
        log, low = _quotient(xp, xp.log(high), xp.where(usable, w[1], zero) / high, s)
        return is_last | (c[0] > 0), xp.where(is_last, xp.log(pi), log), xp.where(is_last, zero, low)

    def step(state: tuple[Array, ...]) -> tuple[Array, ...]:
        pi, done = state
        inside, log, low = logs(few, pi)
        total, lost, _ = _sums(xp, inside, log, low, s)
        slope, _ = compensated_sum(xp, xp.where(inside, xp.exp((s - 1) * (xp.log(pi) - log)), xp.zeros_like(log)))
        following = pi - ((total - 1) + lost) / slope
        done = done | ~(following > 0)
        return xp.where(done, pi, following), done | ~(pi - following > _tolerance(xp, pi))

    c = plus(r, (-few[0], -few[1]))
    count, _ = compensated_sum(xp, xp.astype((c[0] == 0) & (c[1] == 0), c[0].dtype))
    pi = (1 - _at_kink(xp, c, s)) / count
    smallest = xp.full_like(pi, float(xp.finfo(pi.dtype).smallest_normal))
    pi = xp.where(pi > smallest, pi, smallest)
    pi, _ = repeated(step, (pi, pi < 0), STEPS)
    return _normalized(xp, *logs(u, pi))


def _kink(xp: Any, u: Pair, s: Array) -> Pair:
    """The gap of the smallest positive entry, found by bisection of the sorted gaps."""

    def at(index: Array) -> Pair:
        high, low = (xp.take_along_axis(part, index, axis=-1) for part in u)
        return high, low

    def step(state: tuple[Array, ...]) -> tuple[Array, ...]:
        inside, outside, _ = state
        middle = (inside + outside) // 2
        r = at(middle)
        is_inside = _at_kink(xp, plus(r, (-u[0], -u[1])), s) < 1
        inside, outside = xp.where(is_inside, middle, inside), xp.where(is_inside, outside, middle)
        return inside, outside, outside - inside <= 1

    first = xp.astype(u[0][..., :1] * 0 + xp.zeros_like(s), widest(xp, integral=True))  # s may be infinite
    inside, _, _ = repeated(step, (first, first + u[0].shape[-1], first == -1), STEPS)
    return at(inside)


def _at_kink(xp: Any, c: Pair, s: Array) -> Array:
    """Σ c_+^(1/s): below 1 if the entry with c = 0 is positive."""
    inside = c[0] > 0
    log = xp.log(xp.where(inside, c[0], xp.ones_like(c[0]))) / s
    total, lost = compensated_sum(xp, xp.where(inside, xp.exp(log), xp.zeros_like(log)))
    return total + lost


def _normalized(xp: Any, inside: Array, log: Array, low: Array) -> Array:
    """q/Q."""
    q = xp.exp(log)
    q = xp.where(inside, q + q * low, xp.zeros_like(q))
    total, lost = compensated_sum(xp, q)
    p = q / total
    return p - p * (lost / total)


def _logs(xp: Any, sigma: Pair, u: Pair, s: Array) -> tuple[Array, Array, Array]:
    """Where q is positive, and there log q = log(1 − u/σ)/s as value and rounding error."""
    w = _above(xp, sigma, u)
    inside = w[0] > 0
    one, zero = xp.ones_like(w[0]), xp.zeros_like(w[0])
    w = xp.where(inside, w[0], one), w[1]
    r = over((xp.where(inside, u[0], zero), xp.where(inside, u[1], zero)), sigma)
    small = r[0] < 0.5
    z, part = xp.where(small, r[0], zero), over(w, sigma)
    log = xp.where(small, xp.log1p(-z), xp.log(part[0]))
    low = xp.where(small, -r[1] / (1 - z), part[1] / part[0])
    log, low = _quotient(xp, log, low, s)
    return inside, xp.where(inside, log, zero), xp.where(inside, low, zero)


def _quotient(xp: Any, high: Array, low: Array, s: Array) -> Pair:
    """(high + low)/s as value and rounding error."""
    quotient = high / s
    product, lost = two_product(quotient, s)
    return quotient, (((high - product) - lost) + low) / s


def _sums(xp: Any, inside: Array, log: Array, low: Array, s: Array) -> tuple[Array, Array, Array]:
    """Q, its rounding error, and Σ q^(1−s)."""
    zero = xp.zeros_like(log)
    q = xp.exp(log)
    total, lost = compensated_sum(xp, xp.where(inside, q + q * low, zero))
    slope, _ = compensated_sum(xp, xp.where(inside, xp.exp((1 - s) * log), zero))
    return total, lost, slope


def _root(xp: Any, u: Array, s: Array) -> Array:
    """σ for s ≤ 1, to a few units in its last place. A row that is done keeps its σ whatever the others need."""
    one = xp.max(u, axis=-1, keepdims=True) * 0 + 1 + s * 0

    def step(state: tuple[Array, ...]) -> tuple[Array, ...]:
        sigma, done = state
        r = u / sigma
        inside = r < 1
        log = xp.log1p(-xp.where(inside, r, xp.zeros_like(r))) / s
        total, _, slope = _sums(xp, inside, log, xp.zeros_like(log), s)
        following = sigma - (sigma - xp.exp(-s * xp.log(total))) * (total / slope)
        return xp.where(done, sigma, following), done | ~(sigma - following > _tolerance(xp, u) * sigma)

    sigma, _ = repeated(step, (one, one < 0), STEPS)
    return sigma


def _tolerance(xp: Any, x: Array) -> float:
    """The relative size of a last step: rounding makes smaller ones."""
    return 64 * float(xp.finfo(x.dtype).eps)
