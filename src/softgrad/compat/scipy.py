"""SciPy's softmax, log_softmax and logsumexp: its signatures, defaults and edges, computed by softgrad.

Moving over is one import line: ``from softgrad.compat.scipy import softmax, log_softmax, logsumexp`` instead of
``from scipy.special import ...``. Values agree to SciPy's rounding errors, and so do shapes, dtypes, scalars and
warnings, as of SciPy 1.17, with these differences:

- integers and bool become float64 before any arithmetic: SciPy's softmax and log_softmax reject bool and wrap around
  for small integers, whose results are float16 or float32;
- a `numpy.ma.MaskedArray` keeps its mask, and masked entries take no part: SciPy ignores the mask;
- arrays of PyTorch, JAX and others come back as such, which SciPy does only where SCIPY_ARRAY_API is set;
- log_softmax of a slice with +inf is NaN: SciPy has −inf for its finite entries;
- an entry of logsumexp whose weight is 0 is never read: SciPy reads it if the sum is infinite or NaN without it;
- logsumexp of nothing is −inf with the sign 0, for any shape: SciPy's sign is −1, and some shapes are an IndexError;
- no warning of an overflow where x − max x overflows: the result does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import softgrad as sg
from softgrad._dispatch import library_of
from softgrad._formulas import complex as complex_numbers
from softgrad._formulas.namespace import Array
from softgrad._numpy import softmax as native
from softgrad._validation.arrays import broadcast_shapes, is_foreign
from softgrad._validation.axis import Axis, Rows

__all__ = ["log_softmax", "logsumexp", "softmax"]


def softmax(x: Any, axis: Axis = None) -> Array:
    """Softmax with the signature of `scipy.special.softmax`.

    .. math:: p_i = e^{x_i} / \\sum_j e^{x_j}

    Parameters
    ----------
    x : array_like
        Real or complex numbers of any shape.
    axis : int, tuple of ints or None, default: None
        The axis or axes along which the probabilities sum to 1; by default all of them.

    Returns
    -------
    ndarray or scalar
        p, of the shape of `x`. A slice with NaN or +inf, or with nothing but −inf, is NaN.

    Raises
    ------
    ValueError
        If slices are empty.
    TypeError
        If `x` does not hold numbers.
    numpy.exceptions.AxisError
        If `x` has no such axis.

    Warns
    -----
    RuntimeWarning
        Where x − max x is invalid, as NumPy's error state (`numpy.errstate`) has it.

    See Also
    --------
    softgrad.softmax : the same function with a mask, a temperature and the last axis by default.

    Examples
    --------
    >>> from softgrad.compat.scipy import softmax
    >>> softmax([[0.0, 0.0], [0.0, 0.0]])
    array([[0.25, 0.25],
           [0.25, 0.25]])
    """
    return _map(sg.softmax, complex_numbers.softmax, x, axis)


def log_softmax(x: Any, axis: Axis = None) -> Array:
    """log_softmax with the signature of `scipy.special.log_softmax`.

    .. math:: y_i = x_i - \\log \\sum_j e^{x_j}

    Parameters
    ----------
    x : array_like
        Real or complex numbers of any shape.
    axis : int, tuple of ints or None, default: None
        As in `softmax`.

    Returns
    -------
    ndarray or scalar
        y, of the shape of `x`. The imaginary part of a complex y is not wrapped around.

    Raises
    ------
    ValueError, TypeError, numpy.exceptions.AxisError
        As `softmax`.

    Warns
    -----
    RuntimeWarning
        As `softmax`.

    Examples
    --------
    >>> from softgrad.compat.scipy import log_softmax
    >>> log_softmax([0.0, -40.0])
    array([-4.24835426e-18, -4.00000000e+01])
    """
    return _map(sg.log_softmax, complex_numbers.log_softmax, x, axis)


def logsumexp(a: Any, axis: Axis = None, b: Any = None, keepdims: bool = False, return_sign: bool = False) -> Array:
    """Logsumexp with the signature of `scipy.special.logsumexp`.

    .. math:: \\log \\sum_j b_j e^{a_j}

    Parameters
    ----------
    a : array_like
        Real or complex numbers of any shape.
    axis : int, tuple of ints or None, default: None
        The axis or axes to sum over; by default all of them.
    b : array_like, optional
        Factors, real of either sign or complex, that broadcast with `a`. Default: 1.
    keepdims : bool, default: False
        Whether the summed axes stay with length 1.
    return_sign : bool, default: False
        Whether to return the logarithm of the sum's absolute value, and the sum's sign beside it.

    Returns
    -------
    res : ndarray or scalar
        One value per slice. Without `return_sign`, a negative sum has NaN, and a complex one its principal logarithm.
    sgn : ndarray or scalar
        With `return_sign` only: 1, 0 or −1; for complex numbers the sum divided by its absolute value, or 0.

    Raises
    ------
    TypeError
        If `a` or `b` does not hold numbers, or if `return_sign` meets `b` in arrays of a library other than NumPy.
    ValueError
        If `a` and `b` do not broadcast together, or are objects of pandas or xarray whose labels differ.
    numpy.exceptions.AxisError
        If there is no such axis.

    Examples
    --------
    >>> from softgrad.compat.scipy import logsumexp
    >>> log, sign = logsumexp([0.0, 1.0], b=[1.0, -1.0], return_sign=True)
    >>> float(log), float(sign)
    (0.5413248546129181, -1.0)
    """
    a, b = _without_labels(a, b)
    if is_foreign(a) or is_foreign(b):
        return _foreign_logsumexp(a, axis, b, keepdims, return_sign)
    given = (a, b)
    a, b = _array(a, "a"), None if b is None else _array(b, "b")
    dtype = _common_dtype(*given)
    if np.ma.isMaskedArray(a) or np.ma.isMaskedArray(b):
        return _masked_logsumexp(a, axis, b, keepdims, return_sign)
    if b is not None and a.shape != b.shape:
        broadcast_shapes(a=a, b=b)
        a, b = np.broadcast_arrays(a, b)
    rows = Rows.of(a.shape or (1,), axis)
    shape = rows.kept_shape if keepdims else rows.batch_shape
    if dtype.kind == "c":
        x = rows.to_rows(np.atleast_1d(a)).astype(dtype, copy=False)
        found = _complex(x, None if b is None else rows.to_rows(np.atleast_1d(b)), return_sign)
        parts = tuple(_returned(part, shape, dtype if part.dtype.kind == "c" else _real(dtype)) for part in found)
        return parts if return_sign else parts[0]
    log, sign = _log_and_sign(np.atleast_1d(a), None if b is None else np.atleast_1d(b), rows, dtype)
    if return_sign:
        return _returned(log, shape, dtype), _returned(sign, shape, dtype)
    return _returned(log if b is None else np.where(sign < 0, np.nan, log), shape, dtype)


def _without_labels(a: Any, b: Any) -> tuple[Any, Any]:
    """Objects of pandas or xarray as arrays, since SciPy's results have no labels; ValueError if theirs disagree."""
    library = library_of(type(a))
    if library is None or library is not library_of(type(b)) or not hasattr(library, "together"):
        return a, b
    arrays: tuple[Any, Any] = library.together(a, "a", b, "b")
    return arrays


