"""Gradient checks for anybody's own functions."""

from softgrad.testing.checks import GradientMismatch, check_jacobian, check_jvp, check_vjp

__all__ = ["GradientMismatch", "check_jacobian", "check_jvp", "check_vjp"]
