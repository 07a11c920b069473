"""The calculus of softmax as array formulas: complete for every array library, the reference of the kernels.

Every function works on the last axis of arrays of one floating dtype and follows the edge table of the documentation.
Types narrower than float64 are computed in float64 and rounded once. In float64 itself, in NumPy's longdouble, and in
float32 where a library has no float64, nothing wider exists, so the rounding error of each difference and product that
an exponential would magnify is kept, by the error-free transformations of Dekker (1971) and Knuth (TAOCP 2, section
4.2.2), and added where it is small.
"""

from __future__ import annotations

import math
from typing import Any

from softgrad._formulas.compensated import compensated_sum, log1p_in_parts, two_product, two_sum
from softgrad._formulas.namespace import Array, infinity, is_one, namespace, one_hot, per_entry, row_sum
from softgrad._formulas.precision import computed_wide, warning_the_caller


@computed_wide
def softmax(xp: Any, x: Array, where: Array | None = None, temperature: Array | float = 1.0) -> Array:
    """e^(x/T) / Σ e^(x/T) along the last axis."""
    if x.shape[-1] == 0:
        return x
    _, _, _, e = exponentials(xp, x, where, per_entry(temperature))
    total, error = compensated_sum(xp, e)
    p = e / total
    p = p - p * (error / total)
    return p if where is None else xp.where(where, p, xp.zeros_like(p))


@computed_wide
def log_softmax(xp: Any, x: Array, where: Array | None = None, temperature: Array | float = 1.0) -> Array:
    """x/T − log Σ e^(x/T) along the last axis."""
    if x.shape[-1] == 0:
        return x
    _, shifted, error, e = exponentials(xp, x, where, per_entry(temperature))
    # At the maximum k the value is −log1p(Σ_{j≠k} e_j): the sum without e_k = 1 keeps what 1 + tiny would lose.
    # No other entry cancels either: shifted ≤ 0 and the logarithm ≥ 0 only add up.
    log, low = log1p_in_parts(xp, *sum_without_argmax(xp, e))
    y = shifted - log + (error - low)
    return y if where is None else xp.where(where, y, -infinity(xp, y))


@computed_wide
def logsumexp(xp: Any, x: Array, where: Array | None = None, b: Array | None = None) -> Array:
    """Log Σ b e^x over the last axis."""
    if x.shape[-1] == 0:
        return xp.full(x.shape[:-1], -xp.inf, dtype=x.dtype)
    if b is not None:
        log, sign = signed_logsumexp(x, where, b)
        return xp.where(sign < 0, log * xp.nan, log)
    m, _, _, e = exponentials(xp, x, where, 1.0)
    # Below 0, m takes away up to half of the logarithm, and with it the bits that hid its rounding.
    log, low = log1p_in_parts(xp, *sum_without_argmax(xp, e))
    total, error = two_sum(m, log)
    result = total + (error + low)
    return xp.where(xp.isfinite(m), result, m)[..., 0]


@computed_wide
def signed_logsumexp(xp: Any, x: Array, where: Array | None, b: Array) -> tuple[Array, Array]:
    """Log |Σ b e^x| and the sign of the sum, over the last axis."""
    if x.shape[-1] == 0:
        return xp.full(x.shape[:-1], -xp.inf, dtype=x.dtype), xp.zeros(x.shape[:-1], dtype=x.dtype)
    x, b, m, terms, largest = _weighted_terms(xp, x, where, b)
    log, sign = log_of_sum(xp, m[..., 0], *_sum_of_terms(xp, x, b, terms, largest))
    return _with_infinite_terms(xp, x, b, log, sign)


@computed_wide
def weighted_shares(xp: Any, x: Array, where: Array | None, b: Array) -> Array:
    """The gradient of log |Σ b e^x|: the share b e^x / Σ b e^x of every entry; NaN where the sum is not finite, or 0.

    Numerator and sum are relative to the entry with the largest term, so that neither overflows, and the sum is that of
    the logarithm, with its rounding error: where the terms are exact it is, whatever cancels.
    """
    if x.shape[-1] == 0:
        return x
    x, b, _, terms, largest = _weighted_terms(xp, x, where, b)
    first, others, error = (part[..., None] for part in _sum_of_terms(xp, x, b, terms, largest))
    total, low = two_sum(first, others)
    total, low = two_sum(total, low + error)
    shares = xp.where(largest, b, terms) / total
    return shares - shares * (low / total) + 0 * total


