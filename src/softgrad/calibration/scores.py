"""What a row of logits and its label show about a classifier: loss, Brier score, entropy, confidence, rank."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from softgrad._formulas.namespace import NDArray as Array
from softgrad._formulas.precision import silent
from softgrad.calibration.batches import Batch
from softgrad.calibration.rows import Rows, rows_of, sums


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


@silent
def scores(batch: Batch) -> Scores:
    """The scores of every row; ValueError that names the first row with NaN or +inf among its logits."""
    found = Scores(*np.empty((len(Scores._fields), len(batch.rows))))
    for rows in rows_of(batch):
        for whole, part in zip(found, _scores(rows), strict=True):
            whole[rows.place] = part
    if np.isnan(found.nll).any():
        raise batch.refuse(int(np.isnan(found.nll).argmax()), "the logits must not hold NaN or +inf, nor −inf alone")
    return found


def _scores(rows: Rows) -> Scores:
    """The scores of some rows. Σ_j (p_j − [j = y])² = d² + Σ_{j≠k} p_j² where y = k, else 1 − 2 p_y + Σ_j p_j²."""
    log_total, doubt, p_first = rows.log_total, np.asarray(rows.doubt, np.float64), np.asarray(rows.p_first, np.float64)
    is_first = rows.first == rows.labels
    brier = np.where(is_first, doubt * doubt, 1 - 2 * rows.p_label + p_first * p_first) + sums(rows.p, rows.p)
    rank = np.zeros(len(rows.x))
    later = np.flatnonzero(~is_first)
    if later.size:
        rank[later] = _rank(rows.x[later], rows.labels[later])
    return Scores(log_total + rows.scaled(rows.fall), brier, log_total + rows.scaled(rows.gap), p_first, rank)


def _rank(x: Array, labels: Array) -> Array:
    """How many entries of each row come before that of the label."""
    at_label = x[np.arange(len(x)), labels][:, None]
    larger: Array = np.count_nonzero(x > at_label, axis=-1)
    equal = x == at_label
    if np.count_nonzero(equal) == len(x):
        return larger
    larger += np.count_nonzero(equal & (np.arange(x.shape[-1]) < labels[:, None]), axis=-1)
    return larger
