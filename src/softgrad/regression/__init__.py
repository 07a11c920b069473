"""Multinomial logistic regression."""

from softgrad.regression.estimator import SoftmaxRegression

__all__ = ["SoftmaxRegression"]


def __dir__() -> list[str]:
    return __all__
