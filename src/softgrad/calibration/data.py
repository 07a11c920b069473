"""What a user gives as logits and labels: arrays of any library, Dask arrays or files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from softgrad._dispatch import SLICE, VALUE
from softgrad._validation.arrays import as_temperature
from softgrad._validation.axis import Axis, Rows, normalize_axis
from softgrad.calibration.batches import Data, Reading
from softgrad.calibration.in_dask import in_dask
from softgrad.calibration.in_files import InFiles, Progress
from softgrad.calibration.in_memory import InMemory, laid_out
from softgrad.calibration.plain import numbers, plain, row_blocks, without_labels
from softgrad.files.read import Blocks
from softgrad.files.selection import selected
from softgrad.files.sources import described, is_path, is_shards


def data_of(
    logits: Any,
    labels: Any,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    ignore_index: int | None = None,
    tensor: str | None = None,
    columns: Sequence[str] | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
    **arrays: Any,
) -> Data:
    """Check what a user gives, but for what is read later."""
    labels = np.zeros(0, np.int64) if isinstance(labels, list | tuple) and not len(labels) else labels
    arrays = {"labels": labels, **{name: value for name, value in arrays.items() if value is not None}}
    if not isinstance(temperature, int | float | np.number | None):
        arrays["temperature"], temperature = temperature, 1.0
    temperature = as_temperature(temperature, Rows((), ()))
    common: dict[str, Any] = {"temperature": temperature, "ignore_index": ignore_index}
    parts = {n: (value, SLICE if n == "where" else VALUE) for n, value in arrays.items() if not _is_file(value)}
    logits, axis, unlabelled = without_labels(logits, "logits", axis, parts)
    arrays = {**arrays, **{name: plain(value, name) for name, value in unlabelled.items()}}
    common["files"] = tuple((name, described(value)) for name, value in arrays.items() if _is_file(value))
    logits = logits if _is_file(logits) else numbers(logits, "logits")
    rows = row_blocks(logits)
    if rows is not None:
        return in_dask(rows, logits, _one_axis(axis, logits.ndim), arrays, common)
    if _is_file(logits) or common["files"]:
        selection = replace(selected(tensor, columns), called="logits")
        blocks = Blocks(logits, _index(axis), selection, arrays)
        reading = Reading(
            blocks.axis,
            blocks.shape[blocks.axis],
            source=described(logits) or "logits",
            located=blocks.located,
            **common,
        )
        return InFiles(reading, blocks, progress or (lambda done, total: None), workers)
    for name, option in {"tensor": tensor, "columns": columns}.items():
        if option is not None:
            raise TypeError(f"{name} is for files; got an array")
    sliced = _one_axis(axis, logits.ndim)
    if logits.ndim == 1:  # one slice
        logits, sliced, arrays = logits[np.newaxis], 1, {name: value[np.newaxis] for name, value in arrays.items()}
    arrays = laid_out(arrays, logits.shape, sliced)
    return InMemory(Reading(sliced, logits.shape[sliced], **common), logits, arrays, workers)


def _is_file(value: Any) -> bool:
    return is_path(value) or is_shards(value)


def _index(axis: Axis) -> int:
    if isinstance(axis, tuple) or axis is None:
        raise TypeError(f"axis must be one integer; got {axis!r}")
    return axis


def _one_axis(axis: Axis, ndim: int) -> int:
    return normalize_axis(_index(axis), ndim)[0]
