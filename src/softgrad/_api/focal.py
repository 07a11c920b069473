"""Focal loss from logits, one loss per row, and its gradient."""

from __future__ import annotations

from typing import Any

from softgrad._api.results import LossGrad
from softgrad._dispatch import dispatched
from softgrad._formulas.namespace import Array
from softgrad._numpy import focal as native
from softgrad._validation.arrays import as_temperature
from softgrad._validation.axis import Axis
from softgrad._validation.labels import as_number
from softgrad._validation.logits import Logits
from softgrad._validation.targets import LossOptions, label_target

__all__ = ["focal_loss", "focal_loss_grad"]


@dispatched("(n),()->()")
def focal_loss(
    logits: Any,
    labels: Any,
    /,
    *,
    gamma: float = 2.0,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = None,
    dtype: Any = None,
) -> Array:
    """Focal loss of integer labels, −(1 − p)^γ log p at the label: cross-entropy that turns away from easy rows.

    Without fusion::

        log_p = log_softmax(logits / temperature)[y]
        loss = 0 if y == ignore_index else sample_weight * weight[y] * (1 - exp(log_p)) ** gamma * -log_p

    Parameters
    ----------
    logits, labels
        As in `cross_entropy`.
    gamma : float, default: 2.0
        γ, at least 0; at 0 this is cross-entropy.
    axis, temperature, where, weight, sample_weight, ignore_index, dtype
        As in `cross_entropy`. `weight` is the α of the literature.

    Returns
    -------
    ndarray or scalar
        One loss per row, within 2 + γ ulp.

    Raises
    ------
    TypeError, IndexError, ValueError, numpy.exceptions.AxisError
        As `cross_entropy`.

    See Also
    --------
    focal_loss_grad : the gradient in the same pass.
    cross_entropy : the loss for gamma 0.

    Notes
    -----
    Lin et al., "Focal loss for dense object detection", ICCV 2017.

    Examples
    --------
    >>> import softgrad as sg
    >>> float(sg.focal_loss([0.0, 0.0], 0))
    0.17328679513998632

    The larger γ, the less a row counts that is right already; γ = 0 is cross-entropy:

    >>> [round(float(sg.focal_loss([3.0, 0.0], 0, gamma=gamma)), 6) for gamma in (0.0, 1.0, 5.0)]
    [0.048587, 0.002304, 0.0]
    """
    rows = Logits.of_loss(logits, axis, where, dtype)
    temperature = as_temperature(temperature, rows.rows, rows.xp)
    gamma = as_number(gamma, "gamma")
    target = label_target(rows, labels, LossOptions(weight, sample_weight, ignore_index=ignore_index))
    return rows.solve(native.focal_loss, None, target, gamma, temperature)


@dispatched("(n),()->(),(n)")
def focal_loss_grad(
    logits: Any,
    labels: Any,
    /,
    *,
    gamma: float = 2.0,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = None,
    dtype: Any = None,
    out: Array | None = None,
    grad_out: Array | None = None,
) -> LossGrad:
    """Focal loss of integer labels and its gradient.

    With ℓ = −log p at the label y the gradient is ((1 − p)^γ + γ (1 − p)^(γ−1) p ℓ)(softmax(logits / T) − e_y)/T.

    Parameters
    ----------
    logits, labels, gamma, axis, temperature, where, weight, sample_weight, ignore_index, dtype
        As in `focal_loss`.
    out, grad_out : ndarray, optional
        As in `cross_entropy_grad`.

    Returns
    -------
    LossGrad
        ``(loss, grad)``: one loss per row, and the gradient of every row's own loss, of the shape of `logits`.

    Raises
    ------
    TypeError, IndexError, ValueError, numpy.exceptions.AxisError
        As `cross_entropy`; nothing is written then.

    See Also
    --------
    focal_loss : the loss alone.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.focal_loss_grad([0.0, 0.0], 0).grad
    array([-0.2982868,  0.2982868])
    """
    rows = Logits.of_loss(logits, axis, where, dtype)
    temperature = as_temperature(temperature, rows.rows, rows.xp)
    gamma = as_number(gamma, "gamma")
    target = label_target(rows, labels, LossOptions(weight, sample_weight, ignore_index=ignore_index))
    return LossGrad(
        *rows.solve_all(native.focal_loss_grad, {"out": out, "grad_out": grad_out}, target, gamma, temperature)
    )
