"""The Jacobian of softmax as an operator: n numbers that act as an n × n matrix.

J = (diag(p) − p pᵀ)/T is the covariance matrix of a categorical variable, divided by the temperature. Everything below
follows from that shape; where a formula would subtract nearly equal numbers on a saturated row, the sum it stands for
is taken instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from softgrad import arguments
from softgrad.arrays import generic, threads
from softgrad.arrays import numpy as native
from softgrad.arrays.namespace import namespace

Array = Any


class _Operator:
    """What operators over the last axis share: `@` on either side means what the dense matrices would."""

    # NumPy's own `@` steps back, so that `array @ J` arrives at __rmatmul__.
    __array_ufunc__ = None
    p: Array

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
        xp = namespace(self.p)
        return self.matmat(xp.eye(self.shape[-1], dtype=self.dtype))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("a dense copy is always made: the operator holds no matrix")
        return np.asarray(self.toarray(), dtype=dtype)

    def __matmul__(self, V: Any) -> Array:
        V = arguments.as_real(V, "the right operand of @")
        return self.matvec(V) if V.ndim == 1 else self.matmat(V)

    def __rmatmul__(self, V: Any) -> Array:
        V = arguments.as_real(V, "the left operand of @")
        return self.rmatvec(V) if V.ndim == 1 else _transpose(self.rmatmat(_transpose(V)))

    def _columns(self, V: Array, product: str) -> Array:
        V = arguments.as_real(V, "V")
        if V.ndim < 2 or V.shape[-2] != self.shape[-1]:
            raise ValueError(f"V must have shape (..., {self.shape[-1]}, k); got {tuple(V.shape)}")
        return _transpose(getattr(self._per_column(), product)(_transpose(V)))

    def _per_column(self) -> Any:
        """The same operator with an axis of length 1 that stands for the columns of a matrix."""
        raise NotImplementedError

    def _vector(self, v: Any, name: str = "v") -> Array:
        n = self.shape[-1]
        v = arguments.as_real(v, name)
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
    array([[4.12230723e-09, 2.06115362e-09, 2.06115362e-09],
           [2.22222222e-01, 2.22222222e-01, 2.22222222e-01]])
    >>> J.trace()
    array([8.24461446e-09, 6.66666667e-01])
    """

    p: Array
    temperature: Array | float = 1.0

    @property
    def T(self) -> SimplexJacobian:
        """The transposed operator: itself, since J is symmetric."""
        return self

    def matvec(self, v: Array) -> Array:
        """J v = p ∘ (v − Σ p v)/T, for `v` of shape (..., n)."""
        v = self._vector(v)
        p = self.p
        xp = namespace(p)
        dtype = xp.result_type(p, v)
        shape = arguments.broadcast_shapes(p=p, v=v)
        p, v = (xp.broadcast_to(xp.astype(a, dtype, copy=False), shape) for a in (p, v))
        product = native.softmax_vjp(p, v) if xp is np else generic.softmax_vjp(p, v)
        return self._divided(product)

    rmatvec = matvec

    def diagonal(self) -> Array:
        """p (1 − p)/T, shape (..., n)."""
        return self._divided(self.p * self._complement())

    def trace(self) -> Array:
        """Σ p (1 − p)/T, one number per matrix."""
        return self._sum(self.diagonal())

    def toarray(self) -> Array:
        """The dense array of shape (..., n, n), written in one pass; it costs n² numbers per matrix."""
        if namespace(self.p) is np:
            return native.jacobian(self.p, self.temperature, workers=threads.count(None, self.p.size * self.shape[-1]))
        return generic.jacobian(self.p, self._temperature())

    def quadratic(self, v: Array) -> Array:
        """vᵀ J v, the variance of v under p, divided by T: one number per matrix, never negative."""
        v = self._vector(v)
        xp = namespace(self.p)
        direction = xp.where(self.p == 0, xp.zeros_like(v), v)
        peak = self._peak()
        relative = direction - self._sum(xp.where(peak, direction, xp.zeros_like(direction)), keepdims=True)
        centred = relative - self._sum(self.p * relative, keepdims=True)
        return self._divided(self._sum(self.p * centred * centred), per_matrix=True)

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
            return self.pinv().matvec(b)
        b = self._vector(b, "b")
        scaled = damping * self._temperature()
        # diag(p + λ) − p pᵀ; the denominator 1 − Σ p²/(p+λ) is λ Σ p/(p+λ), which does not cancel.
        weight = self.p / (self.p + scaled)
        x = b / (self.p + scaled)
        x = x + weight * (self._sum(self.p * x, keepdims=True) / (scaled * self._sum(weight, keepdims=True)))
        return x * self._temperature()

    def eigvalsh(self) -> Array:
        """Eigenvalues in ascending order, shape (..., n): 0, and one in each gap of the sorted p, O(n²) per matrix.

        Notes
        -----
        Golub, "Some modified matrix eigenvalue problems", SIAM Review 15 (1973), section 5. With Σ p = 1 the secular
        equation 1 = Σ p²/(p−λ) becomes Σ p/(p−λ) = 0 once its root 0 is divided out, and nothing cancels.
        """
        p = np.sort(np.asarray(self.p), axis=-1)
        return self._divided(_interlaced(p).astype(p.dtype, copy=False))

    def logpdet(self) -> Array:
        """Logarithm of the pseudo-determinant, Σ log p + log m − (m−1) log T, over the m entries with p > 0."""
        xp = namespace(self.p)
        support = self.p > 0
        m = self._sum(xp.astype(support, self.dtype))
        logs = self._sum(xp.where(support, xp.log(xp.where(support, self.p, xp.ones_like(self.p))), 0 * self.p))
        return logs + xp.log(xp.where(m > 0, m, xp.ones_like(m))) - (m - 1) * xp.log(xp.asarray(self.temperature))

    def _per_column(self) -> SimplexJacobian:
        return SimplexJacobian(self.p[..., None, :], self._temperature())

    def _temperature(self) -> Any:
        """T, shaped to multiply a vector per matrix."""
        return self.temperature if isinstance(self.temperature, float) else self.temperature[..., None]

    def _divided(self, x: Array, per_matrix: bool = False) -> Array:
        if isinstance(self.temperature, float) and self.temperature == 1.0:
            return x
        return namespace(x).astype(x / (self.temperature if per_matrix else self._temperature()), x.dtype, copy=False)

    def _complement(self) -> Array:
        return generic.complement(namespace(self.p), self.p)

    def _peak(self) -> Array:
        xp = namespace(self.p)
        return xp.arange(self.p.shape[-1]) == xp.argmax(self.p, axis=-1, keepdims=True)

    def _sum(self, x: Array, keepdims: bool = False) -> Array:
        return namespace(x).sum(x, axis=-1, keepdims=keepdims, dtype=x.dtype)


