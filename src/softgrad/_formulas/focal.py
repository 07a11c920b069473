"""Focal loss as array formulas."""

from __future__ import annotations

from softgrad._formulas.compensated import one_minus_exp
from softgrad._formulas.information import log_sum, selected_in_parts
from softgrad._formulas.losses import cross_entropy_grad
from softgrad._formulas.namespace import Array, infinity, namespace
from softgrad._formulas.precision import silent, value_dtype
from softgrad._formulas.target import Target


@silent
def focal_loss(x: Array, target: Target, gamma: float, temperature: Array | float = 1.0) -> Array:
    """The loss of every row."""
    return _as_values(x, weighted(x, target, gamma, temperature)[0])


@silent
def focal_loss_grad(x: Array, target: Target, gamma: float, temperature: Array | float = 1.0) -> tuple[Array, Array]:
    """The loss of every row and its gradient."""
    loss, slope = weighted(x, target, gamma, temperature)
    _, grad = cross_entropy_grad(x, slope_target(target, slope), temperature)
    return _as_values(x, loss), grad


@silent
def weighted(x: Array, target: Target, gamma: float, temperature: Array | float) -> tuple[Array, Array]:
    """The loss of every row and its derivative with respect to the cross-entropy ℓ = −log p.

    Both are in the dtype of computation, times the row's weight.
    """
    assert target.labels is not None
    log_p, low = selected_in_parts(x, target.labels[..., None], log_sum(x, temperature), temperature)
    return times_weight(target, *_focused(-log_p[..., 0], -low[..., 0], gamma))


@silent
def times_weight(target: Target, loss: Array, slope: Array) -> tuple[Array, Array]:
    """Both times the weight of the row; nothing is left of a row of weight 0."""
    return target.weighted(loss, of_entries=False), target.weighted(slope, of_entries=False)


def slope_target(target: Target, slope: Array) -> Target:
    """The target whose cross-entropy has the gradient of the focal loss with the derivative `slope`."""
    return Target(None, target.labels, 1.0, slope)


def _as_values(x: Array, loss: Array) -> Array:
    xp = namespace(x)
    return xp.astype(loss, value_dtype(xp, x.dtype), copy=False)


def _focused(loss: Array, low: Array, gamma: float) -> tuple[Array, Array]:
    """(1 − p)^γ ℓ of ℓ = −log p, and its derivative (1 − p)^γ + γ (1 − p)^(γ−1) p ℓ with respect to ℓ.

    The power multiplies the error of 1 − p by γ, which is why it is computed in two parts, from the two of ℓ.
    """
    xp = namespace(loss)
    one, zero = xp.ones_like(loss), xp.zeros_like(loss)
    if gamma == 0:
        return loss + low, xp.where(xp.isnan(loss), loss, one)
    p, (complement, lost) = xp.exp(-loss), one_minus_exp(xp, loss, low)
    certain = loss == 0
    finite = xp.where(loss == infinity(xp, loss), zero, loss)
    divisor = xp.where(certain, one, complement)
    power = complement**gamma
    factor = power + xp.where(certain, zero, power * (gamma * (lost / divisor)))
    # (1 − p)^(γ−1) ℓ as (1 − p)^γ times ℓ/(1 − p), which tends to 1 where both vanish.
    ratio = xp.where(certain, one, finite / divisor)
    return factor * loss + factor * low, factor * (1 + gamma * p * ratio)
