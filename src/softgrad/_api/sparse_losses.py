"""Fenchel–Young losses of sparsemax and entmax, one loss per row, with their gradients.

Throughout, p = entmax(logits / T, alpha) with the temperature T, and Σ runs over one slice: the entries along `axis`.
"""

from __future__ import annotations

from typing import Any

from softgrad._api.results import LossGrad
from softgrad._dispatch import dispatched
from softgrad._formulas.namespace import Array
from softgrad._numpy import losses as cross_entropies
from softgrad._numpy import sparse_losses as native
from softgrad._validation.arrays import as_alpha, as_temperature
from softgrad._validation.axis import Axis
from softgrad._validation.logits import Logits
from softgrad._validation.targets import LossOptions, label_target, soft_target

__all__ = [
    "entmax_loss",
    "entmax_loss_grad",
    "soft_entmax_loss",
    "soft_entmax_loss_grad",
    "soft_sparsemax_loss",
    "soft_sparsemax_loss_grad",
    "sparsemax_loss",
    "sparsemax_loss_grad",
]


@dispatched("(n),()->()", whole=True)
def entmax_loss(
    logits: Any,
    labels: Any,
    /,
    alpha: Any = 1.5,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = None,
    dtype: Any = None,
) -> Array:
    """Entmax loss of integer labels: 0 once the logit of the label is 1/(α − 1) above all others.

    .. math:: L = \\sum_j p_j (x_j - x_y) + H(p), \\quad H(p) = \\frac{Σ (p - p^α)}{α (α - 1)}

    Parameters
    ----------
    logits : array_like, real
        Logits x of any shape; computed in and returned as `softmax` does with its `x`, but for float16 and bfloat16,
        whose losses are float32.
    labels : array_like of int
        The class y of each row, in [0, n): the shape of `logits` without `axis`.
    alpha : float or array_like, default: 1.5
        α ≥ 1, as in `entmax`. At 1 this is `cross_entropy`, at 2 `sparsemax_loss`, at infinity max x − x_y.
    temperature : float or array_like, default: 1.0
        T ≥ 0: the loss is that of x / T, whose quotient is not rounded. One number, or one for each row.
    axis, where, weight, sample_weight, ignore_index, dtype
        As in `cross_entropy`.

    Returns
    -------
    ndarray or scalar
        One loss per row, never a mean. It and its gradient are exactly 0 where the margin is met. A row with NaN or
        +inf, or with nothing but −inf, is NaN; a row that is masked entirely or ignored is 0; a label whose logit is
        −inf has the loss +inf.

    Raises
    ------
    TypeError, IndexError, ValueError, numpy.exceptions.AxisError
        As `cross_entropy`; ValueError also if `alpha` is below 1 or NaN, or does not broadcast.

    See Also
    --------
    entmax_loss_grad : the gradient in the same pass.
    soft_entmax_loss : distributions instead of labels.
    entmax_loss_hessian : the Hessian, as an operator.

    Notes
    -----
    Blondel, Martins & Niculae, "Learning with Fenchel–Young losses", J. Mach. Learn. Res. 21 (2020), section 4.3. The
    loss is computed as a sum of Bregman divergences, which are not negative, so that it keeps its digits where it is
    small: within 16 ulp, or 16 (1 + α) ulp where the probability of the label is 0.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.entmax_loss([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]], [0, 1])
    array([0.06165587, 0.        ])

    At α = 1 it is cross-entropy; rows may be weighted or left out:

    >>> sg.entmax_loss([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]], [0, 1], alpha=1.0)
    array([0.40760596, 0.09492296])
    >>> sg.entmax_loss([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]], [0, -1], sample_weight=2.0, ignore_index=-1)
    array([0.12331174, 0.        ])
    """
    rows = Logits.of_loss(logits, axis, where, dtype)
    temperature = as_temperature(temperature, rows.rows, rows.xp)
    alpha = as_alpha(alpha, rows.rows, rows.xp)
    target = label_target(rows, labels, LossOptions(weight, sample_weight, ignore_index=ignore_index))
    if isinstance(alpha, float) and alpha == 1:
        return rows.solve(cross_entropies.cross_entropy, None, target, temperature)
    return rows.solve(native.entmax_loss, None, target, alpha, temperature)


