"""Gradient checks for any function."""

from softgrad.testing.checks import check_jacobian, check_jvp, check_vjp
from softgrad.testing.report import GradientMismatch

__all__ = ["GradientMismatch", "check_jacobian", "check_jvp", "check_vjp"]


def __dir__() -> list[str]:
    return __all__
