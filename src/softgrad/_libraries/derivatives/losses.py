"""Derivatives of the losses: of each value by its gradient function, and of each gradient by the Hessian."""

from __future__ import annotations

from typing import Any

from softgrad._api import derivatives, focal, losses
from softgrad._api import softmax as functions
from softgrad._formulas.namespace import Array, namespace
from softgrad._libraries.derivatives.products import (
    column,
    dot,
    over_temperature,
    product,
    row_sum,
    twice_over_temperature,
)
from softgrad._libraries.derivatives.rules import (
    Call,
    Derivative,
    Results,
    Rule,
    of_loss,
    of_loss_and_gradients,
    of_one_result,
)
from softgrad._validation.logits import Logits
from softgrad._validation.targets import LossOptions, label_target, soft_target


def _label_hessian(call: Call, v: Array) -> Array:
    logits, labels = call.operands
    o = call.options
    rows = Logits.of(logits, -1, o.get("where"))
    target = label_target(rows, labels, LossOptions.of(o))
    return _hessian(call, target, v)


def _soft_hessian(call: Call, v: Array) -> Array:
    logits, targets = call.operands
    o = call.options
    rows = Logits.of(logits, -1, o.get("where"))
    target = soft_target(rows, targets, LossOptions.of(o))
    return _hessian(call, target, v)


def _hessian(call: Call, target: Any, v: Array) -> Array:
    """The product of v with the Hessian s ((W + 2 z lse) J + 2 z p pᵀ)/T²: s scales the row, W sums its targets."""
    x, o = call.operands[0], call.options
    where, T = o.get("where"), o.get("temperature", 1.0)
    xp = namespace(x)
    s = xp.asarray(target.row_weight, dtype=x.dtype)
    s = s[..., None] if s.ndim else s
    x = xp.where(s == 0, xp.zeros_like(x), x)  # such a row is not read, whatever its values
    W = column(xp.asarray(target.label_weight, dtype=x.dtype))
    if target.soft is not None:
        W = W + row_sum(xp.astype(target.soft, x.dtype))
    p = functions.softmax(x, where=where, temperature=T)
    Jv = derivatives.softmax_vjp(p, v)
    if not target.z_loss:
        return twice_over_temperature(s * (W * Jv), o)
    lse = column(functions.logsumexp(over_temperature(x, o), where=where))
    lse = xp.where(s == 0, xp.zeros_like(lse), lse)
    product = s * ((W + 2 * target.z_loss * lse) * Jv + 2 * target.z_loss * p * column(dot(p, v)))
    return twice_over_temperature(product, o)


def _targets(call: Call) -> tuple[Array, Array, Array]:
    """The derivative of the loss with respect to every target is a factor times −log p: both, and log p.

    The first two are 0 for entries outside `where`.
    """
    logits, targets = call.operands
    o = call.options
    rows = Logits.of(logits, -1, o.get("where"))
    target = soft_target(rows, targets, LossOptions(o.get("weight"), o.get("sample_weight")))
    xp = namespace(logits)
    s = column(xp.asarray(target.row_weight, dtype=logits.dtype))
    factor = xp.broadcast_to((1 - o.get("label_smoothing", 0.0)) * s, logits.shape)
    if o.get("weight") is not None:
        factor = factor * xp.astype(xp.asarray(o["weight"]), logits.dtype)
    x, T = xp.where(s == 0, xp.zeros_like(logits), logits), o.get("temperature", 1.0)
    y = functions.log_softmax(x, where=o.get("where"), temperature=T)
    return rows.zero_masked(factor), rows.zero_masked(-y), y


def _soft_by_targets_jvp(call: Call, v: Array) -> Array:
    factor, loss, _ = _targets(call)
    return dot(factor * v, loss)


def _soft_by_targets_vjp(call: Call, g: Array) -> Array:
    factor, loss, _ = _targets(call)
    return product(factor, g[..., None] * loss)


def _soft_grad_by_targets_jvp(call: Call, v: Array) -> Results:
    factor, loss, y = _targets(call)
    return dot(factor * v, loss), -over_temperature(derivatives.log_softmax_vjp(y, factor * v), call.options)


def _soft_grad_by_targets_vjp(call: Call, cotangents: Results) -> Array:
    factor, loss, y = _targets(call)
    of_value, of_gradient = cotangents
    terms = [] if of_value is None else [product(factor, of_value[..., None] * loss)]
    if of_gradient is not None:
        terms.append(-factor * over_temperature(derivatives.log_softmax_jvp(y, of_gradient), call.options))
    return sum(terms[1:], terms[0])


def _focal_hessian(call: Call, v: Array) -> Array:
    """s (f″(ℓ) e eᵀ + f′(ℓ) J/T²) v: f is the focal loss as a function of the cross-entropy ℓ, e the gradient of ℓ."""
    logits, labels = call.operands
    o = call.options
    gamma, where, xp = o.get("gamma", 2.0), o.get("where"), namespace(logits)
    rows = Logits.of(logits, -1, where)
    target = label_target(rows, labels, LossOptions.of(o))
    s = column(xp.asarray(target.row_weight, dtype=logits.dtype))
    x = xp.where(s == 0, xp.zeros_like(logits), logits)
    T = o.get("temperature", 1.0)
    assert target.labels is not None
    loss, e = losses.cross_entropy_grad(x, target.labels, where=where, temperature=T)
    e = xp.where(xp.isinf(e), xp.zeros_like(e), e)  # at T = 0, where every derivative is taken as 0
    loss = loss[..., None]
    # The last two factors of f′ and f″ are powers of 1 − p with a quotient ℓ/(1 − p), which tends to 1.
    certain = loss == 0
    others = xp.where(certain, xp.ones_like(loss), -xp.expm1(-loss))
    label = xp.exp(-loss)
    loss = xp.where(loss == xp.inf, xp.zeros_like(loss), loss)  # p log p is 0 there
    ratio = xp.where(certain, xp.ones_like(loss), loss / others)
    power = others ** (gamma - 1) if gamma != 1 else xp.ones_like(others)
    power = xp.where(certain, xp.full_like(power, 0.0 if gamma > 1 else 1.0), power)
    first = power * (xp.where(certain, xp.zeros_like(others), others) + gamma * label * loss)
    second = gamma * label * power * ((2 - loss) + (gamma - 1) * label * ratio)
    Jv = twice_over_temperature(derivatives.softmax_vjp(functions.softmax(x, where=where, temperature=T), v), o)
    return s * (first * Jv + second * e * column(dot(e, v)))


RULES: dict[str, Rule] = {
    "cross_entropy": Rule({0: of_loss(losses.cross_entropy_grad, 0)}),
    "cross_entropy_grad": Rule({0: of_loss_and_gradients(0, _label_hessian)}),
    "soft_cross_entropy": Rule(
        {0: of_loss(losses.soft_cross_entropy_grad, 0), 1: of_one_result(_soft_by_targets_jvp, _soft_by_targets_vjp)}
    ),
    "soft_cross_entropy_grad": Rule(
        {
            0: of_loss_and_gradients(0, _soft_hessian),
            1: Derivative(_soft_grad_by_targets_jvp, _soft_grad_by_targets_vjp),
        }
    ),
    "focal_loss": Rule({0: of_loss(focal.focal_loss_grad, 0)}),
    "focal_loss_grad": Rule({0: of_loss_and_gradients(0, _focal_hessian)}),
}
