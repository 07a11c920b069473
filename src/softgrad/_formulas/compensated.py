"""Error-free transformations and arithmetic on pairs, for every array library.

A pair is a number in two parts, the second at most the rounding error of the first: twice the precision. The
transformations are those of Dekker (1971) and Knuth (TAOCP 2, section 4.2.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from softgrad._formulas.namespace import Array, namespace

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


def log1p_in_parts(xp: Any, a: Array, low: Array) -> tuple[Array, Array]:
    """log(1 + a + low) and what its rounding left.

    The second is 0 but for what `low` adds where the library has no wider type, which numbers of which there is one per
    row can afford.
    """
    wide = getattr(xp, "longdouble", a.dtype)
    if a.dtype == wide:
        return xp.log1p(a), low / (1 + a)
    exact = xp.log1p(xp.astype(a, wide) + xp.astype(low, wide))
    log = xp.astype(exact, a.dtype)
    rounded = xp.astype(exact - xp.astype(log, wide), a.dtype)
    return log, xp.where(xp.isfinite(rounded), rounded, xp.zeros_like(rounded))
