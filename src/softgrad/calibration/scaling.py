"""Calibrated classifiers as scikit-learn estimators; they need the extra ``sklearn``."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from typing import Any, Self

import numpy as np

from softgrad._api.softmax import softmax
from softgrad._formulas.namespace import NDArray as Array
from softgrad.calibration import temperature, vector
from softgrad.calibration.data import data_of
from softgrad.calibration.temperature import NoMinimumError

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import check_cv, cross_val_predict
    from sklearn.preprocessing import LabelEncoder
    from sklearn.utils import column_or_1d, get_tags
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import (
        _check_sample_weight,
        _num_samples,
        check_is_fitted,
        has_fit_parameter,
        indexable,
    )
except ModuleNotFoundError as error:
    raise ImportError(
        f'the estimators of softgrad.calibration need {error.name}: pip install "softgrad[sklearn]"'
    ) from None


LEAST = 1e-12
"""What is added to probabilities before their logarithm, for 0 has none; as in scikit-learn."""


class Scaling(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A classifier whose logits are scaled by what is fitted to predictions for rows that it was not fitted to."""

    def __init__(self, estimator: Any = None, *, cv: Any = None) -> None:
        self.estimator = estimator
        self.cv = cv

    @abstractmethod
    def _fit_logits(self, logits: Array, labels: Array, weight: Array | None) -> None:
        """Find the parameters; NoMinimumError where there are none."""

    @abstractmethod
    def _scaled(self, logits: Array) -> Array:
        """Logits with the parameters applied."""

    @abstractmethod
    def _leave(self, n: int) -> None:
        """Take the parameters that change nothing."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the classifier, and the parameters to its predictions for rows that it was not fitted to.

        Parameters
        ----------
        X : array_like, shape (m, d)
            What the classifier takes.
        y : array_like, shape (m,)
            Labels of any type.
        sample_weight : array_like, shape (m,), optional
            Weights of the rows, at least 0; the classifier gets them, too, if it takes them.

        Returns
        -------
        Scaling
            The estimator itself.

        Raises
        ------
        ValueError
            If the data are not those of a classifier.
        """
        X, y = indexable(X, y)
        if _num_samples(X) == 0:
            raise ValueError("X must hold at least one row; got none")
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        encoder = LabelEncoder().fit(y)
        labels = encoder.transform(y)
        if len(encoder.classes_) < 2:
            raise ValueError(f"y must hold at least 2 classes; got one class: {encoder.classes_[0]}")
        estimator = self._classifier()
        options = {}
        weight = None
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
            if has_fit_parameter(estimator, "sample_weight"):
                options["sample_weight"] = weight
        method = "decision_function" if hasattr(estimator, "decision_function") else "predict_proba"
        cv = check_cv(self.cv, y, classifier=True)
        found = cross_val_predict(estimator, X, y, cv=cv, method=method, params=options)
        self.estimator_ = clone(estimator).fit(X, y, **options)
        self.classes_ = encoder.classes_
        try:
            self._fit_logits(_as_logits(found, method), labels, weight)
        except NoMinimumError as error:
            warnings.warn(f"{error}; the probabilities stay as they are", ConvergenceWarning, stacklevel=2)
            self._leave(len(self.classes_))
        return self

    def predict_proba(self, X: Any) -> Array:
        """Calibrated probabilities of the classes.

        Parameters
        ----------
        X : array_like, shape (m, d)
            What the classifier takes.

        Returns
        -------
        ndarray, shape (m, K)
            The softmax of the scaled logits.
        """
        return np.asarray(softmax(self._logits(X)))

    def predict(self, X: Any) -> Array:
        """Labels of the largest probabilities.

        Parameters
        ----------
        X : array_like, shape (m, d)
            What the classifier takes.

        Returns
        -------
        ndarray, shape (m,)
            Entries of `classes_`.
        """
        logits = self._logits(X)
        labels: Array = self.classes_[logits.argmax(axis=1)]
        return labels

    def _logits(self, X: Any) -> Array:
        check_is_fitted(self)
        method = "decision_function" if hasattr(self.estimator_, "decision_function") else "predict_proba"
        return self._scaled(_as_logits(getattr(self.estimator_, method)(X), method))

    @property
    def n_features_in_(self) -> int:
        """The number of features, as the classifier has it."""
        check_is_fitted(self)
        found: int = self.estimator_.n_features_in_
        return found

    def _classifier(self) -> Any:
        if self.estimator is not None:
            return self.estimator
        from softgrad.regression import SoftmaxRegression  # noqa: PLC0415  only the default needs it

        return SoftmaxRegression()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = get_tags(self._classifier()).input_tags.sparse
        return tags


