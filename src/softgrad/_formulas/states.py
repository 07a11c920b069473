"""What one pass over a slice leaves behind: enough for its logsumexp, entropy and mean, and to normalize its blocks.

The state of the entries x_1, …, x_n, k the (first) largest of them, is m = x_k and two sums of terms that are not
negative, so that nothing cancels anywhere:

    others = Σ_{j≠k} e^(x_j − m)      gap = Σ_j e^(x_j − m) (m − x_j)

States of blocks make that of the whole, in any order. Where the maximum changes from a to b, the sums are multiplied by
e^(a − b), and a rounded exponential at each of many changes would add up. So the factor is a quotient E(a)/E(b) of one
function E ≈ e^x, kept to twice the precision: whatever E's errors are, all but the first and the last cancel in
E(a)/E(b) · E(b)/E(c) · …, and the powers of 4 that E is scaled by are exact.

The functions take slices along the last axis, as those of `softmax.py`; a state has one number per slice, of
float64 (float32 where a library has no more, as JAX by default), or of longdouble for longdouble. At a temperature T,
one for all slices or one for each and the same for all blocks, (x_j − m)/T replaces x_j − m, and so it does
in what `logsumexp` and `entropy` are of; `mean` is for T = 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from softgrad._formulas.compensated import (
    Pair,
    compensated_sum,
    halves,
    log1p_in_parts,
    over,
    plus,
    times,
    two_product,
    two_sum,
)
from softgrad._formulas.namespace import Array, infinity, is_one, namespace, one_hot, per_entry, row_sum
from softgrad._formulas.precision import as_wide, silent, wide_dtype
from softgrad._formulas.softmax import exponentials

LN4 = 1.3862943611198906, 4.638093627692599e-17
LN4_SINGLE = 1.3862943649291992, -3.809308424251867e-09
"""ln 4 to 106 bits, and in numbers of float32 to 48."""


class State(NamedTuple):
    """The state of each slice, the sums in two parts.

    A slice without entries has max −inf and sums of 0; one with nothing but −inf has sums of NaN, and so has one with
    +inf; NaN makes everything NaN.
    """

    max: Array
    others: Array
    others_low: Array
    gap: Array
    gap_low: Array

    @property
    def total(self) -> Pair:
        """Σ e^(x − m)."""
        return plus((namespace(self.max).ones_like(self.max), 0.0), (self.others, self.others_low))

    @property
    def log(self) -> Pair:
        """Log Σ e^(x − m)."""
        return log1p_in_parts(namespace(self.max), self.others, self.others_low)


def empty(shape: tuple[int, ...], dtype: Any, xp: Any = np) -> State:
    """The state of slices without entries, one for each index into `shape`."""
    zero = xp.zeros(shape, dtype=dtype)
    return State(zero - xp.inf, zero, zero, zero, zero)


@silent
def state(x: Array, where: Array | None = None, temperature: Array | float = 1.0) -> State:
    """The state of every row."""
    xp = namespace(x)
    if x.shape[-1] == 0:
        return empty(tuple(x.shape[:-1]), as_wide(x).dtype, xp)
    if _is_plain(xp, x, temperature):
        m, others, gap = _plain_sums(xp, x, where)
    else:
        m, shifted, error, e = exponentials(xp, as_wide(x), where, per_entry(temperature))
        is_argmax = one_hot(xp, xp.argmax(e, axis=-1, keepdims=True), e)
        others = compensated_sum(xp, xp.where(is_argmax, e * 0, e))  # e * 0: a NaN stays
        gap = compensated_sum(xp, xp.where(e == 0, xp.zeros_like(e), e * -shifted - e * error))
    parts = [part[..., 0] for part in (m, *others, *gap)]
    if where is not None:
        present = xp.any(where, axis=-1)
        parts[1:] = [xp.where(present, part, xp.zeros_like(part)) for part in parts[1:]]
    return State(*parts)


@silent
def merge(a: State, b: State, temperature: Array | float = 1.0) -> State:
    """The state of the entries of both."""
    xp = namespace(a.max)
    a_wins = (a.max >= b.max) | xp.isnan(a.max)
    w, l = (State(*(xp.where(a_wins, x, y) for x, y in zip(p, q, strict=True))) for p, q in ((a, b), (b, a)))  # noqa: E741
    top, bottom = (_quotient(xp, s.max, temperature) for s in (w, l))
    # Equal ones apart, for at T = 0 their quotients are not finite.
    one, zero, same = xp.ones_like(w.max), xp.zeros_like(w.max), w.max == l.max
    factor = _choose(xp, same, (one, zero), _ratio(xp, bottom, top))
    fall = _choose(xp, same, (zero, zero), plus(top, (-bottom[0], -bottom[1])))
    others = times(factor, l.total)
    gap = times(factor, plus((l.gap, l.gap_low), times(fall, l.total)))
    # Where the factor is 0 the smaller state adds nothing, and 0 · inf must not say otherwise. Without a finite maximum
    # the sums are 0 or NaN, which stays.
    underflowed = factor[0] == 0
    empty_slice = w.max == -infinity(xp, w.max)

    others, gap = (
        _choose(xp, empty_slice, (own, zero), _choose(xp, underflowed, (zero, zero), gained))
        for own, gained in ((l.others, others), (l.gap, gap))
    )
    others = plus((w.others, w.others_low), others)
    gap = plus((w.gap, w.gap_low), gap)
    return State(w.max, *others, *gap)


@silent
def logsumexp(s: State, temperature: Array | float = 1.0) -> Array:
    """Log Σ e^(x/T)."""
    xp = namespace(s.max)
    log, low = s.log
    largest, error = _quotient(xp, s.max, temperature)
    total, lost = two_sum(largest, log)
    return xp.where(xp.isfinite(largest), total + (error + lost + low), largest)


@silent
def entropy(s: State) -> Array:
    """−Σ p log p."""
    log, low = s.log
    mean, mean_low = over((s.gap, s.gap_low), s.total)
    return log + (mean + (mean_low + low))


@silent
def mean(s: State) -> Array:
    """Σ p x, 0 for a slice without entries."""
    xp = namespace(s.max)
    fall, low = over((s.gap, s.gap_low), s.total)
    total, error = two_sum(s.max, -fall)
    present = (s.max > -infinity(xp, s.max)) | xp.isnan(s.others)
    return xp.where(present, total + (error - low), xp.zeros_like(total))


@silent
def softmax(x: Array, s: State, where: Array | None = None, temperature: Array | float = 1.0) -> Array:
    """e^(x/T) / Σ e^(x/T) of rows that are blocks of the slices of the state, in its dtype."""
    xp = namespace(x)
    if x.shape[-1] == 0:
        return as_wide(x)
    if _is_plain(xp, x, temperature):
        p = xp.exp(as_wide(x) - s.max[..., None]) / s.total[0][..., None]
        return p if where is None else xp.where(where, p, xp.zeros_like(p))
    _, _, _, e = exponentials(xp, as_wide(x), where, per_entry(temperature), s.max[..., None])
    total, low = (part[..., None] for part in s.total)
    p = e / total
    p = p - p * (low / total)
    return p if where is None else xp.where(where, p, xp.zeros_like(p))


@silent
def log_softmax(x: Array, s: State, where: Array | None = None, temperature: Array | float = 1.0) -> Array:
    """x/T − log Σ e^(x/T) of rows that are blocks of the slices of the state, in its dtype."""
    xp = namespace(x)
    if x.shape[-1] == 0:
        return as_wide(x)
    if _is_plain(xp, x, temperature):
        y = (as_wide(x) - s.max[..., None]) - s.log[0][..., None]
        return y if where is None else xp.where(where, y, -infinity(xp, y))
    m = s.max[..., None]
    _, shifted, error, _ = exponentials(xp, as_wide(x), where, per_entry(temperature), m)
    log, low = (part[..., None] for part in s.log)
    y, lost = two_sum(shifted, -log)
    y = xp.where(xp.isfinite(y), y + (lost + (error - low)), y)
    return y if where is None else xp.where(where, y, -infinity(xp, y))


def _is_plain(xp: Any, x: Array, temperature: Array | float) -> bool:
    """Whether x is so narrow that its state's dtype holds x − m, and sums of exponentials, with digits to spare."""
    return x.dtype != wide_dtype(xp, x.dtype) and is_one(temperature)


