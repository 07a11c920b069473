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

from softgrad.files.blocks import OTHER_DTYPE, Contents, Region
from softgrad.files.formats import arrow
from softgrad.files.selection import Classes, Selection

Array = np.ndarray[Any, Any]

Line = tuple[int, str]
"""A line that is not blank, and its number in the file."""


class CsvReader:
    """A table of float64. A first row in which no field is a number is a header; blank lines are passed over.

    Columns at the left whose header is empty are an index, as pandas and R write it. Over an index the names may be
    numbers, 0, 1, 2, …; over other tables such a row is data, since nothing distinguishes it from a row of logits.
    """

    by_rows = True

    def __init__(self, path: Path, selection: Selection) -> None:
        self._path = path
        self._file = _open(path)
        try:
            self.contents = self._scan(selection)
        except BaseException:
            self._file.close()
            raise
        self.nbytes = path.stat().st_size
        self._lines = _Lines(path, self._file, self._has_header)

    def read(self, region: Region) -> Array:
        """Return the rows of the first slice of `region`."""
        lines = self._lines.take(region[0])
        if self._classes is not None:
            return self._codes(lines, self._classes)
        whole = len(self._chosen) == self._width
        if not whole:  # NumPy counts only the columns that it reads
            self._check_widths(lines)
        try:
            values = np.loadtxt(
                [line for _, line in lines],
                delimiter=",",
                comments=None,
                quotechar='"',
                ndmin=2,
                usecols=None if whole else self._chosen,
            )
        except ValueError as error:
            self._refuse(lines, str(error))
        if values.shape != (len(lines), len(self._chosen)):
            self._refuse(lines, f"expected {self._width} columns; got {values.shape[1]}")
        if np.isinf(values).any():
            self._check_infinite(lines)
        return values

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _scan(self, selection: Selection) -> Contents:
        """Find the shape and header of the table in one pass over its lines, without reading the numbers."""
        lines = _numbered(self._file)
        _, first = next(lines, (0, ""))
        if not first:
            raise ValueError(f"{self._path}: the file is empty; expected rows of numbers")
        fields = tuple(_fields(first))
        self._width = len(fields)
        second = next(lines, None)
        n_index = _index_columns(fields)
        if second is not None and n_index and not any(_fields(second[1])[:n_index]):
            raise ValueError(
                f"{self._path}, line {second[0]}: expected a row of numbers; got one without an entry in the index, "
                "such as the second line of a header of several lines: write one name for each column"
            )
        self._has_header = n_index > 0 or (
            not any(map(_is_number, fields)) and not self._names_classes(fields, second, selection)
        )
        self._names = fields if self._has_header else None
        self._chosen = self._choose(selection, n_index)
        if second is None and self._has_header:
            hint = _separator_hint(first)
            raise ValueError(f"{self._path}: no rows of numbers under the header{hint}")
        row = second[1] if second is not None and self._has_header else first
        is_text = selection.classes is not None and not all(map(_is_number, self._taken(row)))
        self._classes = selection.classes if is_text else None
        names = None if self._names is None else tuple(self._names[c] for c in self._chosen)
        index = CsvIndex(self._path, n_index) if n_index else None
        dtype = np.dtype(np.int64 if is_text else np.float64)
        rows = sum(1 for _ in lines) + (second is not None) + (not self._has_header)
        return Contents((rows, len(self._chosen)), dtype, names=names, index=index)

    @staticmethod
    def _names_classes(fields: tuple[str, ...], second: Line | None, selection: Selection) -> bool:
        """Whether the first row is data: names of classes, and not the name of a column of numbers."""
        if selection.classes is None or not any(field in selection.classes.names for field in fields):
            return False
        return second is None or not any(map(_is_number, _fields(second[1])))

    def _choose(self, selection: Selection, n_index: int) -> tuple[int, ...]:
        if self._names is None:
            if selection.columns is not None:
                raise ValueError(f"{self._path}: columns are chosen by name, and the file has no header")
            return tuple(range(self._width))
        try:
            return selection.places(self._names, range(n_index))
        except ValueError as error:
            raise ValueError(f"{self._path}: {error}") from None

    def _taken(self, line: str) -> list[str]:
        """The fields of a line that are in the columns chosen."""
        fields = _fields(line)
        return [fields[column] for column in self._chosen if column < len(fields)]

    def _codes(self, lines: list[Line], classes: Classes) -> Array:
        """The numbers of the classes that the rows name."""
        self._check_widths(lines)
        texts = [self._taken(line) for _, line in lines]
        codes, bad = classes.codes(itertools.chain.from_iterable(texts))
        if bad is not None:
            row, place = divmod(bad, len(self._chosen))
            where = self._place(lines[row][0], self._chosen[place])
            raise ValueError(f"{where}: {classes.refusal(texts[row][place])}")
        return codes.reshape(len(lines), len(self._chosen))

    def _check_widths(self, lines: list[Line]) -> None:
        for _, line in lines:
            if line.count(",") + 1 != self._width and len(_fields(line)) != self._width:
                self._refuse(lines, "rows of different lengths")

    def _check_infinite(self, lines: list[Line]) -> None:
        """An infinity is written as such: a number that is too large for float64 is a mistake."""
        for number, line in lines:
            fields = _fields(line)
            for column in self._chosen:
                if np.isinf(float(fields[column])) and "inf" not in fields[column].lower():
                    got = reprlib.repr(fields[column])
                    raise ValueError(f"{self._place(number, column)}: the number is too large for float64; got {got}")

    def _place(self, number: int, column: int) -> str:
        name = "" if self._names is None else f" ({reprlib.repr(self._names[column])})"
        return f"{self._path}, line {number}, column {column + 1}{name}"

    def _refuse(self, lines: list[Line], reason: str) -> NoReturn:
        """Raise the ValueError that names the first field or row that is wrong."""
        for number, line in lines:
            fields = _fields(line)
            for column in self._chosen:
                if column < len(fields) and not _is_number(fields[column]):
                    hint = _separator_hint(fields[column]) or _header_hint(number, fields) or self._others(column)
                    got = reprlib.repr(fields[column]) + hint
                    raise ValueError(f"{self._place(number, column)}: expected a number; got {got}")
            if len(fields) != self._width:
                raise ValueError(
                    f"{self._path}, line {number}: expected {self._width} columns, as in the first row;"
                    f" got {len(fields)}"
                )
        raise ValueError(f"{self._path}, lines {lines[0][0]} to {lines[-1][0]}: {reason}")

    def _others(self, column: int) -> str:
        """Say how the other columns are chosen, where the first one is no numbers: an index with a name, perhaps."""
        if self._names is None or column != self._chosen[0] or len(self._chosen) == 1:
            return ""
        return f" (columns={reprlib.repr([self._names[c] for c in self._chosen[1:]])} leaves it out)"


