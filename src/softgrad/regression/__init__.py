"""Multinomial logistic regression."""

from softgrad.regression.estimator import SoftmaxRegression

__all__ = ["SoftmaxRegression"]
