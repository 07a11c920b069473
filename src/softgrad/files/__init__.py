"""Functions of arrays, applied to files that are larger than memory.

A file is gone through in blocks of whole slices: read a block, call the function, write the result. A format is one
module with a reader and a writer (the protocols below); adding one is adding a row to `FORMATS`.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple, Protocol

import numpy as np

from softgrad.arrays.layout import normalize_axis
from softgrad.files.atomic import replacing
from softgrad.files.blocks import Contents, Region, array_regions, file_regions, shape_of
from softgrad.files.csv import CsvReader, CsvWriter
from softgrad.files.npy import NpyReader, NpyWriter

Array = np.ndarray[Any, Any]


class Reader(Protocol):
    """An open input file. With `by_rows`, `read` is called for rows from the first to the last, each once."""

    by_rows: ClassVar[bool]
    contents: Contents
    nbytes: int

    def __init__(self, path: Path) -> None: ...

    def read(self, region: Region) -> Array:
        """Return the entries of `region`."""

    def close(self) -> None:
        """Close the file."""


class Writer(Protocol):
    """An output file that is being filled. With `by_rows`, `write` is called for rows from the first to the last."""

    by_rows: ClassVar[bool]

    def __init__(self, file: BinaryIO, contents: Contents) -> None: ...

    def write(self, region: Region, values: Array) -> None:
        """Put `values` at `region`."""


class Format(NamedTuple):
    """How files of one suffix are read and written."""

    reader: type[Reader]
    writer: type[Writer]


FORMATS = {".csv": Format(CsvReader, CsvWriter), ".npy": Format(NpyReader, NpyWriter)}


def apply_blocks(
    function: Callable[..., Any],
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    axis: int = -1,
    force: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Contents:
    """Apply a function of slices to a file, block by block, and write the result to another file.

    Parameters
    ----------
    function : callable
        Called as ``function(block, axis=axis)``; returns an array of the block's shape, or one value per slice.
    source, target : path
        Files; their suffixes, ``.npy`` or ``.csv``, tell their formats. They may be the same file if `force` is given.
    axis : int, default: -1
        The axis of the slices. Every block holds whole slices.
    force : bool, default: False
        Whether an existing `target` is replaced.
    progress : callable, optional
        Called as ``progress(done, total)`` after each block, in bytes of `source`.

    Returns
    -------
    Contents
        The shape and dtype of the result.

    Raises
    ------
    OSError
        If a file cannot be read or written; FileExistsError if `target` exists and `force` is not given.
    TypeError, ValueError, numpy.exceptions.AxisError
        If `source` does not hold an array of real numbers, if a suffix is unknown, and what `function` raises.

    Notes
    -----
    Memory stays bounded: a block takes 32 MiB, or one slice where a slice is longer. A table in text with `axis`
    0 is the exception: its columns are complete only at its end, so it is held as a whole.

    `target` appears under its name when it is complete; whatever interrupts the work leaves nothing behind.
    """
    source, target = Path(source), Path(target)
    read_format, write_format = _format(source), _format(target)
    with replacing(target, force) as file, closing(read_format.reader(source)) as reader:
        given = reader.contents
        result = _result(function, given, axis)
        writer = write_format.writer(file, result)
        (sliced,) = normalize_axis(axis, len(given.shape))
        done, entries = 0, math.prod(given.shape)
        for region in file_regions(given, sliced, reader.by_rows or writer.by_rows):
            block = reader.read(region)
            writer.write(result.place(region), _computed(function, block, sliced, result))
            done += block.size
            progress(reader.nbytes * done // max(1, entries), reader.nbytes)
    return result


def _computed(function: Callable[..., Any], block: Array, axis: int, result: Contents) -> Array:
    """Apply `function` to an array, in blocks of its own, so that what it needs besides stays small."""
    everything = tuple(slice(0, n) for n in block.shape)
    values = np.empty(shape_of(result.place(everything)), result.dtype, result.order)
    for region in array_regions(block.shape, axis, result.order):
        place = result.place(region)
        values[place] = np.reshape(function(block[region], axis=axis), shape_of(place))
    return values


def _format(path: Path) -> Format:
    suffix = path.suffix.lower()
    if suffix in FORMATS:
        return FORMATS[suffix]
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise ValueError(f"{path}: the suffix must be {' or '.join(FORMATS)}; got {suffix or 'none'}")


def _result(function: Callable[..., Any], given: Contents, axis: int) -> Contents:
    """Describe what `function` makes of a file: one entry asks it, so that it judges dtype and axis itself."""
    ndim = len(given.shape)
    sample = np.asarray(function(np.zeros((1,) * ndim, given.dtype), axis=axis))
    if sample.ndim == ndim:
        return replace(given, dtype=sample.dtype)
    (reduced,) = normalize_axis(axis, ndim)
    shape = tuple(1 if a == reduced else n for a, n in enumerate(given.shape))
    header = None if reduced == ndim - 1 else given.header  # the columns that it names are summed
    return Contents(shape, sample.dtype, given.order, header, reduced)
