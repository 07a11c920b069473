"""Draws from the distribution of rows, as functions of uniform numbers; the reference of the fast ones.

A draw with replacement is the first entry whose cumulative sum of exponentials exceeds u times their sum. The sums are
pairs, so that every entry has its probability to the precision of one exponential. Draws without replacement are the
largest of the logits with Gumbel noise (Plackett–Luce).
"""

from __future__ import annotations

import math
from typing import Any

from softgrad._formulas.compensated import Pair, compensated_cumulative_sum, times, two_sum
from softgrad._formulas.decoding import masked_out
from softgrad._formulas.namespace import Array, infinity, namespace, per_entry, widest
from softgrad._formulas.precision import as_wide, silent
from softgrad._formulas.softmax import exponentials

NOTHING = -1
"""What is drawn from a row that has no distribution: with NaN or +inf, or without an entry that is possible."""

COMPARED = 2**22
"""Comparisons of draws with sums that are made at once."""


@silent
def draws(x: Array, u: Array, where: Array | None, temperature: Array | float = 1.0) -> Array:
    """The entries that the uniform numbers u, any number for each row, stand for; each is drawn from all."""
    xp = namespace(x)
    x = masked_out(xp, as_wide(x), where)
    return _drawn(xp, x, u, per_entry(temperature))


@silent
def draws_without_replacement(
    x: Array, ranks: Array, u: Array, where: Array | None, temperature: Array | float = 1.0
) -> Array:
    """The entries at the ranks, 0 for the first, by x/T + g with the Gumbel variates of u, one number for each entry.

    The maximum is subtracted, and what the sum with g rounds away decides between equal sums: so equal entries are in
    the order of g at any distance from it. At T = 0 the order is that of x, and of g where x is equal.
    """
    xp, n = namespace(x), x.shape[-1]
    integer = widest(xp, integral=True)
    if n == 0:
        return xp.full(ranks.shape, NOTHING, dtype=integer)
    x = masked_out(xp, as_wide(x), where)
    x = xp.astype(x, xp.result_type(x.dtype, u.dtype), copy=False)
    g, T = gumbel(xp, xp.astype(u, x.dtype, copy=False)), xp.asarray(per_entry(temperature), dtype=x.dtype)
    limit = infinity(xp, x)
    y = xp.where(limit == T, xp.zeros_like(x), (x - xp.max(x, axis=-1, keepdims=True)) / T)
    beyond = ~(y > -limit) | (x == -limit)  # impossible, or y overflows: in the order of x
    high, low = two_sum(y, g)
    high, low = xp.where(beyond, -limit, high), xp.where(beyond, x, low)
    high, low = xp.where(T == 0, x, high), xp.where(T == 0, g, low)
    index = xp.take_along_axis(_descending(xp, high, low, g), xp.astype(ranks, integer, copy=False), axis=-1)
    chosen = xp.take_along_axis(x, index, axis=-1)
    possible = (chosen > -limit) & xp.all(x < limit, axis=-1, keepdims=True)
    return xp.where(possible, index, xp.asarray(NOTHING, dtype=integer))


def _descending(xp: Any, *keys: Array) -> Array:
    """The order of each row by the first key, where that is equal by the next one, the largest first."""
    order = None
    for key in reversed(keys):
        by = key if order is None else xp.take_along_axis(key, order, axis=-1)
        step = xp.argsort(-by, axis=-1, stable=True)
        order = step if order is None else xp.take_along_axis(order, step, axis=-1)
    return xp.astype(order, widest(xp, integral=True), copy=False)


def _drawn(xp: Any, x: Array, u: Array, temperature: Array | float) -> Array:
    integer = widest(xp, integral=True)
    if x.shape[-1] == 0:
        return xp.full(u.shape, NOTHING, dtype=integer)
    _, _, _, e = exponentials(xp, x, None, temperature)
    sums = compensated_cumulative_sum(xp, e)
    total = (sums[0][..., -1:], sums[1][..., -1:])
    u = below_one(xp, xp.astype(u, x.dtype, copy=False))
    zeros = xp.zeros_like(u + total[0])
    most = times((u + zeros, zeros), (total[0] + zeros, total[1] + zeros))
    count, step = u.shape[-1], max(1, COMPARED // max(1, math.prod(x.shape)))
    found = [
        _first_beyond(xp, e, sums, (most[0][..., start:stop], most[1][..., start:stop]))
        for start, stop in ((k, min(k + step, count)) for k in range(0, max(1, count), step))
    ]
    index = found[0] if len(found) == 1 else xp.concat(found, axis=-1)
    return xp.where(total[0] > 0, xp.astype(index, integer), xp.asarray(NOTHING, dtype=integer))


def _first_beyond(xp: Any, e: Array, sums: Pair, most: Pair) -> Array:
    """The first possible entry of each row whose sum exceeds each of `most`.

    An entry of probability 0 may differ from the one before by the rounding of the sums.
    """
    (high, low), (limit, limit_low) = ((part[..., None, :] for part in sums), (part[..., None] for part in most))
    beyond = (high > limit) | ((high == limit) & (low > limit_low))
    return xp.argmax(xp.astype(beyond & (e > 0)[..., None, :], xp.int8), axis=-1)


def gumbel(xp: Any, u: Array) -> Array:
    """Variates −log(−log(1 − u)) of Gumbel's distribution; u = 0 stands for 2^-54, so that none is infinite."""
    return -xp.log(xp.clip(-xp.log1p(-below_one(xp, u)), 2.0**-54, math.inf))


def below_one(xp: Any, u: Array) -> Array:
    """u, and the number before 1 where it was rounded to 1."""
    return xp.clip(u, 0, 1 - float(xp.finfo(u.dtype).eps) / 2)
