"""What a user gives as logits and labels: arrays of any library, Dask arrays or files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from softgrad._dispatch import library_of
from softgrad._validation.axis import Axis, normalize_axis
from softgrad.calibration.batches import Data, Reading
from softgrad.calibration.in_dask import in_dask
from softgrad.calibration.in_files import InFiles, Progress, shape_of, whole
from softgrad.calibration.in_memory import InMemory, laid_out
from softgrad.files.blocks import Selection

PATHS = (str, os.PathLike)


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
    if not isinstance(temperature, int | float | np.number):
        arrays["temperature"], temperature = temperature, 1.0
    elif not temperature >= 0:
        raise ValueError(f"temperature must be at least 0; got {temperature}")
    files = tuple((name, str(value)) for name, value in arrays.items() if isinstance(value, PATHS))
    common: dict[str, Any] = {"temperature": float(temperature), "ignore_index": ignore_index, "files": files}
    if isinstance(logits, PATHS):
        path, selection = Path(logits), Selection(tensor, None if columns is None else tuple(columns))
        shape = shape_of(path, selection)
        sliced = _one_axis(axis, len(shape))
        reading = Reading(sliced, shape[sliced], source=str(path), **common)
        return InFiles(reading, path, selection, arrays, progress or (lambda done, total: None), workers)
    for name, value in {"tensor": tensor, "columns": columns}.items():
        if value is not None:
            raise TypeError(f"{name} is for files; got an array")
    arrays = {name: whole(Path(value)) if isinstance(value, PATHS) else _plain(value) for name, value in arrays.items()}
    logits = _plain(logits)
    sliced = _one_axis(axis, logits.ndim)
    rows = _row_blocks(logits)
    if rows is not None:
        return in_dask(rows, logits, sliced, arrays, common)
    if logits.ndim == 1:  # one slice
        logits, sliced, arrays = logits[np.newaxis], 1, {name: value[np.newaxis] for name, value in arrays.items()}
    arrays = laid_out(arrays, logits.shape, sliced)
    return InMemory(Reading(sliced, logits.shape[sliced], **common), logits, arrays, workers)


def _one_axis(axis: Axis, ndim: int) -> int:
    axes = normalize_axis(axis, ndim)
    if len(axes) != 1:
        raise TypeError(f"axis must be one integer; got {axis!r}")
    return axes[0]


def _row_blocks(x: Any) -> Any:
    """The module for rows in blocks of arrays of x's library, as Dask has one."""
    return getattr(library_of(type(x)), "row_blocks", None)


def _plain(x: Any) -> Any:
    """Arrays of other libraries as NumPy's, but for Dask's."""
    package = type(x).__module__.partition(".")[0]
    if package == "xarray":
        x = x.data
    elif package == "pandas":
        x = x.to_numpy()
    elif package == "torch":
        x = x.detach().cpu()
        x = (x.float() if str(x.dtype) == "torch.bfloat16" else x).numpy()
    if isinstance(x, np.ndarray) or _row_blocks(x) is not None:
        return x
    return np.asarray(x)
