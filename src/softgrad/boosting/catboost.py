"""Cross-entropy and focal loss for CatBoost, which calls Python for every row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

import numpy as np

import softgrad as sg
from softgrad._formulas.namespace import Array
from softgrad.boosting.calls import made_by_call
from softgrad.boosting.loss import Loss, LossOptions


@made_by_call("an objective", "catboost_objective()", methods=("calc_ders_multi", "calc_ders_range"))
def catboost_objective(**loss: Unpack[LossOptions]) -> CatBoostObjective:
    """Softmax cross-entropy for CatBoost, instead of ``MultiClass``, at 25 to 100 times its cost.

    CatBoost maximizes: the first derivatives are s(e_y − p), the second ones the whole matrix −s(diag(p) − p pᵀ), with
    s the weight of the row.

    Parameters
    ----------
    weight, label_smoothing, gamma : optional
        As in `xgboost_objective`.

    Returns
    -------
    CatBoostObjective
        To be given as ``loss_function`` to ``catboost.CatBoost`` or ``catboost.CatBoostClassifier``.

    Warns
    -----
    UserWarning
        By CatBoost, if numba is not installed; the objective does not use it.

    See Also
    --------
    catboost_metric : the mean of the same loss, for early stopping.
    catboost_soft_objective : distributions instead of labels.

    Notes
    -----
    **Cost.** CatBoost calls Python for every row twice in every iteration, some 30 µs for ten classes, and 300 µs with
    label smoothing. Training on 10 000 rows of ten features took 26 times as long as with ``MultiClass`` on one thread,
    with three classes 44 times, and more threads speed up only the latter. Take the built-in loss where it will do.

    CatBoost needs ``eval_metric="MultiClass"`` as well, which is right here (CatBoost's own metrics read raw scores),
    or `catboost_metric`. The number of classes and their order are
    CatBoost's, two classes included. Some of its defaults depend on the objective: `learning_rate` (automatic for
    ``MultiClass``, else 0.03), `bootstrap_type` (Bayesian, else MVS) and `leaf_estimation_backtracking`
    (AnyImprovement, else No; it matters where `leaf_estimation_iterations` is above 1). With these three given the
    probabilities agree with those of ``MultiClass`` to 1e−12 (tested with 1.2).

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
    return CatBoostObjective(Loss(None, **loss))


@made_by_call("a metric", "catboost_metric()", methods=("is_max_optimal", "evaluate"))
def catboost_metric(**loss: Unpack[LossOptions]) -> CatBoostMetric:
    """The mean loss for CatBoost, of models whose objective is `catboost_objective` or ``MultiClass``.

    Parameters
    ----------
    weight, label_smoothing, gamma : optional
        As in `catboost_objective`. Without them CatBoost's own ``"MultiClass"`` is the same, and faster.

    Returns
    -------
    CatBoostMetric
        To be given as ``eval_metric``. With it CatBoost needs ``classes_count=K``, and labels that are 0, 1, …, K − 1.

    Examples
    --------
    >>> import catboost
    >>> from sklearn.datasets import load_iris
    >>> from softgrad.boosting import catboost_metric, catboost_objective
    >>> x, labels = load_iris(return_X_y=True)
    >>> model = catboost.CatBoostClassifier(
    ...     loss_function=catboost_objective(gamma=2.0),
    ...     eval_metric=catboost_metric(gamma=2.0),
    ...     classes_count=3,
    ...     iterations=5,
    ...     early_stopping_rounds=3,
    ...     verbose=False,
    ...     allow_writing_files=False,
    ... )
    >>> list(model.fit(x, labels, eval_set=(x, labels)).get_best_score()["validation"])
    ['CatBoostMetric']
    """
    return CatBoostMetric(Loss(None, **loss))


