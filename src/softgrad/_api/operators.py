"""The Jacobian of softmax as an operator: n numbers that act as an n × n matrix.

J = (diag(p) − p pᵀ)/T is the covariance matrix of a categorical variable, divided by the temperature. Everything below
follows from that shape; where a formula would subtract nearly equal numbers on a saturated row, the sum it stands for
is taken instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from softgrad._api.notebook import described, table
from softgrad._api.softmax import softmax
from softgrad._dispatch import dispatched
from softgrad._formulas import operators as formulas
from softgrad._formulas.namespace import Array, NDArray, is_one, namespace, per_entry
from softgrad._numpy import derivatives as native
from softgrad._numpy import kernels, threads
from softgrad._validation.arrays import as_positive_temperature, as_unmasked, broadcast_shapes, promoted
from softgrad._validation.axis import Axis
from softgrad._validation.logits import Logits
from softgrad._validation.signatures import Foreign, Labelled, Real

__all__ = ["SimplexJacobian", "calculate_gradient", "softmax_jacobian"]


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

    At a temperature the derivative is divided by it; a masked entry has a row of zeros:

    >>> sg.softmax_jacobian([1.0, 2.0, 3.0], temperature=2.0, where=[True, True, False]).toarray()
    array([[ 0.11750186, -0.11750186,  0.        ],
           [-0.11750186,  0.11750186,  0.        ],
           [ 0.        ,  0.        ,  0.        ]])
    """
    rows = Logits.of(x, axis, where)
    temperature = as_positive_temperature(temperature, rows.rows, "softmax", rows.xp)
    return SimplexJacobian(softmax(rows.x, temperature=temperature, where=rows.mask), temperature)