def _plain_sums(xp: Any, x: Array, where: Array | None) -> tuple[Array, Pair, Pair]:
    """The largest entry and the two sums of every row, their rounding errors not kept."""
    if where is not None:
        x = xp.where(where, x, -infinity(xp, x))
    m = as_wide(xp.max(x, axis=-1, keepdims=True))
    # Far beyond the last exponential that is not 0, and 0 · inf is spared.
    shifted = xp.maximum(as_wide(x) - m, xp.asarray(-2000.0, dtype=m.dtype))
    e = xp.exp(shifted)
    gap = -row_sum(e * shifted)
    less = shifted < 0
    ties = row_sum(xp.astype(~less, e.dtype))
    others = row_sum(xp.where(less, e, xp.zeros_like(e))) + (ties - 1) + m * 0  # a NaN stays
    zero = xp.zeros_like(others)
    return m, (others, zero), (gap, zero)


def _choose(xp: Any, condition: Array, a: Pair, b: Pair) -> Pair:
    return xp.where(condition, a[0], b[0]), xp.where(condition, a[1], b[1])


def _quotient(xp: Any, x: Array, temperature: Array | float) -> Pair:
    """x/T."""
    if is_one(temperature):
        return x, xp.zeros_like(x)
    temperature = xp.asarray(temperature, dtype=x.dtype)
    quotient = x / temperature
    product, low = two_product(quotient, temperature)
    error = ((x - product) - low) / temperature
    return quotient, xp.where(xp.isfinite(error), error, xp.zeros_like(x))


