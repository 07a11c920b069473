"""Multinomial logistic regression as a scikit-learn estimator; it needs the extra ``sklearn``.

`objective` is what is minimized, and `trust_region` minimizes it.
"""

from __future__ import annotations

import numbers
import warnings
from typing import Any

import numpy as np

from softgrad._api.softmax import log_softmax, softmax
from softgrad._dispatch import dispatched, library_of
from softgrad._formulas.namespace import Array
from softgrad.regression import trust_region
from softgrad.regression.objective import InMemory, PenalizedLoss, RowBlocks, beside_zeros

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.utils.class_weight import compute_class_weight
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_array, check_is_fitted, validate_data
except ModuleNotFoundError as error:
    raise ImportError(f'softgrad.regression needs {error.name}: pip install "softgrad[sklearn]"') from None


NO_GRADIENT = 100 * float(np.finfo(np.float64).eps)
"""Rounding errors of a gradient that is 0."""


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
        The largest number of Newton steps; to end there warns, as does to take none where the gradient is not 0.
    warm_start : bool, default: False
        Whether a further fit starts from the coefficients of the one before, of the same classes and features.

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
    Böhning, "Multinomial logistic regression algorithm", Ann. Inst. Statist. Math. 44 (1992), has the Hessian.
    Computed in float64. A centred copy is made of a dense X; a sparse one, of SciPy, stays sparse.

    Dask arrays are fitted block by block: X in chunks of rows, y and the weights as Dask's arrays or in memory. The
    scheduler computes every value and gradient of the objective, and every product with the Hessian, in one go over X,
    dozens of them in a fit: let X persist where the workers' memory holds it. Sums over blocks have a fixed order.
    Predictions of Dask arrays are lazy.

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
        warm_start: bool = False,
    ) -> None:
        self.C = C
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SoftmaxRegression:
        """Find W and b.

        Parameters
        ----------
        X : array_like, sparse array or dask.array.Array, shape (m, d)
            Features; a Dask array in one chunk along its columns.
        y : array_like, shape (m,)
            Labels of any type; with Dask features also a Dask array.
        sample_weight : array_like, shape (m,), optional
            Weights of the rows, at least 0; with Dask features also a Dask array.

        Returns
        -------
        SoftmaxRegression
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If a parameter of the estimator is outside its range, or the data are not those of a classifier.
        """
        self._check_parameters()
        before = self._fit_before() if self.warm_start else None
        rows, X, y, weight = self._columns(X, y, sample_weight)
        classes, sums = rows.merged(rows.each(_classes, y, weight), _union)
        if len(classes) < 2:
            got = f"one class: {classes[0]}" if len(classes) else "no rows"
            raise ValueError(f"y must hold at least 2 classes; got {got}")
        check_classification_targets(np.repeat(classes, 2))  # labels that never repeat look like a regression's
        factors = self._class_factors(classes, sums)
        total = float(sums @ factors)
        if not total > 0:
            raise ValueError("sample_weight and class_weight leave no row with a positive weight")
        labels = rows.each(_places, y, classes=classes)
        weight = rows.each(_weights, labels, weight, factors=factors / total)
        penalty = 1 / (self.C * total)
        problem = PenalizedLoss.of(rows, X, labels, weight, len(classes), penalty, self.fit_intercept)
        start = problem.start(*self._start(before, classes, X.shape[1]))
        found = trust_region.minimize(problem, start, self.tol, self.max_iter)
        message = None
        if not found.size <= self.tol:
            message = (
                f"the largest entry of the gradient is {found.size:.1e} after max_iter={self.max_iter} steps, "
                f"more than tol={self.tol:.1e}: raise one of the two, or scale the features"
            )
        elif found.steps == 0 and not start.any() and found.size > NO_GRADIENT:
            message = (
                f"no step was taken, and all coefficients are 0: the largest entry of the gradient there is "
                f"{found.size:.1e}, within tol={self.tol:.1e}: lower tol, or scale the features"
            )
        if message is not None:
            warnings.warn(message, ConvergenceWarning, stacklevel=2)
        self.classes_ = classes
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
        logits = self._free_logits(X)
        return self._as_chosen(logits[:, 0] if len(self.classes_) == 2 else logits, X)

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
        return _likeliest(logits, classes=self.classes_)

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
        return self._as_chosen(softmax(self._logits(X)), X)

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
        return self._as_chosen(log_softmax(self._logits(X)), X)

    def _logits(self, X: Any) -> Array:
        """Logits of all classes, two included."""
        logits = self._free_logits(X)
        return logits if len(self.classes_) > 2 else beside_zeros(logits)

    def _free_logits(self, X: Any) -> Array:
        """The logits that have coefficients."""
        check_is_fitted(self)
        blocks = _row_blocks(X)
        if blocks is None:
            X = validate_data(self, X, dtype=np.float64, accept_sparse="csr", reset=False)
        else:
            X = self._lazy(blocks, X)
        return X @ self.coef_.T + self.intercept_

    def set_output(self, *, transform: str | None = None) -> SoftmaxRegression:
        """Choose what `decision_function`, `predict_proba` and `predict_log_proba` return.

        Parameters
        ----------
        transform : {"default", "pandas"}, optional
            ``"pandas"`` for tables whose columns are the classes, with the index of X where it has one; ``"default"``
            for arrays. None changes nothing.

        Returns
        -------
        SoftmaxRegression
            The estimator itself.

        Raises
        ------
        ValueError
            If `transform` is none of these.
        """
        if transform not in (None, "default", "pandas"):
            raise ValueError(f"transform must be 'default', 'pandas' or None; got {transform!r}")
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}  # which scikit-learn's clone copies
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _as_chosen(self, values: Array, X: Any) -> Any:
        """Values in the kind of container that `set_output` has chosen."""
        if getattr(self, "_sklearn_output_config", {}).get("transform") != "pandas":
            return values
        import pandas as pd  # noqa: PLC0415  only this needs it

        index = getattr(X, "index", None)
        if values.ndim == 1:
            return pd.Series(values, index=index, name=self.classes_[1])
        return pd.DataFrame(values, index=index, columns=self.classes_)

    def _class_factors(self, classes: Array, sums: Array) -> Array:
        """The weight of every class; `sums` are those of its rows."""
        if isinstance(self.class_weight, str) and self.class_weight == "balanced" and not sums.all():
            empty = ", ".join(map(str, classes[sums == 0]))
            raise ValueError(
                f"class_weight='balanced' gives no weight to class {empty}: all of its rows have sample_weight 0; leave"
                " them out"
            )
        factors = compute_class_weight(self.class_weight, classes=classes, y=classes, sample_weight=sums)
        if not (np.isfinite(factors).all() and (factors >= 0).all()):
            raise ValueError(f"class_weight must be at least 0 and finite; got {self.class_weight!r}")
        return np.asarray(factors)

    def _fit_before(self) -> tuple[Array, Array, Array] | None:
        """Classes, coefficients and intercepts of the fit before, from which a warm start goes on."""
        return (self.classes_, self.coef_, self.intercept_) if hasattr(self, "coef_") else None

    def _start(self, before: tuple[Array, Array, Array] | None, classes: Array, d: int) -> tuple[Array, ...]:
        """Coefficients and intercepts to start from, if there are any."""
        if before is None:
            return ()
        fitted, coef, intercept = before
        if not np.array_equal(fitted, classes) or coef.shape[1] != d:
            raise ValueError(
                f"warm_start goes on from {len(fitted)} classes and {coef.shape[1]} features, as they were fitted;"
                f" got {len(classes)} classes and {d} features"
            )
        return coef, intercept

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

    def _columns(self, X: Any, y: Any, sample_weight: Any) -> tuple[RowBlocks, Array, Array, Array]:
        """Where the rows are, and their features, labels and weights, checked: those of Dask when they are computed."""
        blocks = _row_blocks(X)
        if blocks is None:
            X, y = validate_data(self, X, y, dtype=np.float64, order="C", accept_sparse="csr")
            check_classification_targets(y)
            weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
            return InMemory(), X, y, weight
        X = self._lazy(blocks, X, reset=True)
        y = blocks.each(_checked_labels, blocks.beside(X, "y", y))
        if sample_weight is None:
            return blocks, X, y, blocks.each(_ones, y)
        return blocks, X, y, blocks.each(_checked_weights, blocks.beside(X, "sample_weight", sample_weight))

    def _lazy(self, blocks: Any, X: Any, reset: bool = False) -> Array:
        """Features in the blocks of a Dask array."""
        blocks.check_features(X)
        validate_data(self, X, skip_check_array=True, reset=reset)  # their number, and names from an earlier fit
        return X.map_blocks(_checked_features, dtype=np.float64, meta=np.empty((0, 0)))


