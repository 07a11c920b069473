"""Derivatives of sparsemax and entmax, also with respect to α."""

from __future__ import annotations

from typing import Any

from softgrad._api import sparse_derivatives as derivatives
from softgrad._api import sparse_losses as losses
from softgrad._api.sparse import entmax
from softgrad._formulas import sparse_derivatives as formulas
from softgrad._formulas.information import expm1_over
from softgrad._formulas.namespace import Array, as_column, namespace
from softgrad._formulas.sparse_losses import outside_slope
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
from softgrad._validation.arrays import in_common
from softgrad._validation.logits import Logits
from softgrad._validation.targets import LossOptions, label_target, soft_target


def _sparsemax(call: Call, v: Array) -> Array:
    return over_temperature(derivatives.sparsemax_vjp(call.results[0], v), call.options)


def _entmax(call: Call, v: Array) -> Array:
    return over_temperature(derivatives.entmax_vjp(call.results[0], v, _alpha_of(call)), call.options)


def _by_alpha(call: Call, v: Array) -> Array:
    return column(v) * formulas.entmax_by_alpha(call.results[0], _alpha_of(call))


def _by_alpha_transposed(call: Call, g: Array) -> Array:
    return derivatives.entmax_alpha_vjp(call.results[0], g, _alpha_of(call))


def _alpha_of(call: Call) -> Any:
    """The α of a call."""
    return call.options.get("alpha", 1.5)


def _in_common(p: Array, g: Array) -> tuple[Array, Array]:
    p, g = in_common({"p": p, "g": g})
    return p, g


def _sparsemax_vjp(p: Array, g: Array) -> Array:
    product: Array = formulas.sparsemax_vjp(*_in_common(p, g))
    return product


def _entmax_vjp(p: Array, g: Array, alpha: Any = 1.5) -> Array:
    product: Array = formulas.entmax_vjp(*_in_common(p, g), alpha)
    return product


def _entmax_alpha_vjp(p: Array, g: Array, alpha: Any = 1.5) -> Array:
    product: Array = formulas.entmax_alpha_vjp(*_in_common(p, g), alpha)
    return product


COMPOSED = {"sparsemax_vjp": _sparsemax_vjp, "entmax_vjp": _entmax_vjp, "entmax_alpha_vjp": _entmax_alpha_vjp}
"""Products whose own derivatives are those of their formulas."""


# Losses: the gradient is p − y, its Jacobian that of entmax


def _hessian(call: Call, target: Any, alpha: Any, v: Array) -> Array:
    """(J v + (Σ y − 1) D(q/Σq)[v])/T², with q = p^(1−s)."""
    logits = call.operands[0]
    xp, weight = namespace(logits), _weight(target, logits)
    x = xp.where(weight == 0, xp.zeros_like(logits), logits)  # not read, whatever it is
    p = entmax(x, alpha, where=call.options.get("where"), temperature=call.options.get("temperature", 1.0))
    Jv = derivatives.entmax_vjp(p, v, alpha)
    if target.soft is None:
        return twice_over_temperature(weight * Jv, call.options)
    excess = row_sum(xp.astype(target.soft, p.dtype)) - 1
    s, inside = as_column(xp, p, alpha) - 1, p > 0
    change = xp.where(inside, (1 - s) * xp.where(inside, p, xp.ones_like(p)) ** -s * Jv, xp.zeros_like(p))
    shares, total = formulas.shares(p, alpha)
    product = weight * (Jv + excess * (change - shares * row_sum(change)) / xp.astype(column(total), p.dtype))
    return twice_over_temperature(product, call.options)


def _weight(target: Any, logits: Array) -> Array:
    return column(namespace(logits).asarray(target.row_weight, dtype=logits.dtype))


def _label_hessian(call: Call, default: float, v: Array) -> Array:
    logits, labels = call.operands
    rows = Logits.of(logits, -1, call.options.get("where"))
    target = label_target(rows, labels, LossOptions.of(call.options))
    return _hessian(call, target, call.options.get("alpha", default), v)


def _soft_hessian(call: Call, default: float, v: Array) -> Array:
    logits, targets = call.operands
    rows = Logits.of(logits, -1, call.options.get("where"))
    target = soft_target(rows, targets, LossOptions.of(call.options))
    return _hessian(call, target, call.options.get("alpha", default), v)


