"""Slices in pieces that are never in one place: the formulas as they are, run on each piece until they need the others.

A `Piece` looks like the array of whole slices and holds some of their entries. What a formula does entry by entry, the
piece does; a reduction over the slice is a question to all pieces. So a formula runs in rounds. In each, every piece
runs it from the start, and reports its part of those reductions whose operands are known by now; the parts of all
pieces are merged, in any tree, and the answers go into the next round. Where none is missing the piece has its result.

softmax, for example, asks in the first round for the maximum, in the second for the sum, and has its result in the
third. What nobody knows yet is computed with no entries at all, which costs nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from softgrad._formulas import compensated

Array = Any
Part = tuple[Array, ...]
Parts = dict[int, tuple[str, Part]]
"""Parts of reductions, or answers, by the number of the reduction: the name of the merge, and the numbers."""


class PendingError(Exception):
    """A formula asks what is not known yet."""


class Piece(np.lib.mixins.NDArrayOperatorsMixin):
    """Some of the entries of slices along the last axis, or an array that is the same for all pieces."""

    def __init__(self, data: Array, space: Space, cut: bool, known: bool = True) -> None:
        self.data, self.space, self.cut, self.known = np.asarray(data), space, cut, known

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole."""
        return (*self.data.shape[:-1], self.space.n) if self.cut else self.data.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.data.ndim

    @property
    def dtype(self) -> Any:
        """The dtype of the entries."""
        return self.data.dtype

    def __array_namespace__(self, api_version: str | None = None) -> Space:
        return self.space

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *operands: Any, **options: Any) -> Any:
        return self.space.each(getattr(ufunc, method), *operands, **options)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, Piece):
            index = index.value()
        return self.space.each(lambda data: data[index], self)

    def __bool__(self) -> bool:
        return bool(self.value())

    def __int__(self) -> int:
        return int(self.value())

    def __float__(self) -> float:
        return float(self.value())

    def value(self) -> Array:
        """What an array that is not cut holds."""
        if not self.known:
            raise PendingError
        return self.data


