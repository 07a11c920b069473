"""The table of file formats: what a reader and a writer are, and which ones a suffix stands for."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from softgrad.files.atomic import replacing, replacing_directory
from softgrad.files.blocks import Contents, Region, Selection
from softgrad.files.formats.csv import CsvReader, CsvWriter
from softgrad.files.formats.npy import NpyReader, NpyWriter
from softgrad.files.formats.parquet import ParquetReader, ParquetWriter
from softgrad.files.formats.safetensors import SafetensorsReader, SafetensorsWriter
from softgrad.files.formats.zarr import ZarrReader, ZarrWriter, not_replaced

Array = np.ndarray[Any, Any]


class Reader(Protocol):
    """An open input file. With `by_rows`, `read` is called for rows from the first to the last, each at most once."""

    by_rows: ClassVar[bool]
    contents: Contents
    nbytes: int

    def __init__(self, path: Path, selection: Selection) -> None: ...

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


class ResumableWriter(Writer, Protocol):
    """An output that can be filled further: what was written can be read again."""

    def read(self, region: Region) -> Array | None:
        """What was written at `region`; None if that is damaged."""


class Format(NamedTuple):
    """How files of one suffix are read and written, and what they can do."""

    reader: type[Reader]
    writer: type[Writer]
    replacing: Callable[[Path, bool], AbstractContextManager[Path]] = replacing
    """How an output comes to its name when it is complete."""
    has_tensors: bool = False
    """Whether a file holds several arrays by name."""
    has_columns: bool = False
    """Whether a file is a table, whose columns have names."""
    resumable: bool = False
    """Whether the writer is a `ResumableWriter`."""


FORMATS = {
    ".csv": Format(CsvReader, CsvWriter, has_columns=True),
    ".npy": Format(NpyReader, NpyWriter),
    ".parquet": Format(ParquetReader, ParquetWriter, has_columns=True),
    ".safetensors": Format(SafetensorsReader, SafetensorsWriter, has_tensors=True),
    ".zarr": Format(
        ZarrReader,
        ZarrWriter,
        partial(replacing_directory, not_replaced=not_replaced),
        has_tensors=True,
        resumable=True,
    ),
}
"""The formats by suffix: adding one is adding a row."""


def format_of(path: Path) -> Format:
    """The format that the suffix of `path` names; ValueError if there is none."""
    suffix = path.suffix.lower()
    if suffix in FORMATS:
        return FORMATS[suffix]
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    *others, last = FORMATS
    raise ValueError(f"{path}: the suffix must be {', '.join(others)} or {last}; got {suffix or 'none'}")
