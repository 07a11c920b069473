"""softmax, log_softmax and logsumexp, as functions of arrays.

Throughout, Σ runs over one slice: the entries along `axis`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from softgrad._dispatch import dispatched
from softgrad._formulas.namespace import Array
from softgrad._numpy import softmax as native
from softgrad._validation.arrays import as_temperature, as_unmasked, broadcast_to, check_positive
from softgrad._validation.axis import Axis
from softgrad._validation.logits import Logits

__all__ = ["log_softmax", "logsumexp", "softmax"]


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
        Entries that are valid, broadcast to the shape of `x`. The others are never read and get probability 0.
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
    >>> import numpy as np
    >>> import softgrad as sg
    >>> sg.softmax([1.0, 2.0, 3.0])
    array([0.09003057, 0.24472847, 0.66524096])
    >>> sg.softmax([[1.0, 2.0, 3.0], [0.0, 1000.0, 1000.0]], where=[True, True, False])
    array([[0.26894142, 0.73105858, 0.        ],
           [0.        , 1.        , 0.        ]])
    >>> sg.softmax([1.0, 2.0, 3.0], temperature=0.0)
    array([0., 0., 1.])

    Along another axis, in another dtype, into an array that is there:

    >>> x = np.array([[1.0, 2.0], [3.0, 2.0]])
    >>> sg.softmax(x, axis=0)
    array([[0.11920292, 0.5       ],
           [0.88079708, 0.5       ]])
    >>> sg.softmax(x, axis=None).sum()
    np.float64(1.0)
    >>> sg.softmax(x, dtype=np.float32)
    array([[0.26894143, 0.7310586 ],
           [0.7310586 , 0.26894143]], dtype=float32)
    >>> p = np.empty_like(x)
    >>> sg.softmax(x, out=p, workers=2) is p
    True

    One temperature for each row:

    >>> sg.softmax(x, temperature=[0.5, 2.0])
    array([[0.11920292, 0.88079708],
           [0.62245933, 0.37754067]])
    """
    rows = Logits.of(x, axis, where, dtype)
    function = native.softmax if normalization else native.textbook_softmax
    temperature = as_temperature(temperature, rows.rows, rows.xp)
    if not normalization:
        check_positive(temperature, rows.xp, " with normalization=False: the textbook formula divides by it")
    return rows.solve(function, out, rows.mask, temperature, workers=workers)


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

    See Also
    --------
    log_softmax_vjp, log_softmax_jvp : the derivatives applied to a vector.
    selective_log_softmax : chosen entries only.

    Notes
    -----
    At the maximum k the value is −log1p(Σ_{j≠k} e^(x_j − x_k)): the sum leaves out e⁰ = 1, next to which small terms
    would be lost.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.log_softmax([0.0, -40.0])
    array([-4.24835426e-18, -4.00000000e+01])
    >>> sg.log_softmax([[1.0, 2.0, 3.0]], temperature=2.0, where=[True, True, False])
    array([[-0.97407698, -0.47407698,        -inf]])
    """
    rows = Logits.of(x, axis, where, dtype)
    function = native.log_softmax if normalization else native.textbook_log_softmax
    temperature = as_temperature(temperature, rows.rows, rows.xp)
    if not normalization:
        check_positive(temperature, rows.xp, " with normalization=False: the textbook formula divides by it")
    return rows.solve(function, out, rows.mask, temperature, workers=workers)


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
        Entries that are valid, broadcast to the shape of `x`; the others are never read.
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

    See Also
    --------
    softmax : its gradient.
    LogSumExpState : the same of blocks that arrive one by one.

    Notes
    -----
    Where b has both signs and terms cancel, the error is larger by up to 2 ε Σ \\|b_j\\| e^(x_j) / \\|Σ b_j e^(x_j)\\|,
    with ε the spacing of numbers at 1, since every term is rounded.

    Examples
    --------
    >>> import numpy as np
    >>> import softgrad as sg
    >>> float(sg.logsumexp([1000.0, 1000.0]))
    1000.6931471805599
    >>> float(sg.logsumexp([0.0, 1.0], b=[1.0, 0.0]))
    0.0

    Over some of the entries, and shaped to be subtracted:

    >>> x = np.array([[0.0, 0.0, 5.0], [1.0, 1.0, 5.0]])
    >>> sg.logsumexp(x, where=[True, True, False], keepdims=True)
    array([[0.69314718],
           [1.69314718]])
    """
    rows = Logits.of(x, axis, where, dtype)
    if b is not None:
        b = rows.xp.astype(as_unmasked(b, "b"), rows.x.dtype)
        b = rows.rows.to_rows(broadcast_to("b", b, rows.rows.shape, rows.xp), rows.xp)
    result = rows.solve(native.logsumexp, out, rows.mask, b, workers=workers, keepdims=keepdims)
    if rows.masked is None:
        return result
    return np.ma.MaskedArray(result, rows.masked.all(axis=rows.rows.axes, keepdims=keepdims))
