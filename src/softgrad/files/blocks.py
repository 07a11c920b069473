"""What a file holds, and the blocks in which it is gone through."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Region = tuple[slice, ...]
"""A box of an array: one slice with start and stop for each axis."""

BYTES_READ = 2**25
"""Bytes to read at once: columns of a long array lie scattered, and more of them make longer runs."""

ROWS_READ = 2**17
"""Entries of a table in text to read at once: as text and as Python's numbers they take ten times the room."""

ENTRIES = 2**20
"""Entries to compute at once: enough to outweigh a call, few enough for the processor's cache."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The array in a file: order "F" if its first axis is the contiguous one, header the first line of a table.

    `reduced` is an axis that the array does not have, for one value per slice; it stands in `shape` with length 1.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Literal["C", "F"] = "C"
    header: str | None = None
    reduced: int | None = None

    @property
    def final_shape(self) -> tuple[int, ...]:
        """The shape without the reduced axis."""
        return tuple(n for a, n in enumerate(self.shape) if a != self.reduced)

    def place(self, region: Region) -> Region:
        """Where the result for a region of whole slices belongs."""
        return tuple(slice(0, 1) if a == self.reduced else piece for a, piece in enumerate(region))


def shape_of(region: Region) -> tuple[int, ...]:
    """Count the entries of a region along each axis."""
    return tuple(piece.stop - piece.start for piece in region)


def file_regions(contents: Contents, axis: int, by_rows: bool) -> Iterator[Region]:
    """Blocks of whole slices along `axis` that cover what a file holds, in the order in which they lie in it."""
    shape = contents.shape
    if by_rows:
        rows = shape[0] if axis == 0 else max(1, ROWS_READ // max(1, math.prod(shape[1:])))
        return _regions(shape, axis, "C", (rows, *(max(1, n) for n in shape[1:])))
    lengths = _contiguous(shape, axis, contents.order, BYTES_READ // contents.dtype.itemsize)
    return _regions(shape, axis, contents.order, lengths)


def array_regions(shape: tuple[int, ...], axis: int, order: str) -> Iterator[Region]:
    """Blocks of whole slices along `axis` that cover an array, small enough to compute at once."""
    return _regions(shape, axis, order, _contiguous(shape, axis, order, ENTRIES))


def _regions(shape: tuple[int, ...], axis: int, order: str, lengths: tuple[int, ...]) -> Iterator[Region]:
    starts = [range(1) if a == axis else range(0, n, lengths[a]) for a, n in enumerate(shape)]
    for start in itertools.product(*starts) if order == "C" else map(reversed, itertools.product(*starts[::-1])):
        yield tuple(slice(i, min(i + step, n)) for i, step, n in zip(start, lengths, shape, strict=True))


def _contiguous(shape: tuple[int, ...], axis: int, order: str, entries: int) -> tuple[int, ...]:
    """Fill a block of `entries`, or of one slice, with the axes that lie closest together first."""
    lengths = [1] * len(shape)
    lengths[axis] = shape[axis]
    room = entries // max(1, shape[axis])
    for a in reversed(range(len(shape))) if order == "C" else range(len(shape)):
        if a != axis:
            lengths[a] = max(1, min(shape[a], room))
            room //= lengths[a]
    return tuple(lengths)
