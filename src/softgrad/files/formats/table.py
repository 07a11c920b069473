"""The table of file formats: what a reader and a writer are, and which ones a suffix stands for."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from softgrad.files.atomic import replacing, replacing_directory
from softgrad.files.blocks import Contents, Region
from softgrad.files.formats import npz, safetensors
from softgrad.files.formats.csv import CsvReader, CsvWriter
from softgrad.files.formats.feather import ArrowReader, ArrowWriter
from softgrad.files.formats.npy import NpyReader, NpyWriter
from softgrad.files.formats.parquet import ParquetReader, ParquetWriter
from softgrad.files.formats.safetensors import SafetensorsReader, SafetensorsWriter
from softgrad.files.formats.zarr import ZarrReader, ZarrWriter, not_replaced
from softgrad.files.selection import Selection

Array = np.ndarray[Any, Any]


class Reader(Protocol):
    """An open array. With `by_rows`, `read` is called for rows from the first to the last, each at most once."""

    by_rows: bool
    contents: Contents
    nbytes: int

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

    reader: Callable[[Path, Selection], Reader]
    writer: type[Writer] | None = None
    """None: these files are only read."""
    replacing: Callable[[Path, bool], AbstractContextManager[Path]] = replacing
    """How an output comes to its name when it is complete."""
    has_tensors: bool = False
    """Whether a file holds several arrays by name."""
    has_columns: bool = False
    """Whether a file is a table, whose columns have names."""
    resumable: bool = False
    """Whether the writer is a `ResumableWriter`."""


FORMATS = {
    ".arrow": Format(ArrowReader, ArrowWriter, has_columns=True),
    ".csv": Format(CsvReader, CsvWriter, has_columns=True),
    ".feather": Format(ArrowReader, ArrowWriter, has_columns=True),
    ".npy": Format(NpyReader, NpyWriter),
    ".npz": Format(npz.reader, has_tensors=True),
    ".parquet": Format(ParquetReader, ParquetWriter, has_columns=True),
    ".safetensors": Format(SafetensorsReader, SafetensorsWriter, has_tensors=True),
    ".safetensors.index.json": Format(safetensors.of_index, has_tensors=True),
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
    name = path.name.lower()
    form = next((form for suffix, form in FORMATS.items() if name.endswith(suffix)), None)
    if form is not None:
        return form
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise ValueError(f"{path}: the suffix must be {_listed(FORMATS)}; got {path.suffix or 'none'}")


def writer_of(path: Path) -> type[Writer]:
    """The writer of the format that the suffix of `path` names; ValueError if there is none."""
    writer = format_of(path).writer
    if writer is None:
        written = _listed([suffix for suffix, form in FORMATS.items() if form.writer is not None])
        raise ValueError(f"{path}: such files are only read; the suffix of a target must be {written}")
    return writer


def _listed(suffixes: Iterable[str]) -> str:
    *others, last = suffixes
    return f"{', '.join(others)} or {last}"