def _ratio(xp: Any, a: Pair, b: Pair) -> Pair:
    """e^(a − b) for a ≤ b as E(a)/E(b)."""
    (k, *numerator), (l, *denominator) = _power(xp, a), _power(xp, b)  # noqa: E741
    half = _two_to(xp, k - l)
    high, low = over((numerator[0], numerator[1]), (denominator[0], denominator[1]))
    return high * half * half, low * half * half


def _power(xp: Any, pair: Pair) -> tuple[Array, Array, Array]:
    """E(x) ≈ e^x as k, high and low: 4^k (high + low)."""
    x, error = pair
    eps = float(xp.finfo(x.dtype).eps)
    ln4 = LN4 if eps < 2.0**-30 else LN4_SINGLE
    k = xp.round(x / ln4[0])
    r = x
    for part in ln4:
        product, low = two_product(k, xp.asarray(part, dtype=x.dtype))
        r, lost = two_sum(r, -product)
        error = error + (lost - low)
    # Neighbours so far from 0 are so far from each other that e^(their difference) is 0: k alone separates them.
    far = ~(xp.abs(x) < (2.0**10 if eps > 2.0**-60 else 2.0**14) / eps)  # and what is not finite
    r, error = (xp.where(far, xp.zeros_like(x), part) for part in (r, error))
    high = xp.exp(r)
    return k, high, high * error


def _two_to(xp: Any, k: Array) -> Array:
    """2^k for integers k ≤ 0; 0 where its square would be nothing beside any number."""
    lowest = -1000.0 if float(xp.finfo(k.dtype).eps) > 2.0**-60 else -16000.0
    # A library's power may be off in the last digit, which the upper half of the digits does not have.
    power, _ = halves(xp.asarray(2.0, dtype=k.dtype) ** xp.where(k > lowest, k, xp.zeros_like(k)))
    return xp.where(k > lowest, power, xp.zeros_like(k))
