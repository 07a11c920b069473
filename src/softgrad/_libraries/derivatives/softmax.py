"""Derivatives of softmax, log_softmax and logsumexp, and of their products with vectors."""

from __future__ import annotations

from softgrad._api import derivatives
from softgrad._api import softmax as functions
from softgrad._dispatch import dispatched
from softgrad._formulas import softmax as formulas
from softgrad._formulas.namespace import Array, namespace
from softgrad._libraries.derivatives.products import centred, dot, over_temperature, possible_only, row_sum
from softgrad._libraries.derivatives.rules import Call, Rule, of_one_result


def _softmax(call: Call, v: Array) -> Array:
    return over_temperature(derivatives.softmax_vjp(call.results[0], v), call.options)


def _log_softmax_jvp(call: Call, v: Array) -> Array:
    return over_temperature(derivatives.log_softmax_jvp(call.results[0], v), call.options)


def _log_softmax_vjp(call: Call, g: Array) -> Array:
    return over_temperature(derivatives.log_softmax_vjp(call.results[0], g), call.options)


def _shares(call: Call) -> Array:
    """The gradient of logsumexp: the share b e^x / Σ b e^x of every entry in the sum; 0 where the sum is 0."""
    x, b, where = call.operands[0], call.options.get("b"), call.options.get("where")
    xp = namespace(x)
    nothing = (call.results[0] == -xp.inf)[..., None]
    if b is not None:
        p = _weighted_shares(x, b=b, where=where)
    else:
        p = functions.softmax(xp.where(nothing, xp.zeros_like(x), x), where=where)
    return xp.where(nothing, xp.zeros_like(p), p)


@dispatched("(n)->(n)")
def _weighted_shares(x: Array, /, *, axis: int = -1, b: Array = None, where: Array = None) -> Array:
    """The shares of logsumexp with factors. Their Jacobian is diag(s) − s sᵀ, as that of softmax."""
    shares: Array = formulas.weighted_shares(x, where, namespace(x).astype(b, x.dtype))
    return shares


def _logsumexp_jvp(call: Call, v: Array) -> Array:
    return dot(_shares(call), v)


def _logsumexp_vjp(call: Call, g: Array) -> Array:
    return _shares(call) * g[..., None]


# Products of Jacobians with vectors, which are functions of an output


def _softmax_vjp_by_p(call: Call, v: Array) -> Array:
    p, g = call.operands
    terms = v * centred(p, g)
    return terms - p * row_sum(terms)


def _softmax_vjp_by_p_transposed(call: Call, h: Array) -> Array:
    p, g = call.operands
    return centred(p, g) * centred(p, h)


def _softmax_vjp_by_g(call: Call, v: Array) -> Array:
    return derivatives.softmax_vjp(call.operands[0], v)


def _log_softmax_vjp_by_y(call: Call, v: Array) -> Array:
    y, g = call.operands
    return -namespace(y).exp(y) * possible_only(y, v) * row_sum(possible_only(y, g))


def _log_softmax_vjp_by_g(call: Call, v: Array) -> Array:
    return derivatives.log_softmax_vjp(call.operands[0], v)


def _log_softmax_jvp_by_y(call: Call, v: Array) -> Array:
    y = call.operands[0]
    change = row_sum(namespace(y).exp(y) * possible_only(y, v) * call.results[0])
    return possible_only(y, -change)


def _log_softmax_jvp_by_y_transposed(call: Call, h: Array) -> Array:
    y = call.operands[0]
    return -namespace(y).exp(y) * call.results[0] * row_sum(possible_only(y, h))


def _log_softmax_jvp_by_v(call: Call, v: Array) -> Array:
    return derivatives.log_softmax_jvp(call.operands[0], v)


def _second_by_p(call: Call, v: Array) -> Array:
    p, a, b = call.operands
    a, b = centred(p, a), centred(p, b)
    return v * (a * b - row_sum(p * a * b)) - p * (b * row_sum(v * a) + a * row_sum(v * b) + row_sum(v * a * b))


def _second_by_p_transposed(call: Call, h: Array) -> Array:
    p, a, b = call.operands
    a, b, h = centred(p, a), centred(p, b), centred(p, h)
    return h * (a * b - row_sum(p * a * b)) - a * row_sum(p * h * b) - b * row_sum(p * h * a)


def _second_by_u(call: Call, v: Array) -> Array:
    return derivatives.softmax_second(call.operands[0], v, call.operands[2])


def _second_by_v(call: Call, v: Array) -> Array:
    return derivatives.softmax_second(call.operands[0], call.operands[1], v)


RULES: dict[str, Rule] = {
    "_weighted_shares": Rule({0: of_one_result(_softmax, _softmax)}),
    "softmax": Rule({0: of_one_result(_softmax, _softmax)}),
    "log_softmax": Rule({0: of_one_result(_log_softmax_jvp, _log_softmax_vjp)}),
    "logsumexp": Rule({0: of_one_result(_logsumexp_jvp, _logsumexp_vjp)}),
    "softmax_vjp": Rule(
        {
            0: of_one_result(_softmax_vjp_by_p, _softmax_vjp_by_p_transposed),
            1: of_one_result(_softmax_vjp_by_g, _softmax_vjp_by_g),
        }
    ),
    "log_softmax_vjp": Rule(
        {
            0: of_one_result(_log_softmax_vjp_by_y, _log_softmax_vjp_by_y),
            1: of_one_result(_log_softmax_vjp_by_g, _log_softmax_jvp_by_v),
        }
    ),
    "log_softmax_jvp": Rule(
        {
            0: of_one_result(_log_softmax_jvp_by_y, _log_softmax_jvp_by_y_transposed),
            1: of_one_result(_log_softmax_jvp_by_v, _log_softmax_vjp_by_g),
        }
    ),
    "softmax_second": Rule(
        {
            0: of_one_result(_second_by_p, _second_by_p_transposed),
            1: of_one_result(_second_by_u, _second_by_u),
            2: of_one_result(_second_by_v, _second_by_v),
        }
    ),
}
