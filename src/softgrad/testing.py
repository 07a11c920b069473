"""Gradient checks: a derivative written by hand beside finite differences of the function that it belongs to.

For any function or layer of NumPy arrays, not only softgrad's. The derivative is always meant *at the point x*, right
after ``function(x)`` was called, as a layer that remembers its forward pass has it: ``vjp(g)``, ``jvp(v)``,
``jacobian()``. A function that takes the point too is written as a lambda: ``lambda g: my_vjp(x, g)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from softgrad.arguments import as_real
from softgrad.arrays.layout import Axis, Rows

__all__ = ["GradientMismatch", "check_jacobian", "check_jvp", "check_vjp"]

Array = np.ndarray[Any, Any]
Function = Callable[[Any], Any]

STEPS = 4.0 ** -np.arange(1, 11)
"""Steps relative to the size of x: the first leaves rounding far behind, the last meets functions 10⁵ times steeper."""

EXAMINED = 128
"""Entries of x that a report looks at one by one."""


class GradientMismatch(AssertionError):
    """A derivative that disagrees with finite differences; the message is a report on the worst entry.

    Attributes
    ----------
    index : tuple of ints or None
        The worst entry: an index into x (`check_vjp`), or an index into the output followed by one into x. None if the
        derivative has the wrong shape.
    expected, got, error, tolerance : float
        The entry by finite differences, as computed by the derivative, how far apart they are and how far they may be.
    hints : tuple of str
        Typical faults that look the same.
    """

    def __init__(
        self,
        message: str,
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
    """Check a backward pass: vjp(g) must be Jᵀ g, with J the Jacobian of `function` at `x`.

    .. math:: \\langle \\mathrm{vjp}(g), v \\rangle = \\langle g, J v \\rangle

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
        the square root of the machine epsilon of what vjp returns: 1.5e-8 for float64, 3.5e-4 for float32.
    seed : int or numpy.random.Generator, default: 0
        Where the directions come from. With a number every call draws the same.

    Raises
    ------
    GradientMismatch
        An AssertionError that names the worst entry of vjp(g) and, where it recognises one, a typical fault. In a
        large `x` the 128 entries around the largest disagreement are looked at.
    ValueError
        If `x` is empty or not finite, if `function` is not finite there or not repeatable, or so rough that finite
        differences cannot judge.

    Notes
    -----
    Central differences at steps that shrink by 4, extrapolated to zero (Ridders, Adv. Eng. Software 4 (1982), 75-76):
    every entry takes the order and step where truncation and rounding together are least, and brings that estimate along
    as its own tolerance. `function` is called on float64 copies of `x`, whatever the dtype of `x`, so the differences of
    a float32 network are sharp too; `vjp` sees `x` as it is.

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
      worst     d⟨g, f(x)⟩/dx[0, 1]
      expected  1.28669  (finite difference)
      got       -1.28669
      error     2.6, tolerance 4e-08
      hint      the wrong entries have the opposite sign
    """
    point = _Point(function, x)
    for v, g in point.directions(directions, seed):
        point.settle()
        gradient = _returned(vjp(g), "vjp(g)", point.x.shape)
        check = _Cotangent(point, gradient, g.astype(np.float64), _rtol(rtol, gradient))
        if check.mismatch(v.astype(point.x64.dtype)) > 1:
            raise check.report(v.astype(point.x64.dtype))


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
    GradientMismatch, ValueError
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
    point = _Point(function, x)

    def product(v: Array) -> Array:
        point.settle()
        return _returned(jvp(v.astype(point.x.dtype)), "jvp(v)", point.y.shape)

    _check_products(point, product, "jvp(v)", directions, rtol, seed)


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
    GradientMismatch, ValueError
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
    point = _Point(function, x)
    dense = np.asarray(jacobian() if callable(jacobian) else jacobian)
    inputs, outputs = Rows.of(point.x.shape, axis), Rows.of(point.y.shape, axis) if point.y.ndim else None
    if dense.shape == point.y.shape + point.x.shape:

        def product(v: Array) -> Array:
            return np.tensordot(dense, v, axes=v.ndim)

    elif outputs and dense.shape == (*outputs.batch_shape, outputs.n, inputs.n):

        def product(v: Array) -> Array:
            return np.asarray(outputs.scatter(np.matvec(dense, inputs.gather(v))))

    else:
        raise GradientMismatch(
            f"jacobian must have shape {point.y.shape + point.x.shape}, that of the output and that of x, "
            f"or one matrix per slice; got {dense.shape}"
        )
    _check_products(point, product, "jacobian", directions, _rtol(rtol, dense), seed)


def _check_products(
    point: _Point,
    product: Callable[[Array], Array],
    name: str,
    directions: int,
    rtol: float | None,
    seed: int | np.random.Generator,
) -> None:
    for v, _ in point.directions(directions, seed):
        v = v.astype(point.x64.dtype)
        check = _Tangent(point, product, name, rtol)
        if check.mismatch(v) > 1:
            raise check.report(v)


class _Point:
    """A function at a point: its value, and its derivative along directions by finite differences."""

    def __init__(self, function: Function, x: Any) -> None:
        self.function = function
        self.x = np.array(as_real(x))
        self.x64 = self.x.astype(np.result_type(self.x.dtype, np.float64))
        if self.x.size == 0:
            raise ValueError(f"x must not be empty; got shape {self.x.shape}")
        _require_finite(self.x64, "x")
        self.y = np.array(as_real(function(self.x.copy()), "function(x)"))
        _require_finite(self.y, "function(x)")
        self.size = float(np.sqrt(np.mean(self.x64**2))) or 1.0
        self.peak = float(np.max(np.abs(self.y), initial=0.0))

    def settle(self) -> None:
        """Call the function at x once more: a layer's backward pass belongs to its last call."""
        again = np.asarray(self.function(self.x.copy()))
        if not np.array_equal(again, self.y):
            raise ValueError("function must be repeatable; two calls on the same x gave different values (dropout?)")

    def directions(self, count: int, seed: int | np.random.Generator) -> Iterator[tuple[Array, Array]]:
        """Random v, of the size of x, and g: no entry near 0, and no two that could cancel."""
        random = np.random.default_rng(seed)
        for _ in range(count):
            v, g = (random.uniform(0.5, 1.5, a.shape) * random.choice([-1.0, 1.0], a.shape) for a in (self.x, self.y))
            yield np.asarray(self.size * v).astype(self.x.dtype), np.asarray(g).astype(self.y.dtype)

    def unit(self, j: int) -> Array:
        """The direction of entry j of x."""
        e = np.zeros_like(self.x64)
        e.flat[j] = 1.0
        return e

    def along(self, v: Array) -> tuple[Array, Array]:
        """J v and an estimate of its error, entry by entry."""
        length = float(np.max(np.abs(v)))
        best, error = np.zeros(self.y.shape), np.full(self.y.shape, np.inf)
        row: list[Array] = []
        with np.errstate(all="ignore"):  # a large step may leave the domain: its NaN loses against the smaller ones
            for step in STEPS * (self.size / length):
                plus, minus = self._value(self.x64 + step * v), self._value(self.x64 - step * v)
                extrapolated = [(plus - minus) / (2 * step)]
                magnitude = np.maximum(np.abs(plus), np.abs(minus)) + np.abs(extrapolated[0]) * (self.size / length)
                rounding = 4 * _unit_roundoff(plus) * magnitude / step
                for order, coarser in enumerate(row, 1):
                    finer = extrapolated[-1]
                    value = finer + (finer - coarser) / (16.0**order - 1)
                    estimate = np.maximum(np.abs(value - finer), np.abs(value - coarser)) + rounding
                    best = np.where(estimate < error, value, best)
                    error = np.fmin(error, estimate)
                    extrapolated.append(value)
                row = extrapolated
                if np.all(error * length <= 1e-10 * np.abs(best) * length + 1e-12 * magnitude * self.size):
                    break
        if np.any(error * self.size > 1e-3 * (np.max(np.abs(best)) * self.size + self.peak * length)):
            raise ValueError(
                "function is too rough at x for finite differences: they do not settle as the step shrinks"
            )
        return best, error

    def has_kink(self, j: int) -> bool:
        """Whether the slopes to either side of x differ along entry j."""
        e = self.unit(j) * (STEPS[-1] * self.size)
        with np.errstate(all="ignore"):
            middle = self._value(self.x64)
            right, left = self._value(self.x64 + e) - middle, middle - self._value(self.x64 - e)
        return bool(np.max(np.abs(right - left)) > 0.1 * max(np.max(np.abs(right)), np.max(np.abs(left))))

    def _value(self, x: Array) -> Array:
        return np.array(self.function(x), dtype=np.result_type(self.x64.dtype))  # a copy: layers reuse buffers


