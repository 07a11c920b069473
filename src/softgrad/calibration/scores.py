"""What a row of logits and its label say about a classifier: loss, Brier score, entropy, confidence, rank of the label.

With the largest entry x_k = m, S = Σ_{j≠k} e^(x_j − m) and y the label, p_k = 1/(1 + S), 1 − p_k = S/(1 + S) and
−log p_y = log(1 + S) + (m − x_y): nothing cancels, so that a loss of 10⁻¹⁸ is one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from softgrad._formulas.namespace import NDArray as Array
from softgrad._formulas.precision import is_half, silent
from softgrad._numpy import softmax as maps
from softgrad._numpy import states
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


CACHED = 2**17
"""Entries that stay in the processor's cache from one pass over them to the next."""


class Passes(NamedTuple):
    """What is taken from the entries of rows, by several passes over them."""

    largest: Array
    others: Array
    """Σ_{j≠k} e^(x_j − m)."""
    gap: Array
    """Σ_j e^(x_j − m) (m − x_j)."""
    at_label: Array
    squares: Array
    """Σ p_j², without the label where that is the largest entry."""
    p_label: Array
    rank: Array


@silent
def scores(batch: Batch) -> Scores:
    """The scores of every row; ValueError that names the first row with NaN or +inf among its logits."""
    x, labels = batch.rows, batch.labels
    of_rows = Passes(*np.empty((len(Passes._fields), len(x))))
    step = max(1, CACHED // x.shape[-1])
    for first in range(0, len(x), step):
        rows = slice(first, first + step)
        for whole, part in zip(of_rows, _passes(x[rows], labels[rows]), strict=True):
            whole[rows] = part
    fall = of_rows.largest - of_rows.at_label
    log_total, confidence = np.log1p(of_rows.others), 1 / (1 + of_rows.others)
    nll = log_total + fall
    if np.isnan(nll).any():
        raise batch.refuse(int(np.isnan(nll).argmax()), "the logits must not hold NaN or +inf, nor −inf alone")
    entropy = log_total + of_rows.gap * confidence
    doubt = of_rows.others * confidence
    brier = np.where(fall == 0, doubt * doubt, 1 - 2 * of_rows.p_label) + of_rows.squares
    return Scores(nll, brier, entropy, confidence, of_rows.rank)


def _passes(x: Array, labels: Array) -> Passes:
    """The passes over a few rows.

    Where the label is the largest entry, 1 − p is the sum of the other terms and its square is left out of Σ p²: so
    nothing of the Brier score cancels.
    """
    x = x.astype(np.float32) if is_half(np, x.dtype) else x
    state = states.state(x)
    others, gap = state.others + state.others_low, state.gap + state.gap_low
    rows = np.arange(len(x))
    at_label = x[rows, labels]
    is_largest = at_label == state.max
    p = maps.softmax(x, None, 1.0)
    p_label = p[rows, labels]
    p[rows[is_largest], labels[is_largest]] = 0
    rank = np.zeros(len(x))
    unclear = np.flatnonzero(~is_largest | (others >= 1))  # others ≥ 1 where two entries are the largest
    rank[unclear] = _rank(x[unclear], labels[unclear])
    return Passes(state.max, others, gap, at_label, np.einsum("ij,ij->i", p, p), p_label, rank)


def _rank(x: Array, labels: Array) -> Array:
    """How many entries of each row come before that of the label."""
    at_label = np.take_along_axis(x, labels[:, None], axis=-1)
    larger: Array = np.count_nonzero(x > at_label, axis=-1)
    equal = x == at_label
    if np.count_nonzero(equal) == len(x):
        return larger
    larger += np.count_nonzero(equal & (np.arange(x.shape[-1]) < labels[:, None]), axis=-1)
    return larger
