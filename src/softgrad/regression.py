"""Multinomial logistic regression as a scikit-learn estimator; it needs the extra ``sklearn``.

The loss, its gradient and the products with its Hessian are softgrad's; `newton` minimizes.
"""

from __future__ import annotations

import numbers
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from softgrad import newton
from softgrad.functions import log_softmax, softmax, softmax_vjp
from softgrad.losses import cross_entropy_grad

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.utils.class_weight import compute_class_weight
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ModuleNotFoundError as error:
    raise ImportError(f'softgrad.regression needs {error.name}: pip install "softgrad[sklearn]"') from None

Array = Any


class SoftmaxRegression(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Multinomial logistic regression with an L2 penalty, by Newton's method.

    The objective is that of `sklearn.linear_model.LogisticRegression`, with logits X Wᵀ + b::

        C * sum(s * cross_entropy(X @ W.T + b, y)) + sum(W**2) / 2

    s is the weight of a row times that of its class. The intercept b is not penalized.

    Parameters
    ----------
    C : float, default: 1.0
        The weight of the loss against the penalty, positive; ``inf`` leaves the penalty out.
    fit_intercept : bool, default: True
        Whether there is a b; it is 0 otherwise.
    class_weight : dict or "balanced", optional
        Weights of the classes, as in scikit-learn's classifiers.
    tol : float, default: 1e-6
        Iterations stop where no entry of the gradient, with respect to coefficients and intercepts, of the objective
        divided by C·Σs is larger: the quantity that `LogisticRegression` compares with its own `tol`.
    max_iter : int, default: 100
        The largest number of Newton steps; to end there warns.

    Attributes
    ----------
    classes_ : ndarray, shape (K,)
        The labels in the order of the rows of `coef_`.
    coef_ : ndarray, shape (K, d); (1, d) for two classes
        W. For two classes the logit of ``classes_[0]`` is 0 and the one row is that of ``classes_[1]``, as in
        scikit-learn.
    intercept_ : ndarray, shape (K,); (1,) for two classes
        b.
    n_iter_ : ndarray, shape (1,)
        The number of Newton steps.
    n_features_in_ : int
        d.
    feature_names_in_ : ndarray, shape (d,)
        The names of the features, where X had names.

    See Also
    --------
    softgrad.softmax_regression_hvp : products with the Hessian.

    Notes
    -----
    Böhning, "Multinomial logistic regression algorithm", Ann. Inst. Statist. Math. 44 (1992), has the Hessian. X is
    dense and computed with in float64; a centred copy of it is made.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from softgrad.regression import SoftmaxRegression
    >>> x, labels = load_iris(return_X_y=True)
    >>> model = SoftmaxRegression().fit(x, labels)
    >>> model.coef_.shape, round(float(model.score(x, labels)), 4)
    ((3, 4), 0.9733)
    """

    def __init__(
        self,
        C: float = 1.0,
        *,
        fit_intercept: bool = True,
        class_weight: Any = None,
        tol: float = 1e-6,
        max_iter: int = 100,
    ) -> None:
        self.C = C
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SoftmaxRegression:
        """Find W and b.

        Parameters
        ----------
        X : array_like, shape (m, d)
            Features.
        y : array_like, shape (m,)
            Labels of any type.
        sample_weight : array_like, shape (m,), optional
            Weights of the rows, at least 0.

        Returns
        -------
        SoftmaxRegression
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If a parameter of the estimator lies outside its range, or the data are none for a classifier.
        """
        self._check_parameters()
        X, y = validate_data(self, X, y, dtype=np.float64, order="C")
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y must hold at least 2 classes; got one class: {self.classes_[0]}")
        weight = self._weight(X, y, labels, sample_weight)
        total = float(weight.sum())
        if not total > 0:
            raise ValueError("sample_weight and class_weight leave no row with a positive weight")
        problem = _Problem.of(X, labels, weight / total, len(self.classes_), 1 / (self.C * total), self.fit_intercept)
        start = np.zeros(problem.design.shape[1] * problem.columns)
        found = newton.minimize(problem, start, self.tol, self.max_iter)
        if not found.size <= self.tol:
            message = (
                f"the largest entry of the gradient is {found.size:.1e} after max_iter={self.max_iter} steps, "
                f"more than tol={self.tol:.1e}: raise one of the two, or scale the features"
            )
            warnings.warn(message, ConvergenceWarning, stacklevel=2)
        self.coef_, self.intercept_ = problem.coefficients(found.z)
        self.n_iter_ = np.array([found.steps], dtype=np.int32)
        return self

    def decision_function(self, X: Any) -> Array:
        """Logits, shape (m, K); for two classes those of ``classes_[1]``, shape (m,).

        Parameters
        ----------
        X : array_like, shape (m, d)
            Features.

        Returns
        -------
        ndarray
            X Wᵀ + b.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        logits = X @ self.coef_.T + self.intercept_
        return logits[:, 0] if len(self.classes_) == 2 else logits

    def predict(self, X: Any) -> Array:
        """Labels of the largest logits.

        Parameters
        ----------
        X : array_like, shape (m, d)
            Features.

        Returns
        -------
        ndarray, shape (m,)
            Entries of `classes_`.
        """
        logits = self._logits(X)  # before the classes, which an estimator without a fit does not have
        return self.classes_[logits.argmax(axis=1)]

    def predict_proba(self, X: Any) -> Array:
        """Probabilities of the classes.

        Parameters
        ----------
        X : array_like, shape (m, d)
            Features.

        Returns
        -------
        ndarray, shape (m, K)
            The softmax of the logits.
        """
        return softmax(self._logits(X))

    def predict_log_proba(self, X: Any) -> Array:
        """Logarithms of the probabilities, exact where a probability is nearly 1 or underflows.

        Parameters
        ----------
        X : array_like, shape (m, d)
            Features.

        Returns
        -------
        ndarray, shape (m, K)
            The log-softmax of the logits.
        """
        return log_softmax(self._logits(X))

    def _logits(self, X: Any) -> Array:
        """Logits of all classes, two included."""
        logits = self.decision_function(X)
        return logits if logits.ndim == 2 else _beside_zeros(logits[:, None])

    def _check_parameters(self) -> None:
        for name in ("C", "tol"):
            value = getattr(self, name)
            if not isinstance(value, numbers.Real) or isinstance(value, bool):
                raise TypeError(f"{name} must be a number; got {value!r}")
            if not float(value) > 0:
                raise ValueError(f"{name} must be positive; got {value!r}")
        if not isinstance(self.max_iter, numbers.Integral) or isinstance(self.max_iter, bool):
            raise TypeError(f"max_iter must be an integer; got {self.max_iter!r}")
        if self.max_iter < 1:
            raise ValueError(f"max_iter must be at least 1; got {self.max_iter!r}")

    def _weight(self, X: Array, y: Array, labels: Array, sample_weight: Any) -> Array:
        """One factor per row, of the row and of its class."""
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        per_class = compute_class_weight(self.class_weight, classes=self.classes_, y=y, sample_weight=weight)
        return weight * per_class[labels]


@dataclass(frozen=True, eq=False)
class _Problem:
    """The objective over C Σ s, for coefficients of centred and scaled features.

    Centring parts the intercept from the rest, and scaling evens out the curvature: both are a change of variables,
    which leaves the optimum where it is and takes fewer products with the Hessian to get there.
    """

    design: Array
    """Features, centred and divided by `scale`, and a column of ones: shape (m, d + 1), or (m, d) without intercept."""
    labels: Array
    weight: Array
    penalty: Array
    """The factor of each row of the coefficients in the penalty, shape (d + 1, 1)."""
    centre: Array
    scale: Array
    columns: int
    """Columns of the coefficients: one for each class, or 1 for two classes."""

    @classmethod
    def of(cls, X: Array, labels: Array, weight: Array, n_classes: int, penalty: float, intercept: bool) -> _Problem:
        """The problem for rows whose weights sum to 1."""
        centre = weight @ X if intercept else np.zeros(X.shape[1])
        design = np.empty((len(X), X.shape[1] + intercept))
        features = design[:, : X.shape[1]]
        np.subtract(X, centre, out=features)
        # The diagonal of the Hessian at 0 is about its square. Its own root, which is the usual choice, is worse where
        # a few rows alone are left with curvature: 750 products for the digits, against 390 by this and unscaled.
        scale = (np.einsum("i,ij,ij->j", weight, features, features) / n_classes + 10 * penalty) ** 0.25
        scale[scale == 0] = 1
        features /= scale
        per_row = penalty / scale**2
        if intercept:
            design[:, -1] = 1
            per_row = np.append(per_row, 0)
        columns = 1 if n_classes == 2 else n_classes
        return cls(design, labels, weight, per_row[:, None], centre, scale, columns)

    def value_grad(self, z: Array) -> tuple[float, Array]:
        """The objective and its gradient."""
        W = z.reshape(-1, self.columns)
        logits = self._all(self.design @ W)
        loss, grad = cross_entropy_grad(logits, self.labels, sample_weight=self.weight, grad_out=logits)
        value = loss.sum() + (self.penalty * W * W).sum() / 2
        return float(value), (self.design.T @ self._own(grad) + self.penalty * W).ravel()

    def curvature(self, z: Array) -> newton.Curvature:
        """The Hessian, Σ s xᵀ (diag(p) − p pᵀ) x and the penalty; it keeps p."""
        p = softmax(self._all(self.design @ z.reshape(-1, self.columns)))
        weight = self.weight[:, None]

        def product(v: Array) -> Array:
            V = v.reshape(-1, self.columns)
            change = self._own(softmax_vjp(p, self._all(self.design @ V)))
            return (self.design.T @ (weight * change) + self.penalty * V).ravel()

        return product

    def size(self, grad: Array) -> float:
        """The largest entry of the gradient with respect to the coefficients of the features as they came."""
        G = grad.reshape(-1, self.columns)
        d = len(self.scale)
        own = G[:d] * self.scale[:, None]
        if len(G) > d:
            own = np.concatenate([own + self.centre[:, None] * G[d], G[d:]])
        return float(np.abs(own).max(initial=0.0))

    def coefficients(self, z: Array) -> tuple[Array, Array]:
        """`coef_` and `intercept_`."""
        W = z.reshape(-1, self.columns)
        d = len(self.scale)
        coef = np.ascontiguousarray((W[:d] / self.scale[:, None]).T)
        return coef, (W[d] - coef @ self.centre if len(W) > d else np.zeros(self.columns))

    def _all(self, logits: Array) -> Array:
        """Logits of every class: that of the first of two is 0."""
        return logits if self.columns > 1 else _beside_zeros(logits)

    def _own(self, grad: Array) -> Array:
        """The part of a gradient that belongs to the logits which have coefficients."""
        return grad if self.columns > 1 else grad[:, 1:]


def _beside_zeros(logits: Array) -> Array:
    return np.concatenate([np.zeros_like(logits), logits], axis=1)