def _by_targets(call: Call, default: float) -> tuple[Array, Array, Array]:
    """The weight of every row, the derivative of its loss with respect to the targets, and the shares q/Σq.

    The derivative is (y^s − p^s)/s in the support, y^s/s + d − σ/s outside, and 0 for entries outside `where`.
    """
    logits, targets = call.operands
    where, alpha = call.options.get("where"), call.options.get("alpha", default)
    rows = Logits.of(logits, -1, where)
    xp = rows.xp
    weight = _weight(soft_target(rows, targets, LossOptions.of(call.options)), logits)
    x = xp.where(weight == 0, xp.zeros_like(logits), logits)
    p = entmax(x, alpha, where=where, temperature=call.options.get("temperature", 1.0))
    y = xp.astype(targets, p.dtype) + xp.zeros_like(p)
    x = x if where is None else xp.where(where, x, xp.full_like(x, -xp.inf))
    gap = over_temperature(xp.max(x, axis=-1, keepdims=True) - x, call.options)
    s = as_column(xp, p, alpha) - 1
    one, zero = xp.ones_like(p), xp.zeros_like(p)
    inside = p > 0
    base = xp.where(inside, p, one)
    log = xp.log(xp.where(y > 0, y, one) / base)
    slope = xp.where(y > 0, expm1_over(xp, log, s), -1 / (s + zero))
    outside = outside_slope(xp, xp.where(inside | (gap == xp.inf), zero, gap), p, s)
    own = xp.where(s == 0, xp.log(y), y ** xp.where(s == 0, one, s + zero) / xp.where(s == 0, one, s + zero))
    slopes = xp.where(inside, base**s * slope, xp.where(gap == xp.inf, gap, outside + own))
    return weight, rows.zero_masked(slopes), formulas.shares(p, alpha)[0]


def _loss_by_targets_jvp(call: Call, default: float, v: Array) -> Array:
    weight, slopes, _ = _by_targets(call, default)
    return dot(weight * v, slopes)


def _loss_by_targets_vjp(call: Call, default: float, g: Array) -> Array:
    weight, slopes, _ = _by_targets(call, default)
    return product(weight * g[..., None], slopes)


def _grad_by_targets_jvp(call: Call, default: float, v: Array) -> Results:
    weight, slopes, shares = _by_targets(call, default)
    v = _valid(call, weight * v)
    return dot(v, slopes), over_temperature(shares * row_sum(v) - v, call.options)


def _grad_by_targets_vjp(call: Call, default: float, cotangents: Results) -> Array:
    weight, slopes, shares = _by_targets(call, default)
    of_value, of_gradient = cotangents
    terms = [] if of_value is None else [product(weight * of_value[..., None], slopes)]
    if of_gradient is not None:
        along_rows = weight * (column(dot(shares, of_gradient)) - of_gradient)
        terms.append(_valid(call, over_temperature(along_rows, call.options)))
    return sum(terms[1:], terms[0])


def _valid(call: Call, v: Array) -> Array:
    where = call.options.get("where")
    return v if where is None else namespace(v).where(where, v, namespace(v).zeros_like(v))


def _loss_rules(name: str, grad: Any, soft_grad: Any, default: float) -> dict[str, Rule]:
    """The rules of the losses called `name`, whose α is `default` if a call has none."""

    def of(function: Any) -> Any:
        return lambda call, *rest: function(call, default, *rest)

    return {
        f"{name}_loss": Rule({0: of_loss(grad, 0)}),
        f"{name}_loss_grad": Rule({0: of_loss_and_gradients(0, of(_label_hessian))}),
        f"soft_{name}_loss": Rule(
            {0: of_loss(soft_grad, 0), 1: of_one_result(of(_loss_by_targets_jvp), of(_loss_by_targets_vjp))}
        ),
        f"soft_{name}_loss_grad": Rule(
            {
                0: of_loss_and_gradients(0, of(_soft_hessian)),
                1: Derivative(of(_grad_by_targets_jvp), of(_grad_by_targets_vjp)),
            }
        ),
    }


RULES: dict[str, Rule] = {
    "sparsemax": Rule({0: of_one_result(_sparsemax, _sparsemax)}),
    "entmax": Rule({0: of_one_result(_entmax, _entmax), "alpha": of_one_result(_by_alpha, _by_alpha_transposed)}),
    **_loss_rules("entmax", losses.entmax_loss_grad, losses.soft_entmax_loss_grad, 1.5),
    **_loss_rules("sparsemax", losses.sparsemax_loss_grad, losses.soft_sparsemax_loss_grad, 2.0),
}
