"""The Hessians of losses: per row as an operator, and of a linear model in all its parameters.

For one row the Hessian with respect to the logits is J = diag(p) − p pᵀ, whatever the label.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from softgrad._api.derivatives import softmax_vjp
from softgrad._api.operators import SimplexJacobian, softmax_jacobian
from softgrad._api.softmax import softmax
from softgrad._api.sparse_derivatives import entmax_jacobian
from softgrad._dispatch import dispatched
from softgrad._formulas.derivatives import complement
from softgrad._formulas.namespace import Array, is_known, namespace, widest
from softgrad._formulas.precision import narrowed
from softgrad._validation.arrays import as_unmasked, promoted, without_labels
from softgrad._validation.axis import Axis
from softgrad._validation.labels import as_weight

__all__ = [
    "cross_entropy_hessian",
    "entmax_loss_hessian",
    "softmax_regression_hessian",
    "softmax_regression_hvp",
    "sparsemax_loss_hessian",
]

BLOCK_BYTES = 2**23
"""What one block of rows may take: small enough for the cache, large enough for BLAS."""


@dispatched("(n)->(n,n)")
def cross_entropy_hessian(
    logits: Any, /, *, axis: Axis = -1, where: Any = None, sample_weight: Any = None
) -> SimplexJacobian:
    """Hessian of cross-entropy with respect to the logits of every row, as an operator.

    .. math:: H = s (\\mathrm{diag}(p) - p p^T)

    It does not depend on the label. With class weights, multiply `sample_weight` by ``weight[labels]``.

    Parameters
    ----------
    logits : array_like, real
        Logits of any shape.
    axis, where
        As in `cross_entropy`.
    sample_weight : array_like, optional
        s, the positive factors of the rows, broadcast to the shape of `logits` without `axis`.

    Returns
    -------
    SimplexJacobian
        Of shape (..., n, n), holding n numbers per row.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax`.

    See Also
    --------
    cross_entropy_grad_hess : one number per entry, as boosting needs it.
    softmax_regression_hvp : the Hessian with respect to weights.

    Examples
    --------
    >>> import softgrad as sg
    >>> H = sg.cross_entropy_hessian([0.0, 0.0], sample_weight=2.0)
    >>> H.toarray()
    array([[ 0.5, -0.5],
           [-0.5,  0.5]])
    """
    return _weighted(softmax_jacobian(logits, axis=axis, where=where), sample_weight)


@dispatched("(n)->(n,n)", whole=True)
def entmax_loss_hessian(
    logits: Any, /, alpha: Any = 1.5, *, axis: Axis = -1, where: Any = None, sample_weight: Any = None
) -> SimplexJacobian:
    """Hessian of the entmax loss with respect to the logits of every row, as an operator.

    .. math:: H = s \\left(\\mathrm{diag}(q) - \\frac{q q^T}{Σ q}\\right), \\quad q = p^{2-α} \\text{ where } p > 0

    It does not depend on the target, and exists where no entry is at the edge of the support.

    Parameters
    ----------
    logits : array_like, real
        Logits of any shape.
    alpha : float or array_like, default: 1.5
        As in `entmax_jacobian`.
    axis, where
        As in `cross_entropy`.
    sample_weight : array_like, optional
        s, the positive factors of the rows, broadcast to the shape of `logits` without `axis`.

    Returns
    -------
    SimplexJacobian
        Of shape (..., n, n), holding n numbers per row.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `entmax_jacobian`.

    See Also
    --------
    entmax_jacobian : the same for s = 1.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.entmax_loss_hessian([0.0, 0.0], 2.0, sample_weight=2.0).toarray()
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    return _weighted(entmax_jacobian(logits, alpha, axis=axis, where=where), sample_weight)


@dispatched("(n)->(n,n)", whole=True)
def sparsemax_loss_hessian(
    logits: Any, /, *, axis: Axis = -1, where: Any = None, sample_weight: Any = None
) -> SimplexJacobian:
    """Hessian of the sparsemax loss with respect to the logits of every row, as an operator.

    Parameters
    ----------
    logits, axis, where, sample_weight
        As in `entmax_loss_hessian`.

    Returns
    -------
    SimplexJacobian
        As `entmax_loss_hessian` with α = 2.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `entmax_jacobian`.

    See Also
    --------
    sparsemax_jacobian : the same without factors.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.sparsemax_loss_hessian([0.0, 0.0]).toarray()
    array([[ 0.5, -0.5],
           [-0.5,  0.5]])
    """
    return entmax_loss_hessian(logits, 2.0, axis=axis, where=where, sample_weight=sample_weight)


def _weighted(J: SimplexJacobian, sample_weight: Any) -> SimplexJacobian:
    """s J."""
    if sample_weight is None:
        return J
    xp = namespace(J.p)
    s = as_weight(sample_weight, tuple(J.shape[:-2]), widest(xp), xp, "sample_weight")
    if is_known(s) and not xp.all(s > 0):
        raise ValueError("sample_weight must be positive: leave out the rows whose Hessian is 0")
    return SimplexJacobian(J.p, J.temperature / s)


def softmax_regression_hvp(X: Any, logits: Any, V: Any, /, *, sample_weight: Any = None) -> Array:
    """Product of the Hessian of multinomial logistic regression with a direction, Σ s xᵀ J (x V) over the rows x of X.

    The loss is Σ s · cross_entropy(X @ W, labels) as a function of the coefficients W, shape (d, K).

    Parameters
    ----------
    X : array_like, shape (m, d)
        Features.
    logits : array_like, shape (m, K)
        X @ W, with or without an intercept.
    V : array_like, shape (d, K)
        A direction in the space of W.
    sample_weight : array_like, shape (m,), optional
        s, the factors of the rows, at least 0.

    Returns
    -------
    ndarray, shape (d, K)
        The product; it costs two products with X, and m·K numbers.

    Raises
    ------
    TypeError, ValueError
        If an argument is not real or has the wrong shape.

    See Also
    --------
    cross_entropy_hessian : keeps p for many directions: ``X.T @ cross_entropy_hessian(logits).matvec(X @ V)``.
    softmax_regression_hessian : the whole matrix.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.softmax_regression_hvp([[1.0], [2.0]], [[0.0, 0.0], [0.0, 0.0]], [[1.0, 0.0]])
    array([[ 1.25, -1.25]])
    """
    X, logits, s = _model(X, logits, sample_weight)
    V = as_unmasked(without_labels(V, "V"), "V")
    if V.shape != (X.shape[1], logits.shape[1]):
        raise ValueError(f"V must have shape {(X.shape[1], logits.shape[1])}, as the coefficients; got {V.shape}")
    xp = namespace(X)
    dtype = promoted(xp, promoted(xp, X.dtype, logits.dtype), V.dtype)
    wide = promoted(xp, dtype, xp.float32)
    X, logits, V = (narrowed(a, wide) for a in (X, logits, V))
    return narrowed(hessian_product(X, softmax(logits), V, s), dtype)


def hessian_product(X: Array, p: Array, V: Array, sample_weight: Array | None) -> Array:
    """Σ s xᵀ J (x V) over the rows x of X, which have the probabilities p; columns that V lacks on its left are 0."""
    directions, missing = X @ V, p.shape[1] - V.shape[1]
    if missing:
        directions = np.pad(directions, ((0, 0), (missing, 0)))
    products = softmax_vjp(p, directions)[:, missing:]
    return X.T @ (products if sample_weight is None else products * sample_weight[:, None])


def softmax_regression_hessian(X: Any, logits: Any, /, *, sample_weight: Any = None) -> Array:
    """Whole Hessian of multinomial logistic regression, in blocks of rows: (n, K, K) is never formed.

    Parameters
    ----------
    X, logits, sample_weight
        As in `softmax_regression_hvp`.

    Returns
    -------
    ndarray, shape (d·K, d·K)
        The symmetric matrix H with ``H @ V.ravel() == softmax_regression_hvp(X, logits, V).ravel()``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not real or has the wrong shape.

    See Also
    --------
    softmax_regression_hvp : its product with a direction, without the matrix.

    Notes
    -----
    Böhning, "Multinomial logistic regression algorithm", Ann. Inst. Statist. Math. 44 (1992), section 2. Where a class
    is nearly certain its own block takes p(1 − p) with 1 − p summed over the other classes.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.softmax_regression_hessian([[1.0], [2.0]], [[0.0, 0.0], [0.0, 0.0]])
    array([[ 1.25, -1.25],
           [-1.25,  1.25]])
    """
    for name, array in (("X", X), ("logits", logits)):
        if type(array).__module__.partition(".")[0] == "dask":
            raise TypeError(f"{name} must be in memory, as the result is; got a Dask array: call compute() before")
    X, logits, s = _model(X, logits, sample_weight)
    xp = namespace(X)
    (m, d), K = X.shape, logits.shape[1]
    narrow = promoted(xp, X.dtype, logits.dtype)
    dtype = promoted(xp, narrow, xp.float32)
    X, p = xp.astype(X, dtype, copy=False), softmax(xp.astype(logits, dtype, copy=False))
    outer, own = xp.zeros((d * K, d * K), dtype=dtype), [xp.zeros((d, d), dtype=dtype) for _ in range(K)]
    step = max(1, BLOCK_BYTES // max(1, d * K * xp.finfo(dtype).bits // 8))
    for start in range(0, m, step):
        rows = slice(start, start + step)
        q = p[rows, :]
        x = X[rows, :] if s is None else X[rows, :] * xp.sqrt(s[rows, None])
        lifted = xp.reshape(x[:, :, None] * q[:, None, :], (x.shape[0], d * K))
        outer += lifted.T @ lifted
        deviation = xp.sqrt(q * complement(xp, q))
        for k in range(K):
            scaled = x * deviation[:, k, None]
            own[k] += scaled.T @ scaled
    # own[k] takes the place of the block of the class k with itself.
    blocks = xp.permute_dims(xp.stack(own), (1, 2, 0))[:, None, :, :]
    H = xp.where(xp.eye(K, dtype=xp.bool)[None, :, None, :], blocks, -xp.reshape(outer, (d, K, d, K)))
    return narrowed(xp.reshape(H, (d * K, d * K)), narrow)


def _model(X: Any, logits: Any, sample_weight: Any) -> tuple[Array, Array, Array | None]:
    X, logits = as_unmasked(without_labels(X, "X"), "X"), as_unmasked(without_labels(logits, "logits"), "logits")
    if X.ndim != 2:
        raise ValueError(f"X must have shape (m, d); got {tuple(X.shape)}")
    if logits.ndim != 2 or logits.shape[0] != X.shape[0]:
        raise ValueError(f"logits must have shape ({X.shape[0]}, K), one row for each of X; got {tuple(logits.shape)}")
    if sample_weight is None:
        return X, logits, None
    xp = namespace(X)
    dtype = promoted(xp, promoted(xp, X.dtype, logits.dtype), xp.float32)
    return X, logits, as_weight(sample_weight, (X.shape[0],), dtype, xp, "sample_weight")
