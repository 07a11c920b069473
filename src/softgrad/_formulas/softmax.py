"""The calculus of softmax as array formulas: complete for every array library, the reference of the kernels.

Every function works on the last axis of arrays of one floating dtype and follows the edge table of the documentation.
Types narrower than float64 are computed in float64 and rounded once. In float64 itself, in NumPy's longdouble, and in
float32 where a library has no float64, nothing wider exists, so the rounding error of each difference and product that
an exponential would magnify is kept, by the error-free transformations of Dekker (1971) and Knuth (TAOCP 2, section
4.2.2), and added where it is small.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from softgrad._formulas.compensated import compensated_sum, log1p_in_parts, two_product, two_sum
from softgrad._formulas.namespace import infinity, namespace, one_hot, widest

Array = Any  # an array of any library of the array API standard


def softmax(x: Array, where: Array | None = None, temperature: Array | float = 1.0) -> Array:
    """e^(x/T) / Σ e^(x/T) along the last axis."""
    return widened(_softmax)(x, where, temperature)


def log_softmax(x: Array, where: Array | None = None, temperature: Array | float = 1.0) -> Array:
    """x/T − log Σ e^(x/T) along the last axis."""
    return widened(_log_softmax)(x, where, temperature)


def logsumexp(x: Array, where: Array | None = None, b: Array | None = None) -> Array:
    """Log Σ b e^x over the last axis."""
    return widened(_logsumexp)(x, where, b)


def signed_logsumexp(x: Array, where: Array | None, b: Array) -> tuple[Array, Array]:
    """Log |Σ b e^x| and the sign of the sum, over the last axis."""
    result: tuple[Array, Array] = widened(_signed_logsumexp)(x, where, b)
    return result


def softmax_vjp(p: Array, g: Array) -> Array:
    """p ∘ (g − Σ p g), the product of the Jacobian with g, from the output p."""
    return widened(_softmax_vjp)(p, g)


def log_softmax_vjp(y: Array, g: Array) -> Array:
    """g − e^y Σ g, the product of the transposed Jacobian of log_softmax with g, from the output y."""
    return widened(_log_softmax_vjp)(y, g)


def log_softmax_jvp(y: Array, v: Array) -> Array:
    """v − Σ e^y v, the product of the Jacobian of log_softmax with v, from the output y."""
    return widened(_log_softmax_jvp)(y, v)


def softmax_second(p: Array, u: Array, v: Array) -> Array:
    """p ∘ ((u−ū)(v−v̄) − Cov_p(u, v)), the second derivative of softmax along u and v, from the output p."""
    return widened(_softmax_second)(p, u, v)


def jacobian(p: Array, temperature: Array | float = 1.0) -> Array:
    """(diag(p) − p pᵀ)/T as a dense array, from the output p."""
    return widened(_jacobian)(p, temperature)


def textbook_softmax(
    x: Array, where: Array | None = None, temperature: Array | float = 1.0, log: bool = False
) -> Array:
    """The formula without the shift: it overflows where the textbook's does."""
    xp = namespace(x)
    e = xp.exp(x if isinstance(temperature, float) and temperature == 1.0 else x / temperature)
    if where is not None:
        e = xp.where(where, e, xp.zeros_like(e))
    p = e / xp.sum(e, axis=-1, keepdims=True)
    return xp.log(p) if log else p


def widened(formula: Callable[..., Array]) -> Callable[..., Array]:
    """`formula(xp, x, …)` as a function of x, …, computed in float64 for narrower x and rounded once."""

    @wraps(formula)
    @np.errstate(all="ignore")  # NaN, inf and underflow are results here, never news
    def computed(x: Array, *operands: Any) -> Array:
        xp = namespace(x)
        narrow, wide = x.dtype, widest(xp)
        if narrow == wide or narrow == getattr(xp, "longdouble", None):
            return formula(xp, x, *operands)
        widened = (
            xp.astype(a, wide) if getattr(a, "dtype", None) == narrow else a  # masks and temperatures stay
            for a in operands
        )
        result = formula(xp, xp.astype(x, wide), *widened)
        return tuple(xp.astype(r, narrow) for r in result) if isinstance(result, tuple) else xp.astype(result, narrow)

    return computed


def _softmax(xp: Any, x: Array, where: Array | None, temperature: Array | float) -> Array:
    if x.shape[-1] == 0:
        return x
    _, _, _, e = exponentials(xp, x, where, temperature)
    total, error = compensated_sum(xp, e)
    p = e / total
    p = p - p * (error / total)
    return p if where is None else xp.where(where, p, xp.zeros_like(p))


def _log_softmax(xp: Any, x: Array, where: Array | None, temperature: Array | float) -> Array:
    if x.shape[-1] == 0:
        return x
    _, shifted, error, e = exponentials(xp, x, where, temperature)
    # At the maximum k the value is −log1p(Σ_{j≠k} e_j): the sum without e_k = 1 keeps what 1 + tiny would lose.
    # No other entry cancels either: shifted ≤ 0 and the logarithm ≥ 0 only add up.
    log, low = log1p_in_parts(xp, *sum_without_argmax(xp, e))
    y = shifted - log + (error - low)
    return y if where is None else xp.where(where, y, -infinity(xp, y))


