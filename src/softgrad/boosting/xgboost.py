"""Cross-entropy and focal loss for XGBoost."""

from __future__ import annotations

from typing import Unpack

from softgrad.boosting.calls import Metric, Objective, made_by_call
from softgrad.boosting.loss import Loss, LossOptions, check_curvature

LEAST_HESSIAN = 1e-16
"""XGBoost's own: without it a leaf of certain rows divides by 0 where `lambda` is 0."""


@made_by_call("an objective", "xgboost_objective(n_classes)")
def xgboost_objective(n_classes: int, *, curvature: str = "upper", **loss: Unpack[LossOptions]) -> Objective:
    """Softmax cross-entropy for XGBoost, instead of ``multi:softprob``.

    Gradient s(p − e_y) and Hessian max(2s p(1−p), 1e−16) per row and class, with s the weight of the row.

    Parameters
    ----------
    n_classes : int
        K, the number of classes, at least 2.
    curvature : {"diagonal", "upper", "friedman", "residual"}, default: "upper"
        As in `cross_entropy_grad_hess`. XGBoost's own is ``"upper"``.
    weight : array_like, shape (K,), optional
        Factors of the classes.
    label_smoothing : float, default: 0.0
        The share, in [0, 1], of the target that is spread evenly over the classes.
    gamma : float, default: 0.0
        γ of the focal loss (1 − p)^γ · −log p, for labels without smoothing; 0 is cross-entropy. The curvature is that
        of cross-entropy times dloss/d(−log p): the part of the Hessian that is never negative.

    Returns
    -------
    Objective
        To be given as ``obj`` to ``xgboost.train`` or as ``objective`` to ``xgboost.XGBClassifier``.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of these; in training, where the margins or labels do not fit `n_classes`.

    See Also
    --------
    xgboost_metric : the mean of the same loss, for early stopping.

    Notes
    -----
    ``xgboost.train`` needs ``"objective": "multi:softprob"`` and ``"num_class": K`` as well: they shape the margins
    and turn them into probabilities. XGBoost starts from equal margins with an objective of one's own, and in 3.2
    from an estimate by the class frequencies with the built-in one; ``base_score=0.0`` gives both the same start. Then
    their probabilities agree to a few units of float32 (tested with 2.1 and 3.2) until rows saturate: the built-in's
    gradient p − 1 is 0 in float32 from p > 1 − 2⁻²⁵ on. With ``XGBClassifier`` K must be at least 3: for two classes it
    gives one margin per row, not two.

    Soft labels are labels with a column per class: ``xgboost.DMatrix(x, distributions)``, then without ``"objective"``
    and ``"num_class"``, or ``XGBRegressor(objective=xgboost_objective(K)).fit(x, distributions)``. Such models predict
    raw margins: `softgrad.softmax` makes probabilities of them.

    Examples
    --------
    >>> import numpy as np, xgboost
    >>> from sklearn.datasets import load_iris
    >>> from softgrad.boosting import xgboost_metric, xgboost_objective
    >>> data = xgboost.DMatrix(*load_iris(return_X_y=True))
    >>> parameters = {"objective": "multi:softprob", "num_class": 3, "base_score": 0.0}
    >>> own = xgboost.train(parameters, data, 5, obj=xgboost_objective(3))
    >>> built_in = xgboost.train(parameters, data, 5)
    >>> bool(np.allclose(own.predict(data), built_in.predict(data), rtol=0, atol=1e-5))
    True

    Early stopping on the loss that is trained:

    >>> parameters["disable_default_eval_metric"] = True
    >>> loss = {"label_smoothing": 0.1}
    >>> model = xgboost.train(
    ...     parameters,
    ...     data,
    ...     50,
    ...     evals=[(data, "train")],
    ...     obj=xgboost_objective(3, **loss),
    ...     custom_metric=xgboost_metric(3, **loss),
    ...     early_stopping_rounds=5,
    ...     verbose_eval=False,
    ... )
    >>> round(model.best_score, 2)
    0.29
    """
    return Objective(Loss(n_classes, **loss), check_curvature(curvature), LEAST_HESSIAN)


@made_by_call("a metric", "xgboost_metric(n_classes)")
def xgboost_metric(n_classes: int, **loss: Unpack[LossOptions]) -> Metric:
    """The mean loss for XGBoost, of models whose objective is `xgboost_objective`.

    Parameters
    ----------
    n_classes : int
        K, the number of classes, at least 2.
    weight, label_smoothing, gamma : optional
        As in `xgboost_objective`.

    Returns
    -------
    Metric
        To be given as ``custom_metric`` to ``xgboost.train`` or as ``eval_metric`` to ``xgboost.XGBClassifier``. Its
        value is the mean of the losses, weighted by the weights of the rows; its name is ``"cross_entropy"``, or
        ``"focal_loss"`` with a `gamma`.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of these; in training, where the margins or labels do not fit `n_classes`, or where
        probabilities arrive: models of built-in objectives have ``"mlogloss"``.

    Examples
    --------
    >>> import numpy as np
    >>> from softgrad.boosting import xgboost_metric
    >>> xgboost_metric(3)(np.array([0, 2]), np.zeros((2, 3)))
    1.0986122886681098
    """
    return Metric(Loss(n_classes, **loss), _result, "mlogloss")


def _result(name: str, mean: float, of_data: bool) -> tuple[str, float] | float:
    """``train`` wants the name as well; the classifiers take it from ``__name__``."""
    return (name, mean) if of_data else mean