class Space:
    """The array namespace of pieces: NumPy's, where reductions over the last axis ask all pieces.

    Parameters
    ----------
    n : int
        The number of entries of a slice.
    positions : ndarray of int
        Which of them the pieces hold, in ascending order.
    answers : dict
        What earlier rounds have found.
    """

    __name__ = "softgrad._libraries.dask.partial"

    def __init__(self, n: int, positions: Array, answers: Parts) -> None:
        self.n, self.positions, self.answers = n, positions, answers
        self.parts: Parts = {}
        """What this round has to say."""
        self._asked = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(np, name)
        return functools.partial(self.each, found) if callable(found) and not isinstance(found, type) else found

    def each(self, function: Callable[..., Any], *operands: Any, **options: Any) -> Any:
        """`function`, entry by entry; of arrays that are whole, a piece meets the entries that it has itself."""
        pieces = [a for a in _leaves((*operands, *options.values())) if isinstance(a, Piece)]
        cut, known = any(a.cut for a in pieces), all(a.known for a in pieces)

        def own(a: Any) -> Any:
            if isinstance(a, tuple | list):
                return type(a)(map(own, a))
            data = a.data if isinstance(a, Piece) else a
            if not cut or not isinstance(data, np.ndarray) or not data.ndim:
                return data
            if isinstance(a, Piece) and a.cut:
                return data if known else data[..., :0]
            positions = self.positions if known else self.positions[:0]
            return data[..., positions] if data.shape[-1] == self.n != 1 else data

        result = function(*map(own, operands), **{name: own(a) for name, a in options.items()})
        if isinstance(result, tuple):
            return tuple(Piece(a, self, cut, known) for a in result)
        return Piece(result, self, cut, known) if isinstance(result, np.ndarray | np.generic) else result

    def arange(self, n: int, dtype: Any = None) -> Piece:
        """The positions in a slice."""
        assert n == self.n
        return Piece(self.positions.astype(dtype), self, cut=True)

    def broadcast_to(self, x: Any, shape: tuple[int, ...]) -> Piece:
        """`x` in the shape of the whole."""
        if not (isinstance(x, Piece) and x.cut):
            return self.each(np.broadcast_to, x, shape)  # type: ignore[no-any-return]
        np.broadcast_shapes(x.shape, shape)
        return Piece(np.broadcast_to(x.data, (*shape[:-1], x.data.shape[-1])), self, cut=True, known=x.known)

    def isdtype(self, dtype: Any, kind: Any) -> bool:
        """As NumPy's, and bfloat16 is a floating type."""
        return (dtype.name == "bfloat16" and "real floating" in kind) or np.isdtype(dtype, kind)

    def max(self, x: Piece, axis: int | None = None, keepdims: bool = False) -> Piece:
        """The largest entry of each slice."""
        return self._reduced("max", functools.partial(np.max, initial=-np.inf), x, axis, keepdims)

    def sum(self, x: Piece, axis: int | None = None, keepdims: bool = False) -> Piece:
        """The sum of each slice."""
        return self._reduced("sum", np.sum, x, axis, keepdims)

    def any(self, x: Any, axis: int | None = None, keepdims: bool = False) -> Piece:
        """Whether any entry of each slice is true."""
        return self._reduced("any", np.any, x, axis, keepdims)

    def all(self, x: Any, axis: int | None = None, keepdims: bool = False) -> Piece:
        """Whether all entries of each slice are true."""
        return self._reduced("all", np.all, x, axis, keepdims)

    def argmax(self, x: Any, axis: int | None = None, keepdims: bool = False) -> Piece:
        """The position of the first largest entry of each slice, the first NaN if there is one."""
        if not (isinstance(x, Piece) and x.cut):
            return self.each(np.argmax, x, axis=axis, keepdims=keepdims)  # type: ignore[no-any-return]
        assert axis == -1
        assert keepdims
        if x.data.shape[-1] == 0:
            value = np.full((*x.shape[:-1], 1), -np.inf, dtype=x.dtype)
            return self._ask("argmax", x, (value, np.full(value.shape, self.n)))[1]
        index = np.argmax(x.data, axis=-1, keepdims=True)
        part = np.take_along_axis(x.data, index, axis=-1), self.positions[index]
        return self._ask("argmax", x, part)[1]

    def compensated_sum(self, x: Piece) -> tuple[Piece, Piece]:
        """The sum of each slice (axis kept), and its rounding error."""
        if x.data.shape[-1] == 0:
            zero = np.zeros((*x.shape[:-1], 1), dtype=x.dtype)
            return self._ask("compensated_sum", x, (zero, zero))  # type: ignore[return-value]
        return self._ask("compensated_sum", x, compensated.compensated_sum(np, x.data))  # type: ignore[return-value]

    def take_along_axis(self, x: Piece, index: Any, axis: int = -1) -> Piece:
        """The entries of each slice at the positions `index`."""
        wanted = index.value() if isinstance(index, Piece) else index
        wanted = np.broadcast_to(wanted, (*x.shape[:-1], wanted.shape[-1]))
        if x.data.shape[-1] == 0:
            return self._ask("sum", x, (np.zeros(wanted.shape, dtype=x.dtype),))[0]
        found = np.minimum(np.searchsorted(self.positions, wanted), len(self.positions) - 1)
        here = self.positions[found] == wanted
        values = np.take_along_axis(x.data, found, axis=-1)
        return self._ask("sum", x, (np.where(here, values, np.zeros_like(values)),))[0]  # all others add 0

    def _reduced(self, merge: str, reduce: Callable[..., Array], x: Any, axis: int | None, keepdims: bool) -> Piece:
        if not (isinstance(x, Piece) and x.cut):
            return self.each(getattr(np, merge), x, axis=axis, keepdims=keepdims)  # type: ignore[no-any-return]
        assert axis == -1
        return self._ask(merge, x, (reduce(x.data, axis=-1, keepdims=keepdims),))[0]

    def _ask(self, merge: str, x: Piece, part: Part) -> tuple[Piece, ...]:
        number, self._asked = self._asked, self._asked + 1
        known = number in self.answers
        if known:
            _, part = self.answers[number]
        elif x.known:
            self.parts[number] = merge, part
        return tuple(Piece(a, self, cut=False, known=known) for a in part)


@np.errstate(all="ignore")
def merged(parts: Iterable[Parts]) -> Parts:
    """What several pieces say together."""
    return functools.reduce(_merged, parts)


def _merged(a: Parts, b: Parts) -> Parts:
    return {number: (merge, MERGES[merge](part, b[number][1])) for number, (merge, part) in a.items()}


def _later(a: Part, b: Part) -> Part:
    """Of two argmax, the larger value's; of equal ones, NaN among them, the first."""
    (x, i), (y, j) = a, b
    larger = (y > x) | (np.isnan(y) & ~np.isnan(x))
    equal = (x == y) | (np.isnan(x) & np.isnan(y))
    second = larger | (equal & (j < i))
    return np.where(second, y, x), np.where(second, j, i)


def _added(a: Part, b: Part) -> Part:
    total, lost = compensated.two_sum(a[0], b[0])
    error = a[1] + b[1] + lost
    return total, np.where(np.isfinite(error), error, np.zeros_like(error))


MERGES: dict[str, Callable[[Part, Part], Part]] = {
    "max": lambda a, b: (np.maximum(a[0], b[0]),),
    "sum": lambda a, b: (a[0] + b[0],),
    "any": lambda a, b: (a[0] | b[0],),
    "all": lambda a, b: (a[0] & b[0],),
    "argmax": _later,
    "compensated_sum": _added,
}


def _leaves(items: Iterable[Any]) -> Iterable[Any]:
    for item in items:
        if isinstance(item, tuple | list):
            yield from _leaves(item)
        else:
            yield item
