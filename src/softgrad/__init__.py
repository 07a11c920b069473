"""softgrad: softmax and everything that is differentiated through it, exact, at memory speed."""

from softgrad.arrays.numpy import backend
from softgrad.curvature import cross_entropy_hessian, softmax_regression_hessian, softmax_regression_hvp
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
from softgrad.information import (
    DivergenceGrad,
    entropy,
    entropy_grad,
    kl_divergence,
    kl_divergence_grad,
    selective_log_softmax,
)
from softgrad.jacobian import SimplexJacobian
from softgrad.layers import LogSoftmax, Softmax, SoftmaxCrossEntropy
from softgrad.linear import LinearLossGrad, linear_cross_entropy, linear_cross_entropy_grad
from softgrad.losses import (
    LossGrad,
    LossGradHess,
    cross_entropy,
    cross_entropy_grad,
    cross_entropy_grad_hess,
    focal_loss,
    focal_loss_grad,
    soft_cross_entropy,
    soft_cross_entropy_grad,
)

__version__ = "0.1.0"

__all__ = [
    "DivergenceGrad",
    "LinearLossGrad",
    "LogSoftmax",
    "LossGrad",
    "LossGradHess",
    "SimplexJacobian",
    "Softmax",
    "SoftmaxCrossEntropy",
    "backend",
    "calculate_gradient",
    "cross_entropy",
    "cross_entropy_grad",
    "cross_entropy_grad_hess",
    "cross_entropy_hessian",
    "entropy",
    "entropy_grad",
    "focal_loss",
    "focal_loss_grad",
    "kl_divergence",
    "kl_divergence_grad",
    "linear_cross_entropy",
    "linear_cross_entropy_grad",
    "log_softmax",
    "log_softmax_jvp",
    "log_softmax_vjp",
    "logsumexp",
    "selective_log_softmax",
    "soft_cross_entropy",
    "soft_cross_entropy_grad",
    "softmax",
    "softmax_jacobian",
    "softmax_regression_hessian",
    "softmax_regression_hvp",
    "softmax_second",
    "softmax_vjp",
]
