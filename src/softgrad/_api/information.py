"""Entropy, divergence and selected log-probabilities of the distributions that logits stand for.

Throughout, p = softmax(logits / T) with the temperature T, and Σ runs over one slice: the entries along `axis`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from softgrad._api.results import DivergenceGrad, LossGrad
from softgrad._dispatch import dispatched
from softgrad._formulas.namespace import Array
from softgrad._formulas.precision import narrowed
from softgrad._numpy import information as native
from softgrad._validation.arrays import as_alpha, as_temperature
from softgrad._validation.axis import Axis
from softgrad._validation.labels import as_labels
from softgrad._validation.logits import Logits

__all__ = ["entropy", "entropy_grad", "kl_divergence", "kl_divergence_grad", "selective_log_softmax", "tsallis_entropy"]


@dispatched("(n)->()", kernel=True, half=False)
def entropy(logits: Any, /, *, axis: Axis = -1, temperature: Any = 1.0, where: Any = None, dtype: Any = None) -> Array:
    """Entropy of a softmax distribution in nats, −Σ p log p, one per row.

    Parameters
    ----------
    logits : array_like, real
        Logits of any shape; computed in and returned as `softmax` does with its `x`, but for float16 and bfloat16,
        whose entropies are float32.
    axis : int, tuple of ints or None, default: -1
        The axis or axes along which the probabilities sum to 1.
    temperature : float or array_like, default: 1.0
        T ≥ 0, one number or one per row, by which the logits are divided without rounding the quotient. At T = 0 values
        are the limits.
    where : array_like of bool, optional
        Entries that are valid, broadcast to the shape of `logits`; the others are never read.
    dtype : dtype, optional
        Floating dtype of the result; the computation runs in the wider of it and that of the logits.

    Returns
    -------
    ndarray or scalar
        One entropy per row, in [0, log n]. A row with NaN or +inf, or with nothing but −inf, is NaN; a row that is
        masked entirely is 0.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`.

    See Also
    --------
    entropy_grad : the gradient, too.
    LogSumExpState : the entropy of slices that arrive in blocks.

    Notes
    -----
    With the maximum m of a row it is log Σ e^(x_j − m) + Σ p_j (m − x_j), a sum of positive terms.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.entropy([[0.0, 0.0], [0.0, 40.0]])
    array([6.93147181e-01, 1.74182524e-16])

    Of the tempered distribution, over the classes that are valid:

    >>> sg.entropy([1.0, 2.0, 3.0], temperature=10.0)
    np.float64(1.0952872686537243)
    >>> sg.entropy([1.0, 1.0, 9.0], where=[True, True, False])
    np.float64(0.6931471805599453)
    """
    rows = Logits.of_loss(logits, axis, where, dtype)
    return rows.solve(native.entropy, None, as_temperature(temperature, rows.rows, rows.xp))


@dispatched("(n)->(),(n)", kernel=True, half=False)
def entropy_grad(
    logits: Any,
    /,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    dtype: Any = None,
    out: Array | None = None,
    grad_out: Array | None = None,
) -> LossGrad:
    """Entropy of a softmax distribution and its gradient with respect to the logits, −p (log p + entropy)/T.

    Parameters
    ----------
    logits, axis, temperature, where, dtype
        As in `entropy`.
    out, grad_out : ndarray, optional
        Where to write the results: arrays of their shape and of `dtype` or that of the logits (losses of half
        precision: float32).

    Returns
    -------
    LossGrad
        ``(loss, grad)``: one entropy per row, and the gradient of every row's own entropy, of the shape of `logits`.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`; nothing is written then.

    See Also
    --------
    entropy : the value alone.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.entropy_grad([0.0, 1.0]).grad
    array([ 0.19661193, -0.19661193])
    """
    rows = Logits.of_loss(logits, axis, where, dtype)
    temperature = as_temperature(temperature, rows.rows, rows.xp)
    return LossGrad(*rows.solve_all(native.entropy_grad, {"out": out, "grad_out": grad_out}, temperature))


@dispatched("(n),(n)->()", kernel=True, half=False)
def kl_divergence(
    logits_p: Any, logits_q: Any, /, *, axis: Axis = -1, temperature: Any = 1.0, where: Any = None, dtype: Any = None
) -> Array:
    """Kullback-Leibler divergence of two softmax distributions, Σ p (log p − log q), one per row.

    Parameters
    ----------
    logits_p, logits_q : array_like, real
        Logits of p and of q, broadcast against each other; the divergence of half precision is float32.
    axis : int, tuple of ints or None, default: -1
        The axis or axes along which the probabilities sum to 1.
    temperature : float or array_like, default: 1.0
        T ≥ 0, one number or one per row, by which the logits are divided without rounding the quotient. At T = 0 values
        are the limits.
    where : array_like of bool, optional
        Entries that are valid in both, broadcast to the common shape; the others are never read.
    dtype : dtype, optional
        Floating dtype of the result; the computation runs in the wider of it and that of the logits.

    Returns
    -------
    ndarray or scalar
        One divergence per row, within 2 ulp of Σ p (\\|log p\\| + \\|log q\\|), and where q is within a factor e of p
        everywhere of Σ p \\|log p − log q\\|. 0·(−inf) is 0; where q is 0 and p is not, the divergence is +inf.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`.

    See Also
    --------
    kl_divergence_grad : both gradients, too.
    soft_cross_entropy : for a target of probabilities.

    Notes
    -----
    The nearer q is to p, the more the plain formula cancels. With d = log p − log q and its mean d̄ under p, the
    divergence is also log Σ p e^(d̄−d) = log1p(Σ p (e^(d̄−d) − 1 + (d − d̄))): a sum of terms that are never negative.

    Examples
    --------
    >>> import softgrad as sg
    >>> print(f"{sg.kl_divergence([0.0, 1e-8], [0.0, 0.0]):.6g}")
    1.25e-17

    Distillation divides the logits of both by one temperature:

    >>> print(f"{sg.kl_divergence([2.0, 0.0], [0.0, 1.0], temperature=4.0):.6g}")
    0.0687069
    """
    p, q = Logits.pair(axis, where, dtype, logits_p=logits_p, logits_q=logits_q)
    temperature = as_temperature(temperature, p.rows, p.xp)
    return p.solve(native.kl_divergence, None, q.x, temperature)


@dispatched("(n),(n)->(),(n),(n)", kernel=True, half=False)
def kl_divergence_grad(
    logits_p: Any,
    logits_q: Any,
    /,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    dtype: Any = None,
    out: Array | None = None,
    grad_p_out: Array | None = None,
    grad_q_out: Array | None = None,
) -> DivergenceGrad:
    """Kullback-Leibler divergence of two softmax distributions and its gradients with respect to both logits.

    The gradients are p (log p − log q − divergence)/T and (q − p)/T.

    Parameters
    ----------
    logits_p, logits_q, axis, temperature, where, dtype
        As in `kl_divergence`.
    out, grad_p_out, grad_q_out : ndarray, optional
        Where to write the results: arrays of their shape and of `dtype` or that of the logits (losses of half
        precision: float32).

    Returns
    -------
    DivergenceGrad
        ``(loss, grad_p, grad_q)``: one divergence per row, and two gradients of the common shape of the logits. Where
        the divergence is infinite, `grad_p` does not exist and is NaN.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`; nothing is written then.

    See Also
    --------
    kl_divergence : the value alone.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.kl_divergence_grad([1.0, 0.0], [0.0, 0.0]).grad_q
    array([-0.23105858,  0.23105858])
    """
    p, q = Logits.pair(axis, where, dtype, logits_p=logits_p, logits_q=logits_q)
    temperature = as_temperature(temperature, p.rows, p.xp)
    buffers = {"out": out, "grad_p_out": grad_p_out, "grad_q_out": grad_q_out}
    return DivergenceGrad(*p.solve_all(native.kl_divergence_grad, buffers, q.x, temperature))


@dispatched("(n),(k)->(k)")
def selective_log_softmax(
    logits: Any, index: Any, /, *, axis: Axis = -1, temperature: Any = 1.0, where: Any = None, dtype: Any = None
) -> Array:
    """Log-probabilities of chosen entries only: `log_softmax` at `index`, without an array of the size of the logits.

    Without fusion: ``take_along_axis(log_softmax(logits / temperature), index)``.

    Parameters
    ----------
    logits : array_like, real
        Logits of any shape; computed in and returned as `softmax` does with its `x`.
    index : array_like of int
        One entry of each row, in [0, n): the shape of `logits` without `axis`; or k entries, along one more last axis.
    axis : int, tuple of ints or None, default: -1
        The axis or axes along which the probabilities sum to 1.
    temperature : float or array_like, default: 1.0
        T ≥ 0, one number or one per row, by which the logits are divided without rounding the quotient. At T = 0 values
        are the limits.
    where : array_like of bool, optional
        Entries that are valid, broadcast to the shape of `logits`; the others are never read and have −inf.
    dtype : dtype, optional
        Floating dtype of the result; the computation runs in the wider of it and that of the logits.

    Returns
    -------
    ndarray or scalar
        log p at `index`, of its shape, as exact as `log_softmax`.

    Raises
    ------
    TypeError
        If `index` does not hold integers; otherwise as `softmax`.
    IndexError
        If an index lies outside [0, n).
    ValueError, numpy.exceptions.AxisError
        As `softmax`.

    See Also
    --------
    log_softmax : every entry.
    cross_entropy : minus the entry of one label per row, with weights.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.selective_log_softmax([[0.0, -40.0], [0.0, 0.0]], [0, 1])
    array([-4.24835426e-18, -6.93147181e-01])

    Several entries of each row:

    >>> sg.selective_log_softmax([[0.0, 1.0, 2.0]], [[2, 0]])
    array([[-0.40760596, -2.40760596]])
    """
    rows = Logits.of_loss(logits, axis, where, dtype)
    temperature = as_temperature(temperature, rows.rows, rows.xp)
    xp, batch = rows.xp, rows.rows.batch_shape
    several = np.ndim(index) == len(batch) + 1
    shape = (*batch, np.shape(index)[-1]) if several else batch
    index, _, outside = as_labels(index, shape, rows.rows.n, None, xp, "index")
    entries = index if several else index[..., None]
    if rows.rows.n == 0:  # the shape has no index, or no row
        return xp.zeros(shape, dtype=rows.dtype)
    result: Array = native.log_probabilities(rows.x, entries, temperature)
    if rows.present is not None:
        result = xp.where(rows.present[..., None], result, xp.asarray(-xp.inf, dtype=result.dtype))
    result = narrowed(result if several else result[..., 0], rows.dtype)
    if outside is not None:
        result = xp.where(outside, xp.full_like(result, xp.nan), result)
    return result[()] if xp is np else result


@dispatched("(n)->()")
def tsallis_entropy(p: Any, /, alpha: Any = 1.5, *, axis: Axis = -1) -> Array:
    """Tsallis entropy of probabilities, one per row: Shannon's in nats at α = 1, half of Gini's impurity at α = 2.

    .. math:: H_α(p) = \\frac{Σ (p - p^α)}{α (α - 1)}, \\quad H_1(p) = -Σ p \\log p

    Parameters
    ----------
    p : array_like, real
        Probabilities along `axis`; of logits, take `entropy` for α = 1.
    alpha : float or array_like, default: 1.5
        α ≥ 1: one number, or one per slice. At infinity the entropy is 0.
    axis : int, tuple of ints or None, default: -1
        The axis or axes along which the probabilities sum to 1.

    Returns
    -------
    ndarray or scalar
        One entropy per row, within 8 ulp; of float16 and bfloat16, float32. A row with NaN or a negative number is NaN.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `entmax`.

    See Also
    --------
    entmax : the distribution that maximizes ⟨p, x⟩ + H(p).
    entropy : the entropy of softmax, from logits.

    Notes
    -----
    Tsallis, "Possible generalization of Boltzmann–Gibbs statistics", J. Stat. Phys. 52 (1988), with the factor 1/α of
    Blondel, Martins & Niculae (2020). Computed as −Σ p expm1((α−1) log p)/(α(α−1)), whose terms are not negative.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.tsallis_entropy([0.5, 0.5], 2.0)
    np.float64(0.25)
    >>> sg.tsallis_entropy([[0.5, 0.5], [1.0, 0.0]], 1.0)
    array([0.69314718, 0.        ])
    """
    rows, _ = Logits.output(axis, 0.0, p=p)
    return rows.with_values().solve(native.tsallis_entropy, None, as_alpha(alpha, rows.rows, rows.xp))
