"""Functions of arrays, applied to files that are larger than memory.

A file is gone through in blocks of whole slices: read a block, call the function, write the result. A format is one
module with a reader and a writer (the protocols below); adding one is adding a row to `FORMATS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np

from softgrad.arrays.layout import normalize_axis
from softgrad.files.atomic import replacing
from softgrad.files.blocks import Contents, Region, regions
from softgrad.files.csv import CsvReader, CsvWriter
from softgrad.files.npy import NpyReader, NpyWriter

Array = np.ndarray[Any, Any]


class Reader(Protocol):
    """An open input file. With `by_rows`, `read` is called for rows from the first to the last, each once."""

    by_rows: bool
    contents: Contents
    nbytes: int

    def read(self, region: Region) -> Array:
        """The entries of `region`."""

    def close(self) -> None:
        """Close the file."""


class Writer(Protocol):
    """An output file that is being filled. With `by_rows`, `write` is called for rows from the first to the last."""

    by_rows: bool

    def write(self, region: Region, values: Array) -> None:
        """Put `values` at `region`."""


class Format(NamedTuple):
    """How to open a file for reading, and how to start writing one."""

    reader: Callable[[Path], Reader]
    writer: Callable[[BinaryIO, Contents], Writer]


FORMATS = {".npy": Format(NpyReader, NpyWriter), ".csv": Format(CsvReader, CsvWriter)}


def apply_blocks(
    function: Callable[..., Any],
    source: str | PathLike[str],
    target: str | PathLike[str],
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
    Memory stays bounded: a block holds 2²⁰ entries, or one slice where a slice is longer. A table in text with `axis`
    0 is the exception: its columns are complete only at its end, so it is held as a whole.

    `target` appears under its name when it is complete; whatever interrupts the work leaves nothing behind.
    """
    source, target = Path(source), Path(target)
    read_format, write_format = _format(source), _format(target)
    with replacing(target, force) as file, closing(read_format.reader(source)) as reader:
        given = reader.contents
        # An empty array tells what the function makes of this dtype and axis, in its own error messages.
        empty = np.asarray(function(np.empty((0,) * len(given.shape), given.dtype), axis=axis))
        (axis,) = normalize_axis(axis, len(given.shape))
        by_rows = reader.by_rows or target.suffix == ".csv"
        reduces = empty.ndim < len(given.shape)
        # In a table a reduced axis stays, with length 1: column sums are a row.
        dropped = (axis,) if reduces and not (target.suffix == ".csv" and len(given.shape) == 2) else ()
        resized = {axis: 1} if reduces else {}
        shape = _without(dropped, tuple(resized.get(a, n) for a, n in enumerate(given.shape)))
        result = Contents(shape, empty.dtype, given.order, None if reduces and axis else given.header)
        writer = write_format.writer(file, result)
        done, entries = 0, math.prod(given.shape)
        for region in regions(given.shape, axis, given.order, by_rows):
            block = reader.read(region)
            written = tuple(slice(0, 1) if a in resized else piece for a, piece in enumerate(region))
            written = _without(dropped, written)
            values = np.reshape(function(block, axis=axis), tuple(piece.stop - piece.start for piece in written))
            writer.write(written, values)
            done += block.size
            progress(reader.nbytes * done // max(1, entries), reader.nbytes)
    return result
