"""Cross-entropy and its relatives from logits, one loss per row, with gradients and curvature in the same pass.

Throughout, p = softmax(logits / T) and lse = logsumexp(logits / T) with the temperature T, and n is the number of
classes: the entries along `axis`.
"""

from __future__ import annotations

from typing import Any

from softgrad._api.results import LossGrad, LossGradHess
from softgrad._dispatch import dispatched
from softgrad._formulas.namespace import Array
from softgrad._numpy import losses as native
from softgrad._validation.arrays import as_temperature
from softgrad._validation.axis import Axis
from softgrad._validation.logits import Logits
from softgrad._validation.targets import LossOptions, label_target, soft_target

__all__ = [
    "cross_entropy",
    "cross_entropy_grad",
    "cross_entropy_grad_hess",
    "soft_cross_entropy",
    "soft_cross_entropy_grad",
]

CURVATURES = ("diagonal", "upper", "friedman", "residual")


@dispatched("(n),()->()", kernel=True, half=False)
def cross_entropy(
    logits: Any,
    labels: Any,
    /,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    weight: Any = None,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    z_loss: float = 0.0,
    dtype: Any = None,
) -> Array:
    """Cross-entropy of integer labels: −log p at the label, one loss per row, exact to 2 ulp.

    With every option the loss of a row with the label y is, as PyTorch has it before its mean::

        log_p = log_softmax(logits / temperature)
        row = (1 - label_smoothing) * weight[y] * -log_p[y]
        row += label_smoothing / n * sum(weight * -log_p)
        row += z_loss * logsumexp(logits / temperature) ** 2
        loss = 0 if y == ignore_index else sample_weight * row

    Parameters
    ----------
    logits : array_like, real
        Logits of any shape; computed in and returned as `softmax` does with its `x`, but for float16 and bfloat16,
        whose losses are float32.
    labels : array_like of int
        The class of each row, in [0, n): the shape of `logits` without `axis`.
    axis : int, tuple of ints or None, default: -1
        The axis of the classes. Several axes count as one, in C order.
    temperature : float or array_like, default: 1.0
        T ≥ 0, one number or one per row: the loss is that of logits / T, a quotient that is not rounded. Gradients are
        with respect to the logits themselves. At T = 0 values and derivatives are the limits, which may be infinite.
    where : array_like of bool, optional
        Classes that are valid, broadcast to the shape of `logits`. The others are never read, n does not count them and
        their derivatives are 0. A label among them has the probability 0.
    weight : array_like, shape (n,), optional
        Factors of the classes, at least 0.
    sample_weight : array_like, optional
        Factors of the rows, at least 0, broadcast to the shape of `labels`. A row with the factor 0 is not read.
    label_smoothing : float, default: 0.0
        The share, in [0, 1], of the target that is spread evenly over the classes.
    ignore_index : int, optional
        The label of rows that do not count: loss 0, gradient 0. It need not lie in [0, n).
    z_loss : float, default: 0.0
        The factor, at least 0, of lse².
    dtype : dtype, optional
        Floating dtype of the results; the computation runs in the wider of it and that of `logits`. Default: that of
        `logits`, and float32 for losses of half precision.

    Returns
    -------
    ndarray or scalar
        One loss per row, never a mean. A row with NaN or +inf, or with nothing but −inf, is NaN; a row that is masked
        entirely or ignored is 0; a label whose logit is −inf has the loss +inf.

    Raises
    ------
    TypeError
        If `labels` are not integers; otherwise as `softmax`.
    IndexError
        If a label lies outside [0, n).
    ValueError
        If an argument has the wrong shape or a factor lies outside its range.
    numpy.exceptions.AxisError
        If `logits` has no such axis.

    See Also
    --------
    cross_entropy_grad : the gradient in the same pass.
    soft_cross_entropy : distributions instead of labels.

    Notes
    -----
    With the maximum m of a row the loss is log1p(Σ_{j≠k} e^(x_j − m)) + (m − x_y), two terms of one sign: nothing is
    lost where p_y is nearly 1. A temperature other than 1 goes through array formulas, which are slower than the
    kernels. The z-loss is that of Chowdhery et al., "PaLM", J. Mach. Learn. Res. 24 (2023),
    section 5.

    Examples
    --------
    >>> import numpy as np
    >>> import softgrad as sg
    >>> sg.cross_entropy([[2.0, 1.0, 0.0], [0.0, 40.0, 0.0]], [0, 1])
    array([4.07605964e-01, 8.49670851e-18])

    The options, one at a time: a row that does not count, rows and classes that count more, a share of the target for
    every class, a penalty for large normalizers, a mask, a temperature:

    >>> logits = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]])
    >>> sg.cross_entropy(logits, [0, -100], ignore_index=-100)
    array([0.40760596, 0.        ])
    >>> sg.cross_entropy(logits, [0, 1], sample_weight=[1.0, 10.0])
    array([0.40760596, 0.94922956])
    >>> sg.cross_entropy(logits, [0, 1], weight=[2.0, 1.0, 1.0])
    array([0.81521193, 0.09492296])
    >>> sg.cross_entropy(logits, [0, 1], label_smoothing=0.1)
    array([0.50760596, 0.29492296])
    >>> sg.cross_entropy(logits, [0, 1], z_loss=0.01)
    array([0.46557163, 0.19070844])
    >>> sg.cross_entropy(logits, [0, 1], where=[True, True, False])
    array([0.31326169, 0.04858735])
    >>> sg.cross_entropy(logits, [0, 1], temperature=2.0)
    array([0.68026967, 0.36898114])

    Classes along the first axis, as the pixels of an image have them:

    >>> sg.cross_entropy(logits.T, [0, 1], axis=0)
    array([0.40760596, 0.09492296])
    """
    rows = Logits.of_loss(logits, axis, where, dtype)
    temperature = as_temperature(temperature, rows.rows, rows.xp)
    options = LossOptions(weight, sample_weight, label_smoothing, ignore_index, z_loss)
    target = label_target(rows, labels, options)
    return rows.solve(native.cross_entropy, None, target, temperature)


