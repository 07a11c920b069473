"""What is read: a file, an array inside one, several shards one after the other, or an array in memory."""

from __future__ import annotations

import itertools
import os
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from softgrad.files.blocks import Contents, Index, Region, shape_of
from softgrad.files.formats.arrow import concatenated
from softgrad.files.formats.table import FORMATS, Reader, format_of
from softgrad.files.selection import Selection, shortened

Array = np.ndarray[Any, Any]


def open_source(source: Any, selection: Selection) -> Reader:
    """Open a path, a sequence of paths as one array along the first axis, or an array."""
    if is_path(source):
        return _open_file(Path(source), selection)
    if is_shards(source):
        return Shards([Path(path) for path in source], selection)
    if selection.tensor is not None or selection.columns is not None:
        raise ValueError("tensor and columns are for files; an array in memory is given itself")
    return ArrayReader(source, selection)


def is_path(source: Any) -> bool:
    """Whether a source is one file."""
    return isinstance(source, str | os.PathLike)


def is_shards(source: Any) -> bool:
    """Whether a source is a sequence of files, not of names: their suffixes show it."""
    if not isinstance(source, list | tuple) or not source or not all(map(is_path, source)):
        return False
    return any(isinstance(path, os.PathLike) or str(path).lower().endswith(tuple(FORMATS)) for path in source)


def described(source: Any) -> str:
    """What messages call a source; "" for an array."""
    if is_path(source):
        return str(source)
    return f"{source[0]} and its other shards" if is_shards(source) else ""


def _open_file(path: Path, selection: Selection) -> Reader:
    inside = next((parent for parent in path.parents if parent.suffix.lower() == ".zarr"), None)
    if inside is not None and not path.name.lower().endswith(tuple(FORMATS)):  # data.zarr/logits
        selection = replace(selection, tensor=path.relative_to(inside).as_posix())
        path = inside
    form = format_of(path)
    if selection.tensor is not None and not form.has_tensors:
        raise ValueError(
            f"tensor is for .npz and .safetensors files and .zarr groups, which hold several; got {selection.tensor!r}"
        )
    if selection.columns is not None and not form.has_columns:
        tables = ", ".join(suffix for suffix, form in FORMATS.items() if form.has_columns)
        raise ValueError(f"columns is for tables ({tables}); got {list(selection.columns)}")
    if path.exists() and not (path.is_file() or path.is_dir()):  # reading a pipe would wait for somebody to write
        raise ValueError(f"{path}: a source must be a file whose size is known; this is a pipe or a device")
    return form.reader(path, selection)


class Shards:
    """Several files as one array: the first axis goes through one after the other. One of them is open at a time."""

    def __init__(self, paths: list[Path], selection: Selection) -> None:
        self._paths, self._selection = paths, selection
        self._contents: list[Contents] = []
        self._reader: Reader | None = None
        self._number = -1
        self.nbytes, self.by_rows = 0, False
        try:
            for number in range(len(paths)):
                reader = self._opened(number)
                self._contents.append(self._checked(reader.contents, number))
                self.nbytes += reader.nbytes
                self.by_rows |= reader.by_rows
        except BaseException:
            self.close()
            raise
        self._starts = [0, *itertools.accumulate(contents.shape[0] for contents in self._contents)]
        self.contents = self._joined()

    def read(self, region: Region) -> Array:
        """Return the entries of `region`."""
        rows, others = region[0], region[1:]
        parts, row, number = [], rows.start, self._shard(rows.start)
        while row < rows.stop:
            first, end = self._starts[number], min(rows.stop, self._starts[number + 1])
            if row < end:
                parts.append(self._opened(number).read((slice(row - first, end - first), *others)))
            row, number = end, number + 1
        if len(parts) == 1:
            return parts[0]
        values = np.empty(shape_of(region), self.contents.dtype, self.contents.order)
        return np.concatenate(parts, out=values) if parts else values

    def located(self, row: int) -> tuple[str, int]:
        """The file of a row, and which row of that it is."""
        number = self._shard(row)
        return str(self._paths[number]), row - self._starts[number]

    def close(self) -> None:
        """Close the file that is open."""
        if self._reader is not None:
            self._reader.close()
        self._reader = None

    def _shard(self, row: int) -> int:
        return max(0, min(bisect_right(self._starts, row), len(self._paths)) - 1)

    def _opened(self, number: int) -> Reader:
        if self._reader is None or number != self._number:
            self.close()
            self._reader, self._number = _open_file(self._paths[number], self._selection), number
            known = self._contents[number : number + 1]
            if known and known[0].shape != self._reader.contents.shape:
                raise ValueError(f"{self._paths[number]}: the file changed while it was read")
        return self._reader

    def _checked(self, contents: Contents, number: int) -> Contents:
        """What a shard holds, if it goes on as the first."""
        if not contents.shape:
            raise ValueError(f"{self._paths[number]}: a shard has at least one axis; got shape ()")
        first = self._contents[0] if self._contents else contents
        found, expected = ((c.dtype, c.shape[1:], c.names) for c in (contents, first))
        if found != expected:
            what = "columns" if found[:2] == expected[:2] else "dtype and slices"
            raise ValueError(
                f"{self._paths[number]}: shards must have the same {what} as the first, {self._paths[0]}:"
                f" {_summary(first)}; got {_summary(contents)}"
            )
        return contents

    def _joined(self) -> Contents:
        first, *others = self._contents
        order = first.order if all(contents.order == first.order for contents in others) else "C"
        chunks = first.chunks
        if chunks is not None:  # of one grid: each shard but the last ends with a chunk
            whole = all(contents.shape[0] % chunks[0] == 0 for contents in self._contents[:-1])
            chunks = chunks if whole and all(contents.chunks == chunks for contents in others) else None
        indexes = [contents.index for contents in self._contents]
        index = None
        if all(i is not None and i.names and i.names == getattr(indexes[0], "names", None) for i in indexes):
            index = ShardsIndex([i for i in indexes if i is not None], [c.shape[0] for c in self._contents])
        rows = self._starts[-1]
        return replace(first, shape=(rows, *first.shape[1:]), order=order, chunks=chunks, index=index)