@dispatched("(n),()->(),(n)", whole=True)
def entmax_loss_grad(
    logits: Any,
    labels: Any,
    /,
    alpha: Any = 1.5,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = None,
    dtype: Any = None,
    out: Array | None = None,
    grad_out: Array | None = None,
) -> LossGrad:
    """Entmax loss of integer labels and its gradient (p − e_y)/T in one pass.

    Parameters
    ----------
    logits, labels, alpha, axis, temperature, where, weight, sample_weight, ignore_index, dtype
        As in `entmax_loss`.
    out, grad_out : ndarray, optional
        As in `cross_entropy_grad`.

    Returns
    -------
    LossGrad
        ``(loss, grad)``: one loss per row, and the gradient of every row's own loss, of the shape of `logits`. At the
        label it is −Σ_{j≠y} p_j, summed and never 0 by cancellation.

    Raises
    ------
    TypeError, IndexError, ValueError, numpy.exceptions.AxisError
        As `entmax_loss`; nothing is written then.

    See Also
    --------
    entmax_loss : the loss alone.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.entmax_loss_grad([0.0, 0.0], 0).grad
    array([-0.5,  0.5])
    """
    rows = Logits.of_loss(logits, axis, where, dtype)
    temperature = as_temperature(temperature, rows.rows, rows.xp)
    alpha = as_alpha(alpha, rows.rows, rows.xp)
    target = label_target(rows, labels, LossOptions(weight, sample_weight, ignore_index=ignore_index))
    buffers = {"out": out, "grad_out": grad_out}
    if isinstance(alpha, float) and alpha == 1:
        return LossGrad(*rows.solve_all(cross_entropies.cross_entropy_grad, buffers, target, temperature))
    return LossGrad(*rows.solve_all(native.entmax_loss_grad, buffers, target, alpha, temperature))


@dispatched("(n),(n)->()", whole=True)
def soft_entmax_loss(
    logits: Any,
    targets: Any,
    /,
    alpha: Any = 1.5,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    sample_weight: Any = None,
    dtype: Any = None,
) -> Array:
    """Entmax loss of target distributions: 0 exactly where p is the target.

    .. math:: L = \\sum_j (p_j - y_j) x_j + H(p) - H(y), \\quad H(p) = \\frac{Σ (p - p^α)}{α (α - 1)}

    Parameters
    ----------
    logits : array_like, real
        Logits x of any shape, as in `entmax_loss`.
    targets : array_like, real
        The target y of every entry, at least 0, broadcast to the shape of `logits` and rounded to their dtype, or to
        float32 if that is narrower. A row sums to 1; the loss of another is Σ D(y, p) + Σ (d − σ/s) y of Notes.
    alpha : float or array_like, default: 1.5
        α ≥ 1, as in `entmax`. At 1 this is the Kullback–Leibler divergence of p from y.
    axis, temperature, where, sample_weight, dtype
        As in `entmax_loss`.

    Returns
    -------
    ndarray or scalar
        One loss per row, never a mean, within 16 ulp of Σ (D + p^(α−1) \\|p − y\\|) with the D of Notes, and (1 + α)
        times that where p is 0.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `entmax_loss`; ValueError also if a target is negative.

    See Also
    --------
    soft_entmax_loss_grad : the gradient in the same pass.
    entmax_loss : integer labels.

    Notes
    -----
    With s = α − 1, the gaps d = max x − x and σ = max p^s the loss is Σ D(y, p) + Σ (d − σ/s) y, the second sum over
    the entries with p = 0, where D(y, p) = (y^α + s p^α − α p^s y)/(α s). No term is negative.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.soft_entmax_loss([1.0, 1.0, 0.0], [1.0, 0.0, 0.0])
    np.float64(0.39587450737622604)
    >>> sg.soft_entmax_loss([1.0, 1.0, -1.0], [0.5, 0.5, 0.0])
    np.float64(0.0)
    """
    rows = Logits.of_loss(logits, axis, where, dtype)
    temperature = as_temperature(temperature, rows.rows, rows.xp)
    alpha = as_alpha(alpha, rows.rows, rows.xp)
    target = soft_target(rows, targets, LossOptions(None, sample_weight))
    return rows.solve(native.entmax_loss, None, target, alpha, temperature)


@dispatched("(n),(n)->(),(n)", whole=True)
def soft_entmax_loss_grad(
    logits: Any,
    targets: Any,
    /,
    alpha: Any = 1.5,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    sample_weight: Any = None,
    dtype: Any = None,
    out: Array | None = None,
    grad_out: Array | None = None,
) -> LossGrad:
    """Entmax loss of target distributions and its gradient (p − y)/T with respect to the logits in one pass.

    Where the targets of a row do not sum to 1, (Σ y − 1) p^(2−α)/Σ p^(2−α) is added, the sum over the support of p.

    Parameters
    ----------
    logits, targets, alpha, axis, temperature, where, sample_weight, dtype
        As in `soft_entmax_loss`.
    out, grad_out : ndarray, optional
        As in `cross_entropy_grad`.

    Returns
    -------
    LossGrad
        ``(loss, grad)``: one loss per row, and the gradient of every row's own loss, of the shape of `logits`.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `soft_entmax_loss`; nothing is written then.

    See Also
    --------
    soft_entmax_loss : the loss alone.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.soft_entmax_loss_grad([0.0, 0.0], [0.75, 0.25]).grad
    array([-0.25,  0.25])
    """
    rows = Logits.of_loss(logits, axis, where, dtype)
    temperature = as_temperature(temperature, rows.rows, rows.xp)
    alpha = as_alpha(alpha, rows.rows, rows.xp)
    target = soft_target(rows, targets, LossOptions(None, sample_weight))
    buffers = {"out": out, "grad_out": grad_out}
    return LossGrad(*rows.solve_all(native.entmax_loss_grad, buffers, target, alpha, temperature))


