"""Dask arrays: every function lazily, one task for each block, by what the function declares of its slices."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from dask.array.utils import meta_from_array

from softgrad import arguments
from softgrad.arrays.layout import normalize_axis
from softgrad.dispatch import OPTIONS, SLICE, VALUE, Function
from softgrad.jacobian import SimplexJacobian

Array = Any
Index = tuple[int, ...]
"""Which dimensions of the array of all slices the dimensions of an array are, as `dask.array.blockwise` asks for it."""

MATRIX, CHOICES = "n,n", "k"

FLAT, CHOSEN = -1, -2
"""Dimensions beside those: of the entries of several axes in one row, and of the entries that an index chose."""

IN_MEMORY = ("out", "grad_out", "hess_out", "grad_p_out", "grad_q_out", "workers")
"""Options of a computation that happens at once."""


def call(function: Function, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """`function` of Dask arrays: a lazy array for each of its results."""
    for name in IN_MEMORY:
        if options.get(name) is not None:
            raise TypeError(f"{name} is for arrays in memory; a Dask array is computed later, by its scheduler")
    slices = Slices.of(function, operands, options)
    for axis in slices.axes:
        if any(len(array.chunks[index.index(axis)]) > 1 for array, index in slices.arrays.values() if axis in index):
            raise ValueError(f"axis {axis} must lie in one chunk; rechunk the array with {{{axis}: -1}}")
    return by_block(slices)


@dataclass(frozen=True)
class Slices:
    """A call on Dask arrays that lie on each other."""

    function: Function
    arrays: dict[str, tuple[Array, Index]]
    """The operands, then the options that are arrays."""
    options: dict[str, Any]
    """The others, but for `axis` and `keepdims`."""
    shape: tuple[float, ...]
    """Of the array of all slices; NaN where nobody knows yet."""
    axes: tuple[int, ...]
    keepdims: bool

    @classmethod
    def of(cls, function: Function, operands: tuple[Any, ...], options: dict[str, Any]) -> Slices:
        """Check shapes, as far as they are known."""
        signature = inspect.signature(function.plain)
        signature.bind(*operands, **options)  # what every function says of arguments that it does not have
        options = {**options}
        axis, keepdims = options.pop("axis", -1), bool(options.pop("keepdims", False))
        required = dict(zip(signature.parameters, operands, strict=False))
        optional = {name: options.pop(name) for name in OPTIONS if np.ndim(options.get(name, 0))}
        arrays = {name: _as_dask(a) for name, a in (required | optional).items()}
        cores = dict(zip(required, function.operands, strict=True))
        shape = _common_shape({name: arrays[name] for name in required if cores[name] == SLICE})
        axes = normalize_axis(axis, len(shape))
        placed = {}
        for name, array in arrays.items():
            exactly = name in required and cores[name] != SLICE
            placed[name] = _place(name, array, cores.get(name, OPTIONS.get(name, "")), shape, axes, exactly)
        return cls(function, _aligned(placed, axes), options, shape, axes, keepdims)

    @property
    def everything(self) -> Index:
        """The dimensions of the array of all slices."""
        return tuple(range(len(self.shape)))

    @property
    def batch(self) -> Index:
        """The dimensions of one value per slice."""
        return tuple(a for a in self.everything if a not in self.axes)

    def index(self, core: str) -> Index:
        """The dimensions of a result."""
        if core == MATRIX:  # an operator, whose numbers lie in rows
            return (*self.batch, self.axes[0] if len(self.axes) == 1 else FLAT)
        if core == CHOICES:
            return list(self.arrays.values())[1][1]
        return self.everything if core == SLICE else self.batch

    @property
    def block(self) -> partial[Any]:
        """The call, of blocks."""
        axes = tuple(a - len(self.shape) for a in self.axes)
        options = {**self.options, "axis": axes[0] if len(axes) == 1 else axes}
        return partial(_call, self.function, tuple(self.arrays), options)

    def empty(self) -> Any:
        """The result for no slice at all: its type, and the errors of options, without a computation."""
        return self.block(*(_without_slices(array) for array, _ in self.arrays.values()))


def by_block(slices: Slices) -> Any:
    """The results in the blocks of the operands, where every slice lies in one of them."""
    empty = slices.empty()
    if isinstance(empty, SimplexJacobian):
        p, *temperature = _blockwise(slices, _numbers(empty), (MATRIX, VALUE))
        return SimplexJacobian(p, *temperature or (empty.temperature,))
    results = _blockwise(slices, _numbers(empty), slices.function.results)
    if isinstance(empty, tuple):
        return type(empty)(*results)
    return with_axes(results[0], slices) if slices.keepdims else results[0]


def with_axes(values: Array, slices: Slices) -> Array:
    """One value per slice, with the axes of the slice kept as 1."""
    return values[tuple(None if a in slices.axes else slice(None) for a in slices.everything)]


def _blockwise(slices: Slices, empty: tuple[Array, ...], cores: tuple[str, ...]) -> list[Array]:
    """The arrays in what the call returns, of the types of the empty ones."""
    given = [part for pair in slices.arrays.values() for part in pair]
    indices = [slices.index(core) for core in cores[: len(empty)]]
    metas = [meta_from_array(a, len(index)) for a, index in zip(empty, indices, strict=True)]
    flat = {FLAT: math.prod(slices.shape[a] for a in slices.axes)}
    new_axes = [flat if FLAT in index else None for index in indices]
    block, token = partial(_block, slices.block), slices.function.name
    if len(empty) == 1:
        return [da.blockwise(block, indices[0], *given, new_axes=new_axes[0], meta=metas[0], token=token)]
    # One task computes all results of a block, as the entries of a tuple: the block of an array that nobody sees.
    tuples = da.blockwise(block, slices.everything, *given, meta=np.empty((0,) * len(slices.shape)), token=token)
    return [
        da.blockwise(_entry, index, tuples, slices.everything, i, None, new_axes=new, meta=meta, token=token)
        for i, (index, new, meta) in enumerate(zip(indices, new_axes, metas, strict=True))
    ]


def _call(function: Function, names: tuple[str, ...], options: dict[str, Any], *arrays: Array) -> Any:
    operands = len(function.operands)
    return function(*arrays[:operands], **dict(zip(names[operands:], arrays[operands:], strict=True)), **options)


def _block(call: partial[Any], *blocks: Any) -> Any:
    numbers = _numbers(call(*map(_only, blocks)))
    return numbers if len(numbers) > 1 else numbers[0]


def _entry(block: Any, i: int) -> Array:
    return _only(block)[i]


def _only(block: Any) -> Array:
    """The block itself: along a dimension that the result lacks, blockwise passes lists of blocks, here of one."""
    while isinstance(block, list):
        (block,) = block
    return block


def _numbers(result: Any) -> tuple[Array, ...]:
    """The arrays in what a function returns."""
    if isinstance(result, SimplexJacobian):
        return (result.p,) if isinstance(result.temperature, float) else (result.p, result.temperature)
    return result if isinstance(result, tuple) else (result,)


def _as_dask(a: Any) -> Array:
    return a if isinstance(a, da.Array) else da.from_array(np.asanyarray(a), chunks=-1)


def _common_shape(slices: dict[str, Array]) -> tuple[float, ...]:
    """The shape that operands broadcast to."""
    known = {name: _of_shape(1 if math.isnan(n) else n for n in a.shape) for name, a in slices.items()}
    shape: tuple[float, ...] = arguments.broadcast_shapes(**known)
    unknown = {d - a.ndim for a in slices.values() for d, n in enumerate(a.shape) if math.isnan(n)}
    return tuple(math.nan if d - len(shape) in unknown else n for d, n in enumerate(shape))


def _place(
    name: str, array: Array, core: str, shape: tuple[float, ...], axes: tuple[int, ...], exactly: bool
) -> tuple[Array, Index]:
    """`array` with all the dimensions that it has as one on the slices, and these; ValueError if it is none.

    `exactly` asks for one entry for each slice, without broadcasting.
    """
    batch = tuple(a for a in range(len(shape)) if a not in axes)
    if core == CHOICES and array.ndim == len(batch) + 1:
        dimensions, expected = (*batch, CHOSEN), (*(shape[a] for a in batch), array.shape[-1])
    elif core == VALUE and array.ndim == len(shape) and not exactly:  # laid out with the slice's axes as 1
        dimensions, expected = tuple(range(len(shape))), tuple(1 if a in axes else n for a, n in enumerate(shape))
    else:
        dimensions = tuple(range(len(shape))) if core == SLICE else batch
        expected = tuple(shape[d] for d in dimensions)
    missing = len(expected) - array.ndim
    fits = missing == 0 or (missing > 0 and not exactly)
    for n, m in zip(array.shape, expected[max(missing, 0) :], strict=False):
        fits = fits and (n == m or (n == 1 and not exactly) or math.isnan(n) or math.isnan(m))
    if not fits:
        expectation = f"have shape {expected}, one per slice" if exactly else f"broadcast to shape {expected}"
        raise ValueError(f"{name} must {expectation}; got shape {array.shape}")
    return array[(None,) * missing] if missing else array, dimensions


def _aligned(arrays: dict[str, tuple[Array, Index]], axes: tuple[int, ...]) -> dict[str, tuple[Array, Index]]:
    """All arrays in the first one's blocks along the axes of the slices.

    Along the other axes blockwise unifies chunks, as in every operation of Dask.
    """
    first, everything = next(iter(arrays.values()))
    aligned = {}
    for name, (array, index) in arrays.items():
        wanted = {
            i: first.chunks[everything.index(d)]
            for i, d in enumerate(index)
            if d in axes and array.shape[i] == first.shape[everything.index(d)]
        }
        aligned[name] = (array if array is first else array.rechunk(wanted)), index
    return aligned


def _without_slices(array: Array) -> Array:
    """An array like `array`, with a first dimension of length 0."""
    return np.empty_like(array._meta, shape=(0, *(1 if math.isnan(n) else n for n in array.shape)))


def _of_shape(shape: Iterable[int]) -> Array:
    """An array of `shape` that takes no memory."""
    return np.broadcast_to(0, tuple(shape))
