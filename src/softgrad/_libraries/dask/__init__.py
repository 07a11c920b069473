"""Dask arrays: every function, lazily, in the blocks that the arrays have.

Slices that are in one block each go to the function itself (`blocks`). For slices that span several blocks, a state of
each slice is enough for some functions (`passes`); the others run their formulas in rounds (`rounds`, `partial`).
"""

from __future__ import annotations

from typing import Any

from softgrad._api.operators import SimplexJacobian
from softgrad._dispatch import IN_MEMORY, VALUE, Function, refuse
from softgrad._libraries.dask import blocks, rounds, row_blocks
from softgrad._libraries.dask.operators import LazyJacobian
from softgrad._libraries.dask.slices import ROW, Slices

__all__ = ["call", "row_blocks"]


def call(function: Function, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """`function` of Dask arrays: a lazy array for each of its results."""
    refuse(options, IN_MEMORY, "arrays in memory; a Dask array is computed later, by its scheduler")
    slices = Slices.of(function, operands, options)
    empty = blocks.without_slices(slices)
    cores = (ROW, VALUE) if isinstance(empty, SimplexJacobian) else function.results
    numbers = blocks.numbers(empty)
    compute = rounds.compute if slices.cut else blocks.compute
    arrays = compute(slices, cores[: len(numbers)], numbers)
    if isinstance(empty, SimplexJacobian):
        return LazyJacobian(arrays[0], arrays[1] if len(arrays) > 1 else empty.temperature)
    if isinstance(empty, tuple):
        return type(empty)(*arrays)
    return arrays[0][slices.with_axes] if slices.keepdims else arrays[0]
