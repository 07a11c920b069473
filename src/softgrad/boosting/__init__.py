"""Multiclass objectives and metrics for XGBoost, LightGBM and CatBoost, in each library's own layout, sign and scale.

None of the libraries is imported before it is needed. With the curvature of the library's built-in objective and the
same start the models are the same; where a row saturates, the gradient and curvature here keep the small true value
that the built-ins, subtracting p from 1, lose. Beyond the built-ins there are class weights, label smoothing, the focal
loss and soft labels, and metrics of the same losses for early stopping.

====================================  ===============================================================================
`xgboost_objective`                   gradient and Hessian for XGBoost; labels with a column per class are soft labels
`xgboost_metric`                      the mean of the same loss
`lightgbm_objective`                  gradient and Hessian for LightGBM; soft labels are given as `targets`
`lightgbm_metric`                     the mean of the same loss: LightGBM's own metrics misread raw scores
`LGBMSoftmaxClassifier`               LGBMClassifier whose `predict`, `predict_proba` and `score` know raw scores
`catboost_objective`                  gradient and Hessian for CatBoost, 25 to 100 times slower than its own
`catboost_metric`                     the mean of the same loss
`catboost_soft_objective`             gradient and Hessian for labels with a column per class
`catboost_soft_metric`                the mean of the same loss
====================================  ===============================================================================
"""

from typing import TYPE_CHECKING, Any

from softgrad.boosting.catboost import (
    catboost_metric,
    catboost_objective,
    catboost_soft_metric,
    catboost_soft_objective,
)
from softgrad.boosting.lightgbm import lightgbm_metric, lightgbm_objective
from softgrad.boosting.xgboost import xgboost_metric, xgboost_objective

if TYPE_CHECKING:
    from softgrad.boosting.lightgbm_classifier import LGBMSoftmaxClassifier as LGBMSoftmaxClassifier

__all__ = [
    "LGBMSoftmaxClassifier",
    "catboost_metric",
    "catboost_objective",
    "catboost_soft_metric",
    "catboost_soft_objective",
    "lightgbm_metric",
    "lightgbm_objective",
    "xgboost_metric",
    "xgboost_objective",
]


def __getattr__(name: str) -> Any:
    """The class that needs LightGBM, on its first use."""
    if name != "LGBMSoftmaxClassifier":
        raise AttributeError(f"module 'softgrad.boosting' has no attribute {name!r}")
    from softgrad.boosting.lightgbm_classifier import LGBMSoftmaxClassifier  # noqa: PLC0415  it imports LightGBM

    return LGBMSoftmaxClassifier


def __dir__() -> list[str]:
    return __all__