@dispatched("(n),()->(),(n)", kernel=True, half=False)
def cross_entropy_grad(
    logits: Any,
    labels: Any,
    /,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    weight: Any = None,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    z_loss: float = 0.0,
    dtype: Any = None,
    out: Array | None = None,
    grad_out: Array | None = None,
) -> LossGrad:
    """Cross-entropy of integer labels and its gradient in one pass.

    Without options the gradient of a row with the label y is p − e_y; in general::

        target = label_smoothing / n * weight
        target[y] += (1 - label_smoothing) * weight[y]
        grad = sample_weight / temperature * ((sum(target) + 2 * z_loss * lse) * p - target)

    Parameters
    ----------
    logits, labels, axis, temperature, where, weight, sample_weight, label_smoothing, ignore_index, z_loss, dtype
        As in `cross_entropy`.
    out, grad_out : ndarray, optional
        Where to write the losses and the gradient: arrays of their shape and of `dtype` or that of the logits (losses
        of half precision: float32). `grad_out` may be `logits` or overlap it.

    Returns
    -------
    LossGrad
        ``(loss, grad)``: one loss per row, and the gradient of every row's own loss, of the shape of `logits`.

    Raises
    ------
    TypeError, IndexError, ValueError, numpy.exceptions.AxisError
        As `cross_entropy`; nothing is written then.

    See Also
    --------
    cross_entropy : the loss alone.
    cross_entropy_grad_hess : a curvature per entry, too.
    SoftmaxCrossEntropy : the same as a layer.

    Notes
    -----
    The gradient at the label is −Σ_{j≠y} p_j, summed where p_y is nearly 1: within 4 ulp, and never 0 by cancellation.

    Examples
    --------
    >>> import numpy as np
    >>> import softgrad as sg
    >>> loss, grad = sg.cross_entropy_grad([40.0, 0.0, 0.0], 0)
    >>> grad
    array([-8.49670851e-18,  4.24835426e-18,  4.24835426e-18])

    Both results into arrays that are there; the mean's gradient by a factor for each row:

    >>> logits = np.zeros((2, 2))
    >>> loss, grad = np.empty(2), np.empty((2, 2))
    >>> _ = sg.cross_entropy_grad(logits, [0, 1], sample_weight=1 / 2, out=loss, grad_out=grad)
    >>> grad
    array([[-0.25,  0.25],
           [ 0.25, -0.25]])
    """
    rows = Logits.of_loss(logits, axis, where, dtype)
    temperature = as_temperature(temperature, rows.rows, rows.xp)
    options = LossOptions(weight, sample_weight, label_smoothing, ignore_index, z_loss)
    target = label_target(rows, labels, options)
    return LossGrad(*rows.solve_all(native.cross_entropy_grad, {"out": out, "grad_out": grad_out}, target, temperature))


