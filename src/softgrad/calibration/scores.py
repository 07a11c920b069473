"""What a row of logits and its label show about a classifier: loss, Brier score, entropy, confidence, rank."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from softgrad._formulas.namespace import NDArray as Array
from softgrad._numpy import scores as implementations
from softgrad.calibration.batches import Batch


class Scores(NamedTuple):
    """One number per row, in float64."""

    values: Array
    """Loss, Brier score, entropy and confidence, shape (4, R)."""
    rank: Array
    """How many classes come before the label: those with larger logits, and of equal ones those of smaller index."""

    @property
    def nll(self) -> Array:
        """The loss."""
        return np.asarray(self.values[0])

    @property
    def confidence(self) -> Array:
        """The probability of the first of the largest logits."""
        return np.asarray(self.values[3])

    @property
    def correct(self) -> Array:
        """Whether the label is the first of the largest logits."""
        return np.equal(self.rank, 0)


def scores(batch: Batch) -> Scores:
    """The scores of every row; ValueError that names the first row with NaN or +inf among its logits."""
    outs = np.empty((5, len(batch.rows)))
    if len(batch.rows):
        implementations.scores.into(tuple(outs), 1, batch.rows, batch.labels, batch.temperature)
    found = Scores(outs[:4], outs[4])
    if np.isnan(found.nll).any():
        raise batch.refuse(int(np.isnan(found.nll).argmax()), "the logits must not hold NaN or +inf, nor −inf alone")
    return found