def _row_blocks(X: Any) -> Any:
    """The module for rows in blocks of arrays of X's library; None where X is taken as an array in memory."""
    return getattr(library_of(type(X)), "row_blocks", None)


@dispatched("(n)->()")
def _likeliest(logits: Any, /, *, classes: Array, axis: int = -1) -> Array:
    return classes[logits.argmax(axis=axis)]


# What is done with each block of rows, of which all rows in memory are one


def _checked_features(X: Array) -> Array:
    return check_array(X, dtype=np.float64, order="C", ensure_min_samples=0, input_name="X")


def _checked_labels(y: Array) -> Array:
    return check_array(y, dtype=None, ensure_2d=False, ensure_min_samples=0, input_name="y")


def _checked_weights(weight: Array) -> Array:
    return check_array(
        weight,
        dtype=np.float64,
        ensure_2d=False,
        ensure_min_samples=0,
        ensure_non_negative=weight.size > 0,  # scikit-learn looks for the least of them
        input_name="sample_weight",
    )


def _ones(y: Array) -> Array:
    return np.ones(len(y))


def _classes(y: Array, weight: Array) -> tuple[Array, Array]:
    """Labels in order, and the sum of the weights of each."""
    classes, places = np.unique(y, return_inverse=True)
    return classes, np.bincount(places, weight, minlength=len(classes))


def _union(found: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    classes, sums = zip(*found, strict=True)
    return _classes(np.concatenate(classes), np.concatenate(sums))


def _places(y: Array, *, classes: Array) -> Array:
    return np.searchsorted(classes, y)


def _weights(labels: Array, weight: Array, *, factors: Array) -> Array:
    return weight * factors[labels]
