"""softgrad: softmax and everything that is differentiated through it, exact, at memory speed."""

from softgrad.arrays.numpy import backend
from softgrad.functions import (
    calculate_gradient,
    log_softmax,
    log_softmax_jvp,
    log_softmax_vjp,
    logsumexp,
    softmax,
    softmax_jacobian,
    softmax_second,
    softmax_vjp,
)
from softgrad.jacobian import SimplexJacobian
from softgrad.layers import LogSoftmax, Softmax

__version__ = "0.1.0"

__all__ = [
    "LogSoftmax",
    "SimplexJacobian",
    "Softmax",
    "backend",
    "calculate_gradient",
    "log_softmax",
    "log_softmax_jvp",
    "log_softmax_vjp",
    "logsumexp",
    "softmax",
    "softmax_jacobian",
    "softmax_second",
    "softmax_vjp",
]
