"""Sums and products over rows. An entry whose factor is 0 is not read, whatever its value."""

from __future__ import annotations

from typing import Any

from softgrad._dispatch import dispatched
from softgrad._formulas import derivatives as formulas
from softgrad._formulas.namespace import Array, namespace
from softgrad._formulas.precision import computed_wide


def row_sum(x: Array) -> Array:
    """Σ x, with the axis kept."""
    return namespace(x).sum(x, axis=-1, keepdims=True)


def column(x: Array) -> Array:
    """One number per row, with a last axis of 1; a single number stays as it is."""
    return x[..., None] if x.ndim else x


def product(a: Array, b: Array) -> Array:
    """a b, 0 where a is 0."""
    xp = namespace(a)
    return xp.where(a == 0, xp.zeros_like(b), a * xp.where(a == 0, xp.zeros_like(b), b))


def dot(a: Array, v: Array) -> Array:
    """Σ a v, where v is not read at zeros of a."""
    return namespace(a).sum(product(a, v), axis=-1)


def possible_only(y: Array, v: Array) -> Array:
    """v, and 0 where y = log p is −inf."""
    xp = namespace(y)
    return xp.where(y == -xp.inf, xp.zeros_like(v), v)


def over_temperature(v: Array, options: dict[str, Any]) -> Array:
    """v/T; at T = 0 softmax is a step, whose derivative is 0 wherever it has one."""
    T = options.get("temperature", 1.0)
    xp = namespace(v)
    if isinstance(T, float):
        return v if T == 1.0 else xp.zeros_like(v) if T == 0 else v / T
    T = xp.astype(T, v.dtype, copy=False)[..., None]
    return xp.where(T == 0, xp.zeros_like(v), v / xp.where(T == 0, xp.ones_like(T), T))


def twice_over_temperature(v: Array, options: dict[str, Any]) -> Array:
    """v/T², of a second derivative."""
    return over_temperature(over_temperature(v, options), options)


def centred(p: Array, v: Array) -> Array:
    """v − Σ p v, and 0 where p is 0."""
    return _centred(p, v)


@dispatched("(n),(n)->(n)")
def _centred(p: Array, v: Array, /, *, axis: int = -1) -> Array:
    return centred_formula(p, v)


def centred_formula(p: Array, v: Array) -> Array:
    """The formula of `centred`."""
    xp = namespace(p)
    difference = computed_wide(formulas.centred)(p, v)
    return xp.where(p == 0, xp.zeros_like(difference), difference)
