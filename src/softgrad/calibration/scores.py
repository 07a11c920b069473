"""What a row of logits and its label say about a classifier: loss, Brier score, entropy, confidence, rank of the label.

With x_k = m the first of the largest entries, y the label and d = Σ_{j≠k} p_j, which is 1 − p_k,

    −log p_y = log(1 + d/p_k) + (m − x_y)        H = log(1 + d/p_k) + Σ_j p_j (m − x_j)

and Σ_j (p_j − [j = y])² = d² + Σ_{j≠k} p_j² where y = k, else 1 − 2 p_y + Σ_j p_j². Nothing cancels: a loss of 10⁻¹⁸ is
one, and every number is as exact as the probabilities, which are within 2 ulp of the dtype of the logits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from softgrad._formulas.namespace import NDArray as Array
from softgrad._formulas.precision import is_half, silent
from softgrad._numpy import softmax as maps
from softgrad.calibration.batches import Batch


class Scores(NamedTuple):
    """One number per row, in float64."""

    nll: Array
    brier: Array
    entropy: Array
    confidence: Array
    rank: Array
    """How many classes come before the label: those with larger logits, and of equal ones those of smaller index."""

    @property
    def correct(self) -> Array:
        """Whether the label is the first of the largest logits."""
        return np.equal(self.rank, 0)


CACHED = 2**18
"""Entries that stay in the processor's cache from one pass over them to the next."""


LONGEST_SUM = 2**12
"""Entries of a row that `einsum` sums at once: of more than 8192 it sums parts that depend on the rows before."""


class Passes(NamedTuple):
    """What is taken from the entries of rows, k being the first of the largest, by several passes over them."""

    largest: Array
    at_label: Array
    confidence: Array
    """p_k."""
    p_label: Array
    doubt: Array
    """Σ_{j≠k} p_j."""
    squares: Array
    """Σ_{j≠k} p_j²."""
    gap: Array
    """Σ_j p_j (m − x_j)."""
    rank: Array


@silent
def scores(batch: Batch) -> Scores:
    """The scores of every row; ValueError that names the first row with NaN or +inf among its logits."""
    x, labels = batch.rows, batch.labels
    of_rows = Passes(*np.empty((len(Passes._fields), len(x))))
    step = max(1, CACHED // max(1, x.shape[-1]))
    dtype = np.dtype(np.float32) if is_half(np, x.dtype) else x.dtype
    scratch = tuple(np.empty((min(step, len(x)), x.shape[-1]), dtype) for _ in range(2))
    for first in range(0, len(x), step):
        rows = slice(first, first + step)
        block = x[rows].astype(dtype, copy=False)
        for whole, part in zip(of_rows, _passes(block, labels[rows], *scratch), strict=True):
            whole[rows] = part
    fall = of_rows.largest - of_rows.at_label
    log_total = np.log1p(of_rows.doubt / of_rows.confidence)
    nll = log_total + fall
    if np.isnan(nll).any():
        raise batch.refuse(int(np.isnan(nll).argmax()), "the logits must not hold NaN or +inf, nor −inf alone")
    is_first = of_rows.rank == 0
    missing = np.where(is_first, of_rows.doubt**2, 1 - 2 * of_rows.p_label + of_rows.confidence**2)
    return Scores(nll, missing + of_rows.squares, log_total + of_rows.gap, of_rows.confidence, of_rows.rank)


def _passes(x: Array, labels: Array, p: Array, below: Array) -> Passes:
    """The passes over a few rows, with memory for two arrays like them."""
    p, below = p[: len(x)], below[: len(x)]
    rows, first = np.arange(len(x)), x.argmax(axis=-1)
    maps.softmax.into((p,), 1, x, None, 1.0)
    largest, at_label, confidence, p_label = x[rows, first], x[rows, labels], p[rows, first], p[rows, labels]
    p[rows, first] = 0
    np.subtract(largest[:, None], x, out=below)
    gap = _sums(p, below)
    hidden = np.flatnonzero(np.isnan(gap))  # 0 · inf, for entries that are −inf
    if hidden.size:
        gap[hidden] = _sums(p[hidden], np.where(np.isfinite(below[hidden]), below[hidden], 0))
    rank = np.zeros(len(x))
    later = np.flatnonzero(first != labels)
    if later.size:
        rank[later] = _rank(x[later], labels[later])
    return Passes(largest, at_label, confidence, p_label, _sums(p), _sums(p, p), gap, rank)


def _sums(*factors: Array) -> Array:
    """Sums over rows of an array or of the product of two: the same bits for a row in any batch."""
    spelling = "ij,ij->i" if len(factors) > 1 else "ij->i"
    n = factors[0].shape[-1]
    if n <= LONGEST_SUM:
        return np.asarray(np.einsum(spelling, *factors))
    total = np.zeros(len(factors[0]))
    for start in range(0, n, LONGEST_SUM):
        total += np.einsum(spelling, *(factor[:, start : start + LONGEST_SUM] for factor in factors))
    return total


def _rank(x: Array, labels: Array) -> Array:
    """How many entries of each row come before that of the label."""
    at_label = np.take_along_axis(x, labels[:, None], axis=-1)
    larger: Array = np.count_nonzero(x > at_label, axis=-1)
    equal = x == at_label
    if np.count_nonzero(equal) == len(x):
        return larger
    larger += np.count_nonzero(equal & (np.arange(x.shape[-1]) < labels[:, None]), axis=-1)
    return larger