@overload
def calculate_gradient(x: Real, normalization: bool = True) -> NDArray: ...
@overload
def calculate_gradient(x: Labelled | Foreign, normalization: bool = True) -> Any: ...
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

    See Also
    --------
    softmax_jacobian : the same matrix as an operator of n numbers.
    softmax_vjp : its product with a vector, without the matrix.

    Notes
    -----
    A column vector, of shape (n, 1), is n slices of one entry each: their probabilities are 1, and what comes back are
    n matrices of one entry, 0. ``np.ravel(column)`` is one slice; ``softmax_jacobian(column, axis=0)`` takes the column
    as it is.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.calculate_gradient([1, 2, 3])
    array([[ 0.08192507, -0.02203304, -0.05989202],
           [-0.02203304,  0.18483645, -0.1628034 ],
           [-0.05989202, -0.1628034 ,  0.22269543]])

    A column vector is n slices, not one:

    >>> column = [[1.0], [2.0], [3.0]]
    >>> sg.calculate_gradient(column).shape
    (3, 1, 1)
    >>> sg.softmax_jacobian(column, axis=0).toarray().shape
    (1, 3, 3)
    """
    # The plain call, which goes straight to the kernel, is the one without options.
    p = softmax(x) if normalization else softmax(x, normalization=False)
    if type(p) is np.ndarray and (table := kernels.table) is not None:
        dense: Array = table.direct["jacobian"](p)
        if dense is not NotImplemented:
            return dense
    return jacobian_at(p).toarray()


@dispatched("(n)->(n,n)")
def jacobian_at(p: Any, /, *, axis: Axis = -1) -> SimplexJacobian:
    """The Jacobian of softmax from its output."""
    rows, _ = Logits.output(axis, 0.0, p=p)
    return SimplexJacobian(rows.x)


class _Operator:
    """What operators over the last axis share: `@` on either side means what the dense matrices would."""

    # NumPy's own `@` steps back, so that `array @ J` arrives at __rmatmul__.
    __array_ufunc__ = None
    p: Array
    temperature: Array

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

    def __getitem__(self, index: Any) -> Any:
        """Some of the matrices, by their place in the batch: ``J[i]`` for an index of all axes but the last two."""
        batch = self.p.ndim - 1
        indices = index if isinstance(index, tuple) else (index,)
        taken = sum(i.ndim if "bool" in str(getattr(i, "dtype", "")) else i is not None for i in indices)
        if not batch:
            raise TypeError("a single matrix has no batch to choose from; toarray() has its entries")
        if taken - sum(i is Ellipsis for i in indices) > batch:
            raise IndexError(
                f"there are {batch} axes to choose matrices by; got {taken} indices: toarray() has entries"
            )
        whole = (*indices, slice(None)) if any(i is Ellipsis for i in indices) else indices
        return self._of(
            self.p[whole], self.temperature if getattr(self.temperature, "ndim", 0) == 0 else self.temperature[indices]
        )

    def _of(self, p: Array, temperature: Array | float) -> Any:
        return type(self)(p, temperature)  # type: ignore[call-arg]

    def _repr_html_(self) -> str:
        rows = [("shape", " × ".join(map(str, self.shape))), ("dtype", str(self.dtype))]
        rows.append(("temperature", described(self.temperature)))
        return table(type(self).__name__.strip("_"), [*rows, ("p", described(self.p))])

    def matvec(self, v: Array) -> Array:
        """The product with a vector per matrix: `v` and the result have shape (..., n)."""
        raise NotImplementedError

    def rmatvec(self, v: Array) -> Array:
        """The product of the transposed matrix with a vector per matrix."""
        raise NotImplementedError

    def matmat(self, V: Array) -> Array:
        """The product with a matrix of columns: `V` has shape (..., n, k)."""
        return _transpose(self._per_column().matvec(self._columns(V)))

    def rmatmat(self, V: Array) -> Array:
        """The product of the transposed matrix with a matrix of columns."""
        return _transpose(self._per_column().rmatvec(self._columns(V)))

    def toarray(self) -> Array:
        """The dense array of shape (..., n, n); it costs n² numbers per matrix."""
        return self.matmat(namespace(self.p).eye(self.shape[-1], dtype=self.dtype))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("a dense copy is always made: the operator holds no matrix")
        return np.asarray(self.toarray(), dtype=dtype)

    @overload
    def __matmul__(self, V: Real) -> NDArray: ...
    @overload
    def __matmul__(self, V: Foreign) -> Any: ...
    def __matmul__(self, V: Any) -> Array:
        V = as_unmasked(V, "the right operand of @")
        return self.matvec(V) if V.ndim == 1 else self.matmat(V)

    @overload
    def __rmatmul__(self, V: Real) -> NDArray: ...
    @overload
    def __rmatmul__(self, V: Foreign) -> Any: ...
    def __rmatmul__(self, V: Any) -> Array:
        V = as_unmasked(V, "the left operand of @")
        return self.rmatvec(V) if V.ndim == 1 else _transpose(self.rmatmat(_transpose(V)))

    def _columns(self, V: Array) -> Array:
        """The columns of a matrix as rows."""
        V = as_unmasked(V, "V")
        if V.ndim < 2 or V.shape[-2] != self.shape[-1]:
            raise ValueError(f"V must have shape (..., {self.shape[-1]}, k); got {tuple(V.shape)}")
        return _transpose(V)

    def _per_column(self) -> Any:
        """The same operator with an axis of length 1 that stands for the columns of a matrix."""
        return self._of(self.p[..., None, :], self._per_entry())

    def _per_entry(self) -> Any:
        """T, shaped to multiply a vector per matrix."""
        return per_entry(self.temperature)

    def _apply(self, formula: Callable[..., Array], v: Any, name: str = "v") -> Array:
        """`formula(xp, p, v, T)` in the common dtype of p and `v`."""
        p, v = self._with(v, name)
        return formula(p, v, self._per_entry())

    def _with(self, v: Any, name: str) -> tuple[Array, Array]:
        v, xp = self._vector(v, name), namespace(self.p)
        broadcast_shapes(**{"p": self.p, name: v})
        dtype = promoted(xp, self.p.dtype, v.dtype)
        return xp.astype(self.p, dtype, copy=False), xp.astype(v, dtype, copy=False)

    def _vector(self, v: Any, name: str = "v") -> Array:
        n = self.shape[-1]
        v = as_unmasked(v, name)
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

    See Also
    --------
    softmax_jacobian, sparsemax_jacobian, entmax_jacobian, cross_entropy_hessian : make one.
    softmax_vjp : one product, without an operator.

    Notes
    -----
    Entries, products and the diagonal stay exact on saturated rows: with k the largest entry, 1 − p_k is summed as
    Σ_{j≠k} p_j, and products use v − v_k instead of v.

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
        product: Array = native.softmax_vjp(*namespace(self.p).broadcast_arrays(*self._with(v, "v")))
        return product if is_one(self.temperature) else formulas.quotient(product, self._per_entry())

    rmatvec = matvec

    def diagonal(self) -> Array:
        """p (1 − p)/T, shape (..., n)."""
        return formulas.diagonal(self.p, self._per_entry())

    def trace(self) -> Array:
        """Σ p (1 − p)/T, one number per matrix."""
        return formulas.trace(self.p, self._per_entry())[..., 0]

    def toarray(self) -> Array:
        """The dense array of shape (..., n, n), written in one pass; it costs n² numbers per matrix."""
        workers = threads.count(None, math.prod(self.shape))
        return native.jacobian(self.p, self.temperature, workers=workers)

    def quadratic(self, v: Array) -> Array:
        """vᵀ J v, the variance of v under p, divided by T: one number per matrix, never negative."""
        return self._apply(formulas.variance, v)[..., 0]

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
            return self._apply(formulas.pseudo_inverse, b, "b")
        p, b = self._with(b, "b")
        return formulas.damped_solution(p, b, self._per_entry(), float(damping))

    def eigvalsh(self) -> Array:
        """Eigenvalues in ascending order, shape (..., n): 0, and one in each gap of the sorted p, O(n²) per matrix.

        Notes
        -----
        Golub, "Some modified matrix eigenvalue problems", SIAM Review 15 (1973), section 5. With Σ p = 1 the secular
        equation 1 = Σ p²/(p−λ) becomes Σ p/(p−λ) = 0 once its root 0 is divided out, and nothing cancels.
        """
        return formulas.eigenvalues(self.p, self._per_entry())

    def logpdet(self) -> Array:
        """Log of the pseudo-determinant, Σ log p + log m − (m−1) log T, over the m entries with p > 0."""
        return formulas.log_pseudo_determinant(self.p, self._per_entry())[..., 0]


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
        return self._apply(formulas.root_product, v)

    def rmatvec(self, v: Array) -> Array:
        """Lᵀ v = √p ∘ (v − Σ p v)/√T."""
        return self._apply(formulas.transposed_root_product, v)


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
        return self._apply(formulas.pseudo_inverse, v)

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
    def temperature(self) -> Array | float:
        """That of the operator itself."""
        return self.of.temperature

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

    def _of(self, p: Array, temperature: Array | float) -> _Transposed:
        return _Transposed(type(self.of)(p, temperature))


def _transpose(x: Array) -> Array:
    return namespace(x).matrix_transpose(x)