@dispatched("(n),()->(),(n),(n)", kernel=True, half=False)
def cross_entropy_grad_hess(
    logits: Any,
    labels: Any,
    /,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    weight: Any = None,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    z_loss: float = 0.0,
    curvature: str = "diagonal",
    dtype: Any = None,
    out: Array | None = None,
    grad_out: Array | None = None,
    hess_out: Array | None = None,
) -> LossGradHess:
    """Cross-entropy of integer labels, its gradient and a curvature per entry in one pass, as boosting wants them.

    Parameters
    ----------
    logits, labels, axis, temperature, where, weight, sample_weight, label_smoothing, ignore_index, z_loss, dtype
        As in `cross_entropy`.
    curvature : {"diagonal", "upper", "friedman", "residual"}, default: "diagonal"
        What stands for the second derivative; without options p(1−p) is the diagonal of the Hessian (with a temperature
        p(1−p)/T²), and

        - ``"diagonal"`` is that diagonal itself, with every option;
        - ``"upper"`` is twice the diagonal, 2p(1−p), which without a z-loss bounds the whole Hessian from above
          (diagonal dominance): the choice of XGBoost;
        - ``"friedman"`` is n/(n−1) times the diagonal, the choice of LightGBM (Friedman 2001, algorithm 6);
        - ``"residual"`` is the size of the gradient, \\|p − y\\|.
    out, grad_out, hess_out : ndarray, optional
        Where to write the results: arrays of their shape and of `dtype` or that of the logits (losses of half
        precision: float32).

    Returns
    -------
    LossGradHess
        ``(loss, grad, hess)``: one loss per row, and two arrays of the shape of `logits`.

    Raises
    ------
    TypeError, IndexError, ValueError, numpy.exceptions.AxisError
        As `cross_entropy`; nothing is written then.

    See Also
    --------
    cross_entropy_hessian : the whole Hessian of every row, as an operator.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.cross_entropy_grad_hess([0.0, 0.0], 1)
    LossGradHess(loss=np.float64(0.6931471805599453), grad=array([ 0.5, -0.5]), hess=array([0.25, 0.25]))
    >>> sg.cross_entropy_grad_hess([0.0, 0.0], 1, curvature="upper").hess
    array([0.5, 0.5])
    """
    if curvature not in CURVATURES:
        raise ValueError(f"curvature must be one of {', '.join(map(repr, CURVATURES))}; got {curvature!r}")
    rows = Logits.of_loss(logits, axis, where, dtype)
    temperature = as_temperature(temperature, rows.rows, rows.xp)
    options = LossOptions(weight, sample_weight, label_smoothing, ignore_index, z_loss)
    target = label_target(rows, labels, options)
    factor = _curvature_factor(rows, curvature)
    buffers = {"out": out, "grad_out": grad_out, "hess_out": hess_out}
    return LossGradHess(*rows.solve_all(native.cross_entropy_grad_hess, buffers, target, factor, temperature))