class CsvIndex:
    """The index of a table in text: the columns at its left."""

    def __init__(self, path: Path, count: int) -> None:
        self.names = ("",) * count
        self._path, self._count = path, count
        self._file: TextIO | None = None

    def texts(self, rows: int) -> list[list[str]]:
        """The next `rows` entries of every column as text."""
        if self._file is None:
            self._file = _open(self._path)
            self._lines = _Lines(self._path, self._file, True)
            self._row = 0
        lines = self._lines.take(slice(self._row, self._row + rows))
        self._row += rows
        return self._columns(lines)

    def arrays(self, rows: int) -> list[Any]:
        """The next `rows` entries of every column as arrays of Arrow."""
        return arrow.from_texts(self.texts(rows), self._integers)

    def schema(self) -> Any:
        """The columns as a schema of Arrow, with the metadata of pandas. A column is integers if every entry is."""
        self._integers = [True] * self._count
        with _open(self._path) as file:
            for line in itertools.islice(_numbered(file), 1, None):
                for place, text in enumerate(self._columns([line])):
                    self._integers[place] &= _is_integer(text[0])
        return arrow.index_schema(self._integers)

    def again(self) -> CsvIndex:
        """The same index from its first row."""
        return CsvIndex(self._path, self._count)

    def _columns(self, lines: list[Line]) -> list[list[str]]:
        return [list(column) for column in zip(*(_fields(line)[: self._count] for _, line in lines), strict=True)]

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class CsvWriter:
    """A table in text, each number in the fewest digits from which it can be read back exactly."""

    by_rows: ClassVar[bool] = True
    any_order: ClassVar[bool] = False

    def __init__(self, path: Path, contents: Contents) -> None:
        if len(contents.final_shape) > 2:
            raise ValueError(f"a .csv file holds at most 2 dimensions; the result has shape {contents.final_shape}")
        if contents.dtype.kind not in "fiub":
            raise TypeError(f"a .csv file holds no {contents.dtype}; {OTHER_DTYPE}")
        self._file = path.open("r+b")
        self._index = contents.index if contents.index is not None and contents.index.names else None
        if contents.names is not None or self._index is not None:
            names = contents.names if contents.names is not None else ("values",)
            self._write([(*(self._index.names if self._index else ()), *names)])

    def write(self, region: Region, values: Array) -> None:
        """Append `values` as rows."""
        del region  # rows come in order
        rows = values.reshape(len(values), int(np.prod(values.shape[1:])))
        if rows.dtype != np.float64:  # Python prints float64 in the fewest digits, NumPy the others
            rows = rows.astype(str)
        if self._index is None:
            self._write(rows.tolist())
        else:
            names = zip(*self._index.texts(len(rows)), strict=True)
            self._write([*name, *row] for name, row in zip(names, rows.tolist(), strict=True))

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        if self._index is not None:
            self._index.close()

    def _write(self, rows: Iterable[Iterable[Any]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._file.write(text.getvalue().encode(errors="surrogateescape"))


class _Lines:
    """The rows of a table as lines, taken from the first to the last; rows between may be passed over."""

    def __init__(self, path: Path, file: TextIO, has_header: bool) -> None:
        self._path = path
        file.seek(0)
        self._lines = itertools.islice(_numbered(file), has_header, None)
        self._row = 0

    def take(self, rows: slice) -> list[Line]:
        found = list(itertools.islice(self._lines, rows.start - self._row, rows.stop - self._row))
        self._row = rows.stop
        if len(found) < rows.stop - rows.start:
            raise ValueError(f"{self._path}: the file became shorter while it was read")
        return found


def _index_columns(fields: tuple[str, ...]) -> int:
    """The number of columns at the left that are an index: empty over names, or over the numbers 0, 1, 2, …."""
    count = sum(1 for _ in itertools.takewhile(lambda field: not field, fields))
    names = fields[count:]
    is_header = not any(map(_is_number, names)) or names == tuple(map(str, range(len(names))))
    return count if names and is_header else 0


def _open(path: Path) -> TextIO:
    # Bytes that are no UTF-8 pass through in a header, and are reported as no number elsewhere.
    return open(path, encoding="utf-8-sig", errors="surrogateescape")


def _numbered(file: TextIO) -> Iterator[Line]:
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


def _is_integer(text: str) -> bool:
    """Whether an integer of 64 bits is written as Python writes it."""
    return text.lstrip("-").isdecimal() and len(text) < 20 and str(int(text)) == text and abs(int(text)) < 2**63


def _header_hint(number: int, fields: list[str]) -> str:
    """Say how a first row that looks like the header of an index was read."""
    if number > 1 or fields[0] or not all(map(_is_integer, fields[1:])):
        return ""
    return " (names of columns beside an index may be numbers if they are 0, 1, 2, …; other numbers are data)"


def _separator_hint(text: str) -> str:
    """Say what separates the fields where it is no comma."""
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if separator in text.strip():
            return f" (fields are separated by commas, not by {name})"
    return ""
