"""Derivatives of softmax and log_softmax, as functions of their outputs: products of Jacobians with arrays of vectors.

Throughout, p = softmax(x) and Σ runs over one slice: the entries along `axis`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from softgrad._dispatch import dispatched
from softgrad._formulas.namespace import Array
from softgrad._numpy import derivatives as native
from softgrad._validation.axis import Axis
from softgrad._validation.logits import Logits

__all__ = ["log_softmax_jvp", "log_softmax_vjp", "softmax_second", "softmax_vjp"]


@dispatched("(n),(n)->(n)", kernel=True)
def softmax_vjp(p: Any, g: Any, /, *, axis: Axis = -1, out: Array | None = None, workers: int | None = None) -> Array:
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
    workers : int, optional
        As in `softmax`.

    Returns
    -------
    ndarray
        The gradient with respect to the logits, within 4 ulp of p_i (\\|g_i − g_k\\| + Σ p_j \\|g_j − g_k\\|), where k
        is the largest entry of p. With a temperature T, divide by T.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`.

    See Also
    --------
    softmax_second : the second derivative.
    softmax_jacobian : the Jacobian itself, as an operator.
    softgrad.testing.check_vjp : checks a product that you wrote.

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
    rows, (directions,) = Logits.output(axis, 0.0, p=p, g=g)
    return rows.solve(native.softmax_vjp, out, directions, workers=workers)


@dispatched("(n),(n)->(n)", kernel=True)
def log_softmax_vjp(
    y: Any, g: Any, /, *, axis: Axis = -1, out: Array | None = None, workers: int | None = None
) -> Array:
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
    workers : int, optional
        As in `softmax`.

    Returns
    -------
    ndarray
        The gradient with respect to the logits.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`.

    See Also
    --------
    log_softmax_jvp : the forward-mode product.
    softmax_vjp : the same of softmax.

    Examples
    --------
    >>> import softgrad as sg
    >>> y = sg.log_softmax([40.0, 0.0])
    >>> sg.log_softmax_vjp(y, [-1.0, 0.0])  # cross-entropy with label 0
    array([-4.24835426e-18,  4.24835426e-18])
    """
    rows, (directions,) = Logits.output(axis, -np.inf, y=y, g=g)
    return rows.solve(native.log_softmax_vjp, out, directions, workers=workers)


@dispatched("(n),(n)->(n)", kernel=True)
def log_softmax_jvp(
    y: Any, v: Any, /, *, axis: Axis = -1, out: Array | None = None, workers: int | None = None
) -> Array:
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
    workers : int, optional
        As in `softmax`.

    Returns
    -------
    ndarray
        The derivative of y along v.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`.

    See Also
    --------
    log_softmax_vjp : the backward pass.
    softgrad.testing.check_jvp : checks a product that you wrote.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.log_softmax_jvp(sg.log_softmax([0.0, 0.0]), [1.0, 0.0])
    array([ 0.5, -0.5])
    """
    rows, (directions,) = Logits.output(axis, -np.inf, y=y, v=v)
    return rows.solve(native.log_softmax_jvp, out, directions, workers=workers)


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

    See Also
    --------
    softmax_vjp : the first derivative.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.softmax_second([0.25, 0.75], [1.0, 0.0], [1.0, 0.0])
    array([ 0.09375, -0.09375])
    """
    rows, (first, second) = Logits.output(axis, 0.0, p=p, u=u, v=v)
    return rows.solve(native.softmax_second, out, first, second)