class ShardsIndex:
    """The index of several tables, one after the other."""

    def __init__(self, indexes: list[Index], lengths: list[int]) -> None:
        self._indexes, self._lengths = indexes, lengths
        self._number, self._row = 0, 0
        self.names = indexes[0].names

    def texts(self, rows: int) -> list[list[str]]:
        """The next `rows` entries of every column as text."""
        found = [self._indexes[number].texts(count) for number, count in self._next(rows)]
        return [list(itertools.chain(*column)) for column in zip(*found, strict=True)]

    def arrays(self, rows: int) -> list[Any]:
        """The next `rows` entries of every column as arrays of Arrow."""
        found = [self._indexes[number].arrays(count) for number, count in self._next(rows)]
        return [concatenated(column) for column in zip(*found, strict=True)]

    def schema(self) -> Any:
        """The columns as a schema of Arrow, with the metadata of pandas."""
        schemas = [index.schema() for index in self._indexes]
        if any(schema != schemas[0] for schema in schemas):
            raise ValueError("the indexes of the shards have different types")
        return schemas[0]

    def again(self) -> ShardsIndex:
        """The same index from its first row."""
        return ShardsIndex([index.again() for index in self._indexes], self._lengths)

    def close(self) -> None:
        """Close the files."""
        for index in self._indexes:
            index.close()

    def _next(self, rows: int) -> Iterator[tuple[int, int]]:
        """Which shards the next rows are in, and how many in each, at least one."""
        while True:
            left = self._lengths[self._number] - self._row
            if left == 0 and self._number + 1 < len(self._indexes):
                self._indexes[self._number].close()
                self._number, self._row = self._number + 1, 0
                continue
            count = min(rows, left)
            self._row += count
            yield self._number, count
            rows -= count
            if rows == 0 or left == 0:
                return


class ArrayReader:
    """An array in memory, or one that is sliced as one, such as a Zarr array or an HDF5 data set."""

    by_rows = False

    def __init__(self, values: Any, selection: Selection) -> None:
        name = selection.called or "source"
        chunks = getattr(values, "shards", None) or getattr(values, "chunks", None)
        self._values = values if hasattr(values, "chunks") and hasattr(values, "__getitem__") else np.asarray(values)
        if self._values.dtype.kind in ("O", "T", "U"):
            self._values = _codes(self._values, name, selection)
        dtype = np.dtype(self._values.dtype)
        if dtype.kind not in "fiub" and dtype.name != "bfloat16":
            raise TypeError(f"{name} must be an array of numbers or the path of a file; got dtype {dtype}")
        shape = tuple(map(int, self._values.shape))
        flags = getattr(self._values, "flags", None)
        order: Literal["C", "F"] = "F" if flags is not None and flags.f_contiguous and not flags.c_contiguous else "C"
        regular = tuple(length for length in chunks or () if isinstance(length, int))
        self.contents = Contents(shape, dtype, order, chunks=regular if len(regular) == len(shape) > 0 else None)
        self.nbytes = self.contents.nbytes

    def read(self, region: Region) -> Array:
        """Return a copy of the entries of `region`, which functions may write into."""
        return np.array(self._values[region], order=self.contents.order)

    def close(self) -> None:
        """Do nothing: the array is the caller's."""


def _codes(labels: Array, name: str, selection: Selection) -> Array:
    """The numbers of names of classes."""
    texts = np.asarray(labels).ravel().tolist()
    if selection.classes is None or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{name} must be an array of numbers or the path of a file; got dtype {labels.dtype}")
    codes, bad = selection.classes.codes(texts)
    if bad is not None:
        raise ValueError(f"{name}[{bad}]: {selection.classes.refusal(texts[bad])}")
    return codes.reshape(labels.shape)


def _summary(contents: Contents) -> str:
    names = "" if contents.names is None else f" with columns {shortened(contents.names)}"
    return f"{contents.dtype} of shape {contents.shape}{names}"