def _logsumexp(xp: Any, x: Array, where: Array | None, b: Array | None) -> Array:
    if x.shape[-1] == 0:
        return xp.full(x.shape[:-1], -xp.inf, dtype=x.dtype)
    if b is not None:
        log, sign = _signed_logsumexp(xp, x, where, b)
        return xp.where(sign < 0, log * xp.nan, log)
    m, _, _, e = exponentials(xp, x, where, 1.0)
    # Below 0, m takes away up to half of the logarithm, and with it the bits that hid its rounding.
    log, low = log1p_in_parts(xp, *sum_without_argmax(xp, e))
    total, error = two_sum(m, log)
    result = total + (error + low)
    return xp.where(xp.isfinite(m), result, m)[..., 0]


def _signed_logsumexp(xp: Any, x: Array, where: Array | None, b: Array) -> tuple[Array, Array]:
    if x.shape[-1] == 0:
        return xp.full(x.shape[:-1], -xp.inf, dtype=x.dtype), xp.zeros(x.shape[:-1], dtype=x.dtype)
    read = b != 0 if where is None else where & (b != 0)
    x = xp.where(read, x, -infinity(xp, x))
    b = xp.where(read, b, xp.zeros_like(b))
    # The shift is the entry whose *term* is largest: a small b at the largest x would leave only underflow.
    size = xp.where(read, x + xp.log(xp.where(read, xp.abs(b), xp.ones_like(b))), -infinity(xp, x))
    largest = one_hot(xp, xp.argmax(size, axis=-1, keepdims=True), x)
    m = xp.max(xp.where(largest, x, -infinity(xp, x)), axis=-1, keepdims=True)
    _, y, _, e = exponentials(xp, x, None, 1.0, shift=m)
    # Above the shift an exponential may overflow though its term does not; a factor is at least e^−745.
    above = y > 700
    quarter = xp.exp(xp.where(above, y / 4, xp.zeros_like(y)))
    terms = xp.where(above, b * quarter * quarter * quarter * quarter, b * e)
    first = xp.sum(xp.where(largest & (x > -infinity(xp, x)), b, xp.zeros_like(b)), axis=-1)
    outside = largest | (x == -infinity(xp, x))
    rest, error = (s[..., 0] for s in compensated_sum(xp, xp.where(outside, xp.zeros_like(b), terms)))
    log, sign = log_of_sum(xp, m[..., 0], first, rest, error)
    return _with_infinite_terms(xp, x, b, log, sign)


def log_of_sum(xp: Any, m: Array, first: Array, rest: Array, error: Array) -> tuple[Array, Array]:
    """m + log |first + rest + error| and the sign of the sum: −inf and 0 where it is 0; `error` is small."""
    total, low = two_sum(first, rest)
    # Where the terms cancel, the error is all that is left.
    total, error = two_sum(total, error + xp.where(xp.isfinite(low), low, xp.zeros_like(low)))
    error = xp.where(xp.isfinite(error), error, xp.zeros_like(error))
    sign = xp.sign(total)
    total, error = sign * total, sign * error
    near_one = xp.abs(total - 1) < 0.5
    divisor = xp.where(near_one | (sign == 0), xp.ones_like(total), total)
    excess = xp.where(near_one, (total - 1) + error, xp.zeros_like(total))
    log = xp.where(near_one, xp.log1p(excess), xp.log(divisor) + error / divisor)
    return xp.where(sign == 0, -infinity(xp, m), xp.where(xp.isfinite(m), m, xp.zeros_like(m)) + log), sign


def _with_infinite_terms(xp: Any, x: Array, b: Array, log: Array, sign: Array) -> tuple[Array, Array]:
    """The logarithm and the sign of Σ b e^x where a term is infinite or NaN, and as they are elsewhere."""
    infinite = (x == infinity(xp, x)) | (xp.abs(b) == infinity(xp, b))
    above, below = xp.any(infinite & (b > 0), axis=-1), xp.any(infinite & (b < 0), axis=-1)
    zero_times_infinity = (x == -infinity(xp, x)) & (xp.abs(b) == infinity(xp, b))
    poisoned = xp.any(xp.isnan(x) | xp.isnan(b) | zero_times_infinity, axis=-1) | (above & below)
    one = xp.ones_like(sign)
    log = xp.where(above | below, infinity(xp, log), log)
    sign = xp.where(above, one, xp.where(below, -one, sign))
    return xp.where(poisoned, one * xp.nan, log), xp.where(poisoned, one * xp.nan, sign)


def _softmax_vjp(xp: Any, p: Array, g: Array) -> Array:
    if p.shape[-1] == 0:
        return p * g
    relative = centred(xp, p, g)
    return xp.where(p == 0, xp.zeros_like(relative), p * relative)