def _returned(values: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    return np.reshape(values, shape).astype(dtype, copy=False)[()]


def _log_and_sign(a: Array, b: Array | None, rows: Rows, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """Log |Σ b e^a| and the sum's sign, one for each slice of real numbers."""
    x = rows.to_rows(a).astype(dtype, copy=False)
    if b is not None:
        found: tuple[Array, Array] = native.signed_logsumexp(x, None, rows.to_rows(b).astype(dtype, copy=False))
        return found
    log = np.asarray(sg.logsumexp(x))
    return log, np.where(np.isnan(log), log, log > -np.inf)


def _complex(x: Array, b: Array | None, return_sign: bool) -> tuple[Array, ...]:
    """The logarithm of Σ b e^x, one for each row; or that of its absolute value, and its phase.

    Where entries make the result infinite or NaN it is the logarithm of the sum as NumPy computes both, SciPy's
    answer: a phase of e^(inf + iy) that is a multiple of π/4, or NaN.
    """
    log, sign = complex_numbers.logsumexp(x, b)
    result = (log, sign) if return_sign else (complex_numbers.logarithm(log, sign),)
    finite = np.isfinite(x) if b is None else (np.isfinite(x) & np.isfinite(b)) | (b == 0)
    special = ~finite.all(axis=-1) & ~np.isfinite(log)
    if special.any():
        x, b = x[special], None if b is None else b[special]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            terms = np.exp(x) if b is None else np.where(b == 0, 0, b * np.exp(x)).astype(x.dtype)
            total = terms.sum(axis=-1)
            if return_sign:
                log[special] = np.log(np.abs(total))
                sign[special] = np.where(np.isnan(total), complex(np.nan, np.nan), np.sign(total))
            else:
                values = np.log(total)
                values.imag[values.imag == -np.pi] = np.pi  # the principal value lies in (−π, π]
                values[np.isnan(values.imag)] = complex(np.nan, np.nan)
                result[0][special] = values
    return result


def _real(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of the absolute value of a complex number."""
    found: np.dtype[Any] = dtype.type(0).real.dtype
    return found


def _foreign_logsumexp(a: Array, axis: Axis, b: Array | None, keepdims: bool, return_sign: bool) -> Array:
    if not return_sign:
        return sg.logsumexp(a, axis=axis, b=b, keepdims=keepdims)
    raise TypeError("return_sign is for NumPy arrays; got an array of another library")


def _masked_logsumexp(a: Array, axis: Axis, b: Array | None, keepdims: bool, return_sign: bool) -> Array:
    """Masked entries have the weight 0, and a slice that is masked entirely is masked."""
    masked = np.ma.getmaskarray(a) if b is None else np.ma.getmaskarray(a) | np.ma.getmaskarray(b)
    weight = ~masked if b is None else np.where(masked, np.zeros_like(np.ma.getdata(b)), np.ma.getdata(b))
    result = logsumexp(np.ma.getdata(a), axis, weight, keepdims, return_sign)
    nothing = masked.all(axis=axis, keepdims=keepdims)
    if return_sign:
        return tuple(np.ma.MaskedArray(part, nothing) for part in result)
    return np.ma.MaskedArray(result, nothing)


def _map(function: Callable[..., Array], of_complex: Callable[[Array], Array], x: Any, axis: Axis) -> Array:
    """softmax or log_softmax."""
    if is_foreign(x):
        return function(x, axis=axis)
    x = _array(x, "x")
    rows = Rows.of(x.shape or (1,), axis)
    if rows.n == 0:
        raise ValueError(f"x must have an entry in every slice; got shape {x.shape} with axis={axis}")
    if x.dtype.kind == "c":
        whole = np.reshape(x, rows.shape)
        y = rows.from_rows(of_complex(rows.to_rows(whole)))
    elif len(rows.axes) == len(rows.shape):  # as one row, which takes the shortest way
        whole, rows = x.reshape(-1), Rows((rows.n,), (0,))
        y = function(whole)
    else:
        whole, y = x, function(x, axis=axis)
    if not isinstance(y, np.ma.MaskedArray):
        _warn_of_infinity(whole, y, rows)
    return y.reshape(x.shape)[()]


def _warn_of_infinity(x: Array, y: Array, rows: Rows) -> None:
    """Warn where SciPy's x − max x is inf − inf: by that subtraction, so that the caller's `numpy.errstate` counts."""
    one_of_each = y[tuple(0 if a in rows.axes else slice(None) for a in range(y.ndim))]
    if np.isnan(one_of_each).any():
        largest = np.max(x.real, axis=rows.axes)
        np.subtract(largest, largest)


def _array(x: Any, name: str) -> Array:
    """`x` as an array of NumPy that holds numbers in native byte order."""
    x = x if isinstance(x, np.ma.MaskedArray) else np.asarray(x)
    if x.dtype.kind not in "fiubc" and x.dtype.name != "bfloat16":
        raise TypeError(f"{name} must hold numbers; got dtype {x.dtype}")
    return x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))


def _common_dtype(a: Any, b: Any) -> np.dtype[Any]:
    """The floating or complex dtype of `a` and `b` together; a Python number takes that of the other."""
    operands = [x for x in (a, b) if x is not None]
    weak = [x if type(x) in (int, float, complex) else np.asarray(x).dtype for x in operands]
    dtype = np.result_type(*weak)
    return dtype if dtype.kind in "fc" or dtype.name == "bfloat16" else np.dtype(np.float64)


def __dir__() -> list[str]:
    return __all__
