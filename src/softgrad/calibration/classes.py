"""Numbers for each class: how often it is right and predicted, its losses, and the calibration of its probability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from softgrad._formulas.namespace import NDArray as Array
from softgrad._formulas.precision import silent
from softgrad._numpy import softmax as maps
from softgrad.calibration import sums
from softgrad.calibration.batches import Batch
from softgrad.calibration.reliability import read_only
from softgrad.calibration.scores import Scores


@dataclass(frozen=True, eq=False, slots=True)
class ClassRows:
    """Numbers for each class.

    Parameters
    ----------
    support : ndarray of int, shape (n,)
        How many rows have the label.
    predicted : ndarray, shape (n,)
        The weight of the rows whose largest logit it is.
    precision, recall : ndarray, shape (n,)
        The share of these rows that are right, and the share of the rows of the class that are; NaN of none.
    nll, confidence : ndarray, shape (n,)
        Means over the rows of the class.
    ece : ndarray, shape (n,)
        The calibration error of the probability of the class over all rows, in uniform bins (Kull et al., "Beyond
        temperature scaling", NeurIPS 2019, section 2).
    """

    support: Array
    predicted: Array
    precision: Array
    recall: Array
    nll: Array
    confidence: Array
    ece: Array

    def __post_init__(self) -> None:
        read_only(self)


class Classes(NamedTuple):
    """What is added up for each class; sums in double words."""

    support: Array
    by_label: Array
    """Σ w, Σ w nll, Σ w confidence and Σ w [correct] of the rows of each class."""
    predicted: Array
    """Σ w of the rows for which each class is predicted."""
    probability: Array
    """Σ w p_j − Σ w [j is the label] of the rows in each bin of p_j, shape (2, n, bins)."""

    @classmethod
    def of(cls, batch: Batch, s: Scores, bins: int) -> Classes:
        """The sums of a batch."""
        weight = np.ones(len(s.nll)) if batch.weight is None else batch.weight
        labels, n = batch.labels, batch.rows.shape[-1]
        by_label = [sums.grouped(labels, v * weight, n) for v in (np.ones_like(weight), s.nll, s.confidence, s.correct)]
        predicted = batch.rows.argmax(axis=-1) if len(weight) else labels
        p = maps.softmax(np.asarray(batch.rows, np.float64), None, batch.temperature)
        edges = np.linspace(0.0, 1.0, bins + 1)
        place = np.searchsorted(edges[1:-1], p) + np.arange(0, n * bins, bins)
        residual = p
        residual[np.arange(len(weight)), labels] -= 1
        residual *= weight[:, None]
        probability = sums.grouped(place.reshape(-1), residual.reshape(-1), n * bins)
        return cls(
            np.bincount(labels, minlength=n),
            np.stack(by_label, axis=1),
            sums.grouped(predicted, weight, n),
            probability.reshape(2, n, bins),
        )

    def __add__(self, other: Classes) -> Classes:  # type: ignore[override]
        return Classes(
            self.support + other.support, *(sums.added(a, b) for a, b in zip(self[1:], other[1:], strict=True))
        )

    @silent
    def rows(self, weight: float) -> ClassRows:
        """Means from the sums; `weight` is that of all rows."""
        of_class, nll, confidence, correct = self.by_label[0]
        predicted = self.predicted[0]
        ece = np.abs(self.probability[0]).sum(axis=-1) / np.float64(weight)
        return ClassRows(
            self.support, predicted, correct / predicted, correct / of_class, nll / of_class, confidence / of_class, ece
        )
