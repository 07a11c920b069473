"""Slices that are never in one block: the formulas, unchanged, run on each block until they need a sum over all blocks.

A `PartialArray` has the shape of whole slices and holds those of their entries that are in one block. An operation
entry by entry is computed at once. A reduction over the slice needs every block. So a formula runs in rounds. In each
round every block runs the formula from the start and reports its part of every reduction whose operand is known by now.
The parts of all blocks are merged, in any tree, and the merged values (the answers) go into the next round. A block has
its result when no answer is missing.

softmax, for example, asks for the maximum in the first round and for the sum in the second, and has its result in the
third. Arrays that depend on a missing answer are computed without entries, which costs nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from softgrad._formulas import compensated
from softgrad._formulas.namespace import Array
from softgrad._formulas.precision import silent

Part = tuple[Array, ...]
Parts = dict[int, tuple[str, Part]]
"""Parts of reductions, or answers, by the number of the reduction: the name of the merge, and the values."""


class PendingError(Exception):
    """A formula needs an answer that is missing."""


class PartialArray(np.lib.mixins.NDArrayOperatorsMixin):
    """Some of the entries of slices along the last axis (`cut`), or an array that all blocks have in common."""

    def __init__(self, data: Array, namespace: PartialNamespace, cut: bool, known: bool = True) -> None:
        self.data, self.namespace, self.cut, self.known = np.asarray(data), namespace, cut, known

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole slices."""
        return (*self.data.shape[:-1], self.namespace.n) if self.cut else self.data.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.data.ndim

    @property
    def dtype(self) -> Any:
        """The dtype of the entries."""
        return self.data.dtype

    def __array_namespace__(self, api_version: str | None = None) -> PartialNamespace:
        return self.namespace

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *operands: Any, **options: Any) -> Any:
        return self.namespace.each(getattr(ufunc, method), *operands, **options)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, PartialArray):
            index = index.value()
        return self.namespace.each(lambda data: data[index], self)

    def __bool__(self) -> bool:
        return bool(self.value())

    def __int__(self) -> int:
        return int(self.value())

    def __float__(self) -> float:
        return float(self.value())

    def value(self) -> Array:
        """The data of an array that all blocks have in common; PendingError if they depend on a missing answer."""
        if not self.known:
            raise PendingError
        return self.data


