"""Multiclass objectives for XGBoost, LightGBM and CatBoost: cross-entropy in each library's own layout, sign and scale.

None of the libraries is imported here. With the curvature of the library's built-in objective and the same start the
models are the same; where a row saturates, the gradient and curvature here keep the small true value that the
built-ins, subtracting p from 1, lose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from softgrad._api.losses import CURVATURES, cross_entropy_grad_hess
from softgrad._api.operators import calculate_gradient
from softgrad._api.softmax import softmax
from softgrad._formulas.namespace import Array
from softgrad._validation.arrays import as_real

XGBOOST_LEAST_HESSIAN = 1e-16
"""XGBoost's own floor: without it a leaf of certain rows divides by 0 where `lambda` is 0."""


def xgboost_objective(n_classes: int, *, curvature: str = "upper") -> Objective:
    """Softmax cross-entropy for XGBoost, in place of ``multi:softprob``.

    Gradient s(p − e_y) and Hessian max(2s p(1−p), 1e−16) per row and class, with s the weight of the row.

    Parameters
    ----------
    n_classes : int
        K, the number of classes, at least 2.
    curvature : {"diagonal", "upper", "friedman", "residual"}, default: "upper"
        As in `cross_entropy_grad_hess`. XGBoost's own is ``"upper"``.

    Returns
    -------
    Objective
        To be given as ``obj`` to ``xgboost.train`` or as ``objective`` to ``xgboost.XGBClassifier``.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of these; in training, where the margins or labels do not fit `n_classes`.

    Notes
    -----
    ``xgboost.train`` needs ``"objective": "multi:softprob"`` and ``"num_class": K`` beside it: they shape the margins
    and turn them into probabilities. XGBoost starts from equal margins with an objective of one's own, and in 3.2
    from an estimate by the class frequencies with the built-in one; ``base_score=0.0`` gives both the same start. Then
    their probabilities agree to a few units of float32 (tested with 2.1 and 3.2) until rows saturate: the built-in's
    gradient p − 1 is 0 in float32 from p > 1 − 2⁻²⁵ on. With ``XGBClassifier`` K must be at least 3: for two classes it
    gives one margin per row, not two.

    Examples
    --------
    >>> import numpy as np, xgboost
    >>> from sklearn.datasets import load_iris
    >>> from softgrad.boosting import xgboost_objective
    >>> data = xgboost.DMatrix(*load_iris(return_X_y=True))
    >>> parameters = {"objective": "multi:softprob", "num_class": 3, "base_score": 0.0}
    >>> own = xgboost.train(parameters, data, 5, obj=xgboost_objective(3))
    >>> built_in = xgboost.train(parameters, data, 5)
    >>> bool(np.allclose(own.predict(data), built_in.predict(data), rtol=0, atol=1e-5))
    True
    """
    return Objective(n_classes, curvature, XGBOOST_LEAST_HESSIAN)


def lightgbm_objective(n_classes: int, *, curvature: str = "friedman") -> Objective:
    """Softmax cross-entropy for LightGBM, in place of ``multiclass``.

    Gradient s(p − e_y) and Hessian s K/(K−1) p(1−p) per row and class, with s the weight of the row.

    Parameters
    ----------
    n_classes : int
        K, the number of classes, at least 2.
    curvature : {"diagonal", "upper", "friedman", "residual"}, default: "friedman"
        As in `cross_entropy_grad_hess`. LightGBM's own is ``"friedman"``.

    Returns
    -------
    Objective
        To be given as ``"objective"`` in the parameters of ``lightgbm.train``, or as ``objective`` to
        ``lightgbm.LGBMClassifier``.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of these; in training, where the scores or labels do not fit `n_classes`.

    Notes
    -----
    ``lightgbm.train`` needs ``"num_class": K`` beside it. Models of an objective of one's own predict raw scores in
    LightGBM, ``LGBMClassifier.predict_proba`` included: `softgrad.softmax` makes probabilities of them. The built-in
    objective starts from the class frequencies; ``boost_from_average=False`` makes it start from zero scores too, and
    then the probabilities agree to 1e−12 (tested with 4.5 and 4.7). With ``LGBMClassifier`` K must be at least 3: for
    two classes it gives one score per row, not two.

    Examples
    --------
    >>> import lightgbm, numpy as np, softgrad as sg
    >>> from sklearn.datasets import load_iris
    >>> from softgrad.boosting import lightgbm_objective
    >>> x, labels = load_iris(return_X_y=True)
    >>> parameters = {"num_class": 3, "boost_from_average": False, "verbosity": -1}
    >>> own = lightgbm.train(parameters | {"objective": lightgbm_objective(3)}, lightgbm.Dataset(x, labels), 5)
    >>> built_in = lightgbm.train(parameters | {"objective": "multiclass"}, lightgbm.Dataset(x, labels), 5)
    >>> bool(np.allclose(sg.softmax(own.predict(x)), built_in.predict(x), rtol=0, atol=1e-5))
    True
    """
    return Objective(n_classes, curvature, 0.0)


