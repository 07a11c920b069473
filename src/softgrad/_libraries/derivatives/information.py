"""Derivatives of entropy, divergence and the log-probabilities of chosen entries."""

from __future__ import annotations

from typing import Any

from softgrad._api import derivatives, information
from softgrad._api import softmax as functions
from softgrad._formulas.information import expm1_over
from softgrad._formulas.namespace import Array, as_column, namespace
from softgrad._libraries.derivatives.products import twice_over_temperature
from softgrad._libraries.derivatives.rules import Call, Rule, of_loss, of_loss_and_gradients, of_one_result


def _entropy_hessian(call: Call, v: Array) -> Array:
    """(−D²softmax(x/T)[v, y] − J v)/T²: the gradient is −J y/T."""
    p, y = _distribution(call.operands[0], call)
    return twice_over_temperature(-derivatives.softmax_second(p, v, y) - derivatives.softmax_vjp(p, v), call.options)


def _divergence_pp(call: Call, v: Array) -> Array:
    """(D²softmax(a/T)[v, log p − log q] + J_p v)/T²: the gradient with respect to a is J_p (log p − log q)/T."""
    (p, y), (_, z) = (_distribution(x, call) for x in call.operands)
    return twice_over_temperature(derivatives.softmax_second(p, v, y - z) + derivatives.softmax_vjp(p, v), call.options)


def _divergence_pq(call: Call, v: Array) -> Array:
    return twice_over_temperature(-derivatives.softmax_vjp(_distribution(call.operands[0], call)[0], v), call.options)


def _divergence_qq(call: Call, v: Array) -> Array:
    return twice_over_temperature(derivatives.softmax_vjp(_distribution(call.operands[1], call)[0], v), call.options)


def _distribution(x: Array, call: Call) -> tuple[Array, Array]:
    options = {name: call.options[name] for name in ("where", "temperature") if name in call.options}
    return functions.softmax(x, **options), functions.log_softmax(x, **options)


def selected(logits: Array, index: Array, **options: Any) -> Array:
    """selective_log_softmax as log_softmax of every entry, which its derivative needs in any case."""
    xp = namespace(logits)
    y = functions.log_softmax(logits, **options)
    several = index.ndim == y.ndim
    picked = xp.take_along_axis(y, index if several else index[..., None], axis=-1)
    return picked if several else picked[..., 0]


def _tsallis_slopes(call: Call) -> Array:
    """(1 − α p^(α−1))/(α (α−1)), which is 1/(α (α−1)) where p is 0; 0 at α = ∞."""
    p = call.operands[0]
    xp = namespace(p)
    alpha = as_column(xp, p, call.options.get("alpha", 1.5))
    is_limit = alpha == xp.inf
    alpha = xp.where(is_limit, 2 * xp.ones_like(alpha), alpha)
    s, zero = alpha - 1, xp.zeros_like(p)
    positive = p > 0
    log = xp.log(xp.where(positive, p, xp.ones_like(p)))
    slopes = xp.where(positive, -(expm1_over(xp, log, s) + xp.exp(s * log)) / alpha, 1 / (alpha * s) + zero)
    return xp.where(is_limit, zero, slopes)


def _tsallis_jvp(call: Call, v: Array) -> Array:
    return namespace(v).sum(_tsallis_slopes(call) * v, axis=-1)


def _tsallis_vjp(call: Call, g: Array) -> Array:
    return _tsallis_slopes(call) * g[..., None]


RULES: dict[str, Rule] = {
    "tsallis_entropy": Rule({0: of_one_result(_tsallis_jvp, _tsallis_vjp)}),
    "entropy": Rule({0: of_loss(information.entropy_grad, 0)}),
    "entropy_grad": Rule({0: of_loss_and_gradients(0, _entropy_hessian)}),
    "kl_divergence": Rule(
        {0: of_loss(information.kl_divergence_grad, 0), 1: of_loss(information.kl_divergence_grad, 1)}
    ),
    "kl_divergence_grad": Rule(
        {
            0: of_loss_and_gradients(0, _divergence_pp, _divergence_pq),
            1: of_loss_and_gradients(1, _divergence_pq, _divergence_qq),
        }
    ),
}
