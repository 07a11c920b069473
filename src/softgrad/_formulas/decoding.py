"""Masks of the entries that decoding keeps: the k largest, the most probable up to p, all near enough to the maximum.

A mask is x ≥ τ with one τ for each row, so that entries of equal logits are kept or left out together. Rows whose
probabilities are NaN keep every valid entry: a filter must not remove the NaN that the caller is to see.
"""

from __future__ import annotations

from typing import Any

from softgrad._formulas.compensated import compensated_cumulative_sum, times, two_sum
from softgrad._formulas.namespace import Array, infinity, namespace, per_entry
from softgrad._formulas.precision import as_wide, silent
from softgrad._formulas.softmax import exponentials


@silent
def top_k_mask(x: Array, where: Array | None, k: Array | int) -> Array:
    """Whether x is at least the k-th largest valid entry of its row."""
    xp, n = namespace(x), x.shape[-1]
    if n == 0:
        return valid_entries(x, where)
    x = masked_out(xp, x, where)
    largest_first = xp.flip(xp.sort(x, axis=-1), axis=-1)
    place = xp.clip(xp.asarray(k) - 1, 0, n - 1)
    place = xp.broadcast_to(place[..., None] if place.ndim else place, (*x.shape[:-1], 1))
    threshold = xp.take_along_axis(largest_first, place, axis=-1)
    return kept(x >= threshold, xp.isnan(x) | (x == infinity(xp, x)), where)


@silent
def top_p_mask(x: Array, where: Array | None, p: Array | float, temperature: Array | float = 1.0) -> Array:
    """Whether the entries larger than x have a probability below p; always true of the largest.

    Those are 1 − Σ p_j over x_j ≤ x, so that the sums begin with the smallest entries, and 1 − p is exact in two parts:
    at p = 1 every entry of positive probability is kept.
    """
    xp, n = namespace(x), x.shape[-1]
    if n == 0:
        return valid_entries(x, where)
    temperature = per_entry(temperature)
    x = masked_out(xp, as_wide(x), where)
    _, y, _, e = exponentials(xp, x, None, temperature)
    # At T = inf all that is possible is equally probable.
    x = xp.where(xp.asarray(temperature) == xp.inf, y, x)
    order = xp.argsort(x, axis=-1)
    x_sorted, y_sorted, e = (xp.take_along_axis(a, order, axis=-1) for a in (x, y, e))
    cumulative, low = compensated_cumulative_sum(xp, e)
    total = (cumulative[..., -1:], low[..., -1:])
    p = per_entry(xp.asarray(p, dtype=x.dtype))
    left_out = two_sum(xp.ones_like(p), -p)
    most, most_low = times((left_out[0] + xp.zeros_like(total[0]), left_out[1] + xp.zeros_like(total[0])), total)
    needed = (cumulative > most) | ((cumulative == most) & (low > most_low))
    possible = xp.where(xp.asarray(temperature) == 0, y_sorted == 0, x_sorted > -infinity(xp, x))
    needed = xp.where(left_out[0] == 0, possible, needed)
    threshold = xp.min(xp.where(needed, x_sorted, infinity(xp, x)), axis=-1, keepdims=True)
    threshold = xp.minimum(threshold, x_sorted[..., -1:])
    return kept(x >= threshold, xp.isnan(y), where)


@silent
def min_p_mask(x: Array, where: Array | None, p: Array | float, temperature: Array | float = 1.0) -> Array:
    """Whether the probability of x is at least p times the largest of its row."""
    xp = namespace(x)
    if x.shape[-1] == 0:
        return valid_entries(x, where)
    x = masked_out(xp, as_wide(x), where)
    _, y, _, e = exponentials(xp, x, None, per_entry(temperature))
    p = per_entry(xp.asarray(p, dtype=x.dtype))
    # Below 1 an exponential may round to 1.
    return kept(xp.where(p == 1, y == 0, e >= p), xp.isnan(y), where)


def masked_out(xp: Any, x: Array, where: Array | None) -> Array:
    """x, and −inf where an entry is masked out."""
    return x if where is None else xp.where(where, x, -infinity(xp, x))


def valid_entries(x: Array, where: Array | None) -> Array:
    """The mask that keeps every valid entry."""
    xp = namespace(x)
    return xp.ones(x.shape, dtype=xp.bool) if where is None else where & xp.ones(x.shape, dtype=xp.bool)


def kept(keep: Array, undefined: Array, where: Array | None) -> Array:
    """The mask: valid entries only, and all of them in rows that have something `undefined`."""
    xp = namespace(keep)
    mask = keep | xp.any(undefined, axis=-1, keepdims=True)
    return mask if where is None else mask & where