def catboost_objective() -> CatBoostObjective:
    """Softmax cross-entropy for CatBoost, in place of ``MultiClass``.

    CatBoost maximizes: the first derivatives are s(e_y − p), the second ones the whole matrix −s(diag(p) − p pᵀ), with
    s the weight of the row.

    Returns
    -------
    CatBoostObjective
        To be given as ``loss_function`` to ``catboost.CatBoost`` or ``catboost.CatBoostClassifier``.

    Notes
    -----
    CatBoost needs an ``eval_metric`` beside it, such as ``"MultiClass"``. The number of classes and their order are
    CatBoost's, two classes included. Some of its defaults depend on the objective: `learning_rate` (automatic for
    ``MultiClass``, else 0.03), `bootstrap_type` (Bayesian, else MVS) and `leaf_estimation_backtracking`
    (AnyImprovement, else No; it matters where `leaf_estimation_iterations` is above 1). With these three given the
    probabilities agree with those of ``MultiClass`` to 1e−12 (tested with 1.2).

    CatBoost calls Python for every row twice in every iteration, some 30 µs for ten classes.

    Examples
    --------
    >>> import catboost, numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from softgrad.boosting import catboost_objective
    >>> x, labels = load_iris(return_X_y=True)
    >>> parameters = {"iterations": 5, "depth": 3, "learning_rate": 0.1, "bootstrap_type": "Bayesian"}
    >>> parameters |= {"verbose": False, "allow_writing_files": False}
    >>> own = catboost.CatBoostClassifier(loss_function=catboost_objective(), eval_metric="MultiClass", **parameters)
    >>> built_in = catboost.CatBoostClassifier(loss_function="MultiClass", **parameters)
    >>> p, q = (model.fit(x, labels).predict_proba(x) for model in (own, built_in))
    >>> bool(np.allclose(p, q, rtol=0, atol=1e-5))
    True
    """
    return CatBoostObjective()


@dataclass(frozen=True)
class Objective:
    """Gradient and curvature of cross-entropy, called as XGBoost's and LightGBM's two interfaces call objectives.

    ``train`` calls ``objective(scores, data)`` and the classifiers call ``objective(labels, scores, sample_weight)``.
    Both libraries look at the names and the number of the parameters to decide whether weights are passed.

    Parameters
    ----------
    n_classes : int
        K, at least 2.
    curvature : {"diagonal", "upper", "friedman", "residual"}
        As in `cross_entropy_grad_hess`.
    least_hessian : float
        Smaller curvatures are raised to this.
    """

    n_classes: int
    curvature: str
    least_hessian: float

    def __post_init__(self) -> None:
        if isinstance(self.n_classes, bool) or not isinstance(self.n_classes, int | np.integer):
            raise TypeError(f"n_classes must be an integer; got {self.n_classes!r}")
        if self.n_classes < 2:
            raise ValueError(f"n_classes must be at least 2; got {self.n_classes}")
        if self.curvature not in CURVATURES:
            raise ValueError(f"curvature must be one of {', '.join(map(repr, CURVATURES))}; got {self.curvature!r}")

    def __call__(self, first: Any, second: Any, sample_weight: Any = None) -> tuple[Array, Array]:
        """Gradient and Hessian, of the shape of the scores, (rows, K)."""
        if hasattr(second, "get_label"):
            scores, labels, sample_weight = first, second.get_label(), second.get_weight()
            if sample_weight is not None and len(sample_weight) == 0:  # XGBoost's "no weights"
                sample_weight = None
        else:
            labels, scores = first, second
        scores = self._checked(scores)
        _, grad, hess = cross_entropy_grad_hess(
            scores, _as_classes(labels), sample_weight=sample_weight, curvature=self.curvature
        )
        return grad, np.maximum(hess, self.least_hessian, out=hess)

    def _checked(self, scores: Any) -> Array:
        scores = as_real(scores, "scores")
        if scores.ndim != 2 or scores.shape[1] != self.n_classes:
            raise ValueError(
                f"the library's scores must have shape (rows, {self.n_classes}), one column for each of n_classes; got "
                f"{scores.shape}: num_class must be {self.n_classes}, and the classifiers give one score per row where "
                "there are only two classes"
            )
        return scores


class CatBoostObjective:
    """Derivatives of the log-likelihood of one row, called as CatBoost calls objectives of several classes."""

    no_jit: ClassVar[bool] = True  # otherwise CatBoost tries to compile the method with numba, and warns that it fails

    def __deepcopy__(self, memo: dict[int, Any]) -> CatBoostObjective:
        return self  # scikit-learn's clone wants the parameter back that it gave, CatBoost copies it

    def calc_ders_multi(self, approxes: Any, target: float, weight: float) -> tuple[list[float], list[list[float]]]:
        """First derivatives and the matrix of second ones, of one row with the scores `approxes`."""
        label = int(target)
        der2 = calculate_gradient(approxes)
        der2 *= -weight
        der1 = softmax(approxes)
        der1 *= -weight
        der1[label] = 0.0
        der1[label] = -der1.sum()  # the sum of the others is 1 − p, with nothing cancelled
        return der1.tolist(), der2.tolist()


def _as_classes(labels: Any) -> Array:
    """The libraries hold labels as float32: the same as integers."""
    labels = np.asarray(labels)
    whole = np.rint(labels) == labels
    if not whole.all():
        first = int(np.argmin(whole))
        raise ValueError(f"labels must be whole numbers; labels[{first}] is {labels[first]}")
    return labels.astype(np.int64)
