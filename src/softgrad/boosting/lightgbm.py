"""Cross-entropy and focal loss for LightGBM."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np

from softgrad._formulas.namespace import Array
from softgrad._validation.arrays import as_real
from softgrad.boosting.calls import Metric, Objective, made_by_call
from softgrad.boosting.loss import Loss, LossOptions, check_curvature

MOST_TARGETS = 2**24
"""LightGBM holds labels as float32: row numbers above this are not all exact."""


@made_by_call("an objective", "lightgbm_objective(n_classes)")
def lightgbm_objective(
    n_classes: int, *, curvature: str = "friedman", targets: Any = None, **loss: Unpack[LossOptions]
) -> Objective:
    """Softmax cross-entropy for LightGBM, instead of ``multiclass``.

    Gradient s(p − e_y) and Hessian s K/(K−1) p(1−p) per row and class, with s the weight of the row.

    Parameters
    ----------
    n_classes : int
        K, the number of classes, at least 2.
    curvature : {"diagonal", "upper", "friedman", "residual"}, default: "friedman"
        As in `cross_entropy_grad_hess`. LightGBM's own is ``"friedman"``.
    targets : array_like, shape (N, K), optional
        Soft labels. The labels of the data set, one number per row in LightGBM, are then row numbers of this array,
        which follow the rows into subsets and folds: ``lightgbm.Dataset(x, numpy.arange(N))``. N is at most 2²⁴.
    weight, label_smoothing, gamma : optional
        As in `xgboost_objective`.

    Returns
    -------
    Objective
        To be given as ``"objective"`` in the parameters of ``lightgbm.train``, or as ``objective`` to
        ``lightgbm.LGBMClassifier`` and `LGBMSoftmaxClassifier`.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of these; in training, where the scores or labels do not fit `n_classes` or `targets`.

    See Also
    --------
    lightgbm_metric : the mean of the same loss, for early stopping.
    LGBMSoftmaxClassifier : LGBMClassifier with labels and probabilities.

    Notes
    -----
    ``lightgbm.train`` needs ``"num_class": K`` as well. Models of an objective of one's own predict raw scores in
    LightGBM, ``LGBMClassifier.predict`` and ``predict_proba`` included (so its ``score`` fails): `softgrad.softmax`
    makes probabilities of them. LightGBM's own metrics (``multi_logloss``, which ``LGBMClassifier`` reports unasked)
    take these raw scores for probabilities: give ``metric="None"`` and `lightgbm_metric`. The built-in
    objective starts from the class frequencies; ``boost_from_average=False`` makes it start from zero scores too, and
    then the probabilities agree to 1e−12 (tested with 4.5 and 4.7). With ``LGBMClassifier`` K must be at least 3: for
    two classes it gives one score per row, not two.

    Examples
    --------
    >>> import lightgbm, numpy as np, softgrad as sg
    >>> from sklearn.datasets import load_iris
    >>> from softgrad.boosting import lightgbm_metric, lightgbm_objective
    >>> x, labels = load_iris(return_X_y=True)
    >>> parameters = {"num_class": 3, "boost_from_average": False, "verbosity": -1}
    >>> own = lightgbm.train(parameters | {"objective": lightgbm_objective(3)}, lightgbm.Dataset(x, labels), 5)
    >>> built_in = lightgbm.train(parameters | {"objective": "multiclass"}, lightgbm.Dataset(x, labels), 5)
    >>> bool(np.allclose(sg.softmax(own.predict(x)), built_in.predict(x), rtol=0, atol=1e-5))
    True

    Early stopping on the loss that is trained:

    >>> model = lightgbm.train(
    ...     parameters | {"objective": lightgbm_objective(3), "metric": "None"},
    ...     lightgbm.Dataset(x[::2], labels[::2]),
    ...     50,
    ...     valid_sets=[lightgbm.Dataset(x[1::2], labels[1::2])],
    ...     feval=lightgbm_metric(3),
    ...     callbacks=[lightgbm.early_stopping(5, verbose=False)],
    ... )
    >>> loss = sg.cross_entropy(model.predict(x[1::2]), labels[1::2]).mean()
    >>> bool(np.isclose(model.best_score["valid_0"]["cross_entropy"], loss))
    True
    """
    checked = Loss(n_classes, **loss)
    return Objective(checked, check_curvature(curvature), 0.0, _as_targets(targets, checked))


@made_by_call("a metric", "lightgbm_metric(n_classes)")
def lightgbm_metric(n_classes: int, *, targets: Any = None, **loss: Unpack[LossOptions]) -> Metric:
    """The mean loss for LightGBM, of models whose objective is `lightgbm_objective`.

    Parameters
    ----------
    n_classes : int
        K, the number of classes, at least 2.
    targets, weight, label_smoothing, gamma : optional
        As in `lightgbm_objective`.

    Returns
    -------
    Metric
        To be given as ``feval`` to ``lightgbm.train`` or as ``eval_metric`` to ``LGBMClassifier.fit``; with
        ``metric="None"``, or LightGBM evaluates its own as well. Its value is the mean of the losses, weighted by the
        weights of the rows; its name is ``"cross_entropy"``, or ``"focal_loss"`` with a `gamma`.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of these; in training, where the scores or labels do not fit, or where probabilities
        arrive: models of built-in objectives have ``"multi_logloss"``.

    Examples
    --------
    >>> import numpy as np
    >>> from softgrad.boosting import lightgbm_metric
    >>> lightgbm_metric(3)(np.array([0, 2]), np.zeros((2, 3)))
    ('cross_entropy', 1.0986122886681098, False)
    """
    checked = Loss(n_classes, **loss)
    return Metric(checked, _result, "multi_logloss", _as_targets(targets, checked))


def _result(name: str, mean: float, of_data: bool) -> tuple[str, float, bool]:
    return name, mean, False  # higher is not better


def _as_targets(targets: Any, loss: Loss) -> Array | None:
    if targets is None:
        return None
    array = as_real(targets, "targets")
    if array.ndim != 2 or array.shape[1] != loss.n_classes:
        raise ValueError(f"targets must have shape (rows, {loss.n_classes}); got {array.shape}")
    if len(array) > MOST_TARGETS:
        raise ValueError(f"targets must have at most {MOST_TARGETS} rows: LightGBM holds row numbers as float32")
    if loss.gamma:
        raise ValueError("gamma is for labels; got targets as well")
    return np.array(array)
