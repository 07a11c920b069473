"""Derivatives of softmax and log_softmax as array formulas, from their outputs."""

from __future__ import annotations

from typing import Any

from softgrad._formulas.compensated import compensated_sum
from softgrad._formulas.namespace import Array, infinity, is_one, one_hot, per_entry, row_sum
from softgrad._formulas.precision import computed_wide


@computed_wide
def softmax_vjp(xp: Any, p: Array, g: Array) -> Array:
    """p ∘ (g − Σ p g), the product of the Jacobian with g, from the output p."""
    if p.shape[-1] == 0:
        return p * g
    relative = centred(xp, p, g)
    return xp.where(p == 0, xp.zeros_like(relative), p * relative)


@computed_wide
def log_softmax_vjp(xp: Any, y: Array, g: Array) -> Array:
    """g − e^y Σ g, the product of the transposed Jacobian of log_softmax with g, from the output y."""
    if y.shape[-1] == 0:
        return y * g
    y, g = xp.broadcast_arrays(y, g)
    outside = y == -infinity(xp, y)  # masked or impossible: a constant, whose g is not read
    g = xp.where(outside, xp.zeros_like(g), g)
    is_argmax = one_hot(xp, xp.argmax(y, axis=-1, keepdims=True), y)
    at_argmax = row_sum(xp.where(is_argmax, g, xp.zeros_like(g)))
    others, error = compensated_sum(xp, xp.where(is_argmax, xp.zeros_like(g), g))
    others = others + error
    # At the argmax entry g − e^y Σg = (1 − e^y) g − e^y Σ_{j≠k} g, and 1 − e^y is −expm1(y) without cancellation.
    direct = g - xp.exp(y) * (at_argmax + others)
    saturated = -xp.expm1(y) * g - xp.exp(y) * others
    return xp.where(outside, xp.zeros_like(g), xp.where(is_argmax, saturated, direct))


@computed_wide
def log_softmax_jvp(xp: Any, y: Array, v: Array) -> Array:
    """v − Σ e^y v, the product of the Jacobian of log_softmax with v, from the output y."""
    if y.shape[-1] == 0:
        return y * v
    relative = centred(xp, xp.exp(y), v, read=y > -infinity(xp, y))
    return xp.where(y == -infinity(xp, y), xp.zeros_like(relative), relative)


@computed_wide
def softmax_second(xp: Any, p: Array, u: Array, v: Array) -> Array:
    """p ∘ ((u−ū)(v−v̄) − Cov_p(u, v)), the second derivative of softmax along u and v, from the output p."""
    if p.shape[-1] == 0:
        return p * u * v
    product = centred(xp, p, u) * centred(xp, p, v)
    covariance, error = compensated_sum(xp, xp.where(p == 0, xp.zeros_like(product), p * product))
    return xp.where(p == 0, xp.zeros_like(product), p * ((product - covariance) - error))


@computed_wide
def jacobian(xp: Any, p: Array, temperature: Array | float = 1.0) -> Array:
    """(diag(p) − p pᵀ)/T as a dense array, from the output p."""
    n = p.shape[-1]
    scaled = p if is_one(temperature) else p / per_entry(temperature)
    outer = 0 - scaled[..., :, None] * p[..., None, :]
    eye = xp.eye(n, dtype=xp.bool)
    return xp.where(eye, (scaled * complement(xp, p))[..., :, None], outer)


def complement(xp: Any, p: Array) -> Array:
    """1 − p, where the largest entry k takes Σ_{j≠k} p_j: summed, not subtracted, so that saturated rows keep it."""
    if p.shape[-1] == 0:
        return p
    is_argmax = one_hot(xp, xp.argmax(p, axis=-1, keepdims=True), p)
    others, _ = compensated_sum(xp, xp.where(is_argmax, xp.zeros_like(p), p))
    return xp.where(is_argmax, others, 1 - p)


def centred(xp: Any, p: Array, g: Array, read: Array | None = None) -> Array:
    """g − Σ p g, from g − g_k with k the largest p: the same number, without cancellation where p_k → 1."""
    if p.shape != g.shape:
        p, g = xp.broadcast_arrays(p, g)
    read = p != 0 if read is None else read
    is_argmax = one_hot(xp, xp.argmax(p, axis=-1, keepdims=True), p)
    at_argmax = row_sum(xp.where(is_argmax & read, g, xp.zeros_like(g)))
    relative = xp.where(read, g - at_argmax, xp.zeros_like(g))
    mean, error = compensated_sum(xp, p * relative)
    return (relative - mean) - error