def _log_softmax_vjp(xp: Any, y: Array, g: Array) -> Array:
    if y.shape[-1] == 0:
        return y * g
    y, g = xp.broadcast_arrays(y, g)
    outside = y == -infinity(xp, y)  # masked or impossible: a constant, whose g is not read
    g = xp.where(outside, xp.zeros_like(g), g)
    peak = one_hot(xp, xp.argmax(y, axis=-1, keepdims=True), y)
    at_peak = xp.sum(xp.where(peak, g, xp.zeros_like(g)), axis=-1, keepdims=True)
    rest, error = compensated_sum(xp, xp.where(peak, xp.zeros_like(g), g))
    rest = rest + error
    # At the peak g − e^y Σg = (1 − e^y) g − e^y Σ_{j≠k} g, and 1 − e^y is −expm1(y) without cancellation.
    direct = g - xp.exp(y) * (at_peak + rest)
    saturated = -xp.expm1(y) * g - xp.exp(y) * rest
    return xp.where(outside, xp.zeros_like(g), xp.where(peak, saturated, direct))


def _log_softmax_jvp(xp: Any, y: Array, v: Array) -> Array:
    if y.shape[-1] == 0:
        return y * v
    relative = centred(xp, xp.exp(y), v, read=y > -infinity(xp, y))
    return xp.where(y == -infinity(xp, y), xp.zeros_like(relative), relative)


def _softmax_second(xp: Any, p: Array, u: Array, v: Array) -> Array:
    if p.shape[-1] == 0:
        return p * u * v
    product = centred(xp, p, u) * centred(xp, p, v)
    covariance, error = compensated_sum(xp, xp.where(p == 0, xp.zeros_like(product), p * product))
    return xp.where(p == 0, xp.zeros_like(product), p * ((product - covariance) - error))


def _jacobian(xp: Any, p: Array, temperature: Array | float) -> Array:
    n = p.shape[-1]
    scaled = p if isinstance(temperature, float) and temperature == 1.0 else p / temperature
    outer = 0 - scaled[..., :, None] * p[..., None, :]
    eye = xp.eye(n, dtype=xp.bool)
    return xp.where(eye, (scaled * complement(xp, p))[..., :, None], outer)


def complement(xp: Any, p: Array) -> Array:
    """1 − p, where the largest entry k takes Σ_{j≠k} p_j: summed, not subtracted, so that saturated rows keep it."""
    if p.shape[-1] == 0:
        return p
    peak = one_hot(xp, xp.argmax(p, axis=-1, keepdims=True), p)
    others, _ = compensated_sum(xp, xp.where(peak, xp.zeros_like(p), p))
    return xp.where(peak, others, 1 - p)


def exponentials(
    xp: Any, x: Array, where: Array | None, temperature: Array | float, shift: Array | None = None
) -> tuple[Array, Array, Array, Array]:
    """The shift m, (x − m)/T as value and rounding error, and e^((x − m)/T) with that error put back."""
    if where is not None:
        x = xp.where(where, x, -infinity(xp, x))
    m = xp.max(x, axis=-1, keepdims=True) if shift is None else shift
    y, error = two_sum(x, -m)
    if not (isinstance(temperature, float) and temperature == 1.0):
        temperature = xp.astype(xp.asarray(temperature), x.dtype)
        usable = (temperature != 0) & (temperature != infinity(xp, temperature))
        divisor = xp.where(usable, temperature, xp.ones_like(temperature))
        quotient = y / divisor
        product, low = two_product(quotient, divisor)
        error = ((y - product) - low + error) / divisor
        everywhere, peaks = xp.where(xp.isnan(y), y, xp.zeros_like(y)), xp.where(y < 0, -infinity(xp, y), y)
        y = xp.where(usable, quotient, xp.where(temperature > 0, everywhere, peaks))  # the limits at T = inf and 0
        error = xp.where(usable, error, xp.zeros_like(error))
    # −inf − finite is exact, and where x is −inf so is e^x = 0; the transformations give NaN there.
    error = xp.where(xp.isfinite(error), error, xp.zeros_like(error))
    impossible = (x == -infinity(xp, x)) & (m > -infinity(xp, m)) & (m < infinity(xp, m))
    y = xp.where(impossible, -infinity(xp, y), y)
    e = xp.exp(y)
    return m, y, error, e + e * error


def centred(xp: Any, p: Array, g: Array, read: Array | None = None) -> Array:
    """g − Σ p g, from g − g_k with k the largest p: exact arithmetic cannot tell, a saturated row can (p_k → 1)."""
    p, g = xp.broadcast_arrays(p, g)
    read = p != 0 if read is None else read
    peak = one_hot(xp, xp.argmax(p, axis=-1, keepdims=True), p)
    at_peak = xp.sum(xp.where(peak & read, g, xp.zeros_like(g)), axis=-1, keepdims=True)
    relative = xp.where(read, g - at_peak, xp.zeros_like(g))
    mean, error = compensated_sum(xp, p * relative)
    return (relative - mean) - error


def sum_without_argmax(xp: Any, e: Array) -> tuple[Array, Array]:
    """Σ_{j≠k} e_j, k the largest entry, and its rounding error."""
    peak = one_hot(xp, xp.argmax(e, axis=-1, keepdims=True), e)
    return compensated_sum(xp, xp.where(peak, e * 0, e))  # e * 0: a NaN stays
