"""The table of derivatives: for every function that has one, the product of its Jacobian with a vector, both ways.

Every rule is written with softgrad's own functions, so that it is exact where they are, keeps to their edges, and has
itself a derivative wherever it is called on arrays that track one. A rule sees rows along the last axis: in formulas p
is softmax(x), y is log_softmax(x), and Σ runs over a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from softgrad._api import losses
from softgrad._api import softmax as functions
from softgrad._dispatch import FUNCTIONS
from softgrad._formulas import softmax as formulas
from softgrad._formulas.namespace import namespace
from softgrad._validation.logits import Logits
from softgrad._validation.targets import label_target, soft_target

Array = Any
Results = tuple[Array, ...]


class Call(NamedTuple):
    """A call that was made, as rows: what a derivative is computed from."""

    operands: tuple[Array, ...]
    options: dict[str, Any]
    results: Results


@dataclass(frozen=True)
class Derivative:
    """The Jacobian of all results with respect to one operand, as the linear map that it is, and its transpose."""

    jvp: Callable[[Call, Array], Results]
    vjp: Callable[[Call, Results], Array]
    """Takes one cotangent per result; None stands for 0."""


@dataclass(frozen=True)
class Rule:
    """The derivatives of a function with respect to its operands, by position, and to its options, by name."""

    by: dict[int | str, Derivative]


def _slice_rule(jvp: Callable[[Call, Array], Array], vjp: Callable[[Call, Array], Array]) -> Derivative:
    """The derivative of a function with one result."""
    return Derivative(lambda call, v: (jvp(call, v),), lambda call, cotangents: vjp(call, cotangents[0]))


# softmax, log_softmax and logsumexp


def _softmax(call: Call, v: Array) -> Array:
    return _over_temperature(functions.softmax_vjp(call.results[0], v), call)


def _log_softmax_jvp(call: Call, v: Array) -> Array:
    return _over_temperature(functions.log_softmax_jvp(call.results[0], v), call)


def _log_softmax_vjp(call: Call, g: Array) -> Array:
    return _over_temperature(functions.log_softmax_vjp(call.results[0], g), call)


def _over_temperature(v: Array, call: Call) -> Array:
    """v/T; at T = 0 softmax is a step, whose derivative is 0 wherever it has one."""
    T = call.options.get("temperature", 1.0)
    xp = namespace(v)
    if isinstance(T, float):
        return v if T == 1.0 else xp.zeros_like(v) if T == 0 else v / T
    T = xp.astype(T, v.dtype, copy=False)[..., None]
    return xp.where(T == 0, xp.zeros_like(v), v / xp.where(T == 0, xp.ones_like(T), T))


def _shares(call: Call) -> Array:
    """The gradient of logsumexp: the share b e^x / Σ b e^x of every entry in the sum; 0 where the sum is 0."""
    x, b, where = call.operands[0], call.options.get("b"), call.options.get("where")
    xp = namespace(x)
    nothing = (call.results[0] == -xp.inf)[..., None]
    x = xp.where(nothing, xp.zeros_like(x), x)
    if b is not None:
        where = b != 0 if where is None else where & (b != 0)
    p = functions.softmax(x, where=where)
    if b is not None:
        p = xp.astype(b, p.dtype) * p
        total = xp.sum(p, axis=-1, keepdims=True)
        p = p / xp.where(nothing, xp.ones_like(total), total)
    return xp.where(nothing, xp.zeros_like(p), p)


def _logsumexp_jvp(call: Call, v: Array) -> Array:
    return _dot(_shares(call), v)


def _logsumexp_vjp(call: Call, g: Array) -> Array:
    return _shares(call) * g[..., None]


# Products of Jacobians with vectors, from an output


def _softmax_vjp_jvp(call: Call, v: Array) -> Array:
    p, g = call.operands
    product = v * _centred(p, g)
    return product - p * _sum(product)


def _softmax_vjp_vjp(call: Call, h: Array) -> Array:
    p, g = call.operands
    return _centred(p, g) * _centred(p, h)


def _softmax_vjp_linear(call: Call, v: Array) -> Array:
    return functions.softmax_vjp(call.operands[0], v)


def _log_softmax_vjp_by_y(call: Call, v: Array) -> Array:
    y, g = call.operands
    return -namespace(y).exp(y) * _read(y, v) * _sum(_read(y, g))


def _log_softmax_vjp_by_g(call: Call, v: Array) -> Array:
    return functions.log_softmax_vjp(call.operands[0], v)


def _log_softmax_vjp_by_g_transposed(call: Call, h: Array) -> Array:
    return functions.log_softmax_jvp(call.operands[0], h)


def _log_softmax_jvp_by_y(call: Call, v: Array) -> Array:
    y = call.operands[0]
    xp = namespace(y)
    slope = _sum(xp.exp(y) * _read(y, v) * call.results[0])
    return _read(y, xp.broadcast_to(-slope, y.shape))


def _log_softmax_jvp_by_y_transposed(call: Call, h: Array) -> Array:
    y = call.operands[0]
    return -namespace(y).exp(y) * call.results[0] * _sum(_read(y, h))


def _second_by_p(call: Call, v: Array) -> Array:
    p, a, b = call.operands
    a, b = _centred(p, a), _centred(p, b)
    return v * (a * b - _sum(p * a * b)) - p * (b * _sum(v * a) + a * _sum(v * b) + _sum(v * a * b))


def _second_by_p_transposed(call: Call, h: Array) -> Array:
    p, a, b = call.operands
    a, b, h = _centred(p, a), _centred(p, b), _centred(p, h)
    return h * (a * b - _sum(p * a * b)) - a * _sum(p * h * b) - b * _sum(p * h * a)


def _second_by_u(call: Call, v: Array) -> Array:
    return functions.softmax_second(call.operands[0], v, call.operands[2])


def _second_by_v(call: Call, v: Array) -> Array:
    return functions.softmax_second(call.operands[0], call.operands[1], v)


# Losses: a value per row whose gradient is another function's result, and that function


def _value(name: str, operand: int) -> Derivative:
    """The derivative of a loss by an operand, whose gradient the function `name` returns."""

    def gradient(call: Call) -> Array:
        return FUNCTIONS[name](*call.operands, **call.options)[1 + operand]

    return _slice_rule(
        lambda call, v: _dot(gradient(call), v),
        lambda call, g: g[..., None] * gradient(call),
    )


def _gradient(operand: int, *hessian: Callable[[Call, Array], Array]) -> Derivative:
    """The derivative of (loss, gradients) by an operand; `hessian` multiplies by its block for every gradient.

    The blocks of a Hessian are symmetric, as those of one operand with itself, or each other's transposes, which
    here are equal.
    """

    def jvp(call: Call, v: Array) -> Results:
        return (_dot(call.results[1 + operand], v), *(product(call, v) for product in hessian))

    def vjp(call: Call, cotangents: Results) -> Array:
        of_loss, *of_gradients = cotangents
        terms = [] if of_loss is None else [of_loss[..., None] * call.results[1 + operand]]
        terms += [product(call, g) for product, g in zip(hessian, of_gradients, strict=True) if g is not None]
        return sum(terms[1:], terms[0])

    return Derivative(jvp, vjp)


def _label_curvature(call: Call, v: Array) -> Array:
    logits, labels = call.operands
    o = call.options
    rows = Logits.of(logits, -1, o.get("where"))
    target = label_target(
        rows,
        labels,
        o.get("weight"),
        o.get("sample_weight"),
        o.get("label_smoothing", 0.0),
        o.get("ignore_index"),
        o.get("z_loss", 0.0),
    )
    return _curvature(call, target, v)


def _soft_curvature(call: Call, v: Array) -> Array:
    logits, targets = call.operands
    o = call.options
    rows = Logits.of(logits, -1, o.get("where"))
    target = soft_target(
        rows, targets, o.get("weight"), o.get("sample_weight"), o.get("label_smoothing", 0.0), o.get("z_loss", 0.0)
    )
    return _curvature(call, target, v)


def _curvature(call: Call, target: Any, v: Array) -> Array:
    """The Hessian s ((W + 2 z lse) J + 2 z p pᵀ) of a row with the scale s and targets of the sum W, applied to v."""
    x, where = call.operands[0], call.options.get("where")
    xp = namespace(x)
    s = xp.asarray(target.scale, dtype=x.dtype)
    s = s[..., None] if s.ndim else s
    x = xp.where(s == 0, xp.zeros_like(x), x)  # such a row is not read, whatever stands there
    W = _column(xp.asarray(target.label_weight, dtype=x.dtype))
    if target.base is not None:
        W = W + _sum(xp.astype(target.base, x.dtype))
    p = functions.softmax(x, where=where)
    product = functions.softmax_vjp(p, v)
    if not target.z_loss:
        return s * (W * product)
    lse = _column(functions.logsumexp(x, where=where))
    lse = xp.where(s == 0, xp.zeros_like(lse), lse)
    return s * ((W + 2 * target.z_loss * lse) * product + 2 * target.z_loss * p * _column(_dot(p, v)))


def _targets(call: Call) -> tuple[Array, Array, Array]:
    """For every entry what multiplies its target before it meets −log p, then −log p itself, and log p as it is.

    The first two are 0 where an entry takes no part.
    """
    logits, targets = call.operands
    o = call.options
    rows = Logits.of(logits, -1, o.get("where"))
    target = soft_target(rows, targets, o.get("weight"), o.get("sample_weight"), 0.0, 0.0)
    xp = namespace(logits)
    s = _column(xp.asarray(target.scale, dtype=logits.dtype))
    factor = xp.broadcast_to((1 - o.get("label_smoothing", 0.0)) * s, logits.shape)
    if o.get("weight") is not None:
        factor = factor * xp.astype(xp.asarray(o["weight"]), logits.dtype)
    y = functions.log_softmax(xp.where(s == 0, xp.zeros_like(logits), logits), where=o.get("where"))
    return rows.hidden(factor), rows.hidden(-y), y


def _soft_by_targets_jvp(call: Call, v: Array) -> Array:
    factor, depth, _ = _targets(call)
    return _dot(factor * v, depth)


def _soft_by_targets_vjp(call: Call, g: Array) -> Array:
    factor, depth, _ = _targets(call)
    return _times(factor, g[..., None] * depth)


def _soft_grad_by_targets_jvp(call: Call, v: Array) -> Results:
    factor, depth, y = _targets(call)
    return _dot(factor * v, depth), -functions.log_softmax_vjp(y, factor * v)


def _soft_grad_by_targets_vjp(call: Call, cotangents: Results) -> Array:
    factor, depth, y = _targets(call)
    of_loss, of_gradient = cotangents
    terms = [] if of_loss is None else [_times(factor, of_loss[..., None] * depth)]
    terms += [] if of_gradient is None else [-factor * functions.log_softmax_jvp(y, of_gradient)]
    return sum(terms[1:], terms[0])


def _focal_curvature(call: Call, v: Array) -> Array:
    """s (f″(ℓ) e eᵀ + f′(ℓ) J) v, with f the focal loss as a function of the cross-entropy ℓ and e = p − e_label."""
    logits, labels = call.operands
    o = call.options
    gamma, where, xp = o.get("gamma", 2.0), o.get("where"), namespace(logits)
    rows = Logits.of(logits, -1, where)
    target = label_target(rows, labels, o.get("weight"), o.get("sample_weight"), 0.0, o.get("ignore_index"), 0.0)
    s = _column(xp.asarray(target.scale, dtype=logits.dtype))
    x = xp.where(s == 0, xp.zeros_like(logits), logits)
    loss, e = losses.cross_entropy_grad(x, target.labels, where=where)
    loss = loss[..., None]
    # The last two factors of f′ and f″ are powers of 1 − p with a quotient ℓ/(1 − p), which tends to 1.
    certain = loss == 0
    others = xp.where(certain, xp.ones_like(loss), -xp.expm1(-loss))
    label = xp.exp(-loss)
    loss = xp.where(loss == xp.inf, xp.zeros_like(loss), loss)  # p log p is 0 there
    ratio = xp.where(certain, xp.ones_like(loss), loss / others)
    steep = others ** (gamma - 1) if gamma != 1 else xp.ones_like(others)
    steep = xp.where(certain, xp.full_like(steep, 0.0 if gamma > 1 else 1.0), steep)
    first = steep * (xp.where(certain, xp.zeros_like(others), others) + gamma * label * loss)
    second = gamma * label * steep * ((2 - loss) + (gamma - 1) * label * ratio)
    product = functions.softmax_vjp(functions.softmax(x, where=where), v)
    return s * (first * product + second * e * _column(_dot(e, v)))


def _entropy_curvature(call: Call, v: Array) -> Array:
    """−D²softmax(x)[v, y] − J v: the gradient is −J y."""
    p, y = _distribution(call.operands[0], call)
    return -functions.softmax_second(p, v, y) - functions.softmax_vjp(p, v)


def _divergence_pp(call: Call, v: Array) -> Array:
    """D²softmax(a)[v, log p − log q] + J_p v: the gradient by a is J_p (log p − log q)."""
    (p, y), (_, z) = (_distribution(x, call) for x in call.operands)
    return functions.softmax_second(p, v, y - z) + functions.softmax_vjp(p, v)


def _divergence_pq(call: Call, v: Array) -> Array:
    return -functions.softmax_vjp(_distribution(call.operands[0], call)[0], v)


def _divergence_qq(call: Call, v: Array) -> Array:
    return functions.softmax_vjp(_distribution(call.operands[1], call)[0], v)


def _distribution(x: Array, call: Call) -> tuple[Array, Array]:
    where = call.options.get("where")
    return functions.softmax(x, where=where), functions.log_softmax(x, where=where)


def selected(logits: Array, index: Array, **options: Any) -> Array:
    """selective_log_softmax by log_softmax of every entry, which the derivative needs in any case."""
    xp = namespace(logits)
    y = functions.log_softmax(logits, **options)
    several = index.ndim == y.ndim
    picked = xp.take_along_axis(y, index if several else index[..., None], axis=-1)
    return picked if several else picked[..., 0]


# Sums and products that do not read what does not count


def _sum(x: Array) -> Array:
    return namespace(x).sum(x, axis=-1, keepdims=True)


def _column(x: Array) -> Array:
    """One number per row, ready to multiply the row."""
    return x[..., None] if x.ndim else x


def _times(a: Array, b: Array) -> Array:
    """a b, 0 where a is 0."""
    xp = namespace(a)
    return xp.where(a == 0, xp.zeros_like(b), a * xp.where(a == 0, xp.zeros_like(b), b))


def _dot(a: Array, v: Array) -> Array:
    """Σ a v, where v is not read at zeros of a."""
    return namespace(a).sum(_times(a, v), axis=-1)


def _read(y: Array, v: Array) -> Array:
    """v where y is possible, 0 elsewhere."""
    xp = namespace(y)
    return xp.where(y == -xp.inf, xp.zeros_like(v), v)


def _centred(p: Array, v: Array) -> Array:
    """v − Σ p v, and 0 where p is 0."""
    xp = namespace(p)
    centred = formulas.widened(formulas.centred)(p, v)
    return xp.where(p == 0, xp.zeros_like(centred), centred)


RULES: dict[str, Rule] = {
    "softmax": Rule({0: _slice_rule(_softmax, _softmax)}),
    "log_softmax": Rule({0: _slice_rule(_log_softmax_jvp, _log_softmax_vjp)}),
    "logsumexp": Rule({0: _slice_rule(_logsumexp_jvp, _logsumexp_vjp)}),
    "softmax_vjp": Rule(
        {
            0: _slice_rule(_softmax_vjp_jvp, _softmax_vjp_vjp),
            1: _slice_rule(_softmax_vjp_linear, _softmax_vjp_linear),
        }
    ),
    "log_softmax_vjp": Rule(
        {
            0: _slice_rule(_log_softmax_vjp_by_y, _log_softmax_vjp_by_y),
            1: _slice_rule(_log_softmax_vjp_by_g, _log_softmax_vjp_by_g_transposed),
        }
    ),
    "log_softmax_jvp": Rule(
        {
            0: _slice_rule(_log_softmax_jvp_by_y, _log_softmax_jvp_by_y_transposed),
            1: _slice_rule(_log_softmax_vjp_by_g_transposed, _log_softmax_vjp_by_g),
        }
    ),
    "softmax_second": Rule(
        {
            0: _slice_rule(_second_by_p, _second_by_p_transposed),
            1: _slice_rule(_second_by_u, _second_by_u),
            2: _slice_rule(_second_by_v, _second_by_v),
        }
    ),
    "cross_entropy": Rule({0: _value("cross_entropy_grad", 0)}),
    "cross_entropy_grad": Rule({0: _gradient(0, _label_curvature)}),
    "soft_cross_entropy": Rule(
        {0: _value("soft_cross_entropy_grad", 0), 1: _slice_rule(_soft_by_targets_jvp, _soft_by_targets_vjp)}
    ),
    "soft_cross_entropy_grad": Rule(
        {
            0: _gradient(0, _soft_curvature),
            1: Derivative(_soft_grad_by_targets_jvp, _soft_grad_by_targets_vjp),
        }
    ),
    "focal_loss": Rule({0: _value("focal_loss_grad", 0)}),
    "focal_loss_grad": Rule({0: _gradient(0, _focal_curvature)}),
    "entropy": Rule({0: _value("entropy_grad", 0)}),
    "entropy_grad": Rule({0: _gradient(0, _entropy_curvature)}),
    "kl_divergence": Rule({0: _value("kl_divergence_grad", 0), 1: _value("kl_divergence_grad", 1)}),
    "kl_divergence_grad": Rule(
        {0: _gradient(0, _divergence_pp, _divergence_pq), 1: _gradient(1, _divergence_pq, _divergence_qq)}
    ),
}

COMPOSED: dict[str, Callable[..., Array]] = {
    "selective_log_softmax": selected,
    "_scaled": lambda grad, factor: grad * factor[..., None],  # what a layer's backward pass ends with
}
"""Functions whose derivative is that of the functions that they are made of."""
