"""Derivatives of sparsemax and entmax, as functions of their outputs.

Throughout, q = p^(2−α) where p is positive and 0 elsewhere, and Σ runs over one slice: the entries along `axis`.
"""

from __future__ import annotations

import math
from typing import Any

from softgrad._api.operators import SimplexJacobian, softmax_jacobian
from softgrad._api.sparse import entmax
from softgrad._dispatch import dispatched
from softgrad._formulas import sparse_derivatives as formulas
from softgrad._formulas.namespace import Array
from softgrad._numpy import sparse_derivatives as native
from softgrad._validation.arrays import as_alpha, as_positive_temperature, holds
from softgrad._validation.axis import Axis
from softgrad._validation.logits import Logits

__all__ = ["entmax_alpha_vjp", "entmax_jacobian", "entmax_vjp", "sparsemax_jacobian", "sparsemax_vjp"]


@dispatched("(n),(n)->(n)")
def sparsemax_vjp(p: Any, g: Any, /, *, axis: Axis = -1, out: Array | None = None) -> Array:
    """Backward pass of sparsemax, from its output: the product of the Jacobian with `g`.

    .. math:: (J g)_i = g_i - \\frac{1}{|S|} \\sum_{j ∈ S} g_j \\text{ for } i ∈ S = \\{p > 0\\}, \\text{ else } 0

    The Jacobian is symmetric, so this is the forward-mode product (JVP) too.

    Parameters
    ----------
    p : array_like, real
        The output of `sparsemax`.
    g : array_like, real
        The gradient of a loss with respect to p (or a direction in the space of logits), broadcast against `p`.
        Where p is 0, g is not read.
    axis : int, tuple of ints or None, default: -1
        The axis that `sparsemax` had.
    out : ndarray, optional
        Where to write the result.

    Returns
    -------
    ndarray
        The gradient with respect to the logits, within 8 ulp of \\|g_i − g_k\\| + Σ_S \\|g_j − g_k\\|/\\|S\\|, where k
        is the first entry of S. With a temperature T, divide by T.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`.

    See Also
    --------
    sparsemax_jacobian : the Jacobian itself, as an operator.
    entmax_vjp : the same for any α.

    Examples
    --------
    >>> import softgrad as sg
    >>> p = sg.sparsemax([1.0, 2.0, 2.5])
    >>> sg.sparsemax_vjp(p, [3.0, 1.0, 0.0])
    array([ 0. ,  0.5, -0.5])
    """
    rows, (directions,) = Logits.output(axis, 0.0, p=p, g=g)
    return rows.solve(native.sparsemax_vjp, out, directions)


@dispatched("(n),(n)->(n)")
def entmax_vjp(p: Any, g: Any, /, alpha: Any = 1.5, *, axis: Axis = -1, out: Array | None = None) -> Array:
    """Backward pass of entmax, from its output: the product of the Jacobian with `g`.

    .. math:: J g = q ∘ \\left(g - \\frac{Σ q g}{Σ q}\\right), \\quad q = p^{2-α} \\text{ where } p > 0

    The Jacobian is symmetric, so this is the forward-mode product (JVP) too.

    Parameters
    ----------
    p : array_like, real
        The output of `entmax`.
    g : array_like, real
        The gradient of a loss with respect to p (or a direction in the space of logits), broadcast against `p`.
        Where p is 0, g is not read.
    alpha : float or array_like, default: 1.5
        The α that `entmax` had. At infinity entmax is a step and the result 0.
    axis : int, tuple of ints or None, default: -1
        The axis that `entmax` had.
    out : ndarray, optional
        Where to write the result.

    Returns
    -------
    ndarray
        The gradient with respect to the logits, within 8 ulp of q_i (\\|g_i − g_k\\| + Σ q_j \\|g_j − g_k\\|/Σ q); k is
        the largest entry of q. With a temperature T, divide by T.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `entmax`.

    See Also
    --------
    entmax_alpha_vjp : the derivative with respect to α.
    entmax_jacobian : the Jacobian itself, as an operator.

    Notes
    -----
    Peters, Niculae & Martins, "Sparse sequence-to-sequence models", ACL 2019, section 3.

    Examples
    --------
    >>> import softgrad as sg
    >>> p = sg.entmax([0.0, 0.5, 1.0])
    >>> sg.entmax_vjp(p, [1.0, 0.0, 0.0])
    array([ 0.23813198, -0.09668724, -0.14144474])
    """
    rows, (directions,) = Logits.output(axis, 0.0, p=p, g=g)
    return rows.solve(native.entmax_vjp, out, directions, as_alpha(alpha, rows.rows, rows.xp))


