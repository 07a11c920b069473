"""Rows of Dask arrays: what is computed of each chunk where it is, and merged in a tree."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

from softgrad._formulas.namespace import NDArray as Array
from softgrad.calibration.batches import Batch, Data, Found, Reading


@dataclass(frozen=True)
class InDask(Data):
    """Dask arrays, in chunks of rows."""

    rows: Any
    """The module for rows in blocks."""
    logits: Any
    columns: dict[str, Any]

    def fold(self, f: Callable[[Batch], Found], add: Callable[[Found, Found], Found]) -> Found:
        """`f` of every chunk, merged by `add`, now."""
        names = tuple(self.columns)
        task = partial(_of_chunk, f, self.reading, names)
        task.__name__ = "evaluate"  # type: ignore[attr-defined]  # what Dask calls the tasks
        found = self.rows.each(task, self.logits, *self.columns.values())
        merged: Found = self.rows.merged(found, partial(reduce, add))
        return merged


def _of_chunk(
    f: Callable[[Batch], Found], reading: Reading, names: tuple[str, ...], block: Array, *columns: Array
) -> Found:
    given = dict(zip(names, columns, strict=True))
    start = given.pop("start")
    return f(reading.batch(block, given, (int(start[0]) if len(start) else 0,)))


def in_dask(rows: Any, logits: Any, axis: int, arrays: dict[str, Any], common: dict[str, Any]) -> InDask:
    """Rows in the chunks of the logits, and what belongs to them in the same chunks."""
    import dask.array as da  # noqa: PLC0415  an array of it has arrived

    n, batch = logits.shape[axis], tuple(size for a, size in enumerate(logits.shape) if a != axis)
    if "where" in arrays:
        raise TypeError("where is not for Dask arrays: give −inf as the logits that are masked out")
    if (chunks := logits.numblocks[axis]) != 1:
        raise ValueError(
            f"logits must have one chunk along the classes; got {chunks}: call logits.rechunk({{{axis}: -1}}) before"
        )
    logits = da.moveaxis(logits, axis, -1)
    for name, values in arrays.items():
        if not any(map(math.isnan, (*batch, *values.shape))) and tuple(values.shape) != batch:
            raise ValueError(f"{name} must have shape {batch}, one per slice of the logits; got {values.shape}")
    if len(batch) != 1:
        logits, arrays = logits.reshape(-1, n), {name: values.reshape(-1) for name, values in arrays.items()}
    rows.check_features(logits)
    found = {name: rows.beside(logits, name, values) for name, values in arrays.items()}
    found["start"] = da.arange(logits.shape[0], chunks=logits.chunks[0])
    return InDask(Reading(1, n, **common), rows, logits, found)
