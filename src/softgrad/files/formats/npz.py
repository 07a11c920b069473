"""Arrays in NumPy's .npz archives, which are read and not written."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from softgrad.files.blocks import Contents, Region, shape_of
from softgrad.files.formats.flat import FlatReader
from softgrad.files.formats.npy import contents_of
from softgrad.files.selection import Selection

Array = np.ndarray[Any, Any]

LOCAL_HEADER = 30
"""Bytes before the name of a member: the last four are the lengths of the name and of what follows it."""

DAMAGE = (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, UnicodeError, ValueError, zlib.error)
"""What Python makes of a damaged archive, or of one that is encrypted; errors of seeking besides."""


def reader(path: Path, selection: Selection) -> StoredReader | CompressedReader:
    """The reader of an array in an archive: the one that is named, or the only one."""
    with _damage_named(path), zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    try:
        name = selection.array(sorted(members), "array")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    kind = StoredReader if members[name].compress_type == zipfile.ZIP_STORED else CompressedReader
    with _damage_named(path):
        return kind(path, replace(selection, tensor=name), members[name])


class StoredReader(FlatReader):
    """An array that is stored in an archive as in a .npy file."""

    def __init__(self, path: Path, selection: Selection, member: zipfile.ZipInfo) -> None:
        self._member = member
        super().__init__(path, selection)

    def _describe(self) -> tuple[Contents, int]:
        self._file.seek(self._member.header_offset)
        header = self._file.read(LOCAL_HEADER)
        if len(header) < LOCAL_HEADER or header[:4] != b"PK\3\4" or self._member.flag_bits & 1:
            raise ValueError(f"{self._path}: not an archive of NumPy arrays that can be read")
        name, extra = (int.from_bytes(header[place : place + 2], "little") for place in (26, 28))
        start = self._member.header_offset + LOCAL_HEADER + name + extra
        self._file.seek(start)
        contents = contents_of(self._file, f"{self._path}, array {self._selection.tensor!r}")
        offset = self._file.tell()
        if contents.nbytes > start + self._member.file_size - offset:
            raise ValueError(f"{self._path}: truncated: array {self._selection.tensor!r} is longer than its member")
        return replace(contents, tensor=self._selection.tensor), offset


class CompressedReader:
    """An array that is compressed in an archive, row by row."""

    by_rows = True

    def __init__(self, path: Path, selection: Selection, member: zipfile.ZipInfo) -> None:
        self._path, self._row = path, 0
        self._archive = zipfile.ZipFile(path)
        self._file: Any = None
        try:
            self._file = self._archive.open(member)
            contents = self._contents(selection.tensor)
        except BaseException:
            self.close()
            raise
        self.contents = replace(contents, tensor=selection.tensor)
        self.nbytes = contents.nbytes

    def read(self, region: Region) -> Array:
        """Return the rows of the first slice of `region`."""
        rows = region[0]
        step = self.contents.nbytes // max(1, self.contents.shape[0])
        values = np.empty(shape_of(region), self.contents.dtype)
        with _damage_named(self._path):
            self._file.seek((rows.start - self._row) * step, 1)
            self._row = rows.stop
            _fill(self._file, values.reshape(-1).view(np.uint8).data)
            if rows.stop == self.contents.shape[0]:
                self._file.read(1)  # at the end the checksum is compared
        return values

    def close(self) -> None:
        """Close the archive."""
        if self._file is not None:
            self._file.close()  # holds the archive open
        self._archive.close()

    def _contents(self, name: str | None) -> Contents:
        contents = contents_of(self._file, f"{self._path}, array {name!r}")
        if contents.order == "F" and len(contents.shape) > 1:
            raise ValueError(
                f"{self._path}: array {name!r} is compressed and in Fortran order, so that it cannot be read by rows;"
                " save it by numpy.savez"
            )
        return contents


def _fill(file: BinaryIO, buffer: memoryview) -> None:
    while buffer:
        count = file.readinto(buffer)  # type: ignore[attr-defined]
        if not count:
            raise EOFError("it ends too early")
        buffer = buffer[count:]


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Put the name of the file before what is wrong with it, in one line."""
    try:
        yield
    except (*DAMAGE, OSError) as error:
        if str(error).startswith(str(path)) or getattr(error, "filename", None) is not None:
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path}: not an archive of NumPy arrays that can be read ({reason})") from None