class TemperatureScaling(Scaling):
    """A classifier whose logits are divided by the temperature that makes the loss of held-out rows smallest.

    Parameters
    ----------
    estimator : classifier, optional
        With `decision_function` or ``predict_proba``. Default: `softgrad.regression.SoftmaxRegression`. One that is
        fitted already goes into a `sklearn.frozen.FrozenEstimator`; then X are rows to calibrate with.
    cv : int, cross-validation generator or iterable, optional
        How rows are held out, as in scikit-learn. Default: 5 folds with the classes in proportion.

    Attributes
    ----------
    temperature_ : float
        T; 1 changes nothing. For two classes the logits are 0 and the decision function.
    estimator_ : classifier
        The classifier, fitted to all rows.
    classes_ : ndarray, shape (K,)
        The labels.

    See Also
    --------
    softgrad.fit_temperature : of logits themselves.
    sklearn.calibration.CalibratedClassifierCV : the same with ``method="temperature", ensemble=False``.

    Notes
    -----
    Where the held-out rows are all predicted right, no temperature is the best: a ConvergenceWarning says so, and T is
    1. Logits of probabilities are log(p + 10⁻¹²), as in scikit-learn.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from softgrad.calibration import TemperatureScaling
    >>> x, labels = load_iris(return_X_y=True)
    >>> model = TemperatureScaling().fit(x, labels)
    >>> model.temperature_ < 1  # the penalty makes the classifier too careful
    True
    """

    def _fit_logits(self, logits: Array, labels: Array, weight: Array | None) -> None:
        found = temperature.fit(data_of(logits, labels, sample_weight=weight))
        self.temperature_, self.n_iter_ = found.temperature, found.iterations

    def _scaled(self, logits: Array) -> Array:
        return logits / self.temperature_

    def _leave(self, n: int) -> None:
        self.temperature_, self.n_iter_ = 1.0, 1


class VectorScaling(Scaling):
    """A classifier whose logits get a factor and a bias for each class, which make the loss of held-out rows smallest.

    Parameters
    ----------
    estimator : classifier, optional
        As for `TemperatureScaling`.
    cv : int, cross-validation generator or iterable, optional
        As for `TemperatureScaling`.

    Attributes
    ----------
    scale_, bias_ : ndarray, shape (K,)
        Logits become ``scale_ * logits + bias_``. For two classes the logits are 0 and the decision function.
    estimator_ : classifier
        The classifier, fitted to all rows.
    classes_ : ndarray, shape (K,)
        The labels.

    See Also
    --------
    fit_vector_scaling : of logits themselves.

    Notes
    -----
    Where held-out rows of a class are all predicted right, a factor or a bias may grow for ever: a ConvergenceWarning
    says so, and the probabilities stay as they are.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from softgrad.calibration import VectorScaling
    >>> x, labels = make_classification(500, n_informative=4, n_classes=3, flip_y=0.2, random_state=0)
    >>> VectorScaling().fit(x, labels).scale_.shape
    (3,)
    """

    def _fit_logits(self, logits: Array, labels: Array, weight: Array | None) -> None:
        found = vector.fit(data_of(logits, labels, sample_weight=weight))
        self.scale_, self.bias_, self.n_iter_ = found.scale, found.bias, found.iterations

    def _scaled(self, logits: Array) -> Array:
        return logits * self.scale_ + self.bias_

    def _leave(self, n: int) -> None:
        self.scale_, self.bias_, self.n_iter_ = np.ones(n), np.zeros(n), 1


def _as_logits(values: Any, method: str) -> Array:
    """Logits of all classes in float64, from decision functions or probabilities."""
    values = np.asarray(values)
    if method == "predict_proba":
        return np.asarray(np.log(values.astype(np.float64) + LEAST))
    values = values.astype(np.float64)
    return values if values.ndim == 2 else np.stack([np.zeros_like(values), values], axis=1)
