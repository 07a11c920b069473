"""Functions of arrays, applied to files that are larger than memory.

A file is gone through in blocks: read a block, call the function, write the result. A format is one module with a
reader and a writer (the protocols below); adding one is adding a row to `FORMATS`.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from softgrad._validation.axis import normalize_axis
from softgrad.files.atomic import replacing, replacing_directory
from softgrad.files.blocks import Contents, Region
from softgrad.files.formats.csv import CsvReader, CsvWriter
from softgrad.files.formats.npy import NpyReader, NpyWriter
from softgrad.files.formats.parquet import ParquetReader, ParquetWriter
from softgrad.files.formats.safetensors import SafetensorsReader, SafetensorsWriter
from softgrad.files.formats.zarr import MARKER, ZarrReader, ZarrWriter
from softgrad.files.passes import Normalization, Plan

Array = np.ndarray[Any, Any]


class Reader(Protocol):
    """An open input file. With `by_rows`, `read` is called for rows from the first to the last, each once."""

    by_rows: ClassVar[bool]
    contents: Contents
    nbytes: int

    def __init__(self, path: Path, tensor: str | None) -> None: ...

    def read(self, region: Region) -> Array:
        """Return the entries of `region`."""

    def close(self) -> None:
        """Close the file."""


class Writer(Protocol):
    """An output file that is being filled. With `by_rows`, `write` is called for rows from the first to the last."""

    by_rows: ClassVar[bool]
    any_order: ClassVar[bool]
    """Whether the file can hold an array in Fortran order."""

    def __init__(self, path: Path, contents: Contents) -> None: ...

    def write(self, region: Region, values: Array) -> None:
        """Put `values` at `region`."""

    def close(self) -> None:
        """Close the file."""


class Format(NamedTuple):
    """How files of one suffix are read and written."""

    reader: type[Reader]
    writer: type[Writer] | type[ZarrWriter]


FORMATS = {
    ".csv": Format(CsvReader, CsvWriter),
    ".npy": Format(NpyReader, NpyWriter),
    ".parquet": Format(ParquetReader, ParquetWriter),
    ".safetensors": Format(SafetensorsReader, SafetensorsWriter),
    ".zarr": Format(ZarrReader, ZarrWriter),
}


def apply_blocks(
    function: Callable[..., Any],
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    /,
    *,
    axis: int = -1,
    tensor: str | None = None,
    force: bool = False,
    resume: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Contents:
    """Apply a function of slices to a file that may be larger than memory, and write the result to another file.

    Parameters
    ----------
    function : callable
        Called as ``function(block, axis=axis)``; returns an array of the block's shape, or one value per slice.
        `softmax`, `log_softmax` and `logsumexp` (options bound with `functools.partial`) may also be called with
        ``out``, and where slices are long are computed from their `LogSumExpState` instead, in two passes.
    source, target : path
        Files; their suffixes tell their formats: ``.npy``, ``.csv``, ``.parquet``, ``.safetensors``, or the directory
        of a Zarr array, ``.zarr``. They may be the same file if `force` is given.
    axis : int, default: -1
        The axis of the slices.
    tensor : str, optional
        The name of the tensor to read from a ``.safetensors`` file that holds several.
    force : bool, default: False
        Whether an existing `target` is replaced.
    resume : bool, default: False
        Whether to go on with what an interrupted run of the same call has left of a ``.zarr`` target: the chunks that
        are finished are not computed again.
    progress : callable, optional
        Called as ``progress(done, total)`` after each block, in bytes of `source`.

    Returns
    -------
    Contents
        The result: ``final_shape`` and ``dtype``.

    Raises
    ------
    OSError
        If a file cannot be read or written; FileExistsError if `target` exists and `force` is not given.
    TypeError, ValueError, numpy.exceptions.AxisError
        If `source` is damaged, truncated or no array of real numbers, if a suffix is unknown, if `target` cannot hold
        the result, and what `function` raises.
    ModuleNotFoundError
        If the library of a format is not installed.

    Notes
    -----
    A block takes about 2 MiB, 32 MiB where its slices lie scattered, or one chunk of a Zarr array. Longer slices than
    that are held in memory only for other functions than those named above.

    The rows of a table, in text or Parquet, are those of an array of two dimensions; one column of lists is one, too.
    Names of columns stay while the columns do. An array without them becomes one column of lists in Parquet. The first
    row of text is names if no field of it is a number; names that are numbers, such as the 0, 1, 2, … of pandas' own,
    cannot be told from data and are taken for data.

    `target` appears under its name when it is complete; whatever interrupts the work leaves nothing behind, but for a
    Zarr array the finished chunks, in ``.NAME.part`` beside it.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import softgrad as sg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     logits, result = os.path.join(folder, "logits.npy"), os.path.join(folder, "result.npy")
    ...     np.save(logits, np.zeros((3, 4)))
    ...     contents = sg.apply_blocks(sg.softmax, logits, result)
    ...     np.load(result)[0]
    array([0.25, 0.25, 0.25, 0.25])
    """
    source, target = Path(source), Path(target)
    source_format, target_format = _format(source), _format(target)
    _check_options(tensor, resume, source_format, target_format)
    with _output(target_format, target, force) as path, ExitStack() as files:
        reader = files.enter_context(closing(source_format.reader(source, tensor)))
        plan = _plan(function, reader, target_format.writer, axis)
        reads = [reader.read] * plan.passes
        if reader.by_rows and plan.passes > 1:
            reads[1] = files.enter_context(closing(source_format.reader(source, tensor))).read
        count = _counter(progress, reader.nbytes, math.prod(plan.given.shape) * plan.passes)
        if target_format.writer is ZarrWriter:
            chunks = ZarrWriter(path, plan.result, _origin(plan, source), resume)
            plan.run(tuple(reads), chunks.write, chunks.has if resume else _nothing, count)
            chunks.finish()
        else:
            writer = files.enter_context(closing(target_format.writer(path, plan.result)))
            plan.run(tuple(reads), writer.write, _nothing, count)
    return plan.result


def _plan(function: Callable[..., Any], reader: Reader, writer: type[Writer], axis: int) -> Plan:
    given = reader.contents
    result = _result(function, given, axis)
    if not writer.any_order:
        result = replace(result, order="C")
    (sliced,) = normalize_axis(axis, len(given.shape))
    return Plan.of(function, given, result, sliced, reader.by_rows or writer.by_rows)


def _nothing(region: Region) -> bool:
    """Nothing is written yet."""
    del region
    return False


def _counter(progress: Callable[[int, int], None], nbytes: int, entries: int) -> Callable[[int], None]:
    """Turn entries that were gone through into bytes of the source, and report them."""
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        progress(nbytes * done // max(1, entries), nbytes)

    return count


def _check_options(tensor: str | None, resume: bool, source: Format, target: Format) -> None:
    if tensor is not None and source.reader is not SafetensorsReader:
        raise ValueError(f"tensor is for .safetensors files, which hold several; got {tensor!r}")
    if resume and target.writer is not ZarrWriter:
        raise ValueError("resume is for .zarr targets, whose finished chunks can be told")


def _output(form: Format, path: Path, force: bool) -> AbstractContextManager[Path]:
    return replacing_directory(path, force, MARKER) if form.writer is ZarrWriter else replacing(path, force)


def _format(path: Path) -> Format:
    suffix = path.suffix.lower()
    if suffix in FORMATS:
        return FORMATS[suffix]
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    *others, last = FORMATS
    raise ValueError(f"{path}: the suffix must be {', '.join(others)} or {last}; got {suffix or 'none'}")


def _result(function: Callable[..., Any], given: Contents, axis: int) -> Contents:
    """Describe what `function` makes of a file: zeros ask it, so that it judges dtype and axis itself."""
    ndim = len(given.shape)
    lengths = [1] * ndim
    if Normalization.of(function) is None and -ndim <= axis < ndim:  # it may know the length, by weights for example
        lengths[axis] = max(1, given.shape[axis])
    sample = np.asarray(function(np.zeros(lengths, given.dtype), axis=axis))
    if sample.ndim == ndim:
        return replace(given, dtype=sample.dtype)
    (reduced,) = normalize_axis(axis, ndim)
    shape = tuple(1 if a == reduced else n for a, n in enumerate(given.shape))
    names = None if reduced == ndim - 1 else given.names  # the columns that they name are summed
    return replace(given, shape=shape, dtype=sample.dtype, names=names, reduced=reduced)


def _origin(plan: Plan, source: Path) -> dict[str, Any]:
    """What a result is made of, so that only the same call resumes it."""
    marked = source / MARKER if source.is_dir() else source
    return {
        "source": str(source.resolve()),
        "time of the source": marked.stat().st_mtime_ns if marked.exists() else None,
        "function": _words(plan.function),
        "axis": plan.axis,
        "shape": list(plan.given.shape),
        "dtype": str(plan.result.dtype),
    }


def _words(function: Callable[..., Any]) -> str:
    if isinstance(function, partial):
        bound = [*map(repr, function.args), *(f"{key}={value!r}" for key, value in sorted(function.keywords.items()))]
        return f"{_words(function.func)}({', '.join(bound)})"
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__qualname__)}"
