"""What a file holds, and the blocks in which it is processed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

Region = tuple[slice, ...]
"""A box of an array: one slice with start and stop for each axis."""

Lengths = tuple[int, ...]
"""How long the blocks of a regular grid are along each axis."""

BYTES = 2**21
"""Bytes of a block that is one run of the file, so that it stays in the processor's cache."""

MORE_FOR_PYTHON = 4
"""How much larger such a block is for code in Python, whose calls cost as much for a few slices as for many."""

BYTES_OF_PARTIAL_SLICES = 2**23
"""Bytes of a block of partial slices: merging the states of blocks costs as much for a few entries as for many."""

BYTES_READ = 2**25
"""Bytes to read at once where a slice is not one run, since more of them make longer runs; also the most to read."""

RUN = 2**12
"""Bytes in one run below which it is quicker to read whole runs twice."""

BATCH = 2**12
"""Slices side by side in a block of partial slices."""

ROWS_READ = 2**19
"""Entries of a table to read at once: as text and as Python's numbers they take ten times the room."""

ENTRIES = 2**20
"""Entries to compute at once: enough to outweigh a call, few enough for the processor's cache."""


OTHER_DTYPE = "pass dtype='float32' (--dtype float32), or write a .safetensors file"
"""What helps where a format does not hold the dtype of a result."""


class Index(Protocol):
    """The columns of a table that name its rows, as those of a pandas index. Rows are taken from first to last."""

    names: tuple[str, ...]

    def texts(self, rows: int) -> list[list[str]]:
        """The next `rows` entries of every column as text."""

    def arrays(self, rows: int) -> list[Any]:
        """The next `rows` entries of every column as arrays of Arrow."""

    def schema(self) -> Any:
        """The columns as a schema of Arrow, with the metadata of pandas."""

    def again(self) -> Index:
        """The same index from its first row."""

    def close(self) -> None:
        """Close the file."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The array in a file: order "F" if its first axis is the contiguous one.

    `reduced` is an axis that the array does not have, for one value per slice; it stands in `shape` with length 1.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Literal["C", "F"] = "C"
    names: tuple[str, ...] | None = None
    """The names of a table's columns."""
    tensor: str | None = None
    """The name of the array in the file."""
    chunks: Lengths | None = None
    """The grid that the array is stored in, which blocks keep to."""
    reduced: int | None = None
    index: Index | None = None
    """The columns that name the rows of a table."""
    resized: int | None = None
    """An axis that is not as long as that of the source."""

    @property
    def final_shape(self) -> tuple[int, ...]:
        """The shape without the reduced axis."""
        return self.without_reduced(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the entries."""
        return math.prod(self.shape) * self.dtype.itemsize

    def without_reduced(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """One of `values` for each axis that the array has."""
        return tuple(n for a, n in enumerate(values) if a != self.reduced)

    def place(self, region: Region) -> Region:
        """Where the result for a region of whole slices belongs."""
        changed = (self.reduced, self.resized)
        return tuple(slice(0, self.shape[a]) if a in changed else part for a, part in enumerate(region))


def shape_of(region: Region) -> tuple[int, ...]:
    """Count the entries of a region along each axis."""
    return tuple(part.stop - part.start for part in region)


def regions(shape: tuple[int, ...], lengths: Lengths, order: str, axis: int | None = None) -> Iterator[Region]:
    """Blocks of a regular grid that cover an array, in the order in which they are stored.

    One without length along `axis` still has a result for each of its slices, so that it is a block, too.
    """
    sizes = [1 if a == axis and n == 0 else n for a, n in enumerate(shape)]
    starts = [range(0, n, length) for n, length in zip(sizes, lengths, strict=True)]
    for start in itertools.product(*starts) if order == "C" else map(reversed, itertools.product(*starts[::-1])):
        yield tuple(slice(i, min(i + step, n)) for i, step, n in zip(start, lengths, shape, strict=True))


def whole_slices(contents: Contents, axis: int, by_rows: bool, more: int = 1) -> Lengths:
    """How long blocks of whole slices along `axis` are, and how much longer where they are one run."""
    shape, order = contents.shape, contents.order
    if by_rows:
        return (max(1, shape[0]) if axis == 0 else _rows(contents), *(max(1, n) for n in shape[1:]))
    one_run = axis == (len(shape) - 1 if order == "C" else 0)
    return _filled(contents, axis, (more * BYTES if one_run else BYTES_READ) // contents.dtype.itemsize)


def partial_slices(contents: Contents, axis: int, by_rows: bool) -> Lengths:
    """How long blocks of partial slices along `axis` are, no more slices side by side than make long runs."""
    shape = contents.shape
    if by_rows:
        return (_rows(contents), *(max(1, n) for n in shape[1:]))
    lengths, room = list(_unit(contents)), BYTES_OF_PARTIAL_SLICES // contents.dtype.itemsize
    closest = list(reversed(range(len(shape)))) if contents.order == "C" else list(range(len(shape)))
    inner = closest[: closest.index(axis)]
    _fill(lengths, contents, inner, min(BATCH, room))
    _fill(lengths, contents, [axis], room)
    return tuple(lengths)


def needs_parts(contents: Contents, axis: int, lengths: Lengths, by_rows: bool) -> bool:
    """Whether blocks of these whole slices are too large, or their runs too short to be read as such."""
    if by_rows:
        return axis == 0 and contents.shape[0] > _rows(contents)
    if math.prod(lengths) * contents.dtype.itemsize > BYTES_READ:
        return True
    if contents.chunks is not None:
        return False
    shape = contents.shape if contents.order == "C" else contents.shape[::-1]
    lengths = lengths if contents.order == "C" else lengths[::-1]
    run = contents.dtype.itemsize
    for n, length in zip(reversed(shape), reversed(lengths), strict=True):
        run *= length
        if length < n:
            return run < RUN
    return False


def array_regions(shape: tuple[int, ...], axis: int, order: Literal["C", "F"]) -> Iterator[Region]:
    """Blocks of whole slices along `axis` that cover an array, small enough to compute at once."""
    contents = Contents(shape, np.dtype(np.int8), order)
    return regions(shape, _filled(contents, axis, ENTRIES), order, axis)


def _rows(contents: Contents) -> int:
    unit = _unit(contents)[0]
    return unit * max(1, ROWS_READ // max(1, unit * math.prod(contents.shape[1:])))


def _unit(contents: Contents) -> Lengths:
    units = contents.chunks or (1,) * len(contents.shape)
    return tuple(max(1, min(unit, n)) for unit, n in zip(units, contents.shape, strict=True))


def _filled(contents: Contents, axis: int, entries: int) -> Lengths:
    """Fill a block of `entries`, or of one slice, with the axes whose entries are closest together first."""
    lengths = list(_unit(contents))
    lengths[axis] = max(1, contents.shape[axis])
    axes = range(len(lengths))
    closest = [a for a in (reversed(axes) if contents.order == "C" else axes) if a != axis]
    _fill(lengths, contents, closest, entries)
    return tuple(lengths)


def _fill(lengths: list[int], contents: Contents, axes: list[int], entries: int) -> None:
    """Lengthen a block along `axes`, one after the other, by whole multiples, as far as `entries` allow."""
    for a in axes:
        room = max(1, entries // math.prod(lengths))
        lengths[a] = max(1, min(contents.shape[a], lengths[a] * room))