class PartialNamespace:
    """The array namespace of partial arrays: NumPy's, where a reduction over the last axis is one over all blocks.

    Parameters
    ----------
    n : int
        The number of entries of a slice.
    positions : ndarray of int
        Which of them are in the block, in ascending order.
    answers : dict
        The answers of earlier rounds.
    """

    __name__ = "softgrad._libraries.dask.partial"

    def __init__(self, n: int, positions: Array, answers: Parts) -> None:
        self.n, self.positions, self.answers = n, positions, answers
        self.parts: Parts = {}
        """The parts of the reductions of this round."""
        self._asked = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(np, name)
        return functools.partial(self.each, found) if callable(found) and not isinstance(found, type) else found

    def each(self, function: Callable[..., Any], *operands: Any, **options: Any) -> Any:
        """`function`, entry by entry; of arrays with whole slices it takes the entries that are in the block."""
        partial = [a for a in _leaves((*operands, *options.values())) if isinstance(a, PartialArray)]
        cut, known = any(a.cut for a in partial), all(a.known for a in partial)

        def taken(a: Any) -> Any:
            if isinstance(a, tuple | list):
                return type(a)(map(taken, a))
            data = a.data if isinstance(a, PartialArray) else a
            if not cut or not isinstance(data, np.ndarray) or not data.ndim:
                return data
            if isinstance(a, PartialArray) and a.cut:
                return data if known else data[..., :0]
            positions = self.positions if known else self.positions[:0]
            return data[..., positions] if data.shape[-1] == self.n != 1 else data

        result = function(*map(taken, operands), **{name: taken(a) for name, a in options.items()})
        if isinstance(result, tuple):
            return tuple(PartialArray(a, self, cut, known) for a in result)
        return PartialArray(result, self, cut, known) if isinstance(result, np.ndarray | np.generic) else result

    def arange(self, n: int, dtype: Any = None) -> PartialArray:
        """The positions in a slice."""
        assert n == self.n
        return PartialArray(self.positions.astype(dtype), self, cut=True)

    def broadcast_to(self, x: Any, shape: tuple[int, ...]) -> PartialArray:
        """`x` in the shape of the whole slices."""
        if not (isinstance(x, PartialArray) and x.cut):
            return self.each(np.broadcast_to, x, shape)  # type: ignore[no-any-return]
        np.broadcast_shapes(x.shape, shape)
        return PartialArray(np.broadcast_to(x.data, (*shape[:-1], x.data.shape[-1])), self, cut=True, known=x.known)

    def isdtype(self, dtype: Any, kind: Any) -> bool:
        """As NumPy's, and bfloat16 is a floating type."""
        return (dtype.name == "bfloat16" and "real floating" in kind) or np.isdtype(dtype, kind)

    def max(self, x: PartialArray, axis: int | None = None, keepdims: bool = False) -> PartialArray:
        """The largest entry of each slice."""
        return self._reduced("max", functools.partial(np.max, initial=-np.inf), x, axis, keepdims)

    def min(self, x: PartialArray) -> Any:
        """The smallest entry that is here."""
        return np.min(x.data)

    def sum(self, x: PartialArray, axis: int | None = None, keepdims: bool = False) -> PartialArray:
        """The sum of each slice."""
        return self._reduced("sum", np.sum, x, axis, keepdims)

    def any(self, x: Any, axis: int | None = None, keepdims: bool = False) -> PartialArray:
        """Whether any entry of each slice is true."""
        return self._reduced("any", np.any, x, axis, keepdims)

    def all(self, x: Any, axis: int | None = None, keepdims: bool = False) -> PartialArray:
        """Whether all entries of each slice are true."""
        return self._reduced("all", np.all, x, axis, keepdims)

    def argmax(self, x: Any, axis: int | None = None, keepdims: bool = False) -> PartialArray:
        """The position of the first largest entry of each slice, the first NaN if there is one."""
        if not (isinstance(x, PartialArray) and x.cut):
            return self.each(np.argmax, x, axis=axis, keepdims=keepdims)  # type: ignore[no-any-return]
        assert axis == -1
        assert keepdims
        if x.data.shape[-1] == 0:
            value = np.full((*x.shape[:-1], 1), -np.inf, dtype=x.dtype)
            return self._ask("argmax", x, (value, np.full(value.shape, self.n)))[1]
        index = np.argmax(x.data, axis=-1, keepdims=True)
        part = np.take_along_axis(x.data, index, axis=-1), self.positions[index]
        return self._ask("argmax", x, part)[1]

    def compensated_sum(self, x: PartialArray) -> tuple[PartialArray, PartialArray]:
        """The sum of each slice (axis kept), and its rounding error."""
        if x.data.shape[-1] == 0:
            zero = np.zeros((*x.shape[:-1], 1), dtype=x.dtype)
            return self._ask("compensated_sum", x, (zero, zero))  # type: ignore[return-value]
        return self._ask("compensated_sum", x, compensated.compensated_sum(np, x.data))  # type: ignore[return-value]

    def take_along_axis(self, x: PartialArray, index: Any, axis: int = -1) -> PartialArray:
        """The entries of each slice at the positions `index`."""
        wanted = index.value() if isinstance(index, PartialArray) else index
        wanted = np.broadcast_to(wanted, (*x.shape[:-1], wanted.shape[-1]))
        if x.data.shape[-1] == 0:
            return self._ask("sum", x, (np.zeros(wanted.shape, dtype=x.dtype),))[0]
        found = np.minimum(np.searchsorted(self.positions, wanted), len(self.positions) - 1)
        here = self.positions[found] == wanted
        values = np.take_along_axis(x.data, found, axis=-1)
        return self._ask("sum", x, (np.where(here, values, np.zeros_like(values)),))[0]  # all others add 0

    def _reduced(
        self, merge: str, reduce: Callable[..., Array], x: Any, axis: int | None, keepdims: bool
    ) -> PartialArray:
        if not (isinstance(x, PartialArray) and x.cut):
            return self.each(getattr(np, merge), x, axis=axis, keepdims=keepdims)  # type: ignore[no-any-return]
        if axis is None:  # of what is here: checks of arguments ask so, each block for its own entries
            return reduce(x.data)  # type: ignore[no-any-return]
        assert axis == -1
        return self._ask(merge, x, (reduce(x.data, axis=-1, keepdims=keepdims),))[0]

    def _ask(self, merge: str, x: PartialArray, part: Part) -> tuple[PartialArray, ...]:
        number, self._asked = self._asked, self._asked + 1
        known = number in self.answers
        if known:
            _, part = self.answers[number]
        elif x.known:
            self.parts[number] = merge, part
        return tuple(PartialArray(a, self, cut=False, known=known) for a in part)


@silent
def merged(parts: Iterable[Parts]) -> Parts:
    """The parts of several blocks, merged."""
    return functools.reduce(_merged, parts)


def _merged(a: Parts, b: Parts) -> Parts:
    return {number: (merge, MERGES[merge](part, b[number][1])) for number, (merge, part) in a.items()}


def _later(a: Part, b: Part) -> Part:
    """Of two argmax the one with the larger value; of equal values, or NaNs, the first."""
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
