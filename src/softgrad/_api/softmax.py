"""softmax, log_softmax, logsumexp and their derivatives, as functions of arrays.

Throughout, p = softmax(x) and Σ runs over one slice: the entries along `axis`.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from softgrad._dispatch import dispatched
from softgrad._formulas import softmax as formulas
from softgrad._formulas.namespace import is_known, namespace
from softgrad._numpy import softmax as native
from softgrad._numpy import threads
from softgrad._validation.arrays import (
    as_floating_dtype,
    as_mask,
    as_real,
    as_temperature,
    broadcast_shapes,
    broadcast_to,
    check_out,
    promoted,
)
from softgrad._validation.axis import Axis, Rows
from softgrad._validation.masks import unmasked, unmasked_operands

if TYPE_CHECKING:
    from softgrad._api.operators import SimplexJacobian

Array = Any


@dispatched("(n)->(n)", kernel=True)
def softmax(
    x: Any,
    /,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    normalization: bool = True,
    dtype: Any = None,
    out: Array | None = None,
    workers: int | None = None,
) -> Array:
    """Softmax: probabilities from logits, exact to 2 ulp.

    .. math:: p_i = e^{x_i/T} / \\sum_j e^{x_j/T}

    Parameters
    ----------
    x : array_like, real
        Logits of any shape. float16 and bfloat16 are computed in float32, float32, float64 and longdouble in their own
        precision; integers and bool become float64.
    axis : int, tuple of ints or None, default: -1
        The axis or axes along which the probabilities sum to 1; None means all of them together.
    temperature : float or array_like, default: 1.0
        T ≥ 0: one number, or one per slice (an array that broadcasts to the shape of `x` without `axis`, or with those
        axes kept as 1). At T = 0 the entries that attain the maximum share the probability.
    where : array_like of bool, optional
        Entries that take part, broadcast to the shape of `x`. The others are never read and get probability 0.
    normalization : bool, default: True
        Whether to shift by the maximum. False is the textbook formula, which overflows where the textbook's does.
    dtype : dtype, optional
        Floating dtype of the result; the computation runs in the wider of it and that of `x`. Default: that of `x`.
    out : ndarray, optional
        Where to write the result: an array of its shape and dtype. It may be `x` or overlap it.
    workers : int, optional
        Threads to use; -1 for every CPU. By default large arrays use every CPU and small ones only the caller's.
        The result has the same bits with any number.

    Returns
    -------
    ndarray
        p, of the shape of `x`. A slice with NaN or +inf, or with nothing but −inf, is NaN; a slice that is masked
        entirely is 0. A `numpy.ma.MaskedArray` comes back as one, its masked entries left out.

    Raises
    ------
    TypeError
        If `x` is complex or not numeric, if `dtype` is not floating, if `out` has another dtype.
    ValueError
        If `temperature` is negative or NaN, if `where` or `temperature` does not broadcast, if `out` has another shape
        or is read-only.
    numpy.exceptions.AxisError
        If `x` has no such axis.

    See Also
    --------
    softmax_vjp : the derivative applied to a vector.
    softmax_jacobian : the derivative as an operator.

    Notes
    -----
    The shifted formula of the usual implementations rounds x − max x, which costs up to 60 ulp in float32. Here the
    exponent is split from each x itself. On the accuracy of the formulas see Blanchard, Higham & Higham, "Accurately
    computing the log-sum-exp and softmax functions", IMA J. Numer. Anal. 41 (2021), sections 3 and 4.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.softmax([1.0, 2.0, 3.0])
    array([0.09003057, 0.24472847, 0.66524096])
    >>> sg.softmax([[1.0, 2.0, 3.0], [0.0, 1000.0, 1000.0]], where=[True, True, False])
    array([[0.26894142, 0.73105858, 0.        ],
           [0.        , 1.        , 0.        ]])
    >>> sg.softmax([1.0, 2.0, 3.0], temperature=0.0)
    array([0., 0., 1.])
    """
    return _forward("softmax", x, axis, temperature, where, normalization, dtype, out, workers)


@dispatched("(n)->(n)", kernel=True)
def log_softmax(
    x: Any,
    /,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    where: Any = None,
    normalization: bool = True,
    dtype: Any = None,
    out: Array | None = None,
    workers: int | None = None,
) -> Array:
    """Logarithms of softmax probabilities, exact to 2 ulp also where a probability is nearly 1.

    .. math:: y_i = x_i/T - \\log \\sum_j e^{x_j/T}

    Parameters
    ----------
    x : array_like, real
        Logits of any shape.
    axis, temperature, where, normalization, dtype, out, workers
        As in `softmax`; entries outside `where` get −inf.

    Returns
    -------
    ndarray
        y, of the shape of `x`, at most 0. A slice with NaN or +inf, or with nothing but −inf, is NaN; a slice that is
        masked entirely is −inf.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`.

    Notes
    -----
    At the maximum k the value is −log1p(Σ_{j≠k} e^(x_j − x_k)): the sum leaves out e⁰ = 1, beside which small terms
    would be lost.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.log_softmax([0.0, -40.0])
    array([-4.24835426e-18, -4.00000000e+01])
    """
    return _forward("log_softmax", x, axis, temperature, where, normalization, dtype, out, workers)


@dispatched("(n)->()", kernel=True)
def logsumexp(
    x: Any,
    /,
    *,
    axis: Axis = -1,
    b: Any = None,
    where: Any = None,
    keepdims: bool = False,
    dtype: Any = None,
    out: Array | None = None,
    workers: int | None = None,
) -> Array:
    """Logarithm of a sum of exponentials, without overflow, to 1 ulp of max(\\|result\\|, \\|max x\\|).

    .. math:: \\log \\sum_j b_j e^{x_j}

    Parameters
    ----------
    x : array_like, real
        Exponents of any shape.
    axis : int, tuple of ints or None, default: -1
        The axis or axes to sum over; None means all of them.
    b : array_like, real, optional
        Factors, broadcast to the shape of `x`. Where b is 0 the entry of `x` is not read. Default: 1.
    where : array_like of bool, optional
        Entries that take part, broadcast to the shape of `x`; the others are never read.
    keepdims : bool, default: False
        Whether the summed axes stay with length 1.
    dtype, out, workers
        As in `softmax`.

    Returns
    -------
    ndarray or scalar
        One value per slice: NaN if an entry is NaN or the sum is negative, else +inf if an entry is; −inf for an empty
        or entirely masked slice.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`.

    Examples
    --------
    >>> import softgrad as sg
    >>> float(sg.logsumexp([1000.0, 1000.0]))
    1000.6931471805599
    >>> float(sg.logsumexp([0.0, 1.0], b=[1.0, 0.0]))
    0.0
    """
    x, where, masked = unmasked(as_real(x), where)
    rows = Rows.of(tuple(x.shape), axis)
    x, result_dtype = _typed(x, dtype)
    xp = namespace(x)
    shape = rows.kept_shape if keepdims else rows.batch_shape
    if b is not None:
        b = xp.astype(as_real(b, "b"), x.dtype)
        b = rows.gather(broadcast_to("b", b, rows.shape, xp), xp)
    mask = None if where is None else rows.gather(as_mask(where, rows.shape, xp), xp)
    if xp is not np:
        _no_numpy_options(out, workers)
        return _cast(xp.reshape(formulas.logsumexp(rows.gather(x, xp), mask, b), shape), result_dtype, xp)
    if out is not None:
        check_out(out, shape, result_dtype)
    threads_used = threads.count(workers, x.size)
    result = native.logsumexp(rows.gather(x), mask, b, workers=threads_used)
    result = _deliver(np.reshape(result, shape), result_dtype, out)
    return result if masked is None else np.ma.MaskedArray(result, masked.all(axis=rows.axes, keepdims=keepdims))


@dispatched("(n),(n)->(n)", kernel=True)
def softmax_vjp(p: Any, g: Any, /, *, axis: Axis = -1, out: Array | None = None) -> Array:
    """Backward pass of softmax, from its output: the product of the Jacobian with `g`.

    .. math:: (J g)_i = p_i (g_i - \\sum_j p_j g_j)

    The Jacobian is symmetric, so this is the forward-mode product (JVP) too.

    Parameters
    ----------
    p : array_like, real
        The output of `softmax`.
    g : array_like, real
        The gradient of a loss with respect to p (or a direction in the space of logits), broadcast against `p`.
        Where p is 0, g is not read.
    axis : int, tuple of ints or None, default: -1
        The axis that `softmax` had.
    out : ndarray, optional
        Where to write the result.

    Returns
    -------
    ndarray
        The gradient with respect to the logits, within 4 ulp of p_i (\\|g_i − g_k\\| + Σ p_j \\|g_j − g_k\\|), where k
        is the largest entry of p. With a temperature T, divide by T.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`.

    Notes
    -----
    Replacing g by g − g_k changes nothing in exact arithmetic. In floating point it is what keeps the gradient of a
    saturated row (p_k → 1), where g_k − Σ p_j g_j cancels.

    Examples
    --------
    >>> import softgrad as sg
    >>> p = sg.softmax([0.0, 1.0, 2.0])
    >>> sg.softmax_vjp(p, [1.0, 0.0, 0.0])
    array([ 0.08192507, -0.02203304, -0.05989202])
    """
    return _backward("softmax_vjp", {"p": p, "g": g}, axis, out)


@dispatched("(n),(n)->(n)", kernel=True)
def log_softmax_vjp(y: Any, g: Any, /, *, axis: Axis = -1, out: Array | None = None) -> Array:
    """Backward pass of log_softmax, from its output: the product of the transposed Jacobian with `g`.

    .. math:: g_i - e^{y_i} \\sum_j g_j

    Parameters
    ----------
    y : array_like, real
        The output of `log_softmax`.
    g : array_like, real
        The gradient of a loss with respect to y, broadcast against `y`. Where y is −inf, g is not read.
    axis : int, tuple of ints or None, default: -1
        The axis that `log_softmax` had.
    out : ndarray, optional
        Where to write the result.

    Returns
    -------
    ndarray
        The gradient with respect to the logits.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`.

    Examples
    --------
    >>> import softgrad as sg
    >>> y = sg.log_softmax([40.0, 0.0])
    >>> sg.log_softmax_vjp(y, [-1.0, 0.0])  # cross-entropy with label 0
    array([-4.24835426e-18,  4.24835426e-18])
    """
    return _backward("log_softmax_vjp", {"y": y, "g": g}, axis, out)


@dispatched("(n),(n)->(n)", kernel=True)
def log_softmax_jvp(y: Any, v: Any, /, *, axis: Axis = -1, out: Array | None = None) -> Array:
    """Forward-mode derivative of log_softmax, from its output: the product of the Jacobian with `v`.

    .. math:: v_i - \\sum_j e^{y_j} v_j

    Parameters
    ----------
    y : array_like, real
        The output of `log_softmax`.
    v : array_like, real
        A direction in the space of logits, broadcast against `y`. Where y is −inf, v is not read.
    axis : int, tuple of ints or None, default: -1
        The axis that `log_softmax` had.
    out : ndarray, optional
        Where to write the result.

    Returns
    -------
    ndarray
        The derivative of y along v.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.log_softmax_jvp(sg.log_softmax([0.0, 0.0]), [1.0, 0.0])
    array([ 0.5, -0.5])
    """
    return _backward("log_softmax_jvp", {"y": y, "v": v}, axis, out)


@dispatched("(n),(n),(n)->(n)")
def softmax_second(p: Any, u: Any, v: Any, /, *, axis: Axis = -1, out: Array | None = None) -> Array:
    """Second derivative of softmax along two directions, from its output.

    .. math:: D^2 \\mathrm{softmax}(x)[u, v] = p ∘ ((u - \\bar u)(v - \\bar v) - \\mathrm{Cov}_p(u, v))

    with ū = Σ p_j u_j and Cov_p(u, v) = Σ p_j (u_j − ū)(v_j − v̄).

    Parameters
    ----------
    p : array_like, real
        The output of `softmax`.
    u, v : array_like, real
        Directions in the space of logits, broadcast against `p`. Where p is 0, they are not read.
    axis : int, tuple of ints or None, default: -1
        The axis that `softmax` had.
    out : ndarray, optional
        Where to write the result.

    Returns
    -------
    ndarray
        The second derivative, symmetric in u and v. With a temperature T, divide by T².

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.softmax_second([0.25, 0.75], [1.0, 0.0], [1.0, 0.0])
    array([ 0.09375, -0.09375])
    """
    return _backward("softmax_second", {"p": p, "u": u, "v": v}, axis, out)


@dispatched("(n)->(n,n)")
def softmax_jacobian(x: Any, /, *, axis: Axis = -1, temperature: Any = 1.0, where: Any = None) -> SimplexJacobian:
    """Jacobian of softmax as an operator that holds O(n) numbers per slice.

    .. math:: J_{ij} = (p_i δ_{ij} - p_i p_j) / T

    Parameters
    ----------
    x : array_like, real
        Logits of any shape.
    axis, temperature, where
        As in `softmax`. The temperature must be positive: at 0 softmax has no derivative.

    Returns
    -------
    SimplexJacobian
        Of shape (..., n, n): the axes of `x` without `axis`, then output and input entry.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`.

    See Also
    --------
    calculate_gradient : the dense array at once.

    Examples
    --------
    >>> import softgrad as sg
    >>> J = sg.softmax_jacobian([1.0, 2.0, 3.0])
    >>> J @ [1.0, 0.0, 0.0]
    array([ 0.08192507, -0.02203304, -0.05989202])
    >>> J.diagonal()
    array([0.08192507, 0.18483645, 0.22269543])
    """
    x, where, _ = unmasked(as_real(x), where)
    rows = Rows.of(tuple(x.shape), axis)
    xp = namespace(x)
    temperature = as_temperature(temperature, rows, xp)
    if is_known(temperature) and not xp.all(xp.asarray(temperature) > 0):
        raise ValueError("temperature must be positive: at 0 softmax is a step, which has no derivative")
    per_slice = temperature if isinstance(temperature, float) else xp.reshape(temperature, rows.kept_shape)
    p = softmax(x, axis=rows.axes, temperature=per_slice, where=where)
    return _operator(rows.gather(p, xp), temperature)


def calculate_gradient(x: Any, normalization: bool = True) -> Array:
    """Dense Jacobian of softmax along the last axis: one matrix for a vector, one per row for a batch.

    .. math:: J_{ij} = p_i δ_{ij} - p_i p_j

    Parameters
    ----------
    x : array_like, real
        Logits, shape (..., n).
    normalization : bool, default: True
        As in `softmax`.

    Returns
    -------
    ndarray
        Shape (..., n, n), symmetric, entries within 5 ulp. A matrix per row is n² numbers: `softmax_jacobian` holds n.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.calculate_gradient([1, 2, 3])
    array([[ 0.08192507, -0.02203304, -0.05989202],
           [-0.02203304,  0.18483645, -0.1628034 ],
           [-0.05989202, -0.1628034 ,  0.22269543]])
    """
    # The plain call, which goes straight to the kernel, is the one without options.
    p = softmax(x) if normalization else softmax(x, normalization=False)
    return jacobian_at(p).toarray()


@dispatched("(n)->(n,n)")
def jacobian_at(p: Any, /, *, axis: Axis = -1) -> SimplexJacobian:
    """The Jacobian of softmax from its output."""
    p = as_real(p, "p")
    return _operator(Rows.of(tuple(p.shape), axis).gather(p, namespace(p)))


def _operator(p: Array, temperature: Array | float = 1.0) -> SimplexJacobian:
    from softgrad._api.operators import SimplexJacobian  # noqa: PLC0415  importing softgrad does not need it

    return SimplexJacobian(p, temperature)


def _forward(
    name: str,
    x: Any,
    axis: Axis,
    temperature: Any,
    where: Any,
    normalization: bool,
    dtype: Any,
    out: Array | None,
    workers: int | None,
) -> Array:
    """softmax or log_softmax: from what a user passes to rows, and back."""
    x, where, masked = unmasked(as_real(x), where)
    rows = Rows.of(tuple(x.shape), axis)
    x, result_dtype = _typed(x, dtype)
    xp = namespace(x)
    temperature = as_temperature(temperature, rows, xp)
    mask = None if where is None else rows.gather(as_mask(where, rows.shape, xp), xp)
    if xp is not np:
        _no_numpy_options(out, workers)
        per_row = temperature if isinstance(temperature, float) else temperature[..., None]
        if normalization:
            y = getattr(formulas, name)(rows.gather(x, xp), mask, per_row)
        else:
            y = formulas.textbook_softmax(rows.gather(x, xp), mask, per_row, log=name == "log_softmax")
        return _cast(rows.scatter(y, xp), result_dtype, xp)
    if out is not None:
        check_out(out, rows.shape, result_dtype)
    if not normalization:
        y = native.textbook_softmax(rows.gather(x), mask, temperature, log=name == "log_softmax")
        return _deliver(rows.scatter(y), result_dtype, out)
    target = out if x.dtype == result_dtype else None
    if target is None and x.dtype == result_dtype:
        target = np.empty_like(x, subok=False)
    view = None if target is None or len(rows.axes) != 1 else rows.gather(target)
    y = getattr(native, name)(rows.gather(x), mask, temperature, out=view, workers=threads.count(workers, x.size))
    result = target if view is not None else _deliver(rows.scatter(y), result_dtype, out)
    return result if masked is None else np.ma.MaskedArray(result, masked)


def _backward(name: str, operands: dict[str, Any], axis: Axis, out: Array | None) -> Array:
    """A derivative from an output and directions that broadcast against it."""
    masked = None
    if any(isinstance(a, np.ma.MaskedArray) for a in operands.values()):
        operands, masked = unmasked_operands(operands, nothing=-np.inf if name.startswith("log") else 0.0)
    operands = {key: as_real(a, key) for key, a in operands.items()}
    first = next(iter(operands.values()))
    xp = namespace(first)
    shape = broadcast_shapes(**operands)
    rows = Rows.of(shape, axis)
    dtype = functools.reduce(functools.partial(promoted, xp), (a.dtype for a in operands.values()))
    gathered = [rows.gather(xp.broadcast_to(xp.astype(a, dtype, copy=False), shape), xp) for a in operands.values()]
    if xp is not np:
        _no_numpy_options(out, None)
        return rows.scatter(getattr(formulas, name)(*gathered), xp)
    if out is not None:
        check_out(out, shape, dtype)
    target = out if out is not None else np.empty_like(np.broadcast_to(first, shape), dtype=dtype, subok=False)
    view = rows.gather(target) if len(rows.axes) == 1 else None
    product = getattr(native, name)(*gathered, out=view, workers=threads.count(None, rows.size))
    result = target if view is not None else _deliver(rows.scatter(product), dtype, out)
    return result if masked is None else np.ma.MaskedArray(result, masked)


def _typed(x: Array, dtype: Any) -> tuple[Array, Any]:
    """`x` in the dtype to compute in, and the dtype of the result."""
    if dtype is None:
        return x, x.dtype
    xp = namespace(x)
    dtype = as_floating_dtype(dtype) if xp is np else dtype
    return xp.astype(x, promoted(xp, x.dtype, dtype), copy=False), dtype


def _cast(result: Array, dtype: Any, xp: Any) -> Array:
    return result if result.dtype == dtype else xp.astype(result, dtype)


def _deliver(result: Array, dtype: Any, out: Array | None) -> Array:
    if out is None:
        return result.astype(dtype, copy=False)[()]
    np.copyto(out, result, casting="same_kind")
    return out


def _no_numpy_options(out: Array | None, workers: int | None) -> None:
    if out is not None or workers is not None:
        raise TypeError("out and workers are for NumPy arrays; got an array of another library")