@dispatched("(n),()->()", whole=True)
def sparsemax_loss(
    logits: Any,
    labels: Any,
    /,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = None,
    dtype: Any = None,
) -> Array:
    """Sparsemax loss of integer labels: 0 once the logit of the label is 1 above all others.

    .. math:: L = \\sum_j p_j (x_j - x_y) + \\tfrac{1}{2} Σ p (1 - p), \\quad p = \\mathrm{sparsemax}(x)

    Parameters
    ----------
    logits, labels, axis, temperature, where, weight, sample_weight, ignore_index, dtype
        As in `entmax_loss`.

    Returns
    -------
    ndarray or scalar
        One loss per row, as `entmax_loss` with α = 2.

    Raises
    ------
    TypeError, IndexError, ValueError, numpy.exceptions.AxisError
        As `entmax_loss`.

    See Also
    --------
    sparsemax_loss_grad : the gradient in the same pass.

    Notes
    -----
    Martins & Astudillo, "From softmax to sparsemax", ICML 2016, section 3.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.sparsemax_loss([[0.5, 0.0, 0.0], [2.0, 0.5, 0.0]], [0, 0])
    array([0.08333333, 0.        ])
    """
    return entmax_loss(
        logits,
        labels,
        2.0,
        axis=axis,
        temperature=temperature,
        where=where,
        weight=weight,
        sample_weight=sample_weight,
        ignore_index=ignore_index,
        dtype=dtype,
    )


@dispatched("(n),()->(),(n)", whole=True)
def sparsemax_loss_grad(
    logits: Any,
    labels: Any,
    /,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = None,
    dtype: Any = None,
    out: Array | None = None,
    grad_out: Array | None = None,
) -> LossGrad:
    """Sparsemax loss of integer labels and its gradient (p − e_y)/T in one pass.

    Parameters
    ----------
    logits, labels, axis, temperature, where, weight, sample_weight, ignore_index, dtype
        As in `entmax_loss`.
    out, grad_out : ndarray, optional
        As in `cross_entropy_grad`.

    Returns
    -------
    LossGrad
        ``(loss, grad)``, as `entmax_loss_grad` with α = 2.

    Raises
    ------
    TypeError, IndexError, ValueError, numpy.exceptions.AxisError
        As `entmax_loss`; nothing is written then.

    See Also
    --------
    sparsemax_loss : the loss alone.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.sparsemax_loss_grad([0.5, 0.0, -1.0], 0).grad
    array([-0.25,  0.25,  0.  ])
    """
    return entmax_loss_grad(
        logits,
        labels,
        2.0,
        axis=axis,
        temperature=temperature,
        where=where,
        weight=weight,
        sample_weight=sample_weight,
        ignore_index=ignore_index,
        dtype=dtype,
        out=out,
        grad_out=grad_out,
    )


@dispatched("(n),(n)->()", whole=True)
def soft_sparsemax_loss(
    logits: Any,
    targets: Any,
    /,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    sample_weight: Any = None,
    dtype: Any = None,
) -> Array:
    """Sparsemax loss of target distributions: 0 exactly where p is the target.

    Parameters
    ----------
    logits, targets, axis, temperature, where, sample_weight, dtype
        As in `soft_entmax_loss`.

    Returns
    -------
    ndarray or scalar
        One loss per row, as `soft_entmax_loss` with α = 2.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `soft_entmax_loss`.

    See Also
    --------
    soft_sparsemax_loss_grad : the gradient in the same pass.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.soft_sparsemax_loss([0.5, 0.0, 0.0], [0.5, 0.25, 0.25])
    np.float64(0.02083333333333333)
    """
    options = {"axis": axis, "temperature": temperature, "where": where, "sample_weight": sample_weight, "dtype": dtype}
    return soft_entmax_loss(logits, targets, 2.0, **options)


@dispatched("(n),(n)->(),(n)", whole=True)
def soft_sparsemax_loss_grad(
    logits: Any,
    targets: Any,
    /,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    sample_weight: Any = None,
    dtype: Any = None,
    out: Array | None = None,
    grad_out: Array | None = None,
) -> LossGrad:
    """Sparsemax loss of target distributions and its gradient (p − y)/T with respect to the logits in one pass.

    Parameters
    ----------
    logits, targets, axis, temperature, where, sample_weight, dtype
        As in `soft_entmax_loss`.
    out, grad_out : ndarray, optional
        As in `cross_entropy_grad`.

    Returns
    -------
    LossGrad
        ``(loss, grad)``, as `soft_entmax_loss_grad` with α = 2.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `soft_entmax_loss`; nothing is written then.

    See Also
    --------
    soft_sparsemax_loss : the loss alone.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.soft_sparsemax_loss_grad([0.5, 0.0, -1.0], [0.5, 0.5, 0.0]).grad
    array([ 0.25, -0.25,  0.  ])
    """
    options = {"axis": axis, "temperature": temperature, "where": where, "sample_weight": sample_weight, "dtype": dtype}
    return soft_entmax_loss_grad(logits, targets, 2.0, out=out, grad_out=grad_out, **options)
