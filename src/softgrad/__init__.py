"""softgrad: softmax and everything that is differentiated through it, exact, at memory speed."""

import importlib
import typing

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

if typing.TYPE_CHECKING:
    from softgrad.curvature import cross_entropy_hessian, softmax_regression_hessian, softmax_regression_hvp
    from softgrad.files import apply_blocks
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
    from softgrad.streaming import LogSumExpState

__version__ = "0.1.0"

__all__ = [
    "DivergenceGrad",
    "LinearLossGrad",
    "LogSoftmax",
    "LogSumExpState",
    "LossGrad",
    "LossGradHess",
    "SimplexJacobian",
    "Softmax",
    "SoftmaxCrossEntropy",
    "apply_blocks",
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

# What is imported only when it is first asked for, and where it is: importing softgrad is to cost little more than
# importing NumPy.
_LATER = {
    "cross_entropy_hessian": "curvature",
    "softmax_regression_hessian": "curvature",
    "softmax_regression_hvp": "curvature",
    "apply_blocks": "files",
    "DivergenceGrad": "information",
    "entropy": "information",
    "entropy_grad": "information",
    "kl_divergence": "information",
    "kl_divergence_grad": "information",
    "selective_log_softmax": "information",
    "SimplexJacobian": "jacobian",
    "LogSoftmax": "layers",
    "Softmax": "layers",
    "SoftmaxCrossEntropy": "layers",
    "LinearLossGrad": "linear",
    "linear_cross_entropy": "linear",
    "linear_cross_entropy_grad": "linear",
    "LossGrad": "losses",
    "LossGradHess": "losses",
    "cross_entropy": "losses",
    "cross_entropy_grad": "losses",
    "cross_entropy_grad_hess": "losses",
    "focal_loss": "losses",
    "focal_loss_grad": "losses",
    "soft_cross_entropy": "losses",
    "soft_cross_entropy_grad": "losses",
    "LogSumExpState": "streaming",
}


def __getattr__(name: str) -> typing.Any:
    if name not in _LATER:
        raise AttributeError(f"module 'softgrad' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"softgrad.{_LATER[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
