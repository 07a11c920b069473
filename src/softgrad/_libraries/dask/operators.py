"""The Jacobian of lazy probabilities. Its methods are functions of slices, computed lazily as all others are."""

from __future__ import annotations

from typing import Any

from softgrad._api.operators import SimplexInverse, SimplexJacobian, SimplexRoot
from softgrad._dispatch import dispatched
from softgrad._formulas.namespace import Array


class LazyJacobian(SimplexJacobian):
    """The Jacobian J = (diag(p) − p pᵀ)/T of Dask arrays."""

    __slots__ = ()

    def matvec(self, v: Array) -> Array:
        """J v, for `v` of shape (..., n)."""
        return _matvec(self.p, self._vector(v), temperature=self.temperature)

    rmatvec = matvec

    def diagonal(self) -> Array:
        """p (1 − p)/T, shape (..., n)."""
        return _diagonal(self.p, temperature=self.temperature)

    def trace(self) -> Array:
        """Σ p (1 − p)/T, one number per matrix."""
        return _trace(self.p, temperature=self.temperature)

    def toarray(self) -> Array:
        """The dense array of shape (..., n, n); every slice must be in one block."""
        return _toarray(self.p, temperature=self.temperature)

    def quadratic(self, v: Array) -> Array:
        """vᵀ J v, one number per matrix."""
        return _quadratic(self.p, self._vector(v), temperature=self.temperature)

    def sqrt(self) -> LazyRoot:
        """The factor L for which J = L Lᵀ."""
        return LazyRoot(self.p, self.temperature)

    def pinv(self) -> LazyInverse:
        """The Moore-Penrose inverse."""
        return LazyInverse(self.p, self.temperature)

    def solve(self, b: Array, *, damping: float = 0.0) -> Array:
        """The solution x of (J + damping·I) x = b."""
        return _solve(self.p, self._vector(b, "b"), temperature=self.temperature, damping=damping)

    def eigvalsh(self) -> Array:
        """Eigenvalues in ascending order, shape (..., n); every slice must be in one block."""
        return _eigvalsh(self.p, temperature=self.temperature)

    def logpdet(self) -> Array:
        """Log of the pseudo-determinant."""
        return _logpdet(self.p, temperature=self.temperature)


class LazyRoot(SimplexRoot):
    """The root L of a `LazyJacobian`."""

    __slots__ = ()

    def matvec(self, v: Array) -> Array:
        """L v."""
        return _root_matvec(self.p, self._vector(v), temperature=self.temperature)

    def rmatvec(self, v: Array) -> Array:
        """Lᵀ v."""
        return _root_rmatvec(self.p, self._vector(v), temperature=self.temperature)


class LazyInverse(SimplexInverse):
    """The Moore-Penrose inverse of a `LazyJacobian`."""

    __slots__ = ()

    def matvec(self, v: Array) -> Array:
        """The product with a vector per matrix."""
        return _inverse_matvec(self.p, self._vector(v), temperature=self.temperature)

    rmatvec = matvec


@dispatched("(n),(n)->(n)")
def _matvec(p: Any, v: Any, /, *, axis: int = -1, temperature: Any = 1.0) -> Array:
    return SimplexJacobian(p, temperature).matvec(v)


@dispatched("(n)->(n)")
def _diagonal(p: Any, /, *, axis: int = -1, temperature: Any = 1.0) -> Array:
    return SimplexJacobian(p, temperature).diagonal()


@dispatched("(n)->()")
def _trace(p: Any, /, *, axis: int = -1, temperature: Any = 1.0) -> Array:
    return SimplexJacobian(p, temperature).trace()


@dispatched("(n)->(n,n)")
def _toarray(p: Any, /, *, axis: int = -1, temperature: Any = 1.0) -> Array:
    return SimplexJacobian(p, temperature).toarray()


@dispatched("(n),(n)->()")
def _quadratic(p: Any, v: Any, /, *, axis: int = -1, temperature: Any = 1.0) -> Array:
    return SimplexJacobian(p, temperature).quadratic(v)


@dispatched("(n),(n)->(n)")
def _solve(p: Any, b: Any, /, *, axis: int = -1, temperature: Any = 1.0, damping: float = 0.0) -> Array:
    return SimplexJacobian(p, temperature).solve(b, damping=damping)


@dispatched("(n)->(m)")
def _eigvalsh(p: Any, /, *, axis: int = -1, temperature: Any = 1.0) -> Array:
    return SimplexJacobian(p, temperature).eigvalsh()


@dispatched("(n)->()")
def _logpdet(p: Any, /, *, axis: int = -1, temperature: Any = 1.0) -> Array:
    return SimplexJacobian(p, temperature).logpdet()


@dispatched("(n),(n)->(n)")
def _root_matvec(p: Any, v: Any, /, *, axis: int = -1, temperature: Any = 1.0) -> Array:
    return SimplexRoot(p, temperature).matvec(v)


@dispatched("(n),(n)->(n)")
def _root_rmatvec(p: Any, v: Any, /, *, axis: int = -1, temperature: Any = 1.0) -> Array:
    return SimplexRoot(p, temperature).rmatvec(v)


@dispatched("(n),(n)->(n)")
def _inverse_matvec(p: Any, v: Any, /, *, axis: int = -1, temperature: Any = 1.0) -> Array:
    return SimplexInverse(p, temperature).matvec(v)
