"""The Jacobian of softmax as an operator: n numbers that act as an n × n matrix.

J = (diag(p) − p pᵀ)/T is the covariance matrix of a categorical variable, divided by the temperature. Everything below
follows from that shape; where a formula would subtract nearly equal numbers on a saturated row, the sum it stands for
is taken instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from softgrad._formulas import softmax as formulas
from softgrad._formulas.namespace import namespace
from softgrad._numpy import softmax as native
from softgrad._numpy import threads
from softgrad._validation.arrays import as_real, broadcast_shapes, promoted

Array = Any


class _Operator:
    """What operators over the last axis share: `@` on either side means what the dense matrices would."""

    # NumPy's own `@` steps back, so that `array @ J` arrives at __rmatmul__.
    __array_ufunc__ = None
    p: Array
    temperature: Array | float

    @property
    def shape(self) -> tuple[int, ...]:
        """(..., n, n)."""
        return (*self.p.shape, self.p.shape[-1])

    @property
    def ndim(self) -> int:
        """The number of axes of the dense array."""
        return len(self.shape)

    @property
    def dtype(self) -> Any:
        """The dtype of the entries."""
        return self.p.dtype

    def matvec(self, v: Array) -> Array:
        """The product with a vector per matrix: `v` and the result have shape (..., n)."""
        raise NotImplementedError

    def rmatvec(self, v: Array) -> Array:
        """The product of the transposed matrix with a vector per matrix."""
        raise NotImplementedError

    def matmat(self, V: Array) -> Array:
        """The product with a matrix of columns: `V` has shape (..., n, k)."""
        return self._columns(V, "matvec")

    def rmatmat(self, V: Array) -> Array:
        """The product of the transposed matrix with a matrix of columns."""
        return self._columns(V, "rmatvec")

    def toarray(self) -> Array:
        """The dense array of shape (..., n, n); it costs n² numbers per matrix."""
        return self.matmat(namespace(self.p).eye(self.shape[-1], dtype=self.dtype))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("a dense copy is always made: the operator holds no matrix")
        return np.asarray(self.toarray(), dtype=dtype)

    def __matmul__(self, V: Any) -> Array:
        V = as_real(V, "the right operand of @")
        return self.matvec(V) if V.ndim == 1 else self.matmat(V)

    def __rmatmul__(self, V: Any) -> Array:
        V = as_real(V, "the left operand of @")
        return self.rmatvec(V) if V.ndim == 1 else _transpose(self.rmatmat(_transpose(V)))

    def _columns(self, V: Array, product: str) -> Array:
        V = as_real(V, "V")
        if V.ndim < 2 or V.shape[-2] != self.shape[-1]:
            raise ValueError(f"V must have shape (..., {self.shape[-1]}, k); got {tuple(V.shape)}")
        return _transpose(getattr(self._per_column(), product)(_transpose(V)))

    def _per_column(self) -> Any:
        """The same operator with an axis of length 1 that stands for the columns of a matrix."""
        return type(self)(self.p[..., None, :], self._per_entry())  # type: ignore[call-arg]

    def _per_entry(self) -> Any:
        """T, shaped to multiply a vector per matrix."""
        return self.temperature if isinstance(self.temperature, float) else self.temperature[..., None]

    def _apply(self, formula: Callable[..., Array], v: Any, name: str = "v") -> Array:
        """`formula(xp, p, v, T)` in the common dtype of p and `v`."""
        p, v = self._with(v, name)
        return formula(p, v, self._per_entry())

    def _with(self, v: Any, name: str) -> tuple[Array, Array]:
        v = self._vector(v, name)
        xp = namespace(self.p)
        broadcast_shapes(**{"p": self.p, name: v})
        dtype = promoted(xp, self.p.dtype, v.dtype)
        return xp.astype(self.p, dtype, copy=False), xp.astype(v, dtype, copy=False)

    def _vector(self, v: Any, name: str = "v") -> Array:
        n = self.shape[-1]
        v = as_real(v, name)
        if self.ndim == 2 and tuple(v.shape) == (n, 1) and n != 1:
            v = namespace(v).reshape(v, (n,))  # SciPy's LinearOperator hands over columns
        if v.ndim < 1 or v.shape[-1] != n:
            raise ValueError(f"{name} must have shape (..., {n}); got {tuple(v.shape)}")
        return v


@dataclass(frozen=True, eq=False, slots=True)
class SimplexJacobian(_Operator):
    """The symmetric operator J = (diag(p) − p pᵀ)/T, one n × n matrix for each slice of `p`.

    Parameters
    ----------
    p : array, shape (..., n)
        Probabilities along the last axis: the output of `softmax`.
    temperature : float or array of shape (...), default: 1.0
        T > 0.

    Notes
    -----
    Entries, products and the diagonal stay exact on saturated rows: with k the largest entry, 1 − p_k is summed as
    Σ_{j≠k} p_j, and products use v − v_k in the place of v.

    ``scipy.sparse.linalg.aslinearoperator(J)`` works for a single matrix, and ``J @ V`` means ``J.toarray() @ V``.

    Examples
    --------
    >>> import softgrad as sg
    >>> J = sg.softmax_jacobian([[20.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    >>> J.shape
    (2, 3, 3)
    >>> J.diagonal()
    array([[4.12230721e-09, 2.06115361e-09, 2.06115361e-09],
           [2.22222222e-01, 2.22222222e-01, 2.22222222e-01]])
    >>> J.trace()
    array([8.24461443e-09, 6.66666667e-01])
    """

    p: Array
    temperature: Array | float = 1.0

    @property
    def T(self) -> SimplexJacobian:
        """The transposed operator: itself, since J is symmetric."""
        return self

    def matvec(self, v: Array) -> Array:
        """J v = p ∘ (v − Σ p v)/T, for `v` of shape (..., n)."""
        p, v = self._with(v, "v")
        xp = namespace(p)
        product = (native if xp is np else formulas).softmax_vjp(*xp.broadcast_arrays(p, v))
        T = self._per_entry()
        return product if isinstance(T, float) and T == 1.0 else _quotient(product, T)

    rmatvec = matvec

    def diagonal(self) -> Array:
        """p (1 − p)/T, shape (..., n)."""
        return _diagonal(self.p, self._per_entry())

    def trace(self) -> Array:
        """Σ p (1 − p)/T, one number per matrix."""
        return _trace(self.p, self._per_entry())[..., 0]

    def toarray(self) -> Array:
        """The dense array of shape (..., n, n), written in one pass; it costs n² numbers per matrix."""
        if namespace(self.p) is np:
            return native.jacobian(self.p, self.temperature, workers=threads.count(None, self.p.size * self.shape[-1]))
        return formulas.jacobian(self.p, self._per_entry())

    def quadratic(self, v: Array) -> Array:
        """vᵀ J v, the variance of v under p, divided by T: one number per matrix, never negative."""
        return self._apply(_variance, v)[..., 0]

    def sqrt(self) -> SimplexRoot:
        """The factor L = (diag(√p) − p √pᵀ)/√T, for which J = L Lᵀ."""
        return SimplexRoot(self.p, self.temperature)

    def pinv(self) -> SimplexInverse:
        """The Moore-Penrose inverse T C diag(1/p) C with C = I − 11ᵀ/n, over the entries with p > 0."""
        return SimplexInverse(self.p, self.temperature)

    def solve(self, b: Array, *, damping: float = 0.0) -> Array:
        """Solve (J + damping·I) x = b; without damping the x of least norm that minimizes ‖J x − b‖.

        Parameters
        ----------
        b : array_like, shape (..., n)
            Right-hand sides.
        damping : float, default: 0.0
            λ ≥ 0, added to the diagonal (Levenberg-Marquardt, natural gradients).

        Returns
        -------
        ndarray
            x, of shape (..., n), in O(n) operations (Sherman & Morrison 1950).

        Raises
        ------
        ValueError
            If `damping` is negative or NaN.
        """
        if not damping >= 0:
            raise ValueError(f"damping must be at least 0; got {damping}")
        if damping == 0:
            return self._apply(_pseudo_inverse, b, "b")
        p, b = self._with(b, "b")
        return _damped_solution(p, b, self._per_entry(), float(damping))

    def eigvalsh(self) -> Array:
        """Eigenvalues in ascending order, shape (..., n): 0, and one in each gap of the sorted p, O(n²) per matrix.

        Notes
        -----
        Golub, "Some modified matrix eigenvalue problems", SIAM Review 15 (1973), section 5. With Σ p = 1 the secular
        equation 1 = Σ p²/(p−λ) becomes Σ p/(p−λ) = 0 once its root 0 is divided out, and nothing cancels.
        """
        return _eigenvalues(self.p, self._per_entry())

    def logpdet(self) -> Array:
        """Log of the pseudo-determinant, Σ log p + log m − (m−1) log T, over the m entries with p > 0."""
        return _log_pseudo_determinant(self.p, self._per_entry())[..., 0]


@dataclass(frozen=True, eq=False, slots=True)
class SimplexRoot(_Operator):
    """L = (diag(√p) − p √pᵀ)/√T, a root of the Jacobian: J = L Lᵀ, and `L @ noise` has the covariance J."""

    p: Array
    temperature: Array | float = 1.0

    @property
    def T(self) -> _Transposed:
        """Lᵀ."""
        return _Transposed(self)

    def matvec(self, v: Array) -> Array:
        """L v = (√p ∘ v − p Σ √p v)/√T."""
        return self._apply(_root_product, v)

    def rmatvec(self, v: Array) -> Array:
        """Lᵀ v = √p ∘ (v − Σ p v)/√T."""
        return self._apply(_transposed_root_product, v)


@dataclass(frozen=True, eq=False, slots=True)
class SimplexInverse(_Operator):
    """The Moore-Penrose inverse T C diag(1/p) C, C = I − 11ᵀ/m over the m entries with p > 0; symmetric."""

    p: Array
    temperature: Array | float = 1.0

    @property
    def T(self) -> SimplexInverse:
        """The transposed operator: itself."""
        return self

    def matvec(self, v: Array) -> Array:
        """The product with a vector per matrix."""
        return self._apply(_pseudo_inverse, v)

    rmatvec = matvec


@dataclass(frozen=True, eq=False, slots=True)
class _Transposed(_Operator):
    """The transpose of an operator."""

    of: SimplexRoot

    @property
    def p(self) -> Array:
        """The probabilities of the operator itself."""
        return self.of.p

    @property
    def T(self) -> SimplexRoot:
        """The operator itself."""
        return self.of

    def matvec(self, v: Array) -> Array:
        """The product with a vector per matrix."""
        return self.of.rmatvec(v)

    def rmatvec(self, v: Array) -> Array:
        """The product of the transpose, which is the operator itself."""
        return self.of.matvec(v)

    def _per_column(self) -> _Transposed:
        return _Transposed(self.of._per_column())


# The formulas: p has shape (..., n), T broadcasts against it, and sums keep the axis.


@formulas.widened
def _quotient(xp: Any, x: Array, T: Array) -> Array:
    return x / T


@formulas.widened
def _diagonal(xp: Any, p: Array, T: Array) -> Array:
    return p * formulas.complement(xp, p) / T


@formulas.widened
def _trace(xp: Any, p: Array, T: Array) -> Array:
    return _sum(p * formulas.complement(xp, p)) / T


@formulas.widened
def _variance(xp: Any, p: Array, v: Array, T: Array) -> Array:
    centred = formulas.centred(xp, p, v)
    return _sum(xp.where(p == 0, xp.zeros_like(centred), p * centred * centred)) / T


@formulas.widened
def _root_product(xp: Any, p: Array, v: Array, T: Array) -> Array:
    scaled = xp.sqrt(p) * v
    return (scaled - p * _sum(scaled)) / T**0.5


@formulas.widened
def _transposed_root_product(xp: Any, p: Array, v: Array, T: Array) -> Array:
    return xp.sqrt(p) * formulas.centred(xp, p, v) / T**0.5


@formulas.widened
def _pseudo_inverse(xp: Any, p: Array, v: Array, T: Array) -> Array:
    support = p > 0
    count = _sum(xp.astype(support, p.dtype))

    def centred(x: Array) -> Array:
        x = xp.where(support, x, xp.zeros_like(x))
        return xp.where(support, x - _sum(x) / xp.where(count > 0, count, xp.ones_like(count)), xp.zeros_like(x))

    return centred(centred(v) / xp.where(support, p, xp.ones_like(p))) * T


@formulas.widened
def _damped_solution(xp: Any, p: Array, b: Array, T: Array, damping: float) -> Array:
    # diag(p + λ) − p pᵀ; the denominator 1 − Σ p²/(p+λ) is λ Σ p/(p+λ), which does not cancel.
    scaled = damping * T
    weight = p / (p + scaled)
    x = b / (p + scaled)
    return T * (x + weight * (_sum(p * x) / (scaled * _sum(weight))))


@formulas.widened
def _log_pseudo_determinant(xp: Any, p: Array, T: Array) -> Array:
    support = p > 0
    count = _sum(xp.astype(support, p.dtype))
    missing = xp.where(p == 0, xp.zeros_like(p), p * xp.nan)
    logs = _sum(xp.where(support, xp.log(xp.where(support, p, xp.ones_like(p))), missing))
    return logs + xp.log(xp.where(count > 0, count, xp.ones_like(count))) - (count - 1) * xp.log(xp.asarray(T))


@formulas.widened
def _eigenvalues(xp: Any, p: Array, T: Array) -> Array:
    """Bisection in every gap at once, on the bits of μ = λ − lower end: numbers ≥ 0 are ordered as their bits."""
    dtype, p = p.dtype, np.sort(np.asarray(p, np.float64), axis=-1)
    low = p[..., :-1, None]
    offsets = p[..., None, :] - low
    left, right = np.zeros(low.shape), p[..., 1:, None] - low
    for _ in range(64):
        middle = ((left.view(np.int64) + right.view(np.int64)) // 2).view(np.float64)
        # Σ p/(p − λ) increases in λ, from −∞ to +∞ between neighbouring poles.
        above = np.sum(p[..., None, :] / (offsets - middle), axis=-1, keepdims=True) > 0
        left, right = np.where(above, left, middle), np.where(above, middle, right)
    zero = np.where(np.isnan(p[..., :1]), np.nan, 0.0)
    eigenvalues = np.concatenate([zero[..., : p.shape[-1]], (low + left)[..., 0]], axis=-1)
    return xp.asarray(eigenvalues, dtype=dtype) / T


def _sum(x: Array) -> Array:
    return namespace(x).sum(x, axis=-1, keepdims=True)


def _transpose(x: Array) -> Array:
    return namespace(x).matrix_transpose(x)
