"""Gradient checks: a derivative written by hand beside finite differences of the function that it belongs to.

For any function or layer of NumPy arrays, not only softgrad's. The derivative is always meant *at the point x*, right
after ``function(x)`` was called, as a layer that remembers its forward pass has it: ``vjp(g)``, ``jvp(v)``,
``jacobian()``. A function that takes the point too is written as a lambda: ``lambda g: my_vjp(x, g)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from softgrad._validation.arrays import as_real
from softgrad._validation.axis import Axis, Rows
from softgrad.testing.finite_differences import Function, Point, first_not_finite, relative_tolerance, unravel

__all__ = ["GradientMismatch", "check_jacobian", "check_jvp", "check_vjp"]

Array = np.ndarray[Any, Any]

EXAMINED = 128
"""Entries of x that a report looks at one by one."""


class GradientMismatch(AssertionError):  # noqa: N818  it is what happened, not an accident
    """A derivative that disagrees with finite differences; the message is a report on the worst entry.

    Attributes
    ----------
    index : tuple of ints or None
        The worst entry: an index into x (`check_vjp`), or an index into the output followed by one into x. Where the
        derivative is not finite, the index of the first such entry of it; None if it has the wrong shape.
    expected, got, error, tolerance : float
        The entry by finite differences, as computed by the derivative, how far apart they are and how far they may be.
    hints : tuple of str
        Typical faults that look the same.
    """

    __module__ = "softgrad.testing"  # as users import it

    def __init__(
        self,
        message: str,
        *,
        index: tuple[int, ...] | None = None,
        expected: float = math.nan,
        got: float = math.nan,
        tolerance: float = math.nan,
        hints: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.index = index
        self.expected = expected
        self.got = got
        self.error = abs(got - expected)
        self.tolerance = tolerance
        self.hints = hints


def check_vjp(
    function: Function,
    vjp: Function,
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
        differences cannot judge; if `directions` is less than 1.
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
    function: Function,
    jvp: Function,
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
    function: Function,
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
        The Jacobian at `x`, as an array or anything that `numpy.asarray` makes one of, or a callable without arguments
        that returns it and is called right after ``function(x)``, such as a layer's ``backward``. Its shape is that of
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
    dense = np.asarray(jacobian() if callable(jacobian) else jacobian)
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


def _multiplication(shape: tuple[int, ...], point: Point, axis: Axis) -> Callable[[Array, Array], Array]:
    """How a Jacobian of `shape` multiplies a direction: as one matrix, or slice by slice."""
    x, y = point.x.shape, point.y.shape
    if shape == y + x:
        return lambda dense, v: np.tensordot(dense, v, axes=v.ndim)
    if x and y:
        inputs, outputs = Rows.of(x, axis), Rows.of(y, axis)
        if inputs.batch_shape == outputs.batch_shape and shape == (*inputs.batch_shape, outputs.n, inputs.n):
            return lambda dense, v: np.asarray(outputs.scatter(np.matvec(dense, inputs.gather(v))))
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
    """vjp(g) = `gradient` beside finite differences of ⟨g, function⟩."""

    point: Point
    gradient: Array
    g: Array
    rtol: float

    def mismatch(self, v: Array) -> float:
        """Measure how far ⟨vjp(g), v⟩ and ⟨g, J v⟩ are apart, in tolerances."""
        image, error = self.point.along(v)
        terms, expected = np.multiply(self.gradient, v, dtype=np.float64), self.g * image
        allowed = np.sum(np.abs(self.g) * error) + self.rtol * np.hypot(_norm(terms), _norm(expected))
        return float(_in_tolerances(np.sum(terms) - np.sum(expected), allowed))

    def report(self, v: Array) -> GradientMismatch:
        """Say what is wrong, entry by entry."""
        point = self.point
        entries = _suspects(v, EXAMINED, self.mismatch)
        images = [point.along(point.unit(j)) for j in entries]
        expected = np.array([np.sum(self.g * image) for image, _ in images])
        error = np.array([np.sum(np.abs(self.g) * image_error) for _, image_error in images])
        got = self.gradient.ravel()[entries.start : entries.stop]
        allowed = _allowed(expected, error, self.rtol)
        table = _Table(point, "vjp(g)", (), entries, expected, got, allowed)
        return table.mismatch(self._transposed(table))

    def _transposed(self, table: _Table) -> str | None:
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
    """jvp(v), or the product of a dense Jacobian with v, beside finite differences of the function."""

    point: Point
    product: Callable[[Array], Array]
    name: str
    rtol: float | None

    def mismatch(self, v: Array) -> float:
        """Measure how far product(v) and J v are apart in the worst entry, in tolerances."""
        got, expected, allowed = self._compare(v)
        return float(np.max(_in_tolerances(got - expected, allowed)))

    def report(self, v: Array) -> GradientMismatch:
        """Say what is wrong, entry by entry."""
        point = self.point
        count = min(EXAMINED, 1 + 10**6 // point.y.size)
        entries = _suspects(v, count, self.mismatch)
        columns = [self._compare(point.unit(j)) for j in entries]
        got, expected, allowed = (np.stack([a.ravel() for a in part], axis=1) for part in zip(*columns, strict=True))
        table = _Table(point, self.name, point.y.shape, entries, expected, got, allowed)
        square = table.complete and got.shape[0] == got.shape[1]
        return table.mismatch("it is the transposed Jacobian" if square and table.explained_by(got.T) else None)

    def _compare(self, v: Array) -> tuple[Array, Array, Array]:
        got = self.product(v)
        expected, error = self.point.along(v)
        return got, expected, _allowed(expected, error, relative_tolerance(self.rtol, self.point.x, self.point.y, got))


@dataclass(frozen=True)
class _Table:
    """Entries of a derivative, expected beside got: the last axis runs over the examined `entries` of x."""

    point: Point
    name: str
    output_shape: tuple[int, ...]
    entries: range
    expected: Array
    got: Array
    allowed: Array

    @property
    def complete(self) -> bool:
        """Whether every entry of x was examined."""
        return len(self.entries) == self.point.x.size

    def explained_by(self, other: Array, than: Array | None = None) -> bool:
        """Tell whether `other` is what was expected, or what `than` is."""
        than = self.expected if than is None else than
        return bool(np.all(np.abs(other - than) <= np.max(self.allowed)))

    def mismatch(self, transposed: str | None) -> GradientMismatch:
        """Write the report."""
        error = np.abs(self.got - self.expected)
        distance = _in_tolerances(error, self.allowed)
        wrong = distance > 1
        # The largest error, not the largest in tolerances: an entry that ought to be 0 would win over all others.
        worst = int(np.argmax(np.where(wrong, error, -1.0) if np.any(wrong) else distance))
        output, column = divmod(worst, len(self.entries))
        index_y = unravel(output, self.output_shape)
        index_x = unravel(self.entries[column], self.point.x.shape)
        expected, got, allowed = (float(a.flat[worst]) for a in (self.expected, self.got, self.allowed))
        hints = tuple(self._hints(wrong, transposed, self.entries[column]))
        examined = "" if self.complete else f" examined, where x is worst; x has {self.point.x.size}"
        function = f"f{_subscript(index_y)}" if self.name != "vjp(g)" else "⟨g, f(x)⟩"
        lines = [
            f"{self.name} is wrong in {np.count_nonzero(wrong)} of {wrong.size} entries{examined}",
            f"  worst     d{function}/dx{_subscript(index_x)}",
            f"  expected  {expected:.6g}  (finite difference)",
            f"  got       {got:.6g}",
            f"  error     {abs(got - expected):.2g}, tolerance {allowed:.1g}",
            *(f"  hint      {hint}" for hint in hints),
        ]
        return GradientMismatch(
            "\n".join(lines), index=index_y + index_x, expected=expected, got=got, tolerance=allowed, hints=hints
        )

    def _hints(self, wrong: Array, transposed: str | None, worst: int) -> Iterator[str]:
        count = np.count_nonzero(wrong)
        if not count:
            yield "no entry stands out: small errors add up over many of them"
            return
        if self.point.has_kink(worst):
            yield "the function has a kink here: the slopes to either side differ"
        if transposed:
            yield transposed
        elif not np.any(self.got):
            yield "it is 0 everywhere: was it ever filled in?"
        else:
            yield from self._factor(wrong)
        if count == 1 < wrong.size:
            yield "every other entry agrees"
        elif count < wrong.size:
            yield from self._shared_index(wrong)

    def _factor(self, wrong: Array) -> Iterator[str]:
        """Recognise the same number times the expected value in every wrong entry."""
        got, expected, allowed = self.got[wrong], self.expected[wrong], self.allowed[wrong]
        square = float(np.sum(expected**2))
        factor = float(np.sum(got * expected)) / square if square else 0.0
        telling = got.size > 1 or any(map(partial(math.isclose, factor, rel_tol=1e-6), (-1, 2, 0.5)))
        if not telling or not factor or np.any(np.abs(got - factor * expected) > allowed * max(1, abs(factor))):
            return
        if math.isclose(factor, -1, rel_tol=1e-6):
            yield "the wrong entries have the opposite sign"
            return
        yield f"the wrong entries are {factor:.6g} times what they should be"
        for name, shape in (("x", self.point.x.shape), ("the output", self.point.y.shape)):
            for axis, n in enumerate(shape):
                if n > 1 and math.isclose(abs(factor), n, rel_tol=1e-6):
                    yield f"{n} is the length of axis {axis} of {name}: is a mean over it missing?"
                if n > 1 and math.isclose(abs(factor), 1 / n, rel_tol=1e-6):
                    yield f"{n} is the length of axis {axis} of {name}: was it divided by once too often?"

    def _shared_index(self, wrong: Array) -> Iterator[str]:
        """Recognise one index along an axis of x that all wrong entries share."""
        shape = self.point.x.shape
        columns = np.flatnonzero(np.any(wrong.reshape(-1, wrong.shape[-1]), axis=0)) + self.entries.start
        for axis, index in enumerate(np.unravel_index(columns, shape)):
            if shape[axis] > 1 and np.all(index == index[0]):
                yield f"all of them lie at index {index[0]} of axis {axis} of x"


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


def _allowed(expected: Array, error: Array, rtol: float) -> Array:
    """Tell the tolerance per entry; the last term is for entries that are 0 by cancellation, up to rounding."""
    return np.asarray(error + rtol * np.abs(expected) + 64 * rtol**2 * np.max(np.abs(expected)))


def _in_tolerances(difference: Any, allowed: Any) -> Any:
    """Express a difference in units of what is allowed; none is 0 even where nothing is allowed."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(difference == 0, 0.0, np.abs(difference) / allowed)


def _norm(a: Array) -> float:
    return float(np.sqrt(np.sum(a**2)))


def _subscript(index: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, index))}]" if index else ""
