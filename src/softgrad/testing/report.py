"""The report of a gradient check: which entry is worst, and which typical fault explains what is wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from softgrad.testing.finite_differences import Point, unravel

Array = np.ndarray[Any, Any]


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


@dataclass(frozen=True)
class Comparison:
    """Entries of a derivative, expected and got: the last axis runs over the examined `entries` of x."""

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
        """Whether `other` equals what was expected, or what `than` is."""
        than = self.expected if than is None else than
        return bool(np.all(np.abs(other - than) <= np.max(self.allowed)))

    def mismatch(self, transposed: str | None) -> GradientMismatch:
        """Write the report."""
        error = np.abs(self.got - self.expected)
        distance = in_tolerances(error, self.allowed)
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
                yield f"all of them are at index {index[0]} of axis {axis} of x"


def tolerances(expected: Array, error: Array, rtol: float) -> Array:
    """The tolerance per entry; the last term is for entries that are 0 by cancellation, up to rounding."""
    return np.asarray(error + rtol * np.abs(expected) + 64 * rtol**2 * np.max(np.abs(expected)))


def in_tolerances(difference: Any, allowed: Any) -> Any:
    """Express a difference in units of what is allowed; none is 0 even where nothing is allowed."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(difference == 0, 0.0, np.abs(difference) / allowed)


def _subscript(index: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, index))}]" if index else ""
