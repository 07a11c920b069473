"""Tables of Apache Arrow, some rows at a time, whatever the file: what Parquet and Arrow's own files have in common.

The entries of a row are the numbers in its columns, or those in one column of lists. Columns keep their names on the
way from table to table; an array without names becomes one column of lists, of numbers if it has one dimension.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from softgrad.files.blocks import OTHER_DTYPE, Contents, Region
from softgrad.files.formats import arrow, lists
from softgrad.files.selection import Selection

Array = np.ndarray[Any, Any]

DEFAULT = "values"
"""The name of the one column of an array without names."""


class TableFile(Protocol):
    """An open file that holds a table of Arrow."""

    schema: Any
    rows: int

    def batches(self, places: list[int], rows: int) -> Iterator[Any]:
        """The columns at `places` as record batches, of `rows` rows where the file does not say otherwise."""

    def close(self) -> None:
        """Close the file."""


class ColumnsReader:
    """A table of numbers; the widest type among its columns is that of the array.

    The columns that pandas' metadata names as the index are no part of the array. A format adds how to open a file.
    """

    by_rows = True
    called: ClassVar[str]
    """What messages call such a file."""

    @staticmethod
    def open(path: Path) -> TableFile:
        """Open a file."""
        raise NotImplementedError

    def __init__(self, path: Path, selection: Selection) -> None:
        self._path, self._selection = path, selection
        self._pyarrow = arrow.library()
        path.open("rb").close()  # in Python's words, if that fails
        with _named(path, self.called):
            self._file = type(self).open(path)
            try:
                self._chosen = self._choose()
                self._fields = [self._file.schema.field(place) for place in self._chosen]
                self.contents = self._describe()
            except BaseException:
                self._file.close()
                raise
        self.nbytes = path.stat().st_size
        self._rows = Rows(self._file, self._chosen)

    def read(self, region: Region) -> Array:
        """Return the rows of the first slice of `region`."""
        with _named(self._path, self.called):
            row, found = region[0].start, []
            for batch in self._rows.take(region[0]):
                found.append(self._numbers(batch, row))
                row += batch.num_rows
            return np.concatenate(found)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _choose(self) -> list[int]:
        """The places of the columns that hold the numbers."""
        schema = self._file.schema
        pandas = arrow.pandas_metadata(schema)
        index = pandas["index_columns"] if pandas else []
        names = tuple(schema.names)
        chosen = self._selection.places(names, [place for place, name in enumerate(names) if name in index])
        if not chosen:
            raise ValueError("the table has no columns but its index" if names else "the table has no columns")
        return list(chosen)

    def _describe(self) -> Contents:
        nested = [field for field in self._fields if lists.is_list(field.type) or lists.is_tensor(field.type)]
        if nested and len(self._fields) > 1:
            found = ", ".join(repr(field.name) for field in self._fields[:8])
            raise TypeError(
                f"expected columns of numbers, or one column of lists; got {len(self._fields)} columns:"
                f" choose with columns=[{nested[0].name!r}] among {found}"
            )
        dtype: np.dtype[Any] = np.result_type(*map(self._dtype, self._fields))
        rows, schema = self._file.rows, self._file.schema
        pandas = arrow.pandas_metadata(schema)
        index = None if pandas is None else ColumnsIndex(type(self), self._path, schema, pandas)
        if not nested:
            names = tuple(field.name for field in self._fields)
            return Contents((rows, len(names)), dtype, names=names, index=index)
        first = next((b for b in self._file.batches(self._chosen, 1) if b.num_rows), None)
        shape = (0,) if first is None else lists.shape_of_row(first.column(0), self._fields[0].name)
        return Contents((rows, *shape), dtype, index=index)

    def _dtype(self, field: Any) -> np.dtype[Any]:
        types, kind = self._pyarrow.types, lists.entry_type(field.type)
        if types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind):
            dtype: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
            return dtype
        if self._selection.classes is not None and lists.is_text(kind):
            return np.dtype(np.int64)
        hint = "" if self._selection.by_name_only else ": choose others with columns"
        raise TypeError(f"column {field.name!r} must hold real numbers; got {kind}{hint}")

    def _numbers(self, batch: Any, row: int) -> Array:
        """The entries of a record batch whose first row is number `row`."""
        values = np.empty((batch.num_rows, *self.contents.shape[1:]), self.contents.dtype)
        named = self.contents.names is not None
        for place, (field, column) in enumerate(zip(self._fields, batch.columns, strict=True)):
            flat = lists.entries(column, () if named else values.shape[1:], field.name, row)
            if lists.is_text(flat.type):
                numbers = self._codes(flat, field.name, row)
            else:
                numbers = flat.to_numpy(zero_copy_only=False)
            if named:
                values[:, place] = numbers
            else:
                values[...] = lists.in_order(numbers, field.type, values.shape)
        return values

    def _codes(self, column: Any, name: str, row: int) -> Array:
        """The numbers of the classes that a column of text names."""
        classes, labels = self._selection.classes, column.to_pylist()
        if classes is None:
            raise TypeError(f"column {name!r} must hold real numbers; got {column.type}")
        codes, bad = classes.codes(labels)
        if bad is not None:
            raise ValueError(f"column {name!r}, row {row + bad}: {classes.refusal(labels[bad])}")
        return codes


class ColumnsIndex:
    """The columns that pandas' metadata names as the index of a table; none for a range of numbers."""

    def __init__(self, reader: type[ColumnsReader], path: Path, schema: Any, pandas: dict[str, Any]) -> None:
        self._reader, self._path, self._given = reader, path, (schema, pandas)
        levels = pandas["index_columns"]
        self._places = [schema.names.index(name) for name in levels]
        called = {column["field_name"]: column.get("name") for column in pandas["columns"]}
        self.names = tuple(str(called[name] or "") for name in levels)
        metadata = {arrow.PANDAS: schema.metadata[arrow.PANDAS]}
        self._schema = arrow.library().schema([schema.field(place) for place in self._places], metadata)
        self._file: TableFile | None = None

    def texts(self, rows: int) -> list[list[str]]:
        """The next `rows` entries of every column as text."""
        return [["" if entry is None else str(entry) for entry in column.to_pylist()] for column in self.arrays(rows)]

    def arrays(self, rows: int) -> list[Any]:
        """The next `rows` entries of every column as arrays of Arrow."""
        if not self._places:
            return []
        if self._file is None:
            self._file = self._reader.open(self._path)
            self._rows, self._row = Rows(self._file, self._places), 0
        with _named(self._path, self._reader.called):
            batches = self._rows.take(slice(self._row, self._row + rows))
        self._row += rows
        table = arrow.library().Table.from_batches(batches)
        return [column.combine_chunks() for column in table.columns]

    def schema(self) -> Any:
        """The columns as a schema of Arrow, with the metadata of pandas."""
        return self._schema

    def again(self) -> ColumnsIndex:
        """The same index from its first row."""
        return ColumnsIndex(self._reader, self._path, *self._given)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class ColumnsWriter:
    """A table that is written block by block. A format adds how to open a file for its record batches."""

    by_rows: ClassVar[bool] = True
    any_order: ClassVar[bool] = False
    called: ClassVar[str]
    """What messages call such a file."""

    @staticmethod
    def open(path: Path, schema: Any) -> Any:
        """Open a writer of Arrow for tables of a schema."""
        raise NotImplementedError

    def __init__(self, path: Path, contents: Contents) -> None:
        self._pyarrow = pyarrow = arrow.library()
        shape = contents.final_shape
        if not 1 <= len(shape) <= 2:
            raise ValueError(f"{self.called} holds 1 or 2 dimensions; the result has shape {shape}")
        try:
            kind = pyarrow.from_numpy_dtype(contents.dtype)
        except pyarrow.ArrowNotImplementedError:
            raise TypeError(f"{self.called} holds no {contents.dtype}; {OTHER_DTYPE}") from None
        self._named = contents.names is not None and len(shape) == 2
        if self._named:
            fields = [(self._unicode(name), kind) for name in contents.names or ()]
        else:
            if shape[1:] == (0,):
                raise ValueError(f"{self.called} holds no lists without entries; the result has shape {shape}")
            fields = [(DEFAULT, kind if len(shape) == 1 else pyarrow.list_(kind, shape[1]))]
        self._schema = pyarrow.schema(fields)
        self._index = contents.index
        if self._index is not None:
            self._schema = arrow.with_index(self._schema, self._index.schema(), self._named)
        self._lists = len(shape) == 2 and not self._named
        self._file = type(self).open(path, self._schema)

    def write(self, region: Region, values: Array) -> None:
        """Append `values` as rows."""
        del region  # rows come in order
        pyarrow = self._pyarrow
        if self._named:
            columns = [pyarrow.array(column) for column in np.ascontiguousarray(values.T)]
        else:
            columns = [pyarrow.array(values.reshape(-1))]
        if self._lists:
            columns = [pyarrow.FixedSizeListArray.from_arrays(columns[0], values.shape[1])]
        if self._index is not None:
            columns += self._index.arrays(len(values))
        self._file.write_table(pyarrow.Table.from_arrays(columns, schema=self._schema))

    def close(self) -> None:
        """Write the footer and close the file."""
        self._file.close()
        if self._index is not None:
            self._index.close()

    def _unicode(self, name: str) -> str:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{self.called} holds no column called {name!r}, which is not valid Unicode") from None
        return name


