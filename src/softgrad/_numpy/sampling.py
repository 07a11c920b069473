"""Draws from rows, first with sums that are rounded, then, where a sum is as near as its error bound, with better ones.

Whatever the first steps decide, the formula would decide: the draws are the same on every instruction-set level.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from softgrad._formulas import sampling as formulas
from softgrad._formulas.namespace import NDArray as Array
from softgrad._formulas.namespace import is_one
from softgrad._numpy import kernels, softmax
from softgrad._numpy.decoding import comparable, count_of_leading, cumulative_sums, sum_error
from softgrad._numpy.implementation import CHOSEN, Implementation, Outs
from softgrad._numpy.row_loop import BLOCK, RowLoop
from softgrad._numpy.threads import over_rows

SHORT = 127
"""Entries up to which the cumulative sums of a row are computed, not only those of its blocks."""

TINY = 2.0**-40
"""Rows are divided by temperatures between this and its inverse; others are for softmax alone."""

COMPARED = 4
"""Draws of a row up to which they are compared with all sums; more are searched for."""

SINGLE_ERROR = 2.0**-21
"""A bound of the relative error of sums of float32 probabilities or exponentials: four times that of one."""

Found = tuple[Array, Array]
"""What is drawn, and whether that is sure."""


def _draws(outs: Outs, workers: int, x: Array, u: Array, where: Array | None, temperature: Array | float) -> None:
    # Sums of blocks of long rows are computed from the rows in place: the more rows, the fewer calls.
    copied = where is not None or x.shape[-1] <= SHORT or x.dtype.itemsize == 2
    entries = BLOCK if copied else 4 * BLOCK if not is_one(temperature) else 16 * BLOCK
    _by_rows(_drawn, outs, workers, entries, x, where, ("(k)", u), ("()", np.asarray(temperature, np.float64)))


def _draws_without_replacement(
    outs: Outs,
    workers: int,
    x: Array,
    ranks: Array,
    u: Array | Callable[[Array], Array],
    where: Array | None,
    temperature: Array | float,
) -> None:
    """`u` is an array, or what returns the numbers of rows, given their places in the order of all rows."""
    batch = x.shape[:-1]
    places = np.arange(math.prod(batch)).reshape(batch)
    read = u if callable(u) else u.reshape(-1, x.shape[-1]).__getitem__

    def drawn(x: Array, ranks: Array, temperature: Array, places: Array) -> Array:
        return _in_order(x, ranks, read(places), temperature)

    each = ("(k)", ranks), ("()", np.asarray(temperature, np.float64)), ("()", places)
    _by_rows(drawn, outs, workers, BLOCK, x, where, *each)


def _by_rows(
    function: Callable[..., Array],
    outs: Outs,
    workers: int,
    entries: int,
    x: Array,
    where: Array | None,
    *each: tuple[str, Any],
) -> None:
    """A function of comparable rows, in blocks of so many entries, and of what belongs to a row, each with its core."""
    cores, given = ",".join(core for core, _ in each), [a for _, a in each]
    if where is None:
        loop = RowLoop(lambda x, *each: function(comparable(x, None), *each), f"(n),{cores}->(k)", entries)
        over_rows(loop, (x, *given), outs, workers)
    else:
        loop = RowLoop(lambda x, where, *each: function(comparable(x, where), *each), f"(n),(n),{cores}->(k)", entries)
        over_rows(loop, (x, where, *given), outs, workers)


def _in_order(x: Array, ranks: Array, u: Array, temperature: Array) -> Array:
    """The entries at the ranks by x/T + g; by the formula where that is not all that decides."""
    count, n = x.shape
    k = int(ranks.max(initial=-1)) + 1
    if n == 0 or k == 0:
        return np.full(ranks.shape, formulas.NOTHING)
    most = x.max(axis=-1, keepdims=True).astype(np.float64)
    score = np.subtract(x, most)
    score /= temperature[:, np.newaxis]
    score += formulas.gumbel(np, u)
    order, rows = -score, np.arange(count)[:, np.newaxis]
    first = np.argpartition(order, k - 1, axis=-1)[:, :k] if k < n else np.broadcast_to(np.arange(n), x.shape)
    first = np.take_along_axis(first, np.argsort(order[rows, first], axis=-1), axis=-1)
    chosen = score[rows, first]
    # Scores that are equal, or that a temperature makes infinite, decide nothing.
    possible = chosen > -np.inf
    unsure = (possible[:, 1:] & (chosen[:, 1:] == chosen[:, :-1])).any(axis=-1)
    unsure |= possible[:, -1] & ((score >= chosen[:, -1:]).sum(axis=-1) > k)
    unsure |= ~possible[:, -1] & ((x > -np.inf) & ~(score > -np.inf)).any(axis=-1)
    unsure |= ~((temperature > 0) & (temperature < np.inf))
    found = np.take_along_axis(np.where(possible, first, formulas.NOTHING), ranks, axis=-1)
    for row in np.flatnonzero(unsure):
        here = slice(row, row + 1)
        found[here] = formulas.draws_without_replacement(x[here], ranks[here], u[here], None, temperature[here])
    return found


def _drawn(x: Array, u: Array, temperature: Array) -> Array:
    steps = (_single, _double, _exact) if x.dtype == np.float32 else (_double, _exact)
    return _by_steps(steps, x, u, temperature)


def _by_steps(steps: tuple[Callable[..., Found], ...], x: Array, u: Array, temperature: Array) -> Array:
    """What the first of the steps draws, and where that is not sure the next ones."""
    return _decided(steps[0](x, u, temperature), steps[1:], x, u, temperature)


def _decided(found: Found, steps: tuple[Callable[..., Found], ...], x: Array, u: Array, temperature: Array) -> Array:
    """What was found, and where that is not sure what the steps find."""
    index, sure = found
    for row in np.flatnonzero(~sure.all(axis=-1)):
        here, draws = slice(row, row + 1), np.flatnonzero(~sure[row])
        index[row, draws] = _by_steps(steps, x[here], u[here, draws], temperature[here])
    return index


def _single(x: Array, u: Array, temperature: Array) -> Found:
    return _rounded(x, u, temperature, SINGLE_ERROR)


def _double(x: Array, u: Array, temperature: Array) -> Found:
    return _rounded(x.astype(np.float64), u, temperature, 0.0)


def _exact(x: Array, u: Array, temperature: Array) -> Found:
    return formulas.draws(x, u, None, temperature), np.ones(u.shape, np.bool)


def _rounded(x: Array, u: Array, temperature: Array, error: float) -> Found:
    n, k = x.shape[-1], u.shape[-1]
    if n == 0:
        return np.full(u.shape, formulas.NOTHING), np.ones(u.shape, np.bool)
    error += sum_error(n)
    if _has_blocks(n, k, temperature):
        return BlockSums.of(x, temperature).drawn(u, error)
    return _of_cumulative_sums(x, u, temperature, error)


def _has_blocks(n: int, k: int, temperature: Array) -> bool:
    """Whether the sums of blocks are enough for k draws from each row of n entries."""
    ordinary = ((temperature > TINY) & (temperature < 1 / TINY)).all()
    return n > SHORT and k * _length(n) < n and bool(ordinary)


def _length(n: int) -> int:
    """Entries of a block of a row."""
    return int(2 ** math.ceil(math.log2(n) / 2))


def _of_cumulative_sums(x: Array, u: Array, temperature: Array, error: float) -> Found:
    one = bool((temperature == 1).all())
    cumulative = cumulative_sums(softmax.softmax(x, None, 1.0 if one else temperature))
    total = cumulative[:, -1:]
    most = u * total
    index = _first_beyond(cumulative, most)
    return _checked(index, *_around(cumulative, index, 0.0), most, total, error)


@dataclass
class BlockSums:
    """Rows in blocks: the sum of each block, so that a draw needs the cumulative sums of one block only."""

    x: Array
    """The rows, divided by their temperature."""
    largest: Array
    """The maximum of each block."""
    sums: Array
    """Σ e^(x − max) of each block."""
    length: int
    error: float
    """What the division by the temperature adds to the relative error of sums."""

    @classmethod
    def of(cls, x: Array, temperature: Array) -> BlockSums:
        """The sums of rows, at a temperature for which `_has_blocks`."""
        n, error = x.shape[-1], 0.0
        if not (temperature == 1).all():
            x = _tempered(x, temperature)
            # An exponent y errs by 2^-22 |y|, and the mean of |y| under the distribution is no more than log n.
            error = 2.0**-22 * math.log(n) if x.dtype == np.float32 else 0.0
        largest, others = _sums(x, _length(n))
        return cls(x, largest, np.where(largest == -np.inf, 0.0, 1 + others), _length(n), error)

    def drawn(self, u: Array, error: float) -> Found:
        """What the uniform numbers stand for, where sums have the relative error `error`."""
        most_of_all = self.largest.max(axis=-1, keepdims=True)
        cumulative = np.cumsum(self.sums * np.exp(self.largest - most_of_all), axis=-1)
        total = cumulative[:, -1:]
        most = u * total
        block = np.minimum(_first_beyond(cumulative, most), cumulative.shape[-1] - 1)
        before, _ = _around(cumulative, block, 0.0)
        rows = np.arange(len(self.x))[:, np.newaxis]
        e = np.exp(self._entries(rows, block) - most_of_all[..., np.newaxis].astype(np.float64))
        within = before[..., np.newaxis] + np.cumsum(e, axis=-1)
        flat, wanted = within.reshape(-1, self.length), most.reshape(-1, 1)
        index = _first_beyond(flat, wanted)
        lower, upper = (side.reshape(most.shape) for side in _around(flat, index, before.reshape(-1, 1)))
        index = block * self.length + index.reshape(most.shape)
        return _checked(index, lower, upper, most, total, error + self.error)

    def _entries(self, rows: Array, block: Array) -> Array:
        """The entries of blocks, −inf beyond the end."""
        place = block[..., np.newaxis] * self.length + np.arange(self.length)
        n = self.x.shape[-1]
        entries: Array = np.where(place < n, self.x[rows[..., np.newaxis], np.minimum(place, n - 1)], -np.inf)
        return entries


def _checked(index: Array, lower: Array, upper: Array, most: Array, total: Array, error: float) -> Found:
    """The entries, −1 in rows without a distribution, and which are sure: their sums are far enough from `most`."""
    defined = total > 0
    sure = (upper - most > error * total) & (most - lower > error * total)
    return np.where(defined, index, formulas.NOTHING), sure | ~defined


def _around(cumulative: Array, index: Array, first: Array | float) -> tuple[Array, Array]:
    """The sums without and with the entry at `index`; without the first it is `first`."""
    n = cumulative.shape[-1]
    before = np.take_along_axis(cumulative, np.maximum(index - 1, 0), axis=-1)
    return np.where(index > 0, before, first), np.take_along_axis(cumulative, np.minimum(index, n - 1), axis=-1)


def _first_beyond(cumulative: Array, most: Array) -> Array:
    """The first entry of each row that exceeds each of `most`; the number of entries if none does."""
    count, k = most.shape
    index = np.empty(most.shape, np.int64)
    if k <= COMPARED:
        for draw in range(k):
            index[:, draw] = count_of_leading(cumulative <= most[:, draw : draw + 1])
    else:
        for row in range(count):
            index[row] = np.searchsorted(cumulative[row], most[row], side="right")
    return index


def _sums(x: Array, length: int) -> tuple[Array, Array]:
    """The maximum of each block and Σ e^(x − max) − 1."""
    whole = x.shape[-1] // length * length
    parts = [x[:, :whole].reshape(len(x), -1, length), x[:, np.newaxis, whole:]]
    found = []
    for part in parts:
        if part.shape[-1]:
            outs = tuple(np.empty(part.shape[:-1]) for _ in range(3))
            kernels.run("max_and_rest", (part,), outs, 1)
            found.append((outs[0], outs[1] + outs[2]))
    largest, others = (np.concatenate(both, axis=-1) for both in zip(*found, strict=True))
    return largest, others


def _tempered(x: Array, temperature: Array) -> Array:
    """(x − max x)/T, whose rounding changes little."""
    shifted = x - x.max(axis=-1, keepdims=True)
    shifted /= temperature[:, np.newaxis].astype(x.dtype)
    return np.asarray(shifted)


draws = Implementation(formulas.draws, (CHOSEN,), _draws, "int64")
draws_without_replacement = Implementation(
    formulas.draws_without_replacement, (CHOSEN,), _draws_without_replacement, "int64"
)
