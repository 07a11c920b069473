"""Tables of numbers in text (.csv), a block of rows at a time."""

from __future__ import annotations

import csv
import io
import itertools
import reprlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TextIO

import numpy as np

from softgrad.files.blocks import Contents, Region

Array = np.ndarray[Any, Any]


class CsvReader:
    """A table of float64. A first row in which no field is a number is a header; blank lines are passed over.

    A first row of numbers is data, whatever was meant: nothing distinguishes the names 0, 1, 2, … that pandas writes
    over columns without names (unless ``header=False``) from a row of logits.
    """

    by_rows: ClassVar[bool] = True

    def __init__(self, path: Path, tensor: str | None = None) -> None:
        del tensor  # a table has no name
        self._path = path
        self._file = _open(path)
        try:
            self.contents = self._scan()
        except BaseException:
            self._file.close()
            raise
        self.nbytes = path.stat().st_size
        self._file.seek(0)
        self._lines = itertools.islice(_numbered(self._file), self.contents.names is not None, None)

    def read(self, region: Region) -> Array:
        """Return the next rows: as many as the first slice of `region` is long."""
        rows = region[0].stop - region[0].start
        taken = list(itertools.islice(self._lines, rows))
        if len(taken) < rows:
            raise ValueError(f"{self._path}: the file became shorter while it was read")
        lines = [line for _, line in taken]
        try:
            values = np.loadtxt(lines, delimiter=",", comments=None, quotechar='"', ndmin=2)
        except ValueError as error:
            self._refuse(taken, str(error))
        if values.shape != (rows, self.contents.shape[1]):
            self._refuse(taken, f"expected {self.contents.shape[1]} columns; got {values.shape[1]}")
        return values

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _scan(self) -> Contents:
        """Find the shape and header of the table in one pass over its lines, without reading the numbers."""
        lines = _numbered(self._file)
        _, first = next(lines, (0, ""))
        if not first:
            raise ValueError(f"{self._path}: the file is empty; expected rows of numbers")
        fields = tuple(_fields(first))
        names = None if any(map(_is_number, fields)) else fields
        rows = sum(1 for _ in lines) + (names is None)
        if rows == 0:
            raise ValueError(f"{self._path}: no rows of numbers under the header")
        return Contents((rows, len(fields)), np.dtype(np.float64), names=names)

    def _refuse(self, lines: list[tuple[int, str]], reason: str) -> NoReturn:
        """Raise the ValueError that names the first field or row that is wrong."""
        columns = self.contents.shape[1]
        for number, line in lines:
            fields = _fields(line)
            place = f"{self._path}, line {number}"
            for column, field in enumerate(fields[:columns]):
                if not _is_number(field):
                    names = self.contents.names
                    name = "" if names is None else f" ({reprlib.repr(names[column])})"
                    got = reprlib.repr(field)
                    raise ValueError(f"{place}, column {column + 1}{name}: expected a number; got {got}")
            if len(fields) != columns:
                raise ValueError(f"{place}: expected {columns} columns, as in the first row; got {len(fields)}")
        raise ValueError(f"{self._path}, lines {lines[0][0]} to {lines[-1][0]}: {reason}")


class CsvWriter:
    """A table in text, each number in the fewest digits from which it can be read back exactly."""

    by_rows: ClassVar[bool] = True
    any_order: ClassVar[bool] = False

    def __init__(self, path: Path, contents: Contents) -> None:
        if len(contents.final_shape) > 2:
            raise ValueError(f"a .csv file holds at most 2 dimensions; the result has shape {contents.final_shape}")
        self._file = path.open("r+b")
        if contents.names is not None:
            self._write([contents.names])

    def write(self, region: Region, values: Array) -> None:
        """Append `values` as rows."""
        del region  # rows come in order
        rows = values.reshape(len(values), int(np.prod(values.shape[1:])))
        if rows.dtype != np.float64:  # Python prints float64 in the fewest digits, NumPy the others
            rows = rows.astype(str)
        self._write(rows.tolist())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, rows: Iterable[Iterable[Any]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._file.write(text.getvalue().encode(errors="surrogateescape"))


def _open(path: Path) -> TextIO:
    # Bytes that are no UTF-8 pass through in a header, and are reported as no number elsewhere.
    return open(path, encoding="utf-8-sig", errors="surrogateescape")


def _numbered(file: TextIO) -> Iterator[tuple[int, str]]:
    """Pass on the lines that are not blank, with their numbers in the file."""
    return ((number, line) for number, line in enumerate(file, 1) if not line.isspace())


def _fields(line: str) -> list[str]:
    try:
        return next(csv.reader([line], skipinitialspace=True))
    except csv.Error:  # no table at all: a field of megabytes
        return [line]


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field
