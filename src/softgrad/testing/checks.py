"""Gradient checks: a derivative compared with finite differences of its function.

For any function or layer of NumPy arrays, not only softgrad's. The derivative is always meant *at the point x*, right
after ``function(x)`` was called, as a layer that remembers its forward pass has it: ``vjp(g)``, ``jvp(v)``,
``jacobian()``. A function that takes the point too is written as a lambda: ``lambda g: my_vjp(x, g)``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from softgrad._validation.arrays import as_real
from softgrad._validation.axis import Axis, Rows
from softgrad.testing.finite_differences import ArrayFunction, Point, first_not_finite, relative_tolerance
from softgrad.testing.report import Comparison, GradientMismatch, in_tolerances, tolerances

Array = np.ndarray[Any, Any]

EXAMINED = 128
"""Entries of x that a report looks at one by one."""


def check_vjp(
    function: ArrayFunction,
    vjp: ArrayFunction,
    x: Any,
    /,
    *,
    directions: int = 3,
    rtol: float | None = None,
    seed: int | np.random.Generator = 0,
) -> None:
    r"""Check a backward pass: vjp(g) must be Jᵀ g, with J the Jacobian of `function` at `x`.

    .. math:: \langle \mathrm{vjp}(g), v \rangle = \langle g, J v \rangle

    for a few random v and g, where J v is a finite difference.

    Parameters
    ----------
    function : callable
        The forward pass, ``function(x)`` → array or number of any shape.
    vjp : callable
        The backward pass, ``vjp(g)`` → array of the shape of `x`, for g of the shape of the output. It is called right
        after ``function(x)``, so a layer's bound method will do; a pure function ``f_vjp(x, g)`` is passed as
        ``lambda g: f_vjp(x, g)``, the gradient of a number as ``lambda g: g * gradient(x)``.
    x : array_like, real
        The point, finite. One argument at a time: ``check_vjp(lambda W: X @ W, lambda g: X.T @ g, W)``.
    directions : int, default: 3
        How many random pairs (v, g) to try.
    rtol : float, optional
        Tolerance relative to the terms of the sums, on top of the estimated error of the finite difference. Default:
        the square root of the machine epsilon of the coarsest dtype among `x`, the output and the derivative: 1.5e-8
        for float64, 3.5e-4 for float32.
    seed : int or numpy.random.Generator, default: 0
        Where the directions come from. With a number every call draws the same.

    Raises
    ------
    GradientMismatch
        An AssertionError that names the worst entry of vjp(g) and, where it recognises one, a typical fault. In a
        large `x` the 128 entries around the largest disagreement are looked at.
    ValueError
        If `x` is empty or not finite, if `function` is not finite there or not repeatable, or so rough that finite
        differences cannot decide; if `directions` is less than 1.
    TypeError
        If `x`, the output or the derivative is not real.

    Notes
    -----
    Central differences at steps that shrink by 4, extrapolated to zero (Ridders, Adv. Eng. Software 4 (1982), 75-76):
    every entry takes the order and step where truncation and rounding together are least, and brings that estimate
    along as its own tolerance. `function` is called on float64 copies of `x`, whatever the dtype of `x`, so the
    differences of a float32 network are sharp too; `vjp` sees `x` as it is.

    Examples
    --------
    >>> import numpy as np
    >>> import softgrad as sg
    >>> from softgrad.testing import check_vjp
    >>> x = np.array([[1.0, 2.0, 3.0], [0.0, 4.0, 1.0]])
    >>> layer = sg.Softmax()
    >>> check_vjp(layer, layer.backward, x)
    >>> check_vjp(np.tanh, lambda g: g * (1 - np.tanh(x) ** 2), x)

    With a slip of the sign:

    >>> check_vjp(np.cos, lambda g: g * np.sin(x), x)
    Traceback (most recent call last):
        ...
    softgrad.testing.GradientMismatch: vjp(g) is wrong in 5 of 6 entries
      worst     d⟨g, f(x)⟩/dx[0, 0]
      expected  -1.20757  (finite difference)
      got       1.20757
      error     2.4, tolerance 2e-08
      hint      the wrong entries have the opposite sign
    """
    point = Point(function, x)
    for v, g in point.directions(directions, seed):
        point.settle()
        gradient = _returned(vjp(g), "vjp(g)", point.x.shape)
        check = _Cotangent(point, gradient, g, relative_tolerance(rtol, point.x, point.y, gradient))
        if check.mismatch(v) > 1:
            raise check.report(v)


def check_jvp(
    function: ArrayFunction,
    jvp: ArrayFunction,
    x: Any,
    /,
    *,
    directions: int = 3,
    rtol: float | None = None,
    seed: int | np.random.Generator = 0,
) -> None:
    """Check a forward-mode derivative: jvp(v) must be J v, with J the Jacobian of `function` at `x`.

    Parameters
    ----------
    function : callable
        ``function(x)`` → array or number of any shape.
    jvp : callable
        ``jvp(v)`` → array of the shape of the output, for v of the shape of `x`. It is called right after
        ``function(x)``; a pure function ``f_jvp(x, v)`` is passed as ``lambda v: f_jvp(x, v)``.
    x, directions, rtol, seed
        As in `check_vjp`. The tolerance is relative to each entry of J v.

    Raises
    ------
    GradientMismatch, ValueError, TypeError
        As `check_vjp`. The worst entry is one of the Jacobian: an output with respect to an input.

    Examples
    --------
    >>> import numpy as np
    >>> import softgrad as sg
    >>> from softgrad.testing import check_jvp
    >>> x = np.array([1.0, 2.0, 3.0])
    >>> y = sg.log_softmax(x)
    >>> check_jvp(sg.log_softmax, lambda v: sg.log_softmax_jvp(y, v), x)
    """
    point = Point(function, x)

    def product(v: Array) -> Array:
        point.settle()
        return _returned(jvp(v.astype(point.x.dtype)), "jvp(v)", point.y.shape)

    _check_products(point, product, "jvp(v)", directions=directions, rtol=rtol, seed=seed)


def check_jacobian(
    function: ArrayFunction,
    jacobian: Any,
    x: Any,
    /,
    *,
    axis: Axis = -1,
    directions: int = 3,
    rtol: float | None = None,
    seed: int | np.random.Generator = 0,
) -> None:
    """Check a dense Jacobian, or one per slice of a batch, against finite differences along random directions.

    Parameters
    ----------
    function : callable
        ``function(x)`` → array or number of any shape.
    jacobian : callable, array_like or operator
        The Jacobian at `x`, as an array or anything that `numpy.asarray` makes one of, or a callable that returns it
        and is called right after ``function(x)``: without arguments, such as a layer's ``backward``, or with `x` if
        it needs one, such as `calculate_gradient`. Its shape is that of
        the output followed by that of `x`; or, for a map that treats every slice alone, (..., m, n): one matrix per
        slice.
    x, directions, rtol, seed
        As in `check_vjp`. The tolerance is relative to each entry of J v.
    axis : int, tuple of ints or None, default: -1
        The axis or axes of a slice, both of `x` and of the output; of one matrix per slice only.

    Raises
    ------
    GradientMismatch, ValueError, TypeError
        As `check_vjp`. The worst entry is one of the Jacobian: an output with respect to an input.

    Examples
    --------
    >>> import numpy as np
    >>> import softgrad as sg
    >>> from softgrad.testing import check_jacobian
    >>> x = np.array([[1.0, 2.0, 3.0], [0.0, 4.0, 1.0]])
    >>> check_jacobian(sg.softmax, sg.softmax_jacobian(x), x)
    >>> layer = sg.LogSoftmax()
    >>> check_jacobian(layer, layer.backward, x)
    >>> check_jacobian(sg.softmax, sg.calculate_gradient, x)
    >>> W = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> check_jacobian(lambda x: W @ x, W.T, [1.0, -1.0])
    Traceback (most recent call last):
        ...
    softgrad.testing.GradientMismatch: jacobian is wrong in 2 of 4 entries
      worst     df[0]/dx[1]
      expected  2  (finite difference)
      got       3
      error     1, tolerance 3e-08
      hint      it is the transposed Jacobian
    """
    point = Point(function, x)
    point.settle()
    dense = np.asarray(_called(jacobian, point.x.copy()) if callable(jacobian) else jacobian)
    multiply = _multiplication(dense.shape, point, axis)
    dense = _returned(dense, "jacobian", dense.shape)

    def product(v: Array) -> Array:
        return multiply(dense, v)

    _check_products(
        point,
        product,
        "jacobian",
        directions=directions,
        rtol=relative_tolerance(rtol, point.x, point.y, dense),
        seed=seed,
    )


def _called(jacobian: Callable[..., Any], x: Array) -> Any:
    """What a callable returns: at the point of the last call of the function, or at `x` if it needs an argument."""
    try:
        inspect.signature(jacobian).bind()
    except TypeError:
        return jacobian(x)
    except ValueError:  # it has no signature
        pass
    return jacobian()


def _multiplication(shape: tuple[int, ...], point: Point, axis: Axis) -> Callable[[Array, Array], Array]:
    """How a Jacobian of `shape` multiplies a direction: as one matrix, or slice by slice."""
    x, y = point.x.shape, point.y.shape
    if shape == y + x:
        return lambda dense, v: np.tensordot(dense, v, axes=v.ndim)
    if x and y:
        inputs, outputs = Rows.of(x, axis), Rows.of(y, axis)
        if inputs.batch_shape == outputs.batch_shape and shape == (*inputs.batch_shape, outputs.n, inputs.n):
            return lambda dense, v: np.asarray(outputs.from_rows(np.matvec(dense, inputs.to_rows(v))))
    raise GradientMismatch(
        f"jacobian must have shape {y + x}, that of the output and that of x, or one matrix per slice; got {shape}"
    )


def _check_products(
    point: Point,
    product: Callable[[Array], Array],
    name: str,
    *,
    directions: int,
    rtol: float | None,
    seed: int | np.random.Generator,
) -> None:
    check = _Tangent(point, product, name, rtol)
    for v, _ in point.directions(directions, seed):
        if check.mismatch(v) > 1:
            raise check.report(v)


@dataclass(frozen=True)
class _Cotangent:
    """vjp(g) = `gradient` compared with finite differences of ⟨g, function⟩."""

    point: Point
    gradient: Array
    g: Array
    rtol: float

    def mismatch(self, v: Array) -> float:
        """Measure how far ⟨vjp(g), v⟩ and ⟨g, J v⟩ are apart, in tolerances."""
        image, error = self.point.along(v)
        terms, expected = np.multiply(self.gradient, v, dtype=np.float64), self.g * image
        allowed = np.sum(np.abs(self.g) * error) + self.rtol * np.hypot(_norm(terms), _norm(expected))
        return float(in_tolerances(np.sum(terms) - np.sum(expected), allowed))

    def report(self, v: Array) -> GradientMismatch:
        """Say what is wrong, entry by entry."""
        point = self.point
        entries = _suspects(v, EXAMINED, self.mismatch)
        images = [point.along(point.unit(j)) for j in entries]
        expected = np.array([np.sum(self.g * image) for image, _ in images])
        error = np.array([np.sum(np.abs(self.g) * image_error) for _, image_error in images])
        got = self.gradient.ravel()[entries.start : entries.stop]
        allowed = tolerances(expected, error, self.rtol)
        table = Comparison(point, "vjp(g)", (), entries, expected, got, allowed)
        return table.mismatch(self._transposed(table))

    def _transposed(self, table: Comparison) -> str | None:
        x = self.point.x
        if x.ndim == 2 and x.shape[0] == x.shape[1] and table.complete and table.explained_by(self.gradient.T.ravel()):
            return "it is the transposed gradient"
        if x.shape == self.point.y.shape:
            forward, _ = self.point.along(self.g)
            if table.explained_by(forward.ravel()[table.entries.start : table.entries.stop], table.got):
                return "it is J g, not Jᵀ g: the Jacobian is transposed"
        return None


@dataclass(frozen=True)
class _Tangent:
    """jvp(v), or the product of a dense Jacobian with v, compared with finite differences of the function."""

    point: Point
    product: Callable[[Array], Array]
    name: str
    rtol: float | None

    def mismatch(self, v: Array) -> float:
        """Measure how far product(v) and J v are apart in the worst entry, in tolerances."""
        got, expected, allowed = self._compare(v)
        return float(np.max(in_tolerances(got - expected, allowed)))

    def report(self, v: Array) -> GradientMismatch:
        """Say what is wrong, entry by entry."""
        point = self.point
        count = min(EXAMINED, 1 + 10**6 // point.y.size)
        entries = _suspects(v, count, self.mismatch)
        columns = [self._compare(point.unit(j)) for j in entries]
        got, expected, allowed = (np.stack([a.ravel() for a in part], axis=1) for part in zip(*columns, strict=True))
        table = Comparison(point, self.name, point.y.shape, entries, expected, got, allowed)
        square = table.complete and got.shape[0] == got.shape[1]
        return table.mismatch("it is the transposed Jacobian" if square and table.explained_by(got.T) else None)

    def _compare(self, v: Array) -> tuple[Array, Array, Array]:
        got = self.product(v)
        expected, error = self.point.along(v)
        return (
            got,
            expected,
            tolerances(expected, error, relative_tolerance(self.rtol, self.point.x, self.point.y, got)),
        )


def _suspects(v: Array, count: int, mismatch: Callable[[Array], float]) -> range:
    """Find up to `count` neighbouring entries of x, by halving towards the part of the direction that is more wrong."""
    start, stop = 0, v.size
    entries = np.arange(v.size).reshape(v.shape)

    def part(first: int, last: int) -> float:
        return mismatch(np.where((first <= entries) & (entries < last), v, 0).astype(v.dtype))

    while stop - start > count:
        middle = (start + stop) // 2
        start, stop = (start, middle) if part(start, middle) >= part(middle, stop) else (middle, stop)
    return range(start, stop)


def _returned(value: Any, name: str, shape: tuple[int, ...]) -> Array:
    """Take what a derivative returned: a finite array of `shape`."""
    found: Array = np.array(as_real(value, name))
    if found.shape != shape:
        hint = ": transposed?" if found.shape == shape[::-1] else ""
        raise GradientMismatch(f"{name} must have shape {shape}; got {found.shape}{hint}")
    bad = first_not_finite(found)
    if bad is not None:
        raise GradientMismatch(
            f"{name} must be finite, as function(x) is; got {found[bad]} at index {bad}",
            index=bad,
            got=float(found[bad]),
        )
    return found


def _norm(a: Array) -> float:
    largest = float(np.max(np.abs(a), initial=0.0))
    return largest * float(np.sqrt(np.sum((a / largest) ** 2))) if largest else 0.0