class Rows:
    """The rows of some columns, taken from the first to the last; rows between may be passed over."""

    def __init__(self, file: TableFile, places: list[int]) -> None:
        self._file, self._places = file, places
        self._batches: Iterator[Any] | None = None
        self._left: list[Any] = []
        self._row = 0

    def take(self, rows: slice) -> list[Any]:
        """The rows of a slice as record batches, at least one."""
        count = rows.stop - rows.start
        if self._batches is None:
            self._batches = self._file.batches(self._places, max(1, count))
        self._next(rows.start - self._row)
        self._row = rows.stop
        return self._next(count)

    def _next(self, count: int) -> list[Any]:
        found: list[Any] = []
        while count > 0 or not found:
            batch = self._left.pop() if self._left else next(self._batches or iter(()), None)
            if batch is None and count == 0:
                break
            if batch is None:
                raise ValueError("the table holds fewer rows than its footer promises")
            if batch.num_rows > count:
                self._left.append(batch.slice(count))
            found.append(batch.slice(0, count))
            count -= found[-1].num_rows
        return found


@contextmanager
def _named(path: Path, called: str) -> Iterator[None]:
    """Put the name of the file before what is wrong with it, in one line."""
    try:
        yield
    except (arrow.library().ArrowException, OSError, UnicodeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path}: not {called} that can be read ({reason})") from None
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path}: {error}") from None
