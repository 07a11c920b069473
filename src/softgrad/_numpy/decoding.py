"""Masks of rows by selection: no row is sorted but short ones, and of long ones the entries near the threshold.

Sums of probabilities are rounded here. Where the mask depends on that, because a sum is as near to p as its error
bound, the formula decides, whose sums are pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from softgrad._formulas import decoding as formulas
from softgrad._formulas.namespace import NDArray as Array
from softgrad._numpy import softmax
from softgrad._numpy.implementation import ENTRIES, Implementation, Outs
from softgrad._numpy.row_loop import RowLoop
from softgrad._numpy.threads import over_rows

SHORT = 1024
"""Entries up to which rows are sorted, all of a block together."""

NARROW = 127
"""Entries up to which rows are slower one by one than entry by entry; int8 counts them."""

BUCKETS, PER_UNIT = 2048, 64.0
"""Buckets for the logits of a long row: how many, and how many for a difference of 1."""


def _by_rows(
    function: Callable[..., Array], outs: Outs, workers: int, x: Array, where: Array | None, *each: Any
) -> None:
    """A function of rows, their mask, and one number for each."""
    numbers = ",".join(["()"] * len(each))
    if where is None:
        loop = RowLoop(lambda x, *each: function(x, None, *each), f"(n),{numbers}->(n)")
        over_rows(loop, (x, *map(np.asarray, each)), outs, workers)
    else:
        over_rows(RowLoop(function, f"(n),(n),{numbers}->(n)"), (x, where, *map(np.asarray, each)), outs, workers)


def _top_k_mask(outs: Outs, workers: int, x: Array, where: Array | None, k: Array | int) -> None:
    _by_rows(_k_largest, outs, workers, x, where, k)


def _top_p_mask(
    outs: Outs, workers: int, x: Array, where: Array | None, p: Array | float, temperature: Array | float
) -> None:
    _by_rows(_most_probable, outs, workers, x, where, p, temperature)


def _min_p_mask(
    outs: Outs, workers: int, x: Array, where: Array | None, p: Array | float, temperature: Array | float
) -> None:
    _by_rows(_near_largest, outs, workers, x, where, p, temperature)


def comparable(x: Array, where: Array | None) -> Array:
    """x in a type that NumPy selects from quickly, and −inf where it is masked out."""
    x = x.astype(np.float32) if x.dtype.itemsize == 2 else x
    return np.asarray(formulas.masked_out(np, x, where))


def _k_largest(x: Array, where: Array | None, k: Array) -> Array:
    n = x.shape[-1]
    if n == 0:
        return np.asarray(formulas.valid_entries(x, where))
    x = comparable(x, where)
    place = n - np.clip(k, 1, n)
    threshold, largest = np.empty((len(x), 1), x.dtype), np.empty((len(x), 1), x.dtype)
    # A selection by one place is vectorized by NumPy, one by several is not.
    places = np.unique(place)
    for at in places:
        rows = slice(None) if len(places) == 1 else np.flatnonzero(place == at)
        chosen = np.partition(x[rows], at, axis=-1)[:, at:]
        threshold[rows], largest[rows] = chosen[:, :1], chosen.max(axis=-1, keepdims=True)
    return _mask(x, threshold, ~(largest < np.inf), where)


def _mask(x: Array, threshold: Array, undefined: Array, where: Array | None) -> Array:
    mask = x >= threshold
    if undefined.any():
        mask |= undefined
    if where is not None:
        mask &= where
    return mask


def _most_probable(x: Array, where: Array | None, p: Array, temperature: Array) -> Array:
    n = x.shape[-1]
    if n == 0:
        return np.asarray(formulas.valid_entries(x, where))
    given, x = x, comparable(x, where)
    largest = x.max(axis=-1)
    undefined = ~(np.abs(largest) < np.inf)  # NaN, +inf, nothing but −inf
    threshold, sure = (_of_short_rows if n <= SHORT else _of_long_rows)(x, 1 - p, temperature)
    # At p = 1 every entry of positive probability stays, also of one that no number holds; at p = 0 the largest.
    possible = np.where(x > -np.inf, x, np.inf).min(axis=-1) if (p == 1).any() else largest
    threshold = np.where((p == 0) | (temperature == 0), largest, np.where(p == 1, possible, threshold))
    sure |= (p == 1) | (p == 0) | (temperature == 0)
    sure = undefined | (sure & (temperature < np.inf))
    mask = _mask(x, threshold[:, np.newaxis], undefined[:, np.newaxis], where)
    return _decided(formulas.top_p_mask, mask, ~sure, given, where, p, temperature)


def _near_largest(x: Array, where: Array | None, p: Array, temperature: Array) -> Array:
    """x ≥ max x + T log p, with a threshold on either side of what rounding leaves open."""
    if x.shape[-1] == 0:
        return np.asarray(formulas.valid_entries(x, where))
    given, x = x, comparable(x, where)
    largest = x.max(axis=-1)
    undefined = ~(np.abs(largest) < np.inf)
    distance = np.where((p == 1) | (temperature == 0), 0.0, temperature * np.log(p))
    distance = np.where(p == 0, -np.inf, distance)
    threshold, error = largest + distance, 2.0**-48 * (np.abs(largest) - distance)
    exact = (distance == 0) | (p == 0)
    least, most = (
        np.where(exact, threshold, threshold + side).astype(x.dtype)[:, np.newaxis] for side in (-error, error)
    )
    mask = _mask(x, most, undefined[:, np.newaxis], where)
    open_ = ((x >= np.nextafter(least, -np.inf)) & (x <= np.nextafter(most, np.inf))).any(axis=-1)
    unsure = ~undefined & ((open_ & ~exact) | ~(temperature < np.inf))
    return _decided(formulas.min_p_mask, mask, unsure, given, where, p, temperature)


def _decided(
    formula: Callable[..., Array], mask: Array, unsure: Array, x: Array, where: Array | None, *each: Array
) -> Array:
    """The mask, with the rows that are unsure by the formula."""
    if unsure.any():
        rows = np.flatnonzero(unsure)
        mask[rows] = formula(x[rows], None if where is None else where[rows], *(a[rows] for a in each))
    return mask


def _of_short_rows(x: Array, left_out: Array, temperature: Array) -> tuple[Array, Array]:
    """The least logit that is kept in each row, and whether that is sure."""
    x = np.sort(x, axis=-1)
    x = np.asfortranarray(x) if x.shape[-1] <= NARROW else x
    cumulative = cumulative_sums(_probabilities(x, temperature))
    return _crossing(x, cumulative, left_out * cumulative[:, -1], 0.0, x.shape[-1])


def _of_long_rows(x: Array, left_out: Array, temperature: Array) -> tuple[Array, Array]:
    """The same by buckets of logits, of which only the one where the sum crosses is sorted."""
    n = x.shape[-1]
    threshold, sure = np.zeros(len(x), x.dtype), np.zeros(len(x), np.bool)
    p = _probabilities(x, temperature)
    scale = np.clip(PER_UNIT / np.where(temperature > 0, temperature, 1), 2.0**-100, 2.0**100).astype(x.dtype)
    for row in range(len(x)):
        most = left_out[row] * p[row].sum()
        if not np.isfinite(most):
            continue
        depth = np.subtract(x[row].max(), x[row])
        depth *= scale[row]
        bucket = np.minimum(depth, BUCKETS - 1, out=depth).astype(np.intp)
        upto = np.cumsum(np.bincount(bucket, p[row], BUCKETS)[::-1])[::-1]
        at = np.count_nonzero(upto > most) - 1  # the sums fall from bucket to bucket
        near = np.flatnonzero(bucket == at)
        if near.size == 0:
            continue
        near = near[np.argsort(x[row, near])]
        below = upto[at + 1] if at + 1 < BUCKETS else 0.0
        cumulative = below + np.cumsum(p[row, near])
        found = _crossing(x[row, near][np.newaxis], cumulative[np.newaxis], most, below, n)
        (threshold[row],), (sure[row],) = found
    return threshold, sure


def _crossing(x: Array, cumulative: Array, most: Array, below: float, n: int) -> tuple[Array, Array]:
    """The entry of sorted rows where the sum exceeds `most`, and whether it does so by more than its error bound.

    Equal entries belong together: the sum must exceed it with all of them, and not before the first.
    """
    most = np.reshape(most, -1)
    rows, end = np.arange(len(x)), x.shape[-1] - 1
    at = np.minimum(count_of_leading(cumulative <= most[:, np.newaxis]), end)
    threshold = x[rows, at]
    first = count_of_leading(x < threshold[:, np.newaxis])
    last = count_of_leading(x <= threshold[:, np.newaxis]) - 1
    before, upto = np.where(first > 0, cumulative[rows, first - 1], below), cumulative[rows, last]
    error = sum_error(n)
    return threshold, (upto - most > error * upto) & (most - before > error * before)


def cumulative_sums(p: Array) -> Array:
    """The cumulative sums of rows in float64; of very short rows, entry by entry for all rows together."""
    n = p.shape[-1]
    if n > NARROW:
        return np.cumsum(p, axis=-1, dtype=np.float64)
    sums = np.empty((n, len(p)))
    sums[0] = p[:, 0]
    for entry in range(1, n):
        np.add(sums[entry - 1], p[:, entry], out=sums[entry])
    return sums.T


def count_of_leading(mask: Array) -> Array:
    """How many entries of each row are true, where these come first."""
    if mask.shape[-1] <= NARROW:
        return np.asarray(np.add.reduce(mask.T.view(np.int8), axis=0, dtype=np.int8), np.int64)
    return np.asarray(np.where(mask[:, -1], mask.shape[-1], mask.argmin(axis=-1)))


def sum_error(n: int) -> float:
    """A bound of the relative error of sums of n probabilities, of softmax itself and of float64."""
    return 2.0**-40 + n * 2.0**-51


def _probabilities(x: Array, temperature: Array) -> Array:
    """Softmax in float64."""
    one = bool((temperature == 1).all())
    return np.asarray(softmax.softmax(x.astype(np.float64), None, 1.0 if one else temperature))


top_k_mask = Implementation(formulas.top_k_mask, (ENTRIES,), _top_k_mask, "bool")
top_p_mask = Implementation(formulas.top_p_mask, (ENTRIES,), _top_p_mask, "bool")
min_p_mask = Implementation(formulas.min_p_mask, (ENTRIES,), _min_p_mask, "bool")
