"""Draws from the distribution of rows, as functions of uniform numbers; the reference of the fast ones.

A draw is the first entry whose cumulative sum of exponentials exceeds u times their sum. The sums are pairs, so that
every entry has its probability to the precision of one exponential.
"""

from __future__ import annotations

import math
from typing import Any

from softgrad._formulas.compensated import Pair, compensated_cumulative_sum, times
from softgrad._formulas.decoding import masked_out
from softgrad._formulas.namespace import Array, infinity, namespace, one_hot, per_entry, widest
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
def draws_without_replacement(x: Array, u: Array, where: Array | None, temperature: Array | float = 1.0) -> Array:
    """The entries that the uniform numbers u stand for; each is drawn from those that were not drawn before."""
    xp = namespace(x)
    x = masked_out(xp, as_wide(x), where)
    found = []
    for draw in range(u.shape[-1]):
        index = _drawn(xp, x, u[..., draw : draw + 1], per_entry(temperature))
        found.append(index)
        if x.shape[-1]:
            x = xp.where(one_hot(xp, index, x), -infinity(xp, x), x)
    return xp.concat(found, axis=-1) if found else xp.zeros(u.shape, dtype=widest(xp, integral=True))


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