@dispatched("(n),(n)->()")
def soft_cross_entropy(
    logits: Any,
    targets: Any,
    /,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    weight: Any = None,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    dtype: Any = None,
) -> Array:
    """Cross-entropy of target distributions: −Σ t log p, one loss per row.

    With every option the loss of a row is, as PyTorch has it before its mean::

        log_p = log_softmax(logits / temperature)
        t = weight * ((1 - label_smoothing) * targets + label_smoothing / n)
        loss = sample_weight * (sum(t * -log_p) + z_loss * logsumexp(logits / temperature) ** 2)

    where 0·(−inf) is 0.

    Parameters
    ----------
    logits : array_like, real
        Logits of any shape; computed in and returned as `softmax` does with its `x`, but for float16 and bfloat16,
        whose losses are float32.
    targets : array_like, real
        The target of every entry, broadcast to the shape of `logits` and rounded to their dtype, or to float32 if
        that is narrower. A row may have any sum.
    axis, temperature, where, weight, sample_weight, label_smoothing, z_loss, dtype
        As in `cross_entropy`.

    Returns
    -------
    ndarray or scalar
        One loss per row, never a mean, within 2 ulp of it or of its largest term.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `cross_entropy`.

    See Also
    --------
    soft_cross_entropy_grad : the gradient in the same pass.
    cross_entropy : integer labels.
    kl_divergence : less the entropy of the target, from logits.

    Examples
    --------
    >>> import softgrad as sg
    >>> float(sg.soft_cross_entropy([1.0, 1.0, -float("inf")], [0.5, 0.5, 0.0]))
    0.6931471805599453
    >>> sg.soft_cross_entropy([[2.0, 0.0], [0.0, 2.0]], [[0.9, 0.1], [0.5, 0.5]], sample_weight=[1.0, 0.0])
    array([0.32692801, 0.        ])
    """
    rows = Logits.of_loss(logits, axis, where, dtype)
    temperature = as_temperature(temperature, rows.rows, rows.xp)
    target = soft_target(rows, targets, LossOptions(weight, sample_weight, label_smoothing, None, z_loss))
    return rows.solve(native.cross_entropy, None, target, temperature)


@dispatched("(n),(n)->(),(n)")
def soft_cross_entropy_grad(
    logits: Any,
    targets: Any,
    /,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    weight: Any = None,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    dtype: Any = None,
    out: Array | None = None,
    grad_out: Array | None = None,
) -> LossGrad:
    """Cross-entropy of target distributions and its gradient with respect to the logits in one pass.

    With t as in `soft_cross_entropy` the gradient is
    ``sample_weight / temperature * ((sum(t) + 2 * z_loss * lse) * p - t)``.

    Parameters
    ----------
    logits, targets, axis, temperature, where, weight, sample_weight, label_smoothing, z_loss, dtype
        As in `soft_cross_entropy`.
    out, grad_out : ndarray, optional
        As in `cross_entropy_grad`.

    Returns
    -------
    LossGrad
        ``(loss, grad)``: one loss per row, and the gradient of every row's own loss, of the shape of `logits`.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `cross_entropy`; nothing is written then.

    See Also
    --------
    soft_cross_entropy : the loss alone.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.soft_cross_entropy_grad([0.0, 0.0], [0.75, 0.25]).grad
    array([-0.25,  0.25])
    """
    rows = Logits.of_loss(logits, axis, where, dtype)
    temperature = as_temperature(temperature, rows.rows, rows.xp)
    target = soft_target(rows, targets, LossOptions(weight, sample_weight, label_smoothing, None, z_loss))
    return LossGrad(*rows.solve_all(native.cross_entropy_grad, {"out": out, "grad_out": grad_out}, target, temperature))


def _curvature_factor(rows: Logits, curvature: str) -> Array | float | None:
    """What multiplies the diagonal of the Hessian; None where the gradient's size takes its place."""
    if curvature == "friedman":
        if isinstance(rows.valid_count, int):
            return rows.valid_count / max(rows.valid_count - 1, 1)  # a single class has no curvature to scale
        count = rows.valid_count[..., 0]
        return count / rows.xp.where(count > 1, count - 1, count)
    return {"diagonal": 1.0, "upper": 2.0, "residual": None}[curvature]
