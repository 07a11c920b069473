"""Rows in the blocks of Dask arrays: a function of each block, and the merged results of all blocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import dask
import dask.array as da
import numpy as np

from softgrad._formulas.namespace import Array
from softgrad._libraries.dask.blocks import alone, leaves, only


def check_features(X: Any) -> None:
    """TypeError or ValueError unless X is a Dask array of rows in blocks."""
    if not isinstance(X, da.Array):
        raise TypeError(f"X must be a Dask array, not {type(X).__name__}: to_dask_array() makes one of a collection")
    if X.ndim != 2:
        raise ValueError(f"X must have shape (m, d); got shape {X.shape}")
    if X.numblocks[1] != 1:
        raise ValueError(
            f"X must lie in one chunk along its columns; got {X.numblocks[1]}: call X.rechunk({{1: -1}}) before"
        )


def beside(X: Array, name: str, values: Any) -> Array:
    """Values, one for each row of X, in its blocks."""
    lazy = isinstance(values, da.Array)
    values = values if lazy else np.asarray(values)
    known = not any(map(math.isnan, (X.shape[0], *values.shape)))
    if values.ndim != 1 or (known and values.shape != X.shape[:1]):
        raise ValueError(f"{name} must have shape {X.shape[:1]}, one entry per row of X; got shape {values.shape}")
    if known:
        chunks = X.chunks[:1]
        # Without persist, an array in memory would be sent to the workers with every graph.
        return values.rechunk(chunks) if lazy else da.from_array(values, chunks=chunks).persist()
    if not lazy or values.numblocks != X.numblocks[:1]:
        raise ValueError(f"chunks of X and {name} have unknown sizes: call compute_chunk_sizes() before")
    return values


def each(f: Callable[..., Any], *columns: Array, **common: Any) -> Array:
    """The results of `f` on every block, lazily: they are the blocks of an internal array."""
    given = [part for column in columns for part in (column, tuple(range(column.ndim)))]
    shared = {name: dask.delayed(value) for name, value in common.items()}
    return da.blockwise(partial(_of_block, f), (0,), *given, token=f.__name__.strip("_"), meta=np.empty(0), **shared)


def merged(found: Array, together: Callable[[list[Any]], Any]) -> Any:
    """The blocks of `found`, merged now, in a tree that is always the same."""
    task = partial(_together, together)
    whole = da.reduction(found, alone, task, axis=0, concatenate=False, dtype=found.dtype, meta=np.empty(()))
    return whole.to_delayed().item().compute()


def _of_block(f: Callable[..., Any], *blocks: Any, **common: Any) -> Any:
    return f(*map(only, blocks), **common)


def _together(together: Callable[[list[Any]], Any], found: Any, axis: Any = None, keepdims: Any = None) -> Any:
    return together(list(leaves(found)))