def _weighted_terms(xp: Any, x: Array, where: Array | None, b: Array) -> tuple[Array, Array, Array, Array, Array]:
    """x and b without the entries that are not read, the entry m with the largest term, b e^(x − m), and where m is."""
    read = b != 0 if where is None else where & (b != 0)
    x = xp.where(read, x, -infinity(xp, x))
    b = xp.where(read, b, xp.zeros_like(b))
    # The shift is the entry whose *term* is largest: a small b at the largest x would leave only underflow.
    size = xp.where(read, x + xp.log(xp.where(read, xp.abs(b), xp.ones_like(b))), -infinity(xp, x))
    largest = one_hot(xp, xp.argmax(size, axis=-1, keepdims=True), x)
    m = xp.max(xp.where(largest, x, -infinity(xp, x)), axis=-1, keepdims=True)
    _, y, _, e = exponentials(xp, x, None, 1.0, shift=m)
    # Above the shift an exponential may overflow though its term does not; a factor is at least e^−745.
    above = y > math.log(float(xp.finfo(x.dtype).max)) - 1
    quarter = xp.exp(xp.where(above, y / 4, xp.zeros_like(y)))
    terms = xp.where(above, b * quarter * quarter * quarter * quarter, b * e)
    return x, b, m, terms, largest


def _sum_of_terms(xp: Any, x: Array, b: Array, terms: Array, largest: Array) -> tuple[Array, Array, Array]:
    """The largest term, the sum of the others, and its rounding error."""
    first = xp.sum(xp.where(largest & (x > -infinity(xp, x)), b, xp.zeros_like(b)), axis=-1)
    outside = largest | (x == -infinity(xp, x))
    others, error = (s[..., 0] for s in compensated_sum(xp, xp.where(outside, xp.zeros_like(b), terms)))
    return first, others, error


@warning_the_caller
def textbook_softmax(x: Array, where: Array | None = None, temperature: Array | float = 1.0) -> Array:
    """The formula without the shift: it overflows where the textbook's does, with NumPy's own warnings."""
    xp = namespace(x)
    e = xp.exp(x if is_one(temperature) else x / per_entry(temperature))
    if where is not None:
        e = xp.where(where, e, xp.zeros_like(e))
    return e / row_sum(e)


@warning_the_caller
def textbook_log_softmax(x: Array, where: Array | None = None, temperature: Array | float = 1.0) -> Array:
    """The logarithm of the formula without the shift."""
    return namespace(x).log(textbook_softmax(x, where, temperature))


def log_of_sum(xp: Any, m: Array, first: Array, others: Array, error: Array) -> tuple[Array, Array]:
    """m + log |first + others + error| and the sign of the sum: −inf and 0 where it is 0; `error` is small."""
    total, low = two_sum(first, others)
    # Where the terms cancel, the error is all that is left.
    total, error = two_sum(total, error + xp.where(xp.isfinite(low), low, xp.zeros_like(low)))
    error = xp.where(xp.isfinite(error), error, xp.zeros_like(error))
    sign = xp.sign(total)
    total, error = sign * total, sign * error
    near_one = xp.abs(total - 1) < 0.5
    divisor = xp.where(near_one | (sign == 0), xp.ones_like(total), total)
    excess = xp.where(near_one, (total - 1) + error, xp.zeros_like(total))
    log = xp.where(near_one, xp.log1p(excess), xp.log(divisor) + error / divisor)
    return xp.where(sign == 0, -infinity(xp, m), xp.where(xp.isfinite(m), m, xp.zeros_like(m)) + log), sign


