"""A call on Dask arrays, checked: each operand with the dimensions that its own are of the array of all slices."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import dask.array as da
import numpy as np

from softgrad._dispatch import CHOICES, CLASSES, MATRIX, OPTIONS, SLICE, VALUE, Function
from softgrad._formulas.namespace import Array
from softgrad._libraries.dask.positions import located
from softgrad._validation.arrays import broadcast_shapes
from softgrad._validation.axis import normalize_axis

Index = tuple[int, ...]
"""The dimensions of an array, as `dask.array.blockwise` asks for them: those of the array of all slices by number."""

ROW = "m"
"""What may belong to a slice in a result, besides what the table of all functions has: n numbers along a new axis."""

FLAT, CHOSEN, COLUMN, PLACE = -1, -2, -3, -4
"""Further dimensions: the entries of several axes as one, those that an index chose, the columns of a matrix, and the
start and length of a block along an axis."""


class Operand(NamedTuple):
    """An array, its dimensions, and what of it belongs to a slice."""

    array: Array
    dimensions: Index
    core: str


@dataclass(frozen=True)
class Slices:
    """A call on Dask arrays whose shapes agree."""

    function: Function
    operands: dict[str, Operand]
    """The function's operands, then its options that are arrays."""
    options: dict[str, Any]
    """The other options, except `axis` and `keepdims`."""
    shape: tuple[float, ...]
    """Of the array of all slices; NaN where chunk sizes are unknown."""
    axes: tuple[int, ...]
    keepdims: bool

    @classmethod
    def of(cls, function: Function, operands: tuple[Any, ...], options: dict[str, Any]) -> Slices:
        """Check shapes, as far as they are known."""
        signature = inspect.signature(function.plain)
        signature.bind(*operands, **options)  # TypeError for arguments that the function does not have
        options = {**options}
        axis, keepdims = options.pop("axis", -1), bool(options.pop("keepdims", False))
        required = dict(zip(signature.parameters, operands, strict=False))
        per_slice = [name for name, core in OPTIONS.items() if core != CLASSES]
        for name in OPTIONS.keys() - per_slice:  # every task has what all slices share
            if name in options and _is_array(options[name]):
                options[name] = np.asarray(options[name])
        optional = {name: options.pop(name) for name in per_slice if _is_array(options.get(name))}
        cores = {**OPTIONS, **dict(zip(required, function.operands, strict=True))}
        arrays = {name: _as_dask(a) for name, a in (required | optional).items()}
        shape = _common_shape({name: arrays[name] for name in required if cores[name] == SLICE})
        axes = normalize_axis(axis, len(shape))
        placed = {}
        for name, array in arrays.items():
            exactly = name in required and cores[name] != SLICE
            if exactly and any(map(math.isnan, shape)) and not isinstance(required[name], da.Array):
                raise ValueError(
                    f"{name} must be a Dask array in the blocks of the logits, whose sizes are unknown; "
                    f"got a {type(required[name]).__name__}: call compute_chunk_sizes() of the logits before"
                )
            found = located(name, array, math.prod(shape[a] for a in axes), options)
            operand = _placed(name, found, cores[name], shape, axes, exactly)
            if function.whole and CHOSEN in operand.dimensions:
                in_one = {operand.dimensions.index(CHOSEN): -1}
                operand = operand._replace(array=operand.array.rechunk(in_one))
            placed[name] = operand
        return cls(function, _in_blocks_of_the_first(placed, axes), options, shape, axes, keepdims)

    @property
    def everything(self) -> Index:
        """The dimensions of the array of all slices."""
        return tuple(range(len(self.shape)))

    @property
    def batch(self) -> Index:
        """The dimensions of one value per slice."""
        return tuple(a for a in self.everything if a not in self.axes)

    @property
    def n(self) -> float:
        """The number of entries of a slice."""
        return math.prod(self.shape[a] for a in self.axes)

    @property
    def cut(self) -> bool:
        """Whether slices span more than one block."""
        pairs = [pair for a in self.operands.values() for pair in zip(a.dimensions, a.array.chunks, strict=True)]
        return any(len(chunks) > 1 for d, chunks in pairs if d in self.axes)

    @property
    def with_axes(self) -> tuple[Any, ...]:
        """The index that restores the slices' axes, with length 1, in an array of one value per slice."""
        return tuple(None if a in self.axes else slice(None) for a in self.everything)

    def index(self, core: str) -> Index:
        """The dimensions of a result."""
        row = self.axes[0] if len(self.axes) == 1 else FLAT
        if core == CHOICES:
            return next(a.dimensions for a in self.operands.values() if a.core == CHOICES)
        return {
            SLICE: self.everything,
            VALUE: self.batch,
            ROW: (*self.batch, row),
            MATRIX: (*self.batch, row, COLUMN),
        }[core]

    def new_axes(self, index: Index) -> dict[int, float] | None:
        """The lengths of those dimensions of a result that no operand has."""
        return {d: self.n for d in index if d in (FLAT, COLUMN)} or None

    @property
    def given(self) -> list[Any]:
        """The operands in the form that blockwise takes."""
        return [part for a in self.operands.values() for part in (a.array, a.dimensions)]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the options that are arrays."""
        return tuple(self.operands)[len(self.function.operands) :]


def _is_array(option: Any) -> bool:
    return isinstance(option, da.Array) or np.ndim(option) > 0


def _as_dask(a: Any) -> Array:
    return a if isinstance(a, da.Array) else da.from_array(np.asanyarray(a), chunks=-1)


def _common_shape(slices: dict[str, Array]) -> tuple[float, ...]:
    """The shape that operands broadcast to."""
    known = {name: _of_shape(1 if math.isnan(n) else n for n in a.shape) for name, a in slices.items()}
    shape: tuple[float, ...] = broadcast_shapes(**known)
    unknown = {d - a.ndim for a in slices.values() for d, n in enumerate(a.shape) if math.isnan(n)}
    return tuple(math.nan if d - len(shape) in unknown else n for d, n in enumerate(shape))


def _of_shape(shape: Iterable[int]) -> Array:
    """An array of `shape` that takes no memory."""
    return np.broadcast_to(0, tuple(shape))


def _placed(
    name: str, array: Array, core: str, shape: tuple[float, ...], axes: tuple[int, ...], exactly: bool
) -> Operand:
    """`array` with all the dimensions that its kind has; ValueError if it does not broadcast to the slices.

    With `exactly` its shape must be that of one entry per slice, without broadcasting.
    """
    batch = tuple(a for a in range(len(shape)) if a not in axes)
    if core == VALUE and not exactly and array.ndim == len(shape) and all(array.shape[a] == 1 for a in axes):
        array = array[tuple(0 if a in axes else slice(None) for a in range(len(shape)))]
    index = tuple(range(len(shape))) if core == SLICE else batch
    expected = tuple(shape[d] for d in index)
    if core == CHOICES and array.ndim == len(batch) + 1:
        index, expected = (*index, CHOSEN), (*expected, array.shape[-1])
    missing = len(index) - array.ndim
    fits = missing == 0 or (missing > 0 and not exactly)
    for n, m in zip(array.shape, expected[max(missing, 0) :], strict=False):
        fits = fits and (n == m or (n == 1 and not exactly) or math.isnan(n) or math.isnan(m))
    if not fits:
        expectation = f"have shape {expected}, one per slice" if exactly else f"broadcast to shape {expected}"
        raise ValueError(f"{name} must {expectation}; got shape {array.shape}")
    return Operand(array[(None,) * missing] if missing else array, index, core)


def _in_blocks_of_the_first(operands: dict[str, Operand], axes: tuple[int, ...]) -> dict[str, Operand]:
    """All arrays, with the chunks of the first one along the axes of the slices.

    Along the other axes blockwise unifies chunks, as in every operation of Dask.
    """
    first = next(iter(operands.values()))
    own = dict(zip(first.dimensions, first.array.chunks, strict=True))
    sizes = dict(zip(first.dimensions, first.array.shape, strict=True))
    aligned = {}
    for name, (array, index, core) in operands.items():
        wanted = {i: own[d] for i, d in enumerate(index) if d in axes and array.shape[i] == sizes[d]}
        aligned[name] = Operand(array if array is first.array else array.rechunk(wanted), index, core)
    return aligned
