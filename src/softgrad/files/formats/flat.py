"""Arrays stored in a file as in memory, from some byte on: read and written block by block.

Plain reads and writes rather than a memory map: mapped pages count as the process's memory until the system takes them
back, and a full disk or a file cut short would end the process by a signal instead of an error that can be reported.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from softgrad.files.blocks import Contents, Region, shape_of
from softgrad.files.selection import Selection

Array = np.ndarray[Any, Any]


class FlatReader:
    """An array in a file, of either order. A format adds `_describe`, which finds where and what it is."""

    by_rows = False
    contents: Contents
    nbytes: int

    def __init__(self, path: Path, selection: Selection) -> None:
        self._path = path
        self._selection = selection
        self._file = path.open("rb", buffering=0)  # a buffer would read too much at every stride
        try:
            self.contents, self._offset = self._describe()
            self.nbytes = self._check_size()
        except BaseException:
            self._file.close()
            raise

    def read(self, region: Region) -> Array:
        """Return the entries of `region`, one read for each run that is contiguous in the file."""
        dtype = self.contents.dtype
        shape = shape_of(region)
        values = np.empty(math.prod(shape), dtype)
        buffer = values.view(np.uint8).data
        for start, stop in runs(self.contents, region):
            self._file.seek(self._offset + start * dtype.itemsize)
            self._fill(buffer[: (stop - start) * dtype.itemsize])
            buffer = buffer[(stop - start) * dtype.itemsize :]
        return values.reshape(shape, order=self.contents.order)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _describe(self) -> tuple[Contents, int]:
        """What the file holds, and its first byte."""
        raise NotImplementedError

    def _fill(self, buffer: memoryview) -> None:
        while buffer:
            count = self._file.readinto(buffer)
            if not count:
                raise ValueError(f"{self._path}: the file became shorter while it was read")
            buffer = buffer[count:]

    def _check_size(self) -> int:
        promised = self.contents.nbytes
        available = self._path.stat().st_size - self._offset
        if available < promised:
            raise ValueError(
                f"{self._path}: truncated: {self.contents.dtype} of shape {self.contents.shape} takes {promised} bytes,"
                f" the file has {available}"
            )
        return promised


class FlatWriter:
    """A file that is filled in any order of regions, all of which together cover the array."""

    by_rows: ClassVar[bool] = False
    any_order: ClassVar[bool] = True

    def __init__(self, path: Path, contents: Contents) -> None:
        self._contents = contents
        header = self._header(contents)
        self._offset = len(header)
        self._file = path.open("r+b", buffering=0)
        self._put(0, header)

    def write(self, region: Region, values: Array) -> None:
        """Put `values` at `region`, one write for each run that is contiguous in the file."""
        itemsize = self._contents.dtype.itemsize
        buffer = np.ravel(values, order=self._contents.order).view(np.uint8).data
        for start, stop in runs(self._contents, region):
            self._put(self._offset + start * itemsize, buffer[: (stop - start) * itemsize])
            buffer = buffer[(stop - start) * itemsize :]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _header(self, contents: Contents) -> bytes:
        """Everything before the first entry."""
        raise NotImplementedError

    def _put(self, offset: int, data: bytes | memoryview) -> None:
        self._file.seek(offset)
        while data:
            data = data[self._file.write(data) :]


def runs(contents: Contents, region: Region) -> Iterator[tuple[int, int]]:
    """Cut a region into runs of entries, start and stop, that are contiguous in the file, first to last."""
    shape = contents.shape
    if contents.order == "F":
        shape, region = shape[::-1], region[::-1]
    lengths = shape_of(region)
    strides = [math.prod(shape[a + 1 :]) for a in range(len(shape))]
    last = len(shape) - 1  # the last axis that is not taken as a whole: under one index before it, a run
    while last and lengths[last] == shape[last]:
        last -= 1
    outer = [np.arange(part.start, part.stop) * stride for part, stride in zip(region[:last], strides, strict=False)]
    starts = sum(np.ix_(*outer), np.intp(region[last].start * strides[last]))
    for start in np.ravel(starts).tolist():
        yield start, start + lengths[last] * strides[last]
