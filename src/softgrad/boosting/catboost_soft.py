"""Soft labels for CatBoost, which knows such objectives and metrics by their base class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from catboost import MultiTargetCustomMetric, MultiTargetCustomObjective

from softgrad._formulas.namespace import Array
from softgrad.boosting.catboost import Callback, CatBoostMetric, negative_derivatives


class CatBoostSoftObjective(Callback, MultiTargetCustomObjective):  # type: ignore[misc]
    """Derivatives of the negative loss of one row, called as CatBoost calls objectives of several targets."""

    def calc_ders_multi(self, approxes: Any, target: Any, weight: float) -> tuple[list[float], list[list[float]]]:
        """First derivatives and the matrix of second ones, of one row with the scores `approxes`."""
        return negative_derivatives(self.loss, approxes, np.asarray(target), weight)


class CatBoostSoftMetric(CatBoostMetric, MultiTargetCustomMetric):  # type: ignore[misc]
    """The mean loss, called as CatBoost calls metrics of several targets."""

    def evaluate(self, approxes: Sequence[Array], target: Sequence[Array], weight: Any) -> tuple[float, float]:
        """The sum of the losses and that of the weights; one array of scores and one of targets per class."""
        return self.loss.sums(np.stack(approxes, axis=-1), np.stack(target, axis=-1), weight)
