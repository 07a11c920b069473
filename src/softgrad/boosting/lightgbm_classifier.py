"""LGBMClassifier for objectives of one's own: LightGBM's returns raw scores as labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from lightgbm import LGBMClassifier

import softgrad as sg
from softgrad._formulas.namespace import Array


class LGBMSoftmaxClassifier(LGBMClassifier):  # type: ignore[misc]  # LightGBM counts as Any
    """``lightgbm.LGBMClassifier`` whose models of `lightgbm_objective` predict classes and probabilities.

    With an objective of one's own LightGBM's ``predict`` and ``predict_proba`` return raw scores, and ``score`` fails.
    Here ``predict_proba`` is their softmax and ``predict`` the most probable class. Everything else is LightGBM's, with
    built-in objectives these two as well. The parameters are those of ``LGBMClassifier``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from softgrad.boosting import LGBMSoftmaxClassifier, lightgbm_objective
    >>> x, labels = load_iris(return_X_y=True)
    >>> model = LGBMSoftmaxClassifier(objective=lightgbm_objective(3), n_estimators=20, verbosity=-1)
    >>> model.fit(x, labels).score(x, labels) > 0.95
    True
    """

    def predict_proba(
        self,
        X: Any,
        raw_score: bool = False,
        start_iteration: int = 0,
        num_iteration: int | None = None,
        pred_leaf: bool = False,
        pred_contrib: bool = False,
        validate_features: bool = False,
        **kwargs: Any,
    ) -> Array:
        """Probabilities, of shape (rows, classes); with `raw_score` and the like as LightGBM."""
        scores = self._is_custom and not (raw_score or pred_leaf or pred_contrib)
        found = super().predict_proba(
            X, raw_score or scores, start_iteration, num_iteration, pred_leaf, pred_contrib, validate_features, **kwargs
        )
        return sg.softmax(found) if scores else found

    def predict(
        self,
        X: Any,
        raw_score: bool = False,
        start_iteration: int = 0,
        num_iteration: int | None = None,
        pred_leaf: bool = False,
        pred_contrib: bool = False,
        validate_features: bool = False,
        **kwargs: Any,
    ) -> Array:
        """The most probable class of each row; with `raw_score` and the like as LightGBM."""
        found = super().predict(
            X, raw_score, start_iteration, num_iteration, pred_leaf, pred_contrib, validate_features, **kwargs
        )
        if not self._is_custom or raw_score or pred_leaf or pred_contrib:
            return found
        return self.classes_[np.argmax(found, axis=1)]  # LightGBM's predict returns what predict_proba does

    @property
    def _is_custom(self) -> bool:
        return callable(self.objective_)
