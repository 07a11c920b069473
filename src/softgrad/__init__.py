"""softgrad: softmax and everything that is differentiated through it, exact, at memory speed."""

import importlib
import typing

from softgrad._api.softmax import (
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
from softgrad._numpy.kernels import backend

if typing.TYPE_CHECKING:
    from softgrad._api.hessians import cross_entropy_hessian, softmax_regression_hessian, softmax_regression_hvp
    from softgrad._api.information import (
        DivergenceGrad,
        entropy,
        entropy_grad,
        kl_divergence,
        kl_divergence_grad,
        selective_log_softmax,
    )
    from softgrad._api.layers import LogSoftmax, Softmax, SoftmaxCrossEntropy
    from softgrad._api.linear_losses import LinearLossGrad, linear_cross_entropy, linear_cross_entropy_grad
    from softgrad._api.losses import (
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
    from softgrad._api.operators import SimplexJacobian
    from softgrad._api.streaming import LogSumExpState
    from softgrad.files import apply_blocks

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
    "cross_entropy_hessian": "_api.hessians",
    "softmax_regression_hessian": "_api.hessians",
    "softmax_regression_hvp": "_api.hessians",
    "apply_blocks": "files",
    "DivergenceGrad": "_api.information",
    "entropy": "_api.information",
    "entropy_grad": "_api.information",
    "kl_divergence": "_api.information",
    "kl_divergence_grad": "_api.information",
    "selective_log_softmax": "_api.information",
    "SimplexJacobian": "_api.operators",
    "LogSoftmax": "_api.layers",
    "Softmax": "_api.layers",
    "SoftmaxCrossEntropy": "_api.layers",
    "LinearLossGrad": "_api.linear_losses",
    "linear_cross_entropy": "_api.linear_losses",
    "linear_cross_entropy_grad": "_api.linear_losses",
    "LossGrad": "_api.losses",
    "LossGradHess": "_api.losses",
    "cross_entropy": "_api.losses",
    "cross_entropy_grad": "_api.losses",
    "cross_entropy_grad_hess": "_api.losses",
    "focal_loss": "_api.losses",
    "focal_loss_grad": "_api.losses",
    "soft_cross_entropy": "_api.losses",
    "soft_cross_entropy_grad": "_api.losses",
    "LogSumExpState": "_api.streaming",
}


def __getattr__(name: str) -> typing.Any:
    if name not in _LATER:
        raise AttributeError(f"module 'softgrad' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"softgrad.{_LATER[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
