"""What functions with several results return."""

from __future__ import annotations

from typing import Any, NamedTuple

from softgrad._api.notebook import of_results
from softgrad._formulas.namespace import Array, NDArray

__all__ = ["DivergenceGrad", "LinearLossGrad", "LossGrad", "LossGradHess"]


class LossGrad(NamedTuple):
    """A loss per row and its gradient with respect to the logits.

    Parameters
    ----------
    loss : ndarray or scalar
        One loss per row.
    grad : ndarray
        The gradient of every row's own loss, of the shape of the logits.

    See Also
    --------
    cross_entropy_grad, soft_cross_entropy_grad, focal_loss_grad, entropy_grad, entmax_loss_grad : return it.

    Examples
    --------
    >>> import softgrad as sg
    >>> loss, grad = sg.cross_entropy_grad([[0.0, 0.0]], [1])
    """

    loss: Array
    grad: Array

    def _repr_html_(self) -> str:
        return of_results(self)


class LossGradHess(NamedTuple):
    """A loss per row, its gradient and a second derivative per entry of the logits.

    Parameters
    ----------
    loss : ndarray or scalar
        One loss per row.
    grad, hess : ndarray
        Derivatives of every row's own loss, of the shape of the logits.

    See Also
    --------
    cross_entropy_grad_hess : returns it.

    Examples
    --------
    >>> import softgrad as sg
    >>> loss, grad, hess = sg.cross_entropy_grad_hess([[0.0, 0.0]], [1])
    """

    loss: Array
    grad: Array
    hess: Array

    def _repr_html_(self) -> str:
        return of_results(self)


class DivergenceGrad(NamedTuple):
    """A divergence per row and its gradients with respect to the logits of p and of q.

    Parameters
    ----------
    loss : ndarray or scalar
        One divergence per row.
    grad_p, grad_q : ndarray
        Gradients of every row's own divergence, of the common shape of the logits.

    See Also
    --------
    kl_divergence_grad : returns it.

    Examples
    --------
    >>> import softgrad as sg
    >>> divergence, grad_p, grad_q = sg.kl_divergence_grad([1.0, 0.0], [1.0, 0.0])
    """

    loss: Array
    grad_p: Array
    grad_q: Array

    def _repr_html_(self) -> str:
        return of_results(self)


class LinearLossGrad(NamedTuple):
    """A loss per row and the gradients with respect to what the logits are made of.

    Parameters
    ----------
    loss : ndarray or scalar
        One loss per row.
    grad_hidden, grad_weight, grad_bias : ndarray
        Gradients of the sum of all losses, of the shapes of their arguments; `grad_bias` is None without a bias.

    See Also
    --------
    linear_cross_entropy_grad : returns it.

    Examples
    --------
    >>> import softgrad as sg
    >>> loss, grad_hidden, grad_weight, grad_bias = sg.linear_cross_entropy_grad([[1.0]], [[0.0], [0.0]], [1])
    """

    loss: Any
    grad_hidden: NDArray
    grad_weight: NDArray
    grad_bias: NDArray | None

    def _repr_html_(self) -> str:
        return of_results(self)