def _with_infinite_terms(xp: Any, x: Array, b: Array, log: Array, sign: Array) -> tuple[Array, Array]:
    """The logarithm and the sign of Σ b e^x where a term is infinite or NaN, and as they are elsewhere."""
    infinite = (x == infinity(xp, x)) | (xp.abs(b) == infinity(xp, b))
    above, below = xp.any(infinite & (b > 0), axis=-1), xp.any(infinite & (b < 0), axis=-1)
    zero_times_infinity = (x == -infinity(xp, x)) & (xp.abs(b) == infinity(xp, b))
    has_nan = xp.any(xp.isnan(x) | xp.isnan(b) | zero_times_infinity, axis=-1) | (above & below)
    one = xp.ones_like(sign)
    log = xp.where(above | below, infinity(xp, log), log)
    sign = xp.where(above, one, xp.where(below, -one, sign))
    return xp.where(has_nan, one * xp.nan, log), xp.where(has_nan, one * xp.nan, sign)


def exponentials(
    xp: Any, x: Array, where: Array | None, temperature: Array | float, shift: Array | None = None
) -> tuple[Array, Array, Array, Array]:
    """The shift m, (x − m)/T as value and rounding error, and e^((x − m)/T) with that error put back."""
    m, y, error = shifted_logits(xp, x, where, temperature, shift)
    e = xp.exp(y)
    return m, y, error, e + e * error


def shifted_logits(
    xp: Any, x: Array, where: Array | None, temperature: Array | float, shift: Array | None = None
) -> tuple[Array, Array, Array]:
    """The shift m, by default the maximum, and (x − m)/T as value and rounding error."""
    if where is not None:
        x = xp.where(where, x, -infinity(xp, x))
    m = xp.max(x, axis=-1, keepdims=True) if shift is None else shift
    y, error = two_sum(x, -m)
    if not is_one(temperature):
        temperature = xp.asarray(temperature, dtype=x.dtype)
        # x − m may overflow where (x − m)/T does not. Then x/T and −m/T have one sign: the sum is within 1.5 ulp.
        overflowed = (y == -infinity(xp, y)) & (x > -infinity(xp, x)) & (m < infinity(xp, m)) & (temperature > 0)
        y, error = over_temperature(xp, y, error, temperature)
        y = xp.where(overflowed, x / temperature - m / temperature, y)
    # −inf − finite is exact, and where x is −inf so is e^x = 0; the transformations give NaN there.
    error = xp.where(xp.isfinite(error), error, xp.zeros_like(error))
    impossible = (x == -infinity(xp, x)) & (m > -infinity(xp, m)) & (m < infinity(xp, m))
    return m, xp.where(impossible, -infinity(xp, y), y), error


def over_temperature(xp: Any, y: Array, error: Array, temperature: Array) -> tuple[Array, Array]:
    """(y + error)/T as value and rounding error, for differences y ≤ 0 from a maximum; at T = inf and 0 the limits."""
    usable = (temperature != 0) & (temperature != infinity(xp, temperature))
    divisor = xp.where(usable, temperature, xp.ones_like(temperature))
    quotient = y / divisor
    product, low = two_product(quotient, divisor)
    error = ((y - product) - low + error) / divisor
    everywhere, at_maximum = xp.where(xp.isnan(y), y, xp.zeros_like(y)), xp.where(y < 0, -infinity(xp, y), y)
    y = xp.where(usable, quotient, xp.where(temperature > 0, everywhere, at_maximum))
    return y, xp.where(usable, error, xp.zeros_like(error))


def by_logits(part: Array, temperature: Array | float) -> Array:
    """A derivative with respect to x/T as one with respect to x; at T = 0 the limit, 0 or infinite."""
    if is_one(temperature):
        return part
    xp = namespace(part)
    return xp.where(part == 0, part, part / xp.asarray(temperature, dtype=part.dtype))


def sum_without_argmax(xp: Any, e: Array) -> tuple[Array, Array]:
    """Σ_{j≠k} e_j, k the largest entry, and its rounding error."""
    is_argmax = one_hot(xp, xp.argmax(e, axis=-1, keepdims=True), e)
    return compensated_sum(xp, xp.where(is_argmax, e * 0, e))  # e * 0: a NaN stays