@dataclass(frozen=True)
class _Cotangent:
    """vjp(g) = `gradient` beside finite differences of ⟨g, function⟩."""

    point: _Point
    gradient: Array
    g: Array
    rtol: float

    def mismatch(self, v: Array) -> float:
        """How far ⟨vjp(g), v⟩ and ⟨g, J v⟩ are apart, in tolerances."""
        image, error = self.point.along(v)
        terms, expected = self.gradient * v, self.g * image
        tolerance = np.sum(np.abs(self.g) * error) + self.rtol * math.hypot(_norm(terms), _norm(expected))
        return _ratio(abs(np.sum(terms) - np.sum(expected)), tolerance)

    def report(self, v: Array) -> GradientMismatch:
        """What is wrong, entry by entry."""
        point = self.point
        entries = _suspects(point.x64, v, min(EXAMINED, point.x.size), self.mismatch)
        expected, error = np.empty(len(entries)), np.empty(len(entries))
        for i, j in enumerate(entries):
            image, image_error = point.along(point.unit(j))
            expected[i], error[i] = np.sum(self.g * image), np.sum(np.abs(self.g) * image_error)
        got = self.gradient.flat[entries]
        table = _Table(
            point, "vjp(g)", "d⟨g, f(x)⟩", (), entries, expected, got, _allowed(expected, error, self.rtol, got)
        )
        return table.mismatch(self._transposed(table))

    def _transposed(self, table: _Table) -> str | None:
        x = self.point.x
        if x.ndim == 2 and x.shape[0] == x.shape[1] and table.complete and table.explains(self.gradient.T.ravel()):
            return "it is the transposed gradient"
        if x.shape == self.point.y.shape and table.explains(self.gradient, self.point.along(self.g)[0]):
            return "it is J g, not Jᵀ g: the Jacobian is transposed"
        return None