@dataclass(frozen=True, eq=False, slots=True)
class SimplexRoot(_Operator):
    """L = (diag(√p) − p √pᵀ)/√T, a square root of the Jacobian: J = L Lᵀ. `L @ z` turns white noise into samples of J."""

    p: Array
    temperature: Array | float = 1.0

    @property
    def T(self) -> _Transposed:
        """Lᵀ."""
        return _Transposed(self)

    def matvec(self, v: Array) -> Array:
        """L v."""
        v = self._vector(v)
        root = self._root()
        return (root * v - self.p * _sum(root * v)) / self._scale()

    def rmatvec(self, v: Array) -> Array:
        """Lᵀ v = √p ∘ (v − Σ p v)/√T."""
        v = self._vector(v)
        return self._root() * (v - _sum(self.p * v)) / self._scale()

    def _root(self) -> Array:
        return namespace(self.p).sqrt(self.p)

    def _scale(self) -> Any:
        T = self.temperature
        return T**0.5 if isinstance(T, float) else (T**0.5)[..., None]

    def _per_column(self) -> SimplexRoot:
        T = self.temperature
        return SimplexRoot(self.p[..., None, :], T if isinstance(T, float) else T[..., None])


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
        v = self._vector(v)
        xp = namespace(self.p)
        support = self.p > 0
        count = _sum(xp.astype(support, self.dtype))

        def centred(x: Array) -> Array:
            x = xp.where(support, x, xp.zeros_like(x))
            mean = _sum(x) / xp.where(count > 0, count, xp.ones_like(count))
            return xp.where(support, x - mean, xp.zeros_like(x))

        T = self.temperature if isinstance(self.temperature, float) else self.temperature[..., None]
        return centred(centred(v) / xp.where(support, self.p, xp.ones_like(self.p))) * T

    rmatvec = matvec

    def _per_column(self) -> SimplexInverse:
        T = self.temperature
        return SimplexInverse(self.p[..., None, :], T if isinstance(T, float) else T[..., None])


@dataclass(frozen=True, eq=False, slots=True)
class _Transposed(_Operator):
    """The transpose of an operator."""

    of: SimplexRoot

    @property
    def p(self) -> Array:  # type: ignore[override]
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


def _sum(x: Array) -> Array:
    return namespace(x).sum(x, axis=-1, keepdims=True)


def _transpose(x: Array) -> Array:
    return namespace(x).matrix_transpose(x)


def _interlaced(p: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Eigenvalues of diag(p) − p pᵀ for sorted p: bisection of every gap at once, measured from the gap's lower end."""
    low, gap = p[..., :-1], np.diff(p, axis=-1)
    weights, offsets = p[..., None, :], p[..., None, :] - low[..., :, None]
    left, right = np.zeros_like(low), gap.copy()
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for _ in range(2 * np.finfo(p.dtype).nmant + 20):
            middle = left + (right - left) / 2
            # Increasing in λ from −∞ to +∞ between neighbouring poles.
            above = np.sum(weights / (offsets - middle[..., None]), axis=-1) > 0
            left, right = np.where(above, left, middle), np.where(above, middle, right)
    inner = low + (left + right) / 2
    zero = np.where(np.isnan(p[..., :1]), np.nan, np.zeros_like(p[..., :1]))
    return np.concatenate([zero, inner], axis=-1)
