"""NumPy's .npy files, read and written in pieces.

Plain reads and writes rather than a memory map: mapped pages count as the process's memory until the system takes them
back, and a full disk or a file cut short would end the process by a signal instead of an error that can be reported.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from softgrad.files.blocks import Contents, Region, shape_of

Array = np.ndarray[Any, Any]


class NpyReader:
    """An array in a .npy file, of either order."""

    by_rows: ClassVar[bool] = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _open(path)
        try:
            self.contents = self._read_header()
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
        for start, stop in _runs(self.contents, region):
            self._file.seek(self._offset + start * dtype.itemsize)
            self._fill(buffer[: (stop - start) * dtype.itemsize])
            buffer = buffer[(stop - start) * dtype.itemsize :]
        return values.reshape(shape, order=self.contents.order)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _fill(self, buffer: memoryview) -> None:
        while buffer:
            count = self._file.readinto(buffer)
            if not count:
                raise ValueError(f"{self._path}: the file became shorter while it was read")
            buffer = buffer[count:]

    def _read_header(self) -> Contents:
        try:
            version = np.lib.format.read_magic(self._file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(self._file)
        except ValueError as error:
            raise ValueError(f"{self._path}: not a NumPy array file ({str(error).splitlines()[0]})") from None
        if dtype.kind not in "fiub":
            raise TypeError(f"{self._path}: the array must hold real numbers; got dtype {dtype}")
        return Contents(shape, dtype, "F" if fortran else "C")

    def _check_size(self) -> int:
        self._offset = self._file.tell()
        promised = math.prod(self.contents.shape) * self.contents.dtype.itemsize
        present = self._path.stat().st_size - self._offset
        if present < promised:
            raise ValueError(
                f"{self._path}: truncated: {self.contents.dtype} of shape {self.contents.shape} takes {promised} bytes,"
                f" the file has {present}"
            )
        return promised


class NpyWriter:
    """A .npy file that is filled in any order of regions, all of which together cover the array."""

    by_rows: ClassVar[bool] = False

    def __init__(self, file: BinaryIO, contents: Contents) -> None:
        shape = contents.final_shape
        header = {
            "descr": np.lib.format.dtype_to_descr(contents.dtype),
            "fortran_order": contents.order == "F" and len(shape) > 1,
            "shape": shape,
        }
        np.lib.format.write_array_header_1_0(file, header)
        self._file = file
        self._contents = contents
        self._offset = file.tell()

    def write(self, region: Region, values: Array) -> None:
        """Put `values` at `region`, one write for each run that is contiguous in the file."""
        itemsize = self._contents.dtype.itemsize
        buffer = np.ravel(values, order=self._contents.order).view(np.uint8).data
        for start, stop in _runs(self._contents, region):
            self._file.seek(self._offset + start * itemsize)
            self._file.write(buffer[: (stop - start) * itemsize])
            buffer = buffer[(stop - start) * itemsize :]


def _open(path: Path) -> FileIO:
    return open(path, "rb", buffering=0)  # a buffer would read ahead of every strided piece


def _runs(contents: Contents, region: Region) -> Iterator[tuple[int, int]]:
    """Cut a region into runs of entries, start and stop, that are contiguous in the file, first to last."""
    shape = contents.shape
    if contents.order == "F":
        shape, region = shape[::-1], region[::-1]
    lengths = shape_of(region)
    strides = [math.prod(shape[a + 1 :]) for a in range(len(shape))]
    last = len(shape) - 1  # the last axis that is not taken as a whole: under one index before it, a run
    while last and lengths[last] == shape[last]:
        last -= 1
    outer = [np.arange(piece.start, piece.stop) * stride for piece, stride in zip(region[:last], strides, strict=False)]
    starts = sum(np.ix_(*outer), np.intp(region[last].start * strides[last]))
    for start in np.ravel(starts).tolist():
        yield start, start + lengths[last] * strides[last]