@dataclass(frozen=True)
class _Tangent:
    """jvp(v) = product(v), or the product with a dense Jacobian, beside finite differences of the function."""

    point: _Point
    product: Callable[[Array], Array]
    name: str
    rtol: float | None

    def mismatch(self, v: Array) -> float:
        """How far product(v) and J v are apart in the worst entry, in tolerances."""
        got, expected, allowed = self._compare(v)
        return max(map(_ratio, np.abs(got - expected).flat, allowed.flat), default=0.0)

    def report(self, v: Array) -> GradientMismatch:
        """What is wrong, entry by entry."""
        point = self.point
        count = max(1, min(EXAMINED, 10**6 // max(1, point.y.size)))
        entries = _suspects(point.x64, v, min(count, point.x.size), self.mismatch)
        columns = [self._compare(point.unit(j)) for j in entries]
        got, expected, allowed = (np.stack([a.ravel() for a in part], axis=1) for part in zip(*columns, strict=True))
        table = _Table(point, self.name, "df", point.y.shape, entries, expected, got, allowed)
        square = table.complete and got.shape[0] == got.shape[1]
        return table.mismatch("it is the transposed Jacobian" if square and table.explains(got.T) else None)

    def _compare(self, v: Array) -> tuple[Array, Array, Array]:
        got = self.product(v)
        expected, error = self.point.along(v)
        return got, expected, _allowed(expected, error, _rtol(self.rtol, got), got)


@dataclass(frozen=True)
class _Table:
    """Entries of a derivative, expected beside got: the last axis runs over the examined `entries` of x."""

    point: _Point
    name: str
    numerator: str
    output_shape: tuple[int, ...]
    entries: range
    expected: Array
    got: Array
    allowed: Array

    @property
    def complete(self) -> bool:
        """Whether every entry of x was examined."""
        return len(self.entries) == self.point.x.size

    def explains(self, got: Array, expected: Array | None = None) -> bool:
        """Whether `got` is what was expected."""
        expected = self.expected if expected is None else expected
        return bool(np.all(np.abs(got - expected) <= np.max(self.allowed)))

    def mismatch(self, transposed: str | None) -> GradientMismatch:
        """The report."""
        distance = np.vectorize(_ratio, otypes=[float])(np.abs(self.got - self.expected), self.allowed)
        wrong = distance > 1
        # The largest error, not the largest in tolerances: an entry that ought to be 0 would win over all others.
        error = np.where(np.isfinite(self.got), np.abs(self.got - self.expected), np.inf)
        worst = int(np.argmax(np.where(wrong, error, -1.0) if np.any(wrong) else distance))
        output, column = divmod(worst, len(self.entries))
        index_y = _unravel(output, self.output_shape)
        index_x = _unravel(self.entries[column], self.point.x.shape)
        expected, got, allowed = (float(a.flat[worst]) for a in (self.expected, self.got, self.allowed))
        hints = tuple(self._hints(wrong, transposed, column))
        total = "" if self.complete else f" (the worst part of x, which has {self.point.x.size})"
        lines = [
            f"{self.name} is wrong in {np.count_nonzero(wrong)} of {wrong.size} entries{total}",
            f"  worst     {self.numerator}{_subscript(index_y)}/dx{_subscript(index_x)}",
            f"  expected  {expected:.6g}  (finite difference)",
            f"  got       {got:.6g}",
            f"  error     {abs(got - expected):.2g}, tolerance {allowed:.1g}",
            *(f"  hint      {hint}" for hint in hints),
        ]
        return GradientMismatch("\n".join(lines), index_y + index_x, expected, got, allowed, hints)

    def _hints(self, wrong: Array, transposed: str | None, column: int) -> Iterator[str]:
        got, expected, allowed = self.got[wrong], self.expected[wrong], self.allowed[wrong]
        if not np.any(wrong):
            yield "no entry stands out: small errors add up over many of them"
            return
        if not np.all(np.isfinite(got)):
            yield "it is not finite"
            return
        if self.point.has_kink(self.entries[column]):
            yield "the function has a kink here: the slopes to either side differ"
        if transposed:
            yield transposed
        elif not np.any(self.got):
            yield "it is 0 everywhere: was it ever filled in?"
        else:
            yield from self._factor(got, expected, allowed)
        if got.size == 1:
            yield "every other entry agrees"
        else:
            yield from self._slice(wrong)

    def _factor(self, got: Array, expected: Array, allowed: Array) -> Iterator[str]:
        """The same number times the expected value in every wrong entry."""
        square = float(np.sum(expected**2))
        factor = float(np.sum(got * expected)) / square if square else 0.0
        told = got.size > 1 or any(math.isclose(factor, plain, rel_tol=1e-6) for plain in (-1, 2, 0.5))
        if not told or not factor or not np.all(np.abs(got - factor * expected) <= allowed * max(1, abs(factor))):
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

    def _slice(self, wrong: Array) -> Iterator[str]:
        """The one index along an axis of x that all wrong entries share."""
        columns = np.flatnonzero(np.any(wrong.reshape(-1, wrong.shape[-1]), axis=0)) + self.entries.start
        for axis, (n, index) in enumerate(
            zip(self.point.x.shape, np.unravel_index(columns, self.point.x.shape), strict=True)
        ):
            if n > 1 and np.all(index == index[0]):
                yield f"all of them lie at index {index[0]} of axis {axis} of x"


def _suspects(x: Array, v: Array, count: int, mismatch: Callable[[Array], float]) -> range:
    """`count` neighbouring entries of x, found by halving towards the part of the direction that is more wrong."""
    start, stop = 0, x.size
    inside = np.arange(x.size).reshape(x.shape)

    def part(first: int, last: int) -> float:
        return mismatch(np.where((first <= inside) & (inside < last), v, 0))

    while stop - start > count:
        middle = max(start + 1, (start + stop) // 2)
        start, stop = (start, middle) if part(start, middle) >= part(middle, stop) else (middle, stop)
    return range(start, stop)


def _returned(value: Any, name: str, shape: tuple[int, ...]) -> Array:
    """What a derivative returned, as an array of `shape`."""
    value = np.array(as_real(value, name))
    if value.shape != shape:
        hint = ": transposed?" if value.shape == shape[::-1] else ""
        raise GradientMismatch(f"{name} must have shape {shape}; got {value.shape}{hint}")
    return value


def _require_finite(values: Array, name: str) -> None:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        raise ValueError(f"{name} must be finite; got {values[tuple(bad[0])]} at index {tuple(map(int, bad[0]))}")


def _allowed(expected: Array, error: Array, rtol: float, got: Array) -> Array:
    """Tolerance per entry; the last term is for entries that are 0 by cancellation, up to rounding."""
    rounding = 64 * _eps(got.dtype) * np.max(np.abs(expected), initial=0.0)
    return np.asarray(error + rtol * np.abs(expected) + rounding)


def _rtol(rtol: float | None, got: Array) -> float:
    return math.sqrt(_eps(got.dtype)) if rtol is None else rtol


def _eps(dtype: np.dtype[Any]) -> float:
    if dtype.name == "bfloat16":
        return 2.0**-7
    return float(np.finfo(dtype).eps) if dtype.kind == "f" else float(np.finfo(np.float64).eps)


def _unit_roundoff(values: Array) -> float:
    """The machine epsilon of the precision that the values were computed in: a float32 layer's all fit in float32."""
    for dtype in (np.dtype(np.float16), np.dtype(np.float32)):
        if np.array_equal(values.astype(dtype), values):
            return _eps(dtype)
    return _eps(np.dtype(np.float64))


def _ratio(distance: float, allowed: float) -> float:
    """`distance` in units of `allowed`; NaN is as wrong as can be."""
    if distance == 0:
        return 0.0
    return float(distance / allowed) if allowed > 0 and math.isfinite(distance) else math.inf


def _norm(a: Array) -> float:
    return float(np.sqrt(np.sum(np.abs(a, dtype=np.float64) ** 2)))


def _unravel(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(int, np.unravel_index(flat, shape)))


def _subscript(index: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, index))}]" if index else ""
