"""Slices that are in one block each: one task for each block, which calls the function on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from dask.array.utils import meta_from_array

from softgrad._api.operators import SimplexJacobian
from softgrad._dispatch import Function
from softgrad._formulas.namespace import Array
from softgrad._libraries.dask.slices import PLACE, Slices


def compute(slices: Slices, cores: tuple[str, ...], empty: tuple[Array, ...]) -> list[Array]:
    """The results in the blocks of the operands, of the types of the empty ones."""
    return arrays(partial(_block, *_call_of(slices)), slices.given, slices, cores, empty)


def arrays(
    task: Callable[..., tuple[Array, ...]],
    given: list[Any],
    slices: Slices,
    cores: Sequence[str],
    empty: Sequence[Array],
) -> list[Array]:
    """The results of a task for each block of what is given, as lazy arrays of the types of the empty ones."""
    indices = [slices.index(core) for core in cores]
    metas = [meta_from_array(a, len(index)) for a, index in zip(empty, indices, strict=True)]
    build = partial(da.blockwise, token=slices.function.name)
    if len(indices) == 1:
        first, new = partial(_entry_of_task, task), slices.new_axes(indices[0])
        return [build(first, indices[0], *given, new_axes=new, meta=metas[0])]
    # One task computes all results of a block: a tuple, which is the block of an internal array.
    everything = tuple(sorted({d for index in given[1::2] if index is not None for d in index if d != PLACE}))
    tuples = build(task, everything, *given, meta=np.empty((0,) * len(everything)))
    return [
        build(_entry, index, tuples, everything, i, None, new_axes=slices.new_axes(index), meta=meta)
        for i, (index, meta) in enumerate(zip(indices, metas, strict=True))
    ]


def without_slices(slices: Slices) -> Any:
    """The results for an empty batch: they have the right types, and wrong options raise here, not in a task."""
    shapes = ((1 if math.isnan(n) else n for n in a.array.shape) for a in slices.operands.values())
    operands = (
        np.empty_like(a.array._meta, shape=(0, *shape))
        for a, shape in zip(slices.operands.values(), shapes, strict=True)
    )
    return called(*_call_of(slices), *operands)


def called(function: Function, names: tuple[str, ...], options: dict[str, Any], *arrays: Array) -> Any:
    """The function of operands and, under `names`, options that are arrays."""
    count = len(function.operands)
    return function(*arrays[:count], **dict(zip(names, arrays[count:], strict=True)), **options)


def numbers(result: Any) -> tuple[Array, ...]:
    """The arrays in what a function returns."""
    if isinstance(result, SimplexJacobian):
        return (result.p,) if isinstance(result.temperature, float) else (result.p, result.temperature)
    return tuple(result) if isinstance(result, tuple) else (result,)


def only(block: Any) -> Array:
    """The block itself: along a dimension that the result lacks, blockwise passes a list of blocks, here of one."""
    while isinstance(block, list):
        (block,) = block
    return block


def leaves(found: Any) -> Iterator[Any]:
    """The results of blocks, which reductions pass alone or in nested lists."""
    if isinstance(found, list):
        for item in found:
            yield from leaves(item)
    else:
        yield found


def alone(found: Any, axis: Any = None, keepdims: Any = None) -> Any:
    """The first step of a reduction whose blocks already hold what is to be merged."""
    return found


def reduced(found: Array, together: Callable[..., Any], slices: Slices, what: str) -> Array:
    """The results of blocks, merged in a tree along the axes of the slices: one block for each block of the batch."""
    name, meta = f"{slices.function.name}-{what}", np.empty((0,) * len(slices.batch))
    return da.reduction(
        found, alone, together, axis=slices.axes, concatenate=False, dtype=meta.dtype, meta=meta, name=name
    )


def joined(groups: list[tuple[Array, ...]]) -> tuple[Array, ...]:
    """The results of groups of slices, concatenated."""
    return groups[0] if len(groups) == 1 else tuple(np.concatenate(parts) for parts in zip(*groups, strict=True))


def _call_of(slices: Slices) -> tuple[Function, tuple[str, ...], dict[str, Any]]:
    axes = tuple(a - len(slices.shape) for a in slices.axes)
    return slices.function, slices.names, {**slices.options, "axis": axes[0] if len(axes) == 1 else axes}


def _block(function: Function, names: tuple[str, ...], options: dict[str, Any], *blocks: Any) -> tuple[Array, ...]:
    return numbers(called(function, names, options, *map(only, blocks)))


def _entry_of_task(task: Callable[..., tuple[Array, ...]], *blocks: Any) -> Array:
    (result,) = task(*blocks)
    return result


def _entry(block: Any, i: int) -> Array:
    return only(block)[i]
