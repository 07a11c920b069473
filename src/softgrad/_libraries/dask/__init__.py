"""Dask arrays: every function lazily, in the blocks that the arrays have, by what it declares of its slices."""

from __future__ import annotations

from typing import Any

from softgrad._api.operators import SimplexJacobian
from softgrad._dispatch import VALUE, Function
from softgrad._libraries.dask import blocks, rounds, row_blocks
from softgrad._libraries.dask.operators import LazyJacobian
from softgrad._libraries.dask.slices import ROW, Slices

__all__ = ["call", "row_blocks"]

IN_MEMORY = ("out", "grad_out", "hess_out", "grad_p_out", "grad_q_out", "workers")
"""Options of a computation that happens at once."""


def call(function: Function, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """`function` of Dask arrays: a lazy array for each of its results."""
    for name in IN_MEMORY:
        if options.get(name) is not None:
            raise TypeError(f"{name} is for arrays in memory; a Dask array is computed later, by its scheduler")
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