@made_by_call("an objective", "catboost_soft_objective()", methods=("calc_ders_multi", "calc_ders_range"))
def catboost_soft_objective(**loss: Unpack[LossOptions]) -> Any:
    """Cross-entropy of soft labels for CatBoost: of labels with a column per class.

    Parameters
    ----------
    weight, label_smoothing : optional
        As in `catboost_objective`.

    Returns
    -------
    CatBoostSoftObjective
        To be given as ``loss_function`` to ``catboost.CatBoost``, beside ``eval_metric=catboost_soft_metric()``.

    Raises
    ------
    ModuleNotFoundError
        If CatBoost is not installed.

    Notes
    -----
    The cost is that of `catboost_objective`. The model predicts raw scores: `softgrad.softmax` makes probabilities of
    them.

    Examples
    --------
    >>> import catboost, numpy as np, softgrad as sg
    >>> from sklearn.datasets import load_iris
    >>> from softgrad.boosting import catboost_soft_metric, catboost_soft_objective
    >>> x, labels = load_iris(return_X_y=True)
    >>> distributions = 0.9 * np.eye(3)[labels] + 0.1 / 3
    >>> model = catboost.CatBoost({
    ...     "loss_function": catboost_soft_objective(),
    ...     "eval_metric": catboost_soft_metric(),
    ...     "iterations": 5,
    ...     "verbose": False,
    ...     "allow_writing_files": False,
    ... })
    >>> sg.softmax(model.fit(x, distributions).predict(x)).shape
    (150, 3)
    """
    from softgrad.boosting.catboost_soft import CatBoostSoftObjective  # noqa: PLC0415  it imports CatBoost

    return CatBoostSoftObjective(Loss(None, **loss))


@made_by_call("a metric", "catboost_soft_metric()", methods=("is_max_optimal", "evaluate"))
def catboost_soft_metric(**loss: Unpack[LossOptions]) -> Any:
    """The mean loss of soft labels for CatBoost.

    Parameters
    ----------
    weight, label_smoothing : optional
        As in `catboost_objective`.

    Returns
    -------
    CatBoostSoftMetric
        To be given as ``eval_metric``, beside `catboost_soft_objective`, whose docstring has an example.
    """
    from softgrad.boosting.catboost_soft import CatBoostSoftMetric  # noqa: PLC0415  it imports CatBoost

    return CatBoostSoftMetric(Loss(None, **loss))


class Callback:
    """An object whose methods CatBoost calls."""

    no_jit: ClassVar[bool] = True  # otherwise CatBoost tries to compile the method with numba, and warns that it fails

    def __init__(self, loss: Loss) -> None:
        self.loss = loss

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self  # scikit-learn's clone wants the parameter back that it gave, CatBoost copies it


class CatBoostObjective(Callback):
    """Derivatives of the negative loss of one row, called as CatBoost calls objectives of several classes."""

    def calc_ders_multi(self, approxes: Any, target: float, weight: float) -> tuple[list[float], list[list[float]]]:
        """First derivatives and the matrix of second ones, of one row with the scores `approxes`."""
        label = int(target)
        if self.loss.label_smoothing:
            return negative_derivatives(self.loss, approxes, np.int64(label), weight)
        factor = -weight * self.loss.label_factor(approxes, label)
        der2 = sg.calculate_gradient(approxes)
        der2 *= factor
        der1 = sg.softmax(approxes)
        der1 *= factor
        der1[label] = 0.0
        der1[label] = -der1.sum()  # the sum of the others is 1 − p, with nothing cancelled
        return der1.tolist(), der2.tolist()


class CatBoostMetric(Callback):
    """The mean loss, called as CatBoost calls metrics."""

    def is_max_optimal(self) -> bool:
        """Whether a larger value is a better one."""
        return False

    def evaluate(self, approxes: Sequence[Array], target: Any, weight: Any) -> tuple[float, float]:
        """The sum of the losses and that of the weights; one array of scores per class."""
        return self.loss.sums(np.stack(approxes, axis=-1), np.asarray(target), weight)

    def get_final_error(self, error: float, weight: float) -> float:
        """The mean."""
        return error / weight


def negative_derivatives(
    loss: Loss, scores: Any, target: Array, weight: float
) -> tuple[list[float], list[list[float]]]:
    """The derivatives of −`loss` of one row, for a library that maximizes."""
    scores = np.asarray(scores)
    grad, factor = loss.gradient(scores, target, weight)
    return np.negative(grad).tolist(), (-factor * sg.calculate_gradient(scores)).tolist()
