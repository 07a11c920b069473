"""Error-free transformations and arithmetic on pairs, for every array library.

A pair is a number in two parts, the second at most the rounding error of the first: twice the precision. The
transformations are those of Dekker (1971) and Knuth (TAOCP 2, section 4.2.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from softgrad._formulas.namespace import Array, infinity, namespace

Pair = tuple[Array, Array]


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """a + b = sum + error, exactly (Knuth)."""
    total = a + b
    of_b = total - a
    return total, (a - (total - of_b)) + (b - of_b)


def two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """a b = product + error, exactly (Dekker), by halves of the significand."""
    product = a * b
    a_high, a_low = halves(a)
    b_high, b_low = halves(b)
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def halves(a: Array) -> tuple[Array, Array]:
    digits = round(-math.log2(float(namespace(a).finfo(a.dtype).eps))) + 1
    scaled = a * float(2 ** ((digits + 1) // 2) + 1)
    high = scaled - (scaled - a)
    return high, a - high


def compensated_sum(xp: Any, x: Array) -> tuple[Array, Array]:
    """Σ x over the last axis (kept), and its rounding error: halves are folded on each other, errors carried along.

    A namespace whose arrays hold only some entries of their slices has a function of this name, which sums the slices.
    """
    whole_slices: Callable[[Array], tuple[Array, Array]] | None = getattr(xp, "compensated_sum", None)
    if whole_slices is not None:
        return whole_slices(x)
    error = xp.zeros_like(x)
    while (n := x.shape[-1]) > 1:
        half = n // 2
        odd, odd_error = x[..., 2 * half :], error[..., 2 * half :]
        x, lost = two_sum(x[..., :half], x[..., half : 2 * half])
        error = error[..., :half] + error[..., half : 2 * half] + lost
        if n % 2:
            x, error = xp.concat([x, odd], axis=-1), xp.concat([error, odd_error], axis=-1)
    return x, xp.where(xp.isfinite(error), error, xp.zeros_like(error))


def compensated_cumulative_sum(xp: Any, x: Array) -> Pair:
    """x_1 + … + x_i for every entry of the last axis, as pairs: sums of neighbours first, then those in between."""
    return _cumulative(xp, (x, xp.zeros_like(x)))


def _cumulative(xp: Any, a: Pair) -> Pair:
    n = a[0].shape[-1]
    if n < 2:
        return a
    half = n // 2
    odd = (a[0][..., 1::2], a[1][..., 1::2])
    even = (a[0][..., ::2], a[1][..., ::2])
    upto_odd = _cumulative(xp, plus((even[0][..., :half], even[1][..., :half]), odd))
    before = (n - 1) // 2
    later = plus((upto_odd[0][..., :before], upto_odd[1][..., :before]), (even[0][..., 1:], even[1][..., 1:]))
    found = []
    for first, rest, upto in zip(even, later, upto_odd, strict=True):
        upto_even = xp.concat([first[..., :1], rest], axis=-1)
        joined = xp.reshape(xp.stack([upto_even[..., :half], upto], axis=-1), (*first.shape[:-1], 2 * half))
        found.append(xp.concat([joined, upto_even[..., half:]], axis=-1))
    return found[0], found[1]


def plus(a: Pair, b: Pair) -> Pair:
    total, error = two_sum(a[0], b[0])
    return two_sum(total, error + (a[1] + b[1]))


def times(a: Pair, b: Pair) -> Pair:
    product, error = two_product(a[0], b[0])
    return two_sum(product, error + (a[0] * b[1] + a[1] * b[0]))


def over(a: Pair, b: Pair) -> Pair:
    quotient = a[0] / b[0]
    product, error = two_product(quotient, b[0])
    return two_sum(quotient, ((a[0] - product) - error + a[1] - quotient * b[1]) / b[0])


LN2 = float.fromhex("0x1.62e42fefa38p-1"), float.fromhex("0x1.ef35793c7673p-45")
"""ln 2 to 98 bits; k times the first is exact for |k| < 2^11."""
ATANH_TERMS = 12


def log1p_in_parts(xp: Any, a: Array, low: Array) -> Pair:
    """log(1 + a + low) as a pair; the second part is only what `low` adds in all but NumPy's float64.

    (It is for numbers of which there is one per row; compilers and task graphs are spared it.)
    """
    if not hasattr(xp, "longdouble") or a.dtype != xp.float64:
        return xp.log1p(a), low / (1 + a)
    wide = xp.longdouble
    if xp.finfo(wide).eps == xp.finfo(a.dtype).eps:  # as on Apple silicon and Windows
        return log1p_by_series(xp, a, low)
    exact = xp.log1p(xp.astype(a, wide) + xp.astype(low, wide))
    log = xp.astype(exact, a.dtype)
    rounded = xp.astype(exact - xp.astype(log, wide), a.dtype)
    return log, xp.where(xp.isfinite(rounded), rounded, xp.zeros_like(rounded))


def log1p_by_series(xp: Any, a: Array, low: Array) -> Pair:
    """log(1 + a + low) to 2^-57, without a wider type; a hundred operations, which is slow for few numbers.

    With 1 + a = 2^k (1 + f) and z = f/(2 + f), |z| < 0.172, the logarithm is k ln 2 + 2 z (1 + z²/3 + z⁴/5 + …): the
    sum of z² and beyond is less than 0.01, so that float64 is enough for it.
    """
    is_tiny = xp.abs(a) < 2.0**-60  # the logarithm is a + low
    inside = ~is_tiny & (a > -1) & (a < infinity(xp, a))
    one, zero = xp.ones_like(a), xp.zeros_like(a)
    total, error = two_sum(one, xp.where(inside, a, zero))
    k = xp.round(xp.log2(total))
    # A library's power may be off in the last digit, which the upper half of the digits does not have.
    power, _ = halves(xp.asarray(2.0, dtype=a.dtype) ** -k)
    f = plus((total * power - 1, zero), (error * power, xp.where(inside, low, zero) * power))
    z, z_low = over(f, plus(f, (2 * one, zero)))
    series = zero
    for term in range(ATANH_TERMS, 0, -1):
        series = (series + 1 / (2 * term + 1)) * (z * z)
    log, log_low = plus((k * LN2[0], k * LN2[1]), (2 * z, 2 * (z_low + z * series)))
    return xp.where(inside, log, xp.log1p(a)), xp.where(inside, log_low, xp.where(is_tiny, low, zero))


def one_minus_exp(xp: Any, a: Array, low: Array) -> Pair:
    """1 − e^−(a + low) for a ≥ 0 as a pair: a step of Newton's iteration for log(1 − c) = −a."""
    c, rest = -xp.expm1(-a), xp.exp(-a)
    is_one = c == 1
    log, log_low = log1p_in_parts(xp, xp.where(is_one, xp.zeros_like(c), -c), xp.zeros_like(c))
    return c, xp.where(is_one, -rest, rest * ((a + log) + (low + log_low)))