@dispatched("(n),(n)->()")
def entmax_alpha_vjp(p: Any, g: Any, /, alpha: Any = 1.5, *, axis: Axis = -1) -> Array:
    """Derivative of entmax with respect to α, from its output: Σ g ∂p/∂α, one number per slice.

    Parameters
    ----------
    p : array_like, real
        The output of `entmax`, at any temperature.
    g : array_like, real
        The gradient of a loss with respect to p, broadcast against `p`. Where p is 0, g is not read.
    alpha : float or array_like, default: 1.5
        The α that `entmax` had.
    axis : int, tuple of ints or None, default: -1
        The axis that `entmax` had.

    Returns
    -------
    ndarray or scalar
        One number per slice, within 16 ulp of the terms of the formula below with g − g_k instead of g, where k is
        the largest entry of p.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `entmax`.

    See Also
    --------
    entmax_vjp : the derivative with respect to the logits.

    Notes
    -----
    The derivative is that of Correia, Niculae & Martins, "Adaptively sparse transformers", EMNLP 2019, Proposition 1,
    without its divisions by (α − 1)². With s = α − 1, ℓ = log p, β = (e^(−sℓ) − 1 + sℓ)/s² and the means L = Σ p ℓ and
    B = Σ p β it is ∂p/∂α = p ((B − β) − s (ℓ B − β L))/Σ p^(1−s). At α = 1, β is ℓ²/2.

    Examples
    --------
    >>> import softgrad as sg
    >>> p = sg.entmax([0.0, 1.0, 2.0])
    >>> sg.entmax_alpha_vjp(p, [0.0, 0.0, 1.0])  # a larger α prefers the largest logit
    np.float64(0.24846157239086988)
    """
    rows, (directions,) = Logits.output(axis, 0.0, p=p, g=g)
    return rows.solve(native.entmax_alpha_vjp, None, directions, as_alpha(alpha, rows.rows, rows.xp))


@dispatched("(n)->(n,n)", whole=True)
def sparsemax_jacobian(x: Any, /, *, axis: Axis = -1, temperature: Any = 1.0, where: Any = None) -> SimplexJacobian:
    """Jacobian of sparsemax as an operator that holds O(n) numbers per slice.

    .. math:: J = \\frac{1}{T} \\left(\\mathrm{diag}(1_S) - \\frac{1_S 1_S^T}{|S|}\\right), \\quad S = \\{p > 0\\}

    Parameters
    ----------
    x : array_like, real
        Logits of any shape.
    axis, temperature, where
        As in `softmax`. The temperature must be positive.

    Returns
    -------
    SimplexJacobian
        Of shape (..., n, n): that of the uniform distribution on the support S, with the temperature T/\\|S\\|.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`.

    See Also
    --------
    sparsemax_vjp : its product with a vector, from the output.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.sparsemax_jacobian([1.0, 2.0, 2.5]).toarray()
    array([[ 0. ,  0. ,  0. ],
           [ 0. ,  0.5, -0.5],
           [ 0. , -0.5,  0.5]])
    """
    return _jacobian(x, 2.0, axis, temperature, where)


@dispatched("(n)->(n,n)", whole=True)
def entmax_jacobian(
    x: Any, /, alpha: Any = 1.5, *, axis: Axis = -1, temperature: Any = 1.0, where: Any = None
) -> SimplexJacobian:
    """Jacobian of entmax as an operator that holds O(n) numbers per slice.

    .. math:: J = \\frac{1}{T} (\\mathrm{diag}(q) - q q^T / Σ q), \\quad q = p^{2-α} \\text{ where } p > 0

    Parameters
    ----------
    x : array_like, real
        Logits of any shape.
    alpha : float or array_like, default: 1.5
        As in `entmax`, but finite: at infinity entmax is a step, which has no derivative.
    axis, temperature, where
        As in `softmax`. The temperature must be positive.

    Returns
    -------
    SimplexJacobian
        Of shape (..., n, n): that of the distribution q/Σq with the temperature T/Σq; `softmax_jacobian` at α = 1.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `entmax`.

    See Also
    --------
    entmax_vjp : its product with a vector, from the output.

    Examples
    --------
    >>> import softgrad as sg
    >>> J = sg.entmax_jacobian([0.0, 0.5, 1.0])
    >>> J @ [1.0, 0.0, 0.0]
    array([ 0.23813198, -0.09668724, -0.14144474])
    """
    return _jacobian(x, alpha, axis, temperature, where)


def _jacobian(x: Any, alpha: Any, axis: Axis, temperature: Any, where: Any) -> SimplexJacobian:
    rows = Logits.of(x, axis, where)
    alpha = as_alpha(alpha, rows.rows, rows.xp)
    if not holds(lambda a: a < math.inf, alpha, rows.xp):
        raise ValueError("alpha must be finite: at infinity entmax is a step, which has no derivative")
    if isinstance(alpha, float) and alpha == 1:
        return softmax_jacobian(x, axis=axis, temperature=temperature, where=where)
    T = as_positive_temperature(temperature, rows.rows, "entmax", rows.xp)
    return entmax_jacobian_at(entmax(rows.x, alpha, temperature=T, where=rows.mask), alpha=alpha, temperature=T)


@dispatched("(n)->(n,n)")
def entmax_jacobian_at(p: Any, /, *, alpha: Any, axis: Axis = -1, temperature: Any = 1.0) -> SimplexJacobian:
    """The Jacobian of entmax from its output."""
    rows, _ = Logits.output(axis, 0.0, p=p)
    shares, total = formulas.shares(rows.x, as_alpha(alpha, rows.rows, rows.xp))
    return SimplexJacobian(shares, temperature / total)
