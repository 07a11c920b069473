"""Σ b e^x of NumPy rows, as logarithm and sign: the formula of `generic`, a few rows at a time, in the cache.

With k the largest x, the sum is e^(x_k) (b_k + Σ_{j≠k} b_j e^(x_j − x_k)). The rounding error of the difference is kept
(Knuth), and the terms are added exactly, but for digits that do not matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from softgrad.arrays import generic

Array = np.ndarray[Any, Any]

TILE = 2**13
"""Entries that are worked on at a time: five arrays of them stay in the second-level cache."""

SHORT = 64
"""Rows below this length lie across memory, so that loops run over many rows and not along one."""

NEGLIGIBLE = 2.0**-900
"""Where all terms are smaller than this, or than this times the largest b, numbers below the normal ones may matter."""


def logsumexp(x: Array, where: Array | None, b: Array) -> Array:
    """Log Σ b e^x over the last axis; NaN where the sum is negative."""
    log, sign = signed_logsumexp(x, where, b)
    with np.errstate(invalid="ignore"):
        return np.where(sign < 0, log.dtype.type(np.nan), log)


@np.errstate(all="ignore")  # NaN, inf and underflow are results here, never news
def signed_logsumexp(x: Array, where: Array | None, b: Array) -> tuple[Array, Array]:
    """Log |Σ b e^x| and the sign of the sum, over the last axis; where b is 0, x is not read."""
    n = x.shape[-1]
    if x.dtype.itemsize > 8 or n == 0:
        return generic.signed_logsumexp(x, where, b)
    read = b != 0 if where is None else where & (b != 0)
    if not read.all():
        x, b = np.where(read, x, x.dtype.type(-np.inf)), np.where(read, b, b.dtype.type(0))
    rows, weights = x.reshape(-1, n), b.reshape(-1, n)
    place = np.arange(len(rows)), rows.argmax(axis=1)
    m, first = rows[place].astype(np.float64), weights[place].astype(np.float64)
    rest, error, largest = _sums(rows, weights, place[1], m)
    log, sign = (part.astype(x.dtype) for part in generic.log_of_sum(np, m, first, rest, error))
    highest = np.abs(weights).max(axis=1).astype(np.float64)
    plain = np.maximum(largest, np.abs(first)) >= NEGLIGIBLE * np.maximum(highest, 1)
    plain &= np.isfinite(m + first + rest)
    if not plain.all():
        log[~plain], sign[~plain] = generic.signed_logsumexp(rows[~plain], None, weights[~plain])
    return log.reshape(x.shape[:-1]), sign.reshape(x.shape[:-1])


def _sums(x: Array, b: Array, k: Array, m: Array) -> tuple[Array, Array, Array]:
    """Σ_{j≠k} b_j e^(x_j − m) of every row, what its rounding left, and the size of the largest term."""
    rows, n = x.shape
    width = min(n, TILE)
    height = TILE // width
    pieces = -(-n // width)
    space = np.empty((4, min(rows, height) * width))
    sums = np.empty((3, rows, pieces))
    for top in range(0, rows, height):
        some = slice(top, top + height)
        for piece in range(pieces):
            columns = slice(piece * width, (piece + 1) * width)
            tile = x[some, columns]
            parts = _shaped(space, tile.shape, across=n < SHORT)
            terms = _terms(tile, b[some, columns], m[some, None], parts)
            peak = k[some] - columns.start
            here = np.flatnonzero((peak >= 0) & (peak < tile.shape[1]))
            terms[here, peak[here]] = 0
            sums[:, some, piece] = _sum(terms, parts)
    if pieces == 1:
        return sums[0, :, 0], sums[1, :, 0], sums[2, :, 0]
    total, error = generic._sum(np, sums[0])
    return total[:, 0], error[:, 0] + sums[1].sum(axis=1), sums[2].max(axis=1)


def _shaped(space: Array, shape: tuple[int, ...], *, across: bool) -> tuple[Array, ...]:
    rows, n = shape
    parts = space[:, : rows * n]
    return tuple(parts.reshape(4, n, rows).swapaxes(1, 2) if across else parts.reshape(4, rows, n))


def _terms(x: Array, b: Array, m: Array, parts: tuple[Array, ...]) -> Array:
    """b e^(x − m), in float64."""
    e, difference, of_x, error = parts
    if x.dtype.itemsize < 8:  # the difference is exact, or as good as that, in float64
        np.exp(np.subtract(x, m, out=difference), out=e)
        return np.multiply(e, b, out=e)
    # At the floor e^(x − m) is 0, too, and −inf would make a NaN of the error.
    x = np.maximum(x, m - np.maximum(np.abs(m), 2000), out=e)
    np.subtract(x, m, out=difference)
    np.subtract(difference, x, out=of_x)
    np.subtract(x, np.subtract(difference, of_x, out=error), out=error)
    np.subtract(error, np.add(of_x, m, out=of_x), out=error)
    np.exp(difference, out=e)
    np.add(e, np.multiply(e, error, out=error), out=e)
    return np.multiply(e, b, out=e)


def _sum(terms: Array, parts: tuple[Array, ...]) -> tuple[Array, Array, Array]:
    """The sum of each row, what its rounding left, and the size of the largest term.

    Adding and subtracting a power of two above n·max|t| leaves multiples of its last digit, whose sum is exact in any
    order (Rump, Ogita & Oishi, "Accurate floating-point summation", SIAM J. Sci. Comput. 31 (2008), section 3); once
    more, and what is left is below n³ 2^−104 of the largest term and dropped.
    """
    _, high, low, size = parts
    n = int(terms.shape[1]).bit_length() + 1
    largest = np.abs(terms, out=size).max(axis=1)
    grid = np.ldexp(1.0, np.frexp(largest)[1] + n)[:, None]
    np.subtract(np.add(terms, grid, out=high), grid, out=high)
    np.subtract(terms, high, out=low)
    fine = grid * 2.0 ** (n - 53)
    np.subtract(np.add(low, fine, out=low), fine, out=low)
    return high.sum(axis=1), low.sum(axis=1), largest
