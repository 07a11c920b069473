"""Tables in .parquet files, some rows at a time.

The entries of a row are the numbers in its columns, or those in one column of lists. Columns keep their names on the
way from table to table; an array without names becomes one column of lists, of numbers if it has one dimension.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from softgrad.files.blocks import OTHER_DTYPE, Contents, Region, Selection
from softgrad.files.formats import arrow

Array = np.ndarray[Any, Any]

DEFAULT = "values"
"""The name of the one column of an array without names."""

BUFFER = 2**16
"""Bytes of a column to read at once."""


class ParquetReader:
    """A table of numbers; the widest type among its columns is that of the array.

    The columns that pandas' metadata names as the index are no part of the array.
    """

    by_rows: ClassVar[bool] = True

    def __init__(self, path: Path, selection: Selection) -> None:
        self._path = path
        self._pyarrow = arrow.library()
        path.open("rb").close()  # in Python's words, if that fails
        with _named(path):
            self._file = _open(path)
            self._fields = self._choose(selection)
            self.contents = self._describe()
        self.nbytes = path.stat().st_size
        self._rows = _Rows(self._file, [field.name for field in self._fields])

    def read(self, region: Region) -> Array:
        """Return the rows of the first slice of `region`."""
        with _named(self._path):
            return np.concatenate([self._numbers(batch) for batch in self._rows.take(region[0])])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _choose(self, selection: Selection) -> list[Any]:
        """The fields that hold the numbers."""
        fields = list(self._file.schema_arrow)
        pandas = arrow.pandas_metadata(self._file.schema_arrow)
        index = pandas["index_columns"] if pandas else []
        names = tuple(field.name for field in fields)
        if selection.columns is None:
            chosen = [field for field in fields if field.name not in index]
        else:
            chosen = [fields[place] for place in selection.places(names)]
        if not chosen:
            raise ValueError("the table has no columns but its index" if names else "the table has no columns")
        return chosen

    def _describe(self) -> Contents:
        types = self._pyarrow.types
        lists = [field for field in self._fields if _is_list(types, field.type)]
        if lists and len(self._fields) > 1:
            names = ", ".join(repr(field.name) for field in self._fields[:8])
            raise TypeError(
                f"expected columns of numbers, or one column of lists; got {len(self._fields)} columns:"
                f" choose with columns=[{lists[0].name!r}] among {names}"
            )
        kinds = [field.type.value_type if lists else field.type for field in self._fields]
        for field, kind in zip(self._fields, kinds, strict=True):
            if not (types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind)):
                raise TypeError(f"column {field.name!r} must hold real numbers; got {kind}")
        dtype = np.result_type(*(kind.to_pandas_dtype() for kind in kinds))
        rows = self._file.metadata.num_rows
        schema = self._file.schema_arrow
        pandas = arrow.pandas_metadata(schema)
        index = None if pandas is None else ParquetIndex(self._path, schema, pandas)
        if not lists:
            return Contents((rows, len(kinds)), dtype, names=tuple(f.name for f in self._fields), index=index)
        first = next(self._file.iter_batches(batch_size=1, columns=[lists[0].name]), None)
        length = 0 if first is None else self._lists(first.column(0)).value_lengths()[0].as_py()
        return Contents((rows, length), dtype, index=index)

    def _lists(self, column: Any) -> Any:
        """A column of lists, none of which is missing."""
        if column.null_count:
            raise ValueError(f"column {self._fields[0].name!r} has missing values")
        return column

    def _numbers(self, batch: Any) -> Array:
        values = np.empty((batch.num_rows, self.contents.shape[1]), self.contents.dtype)
        for place, (field, column) in enumerate(zip(self._fields, batch.columns, strict=True)):
            flat = column if self.contents.names is not None else self._lists(column).flatten()
            if flat.null_count:
                raise ValueError(f"column {field.name!r} has missing values")
            if self.contents.names is not None:
                values[:, place] = flat.to_numpy(zero_copy_only=False)
            elif len(flat) != values.size or not (column.value_lengths().to_numpy() == values.shape[1]).all():
                raise ValueError(
                    f"the lists of column {field.name!r} must have {values.shape[1]} entries, as the first"
                )
            else:
                values[...] = flat.to_numpy(zero_copy_only=False).reshape(values.shape)
        return values


class ParquetIndex:
    """The columns that pandas' metadata names as the index of a table; none for a range of numbers."""

    def __init__(self, path: Path, schema: Any, pandas: dict[str, Any]) -> None:
        self._path, self._given = path, (schema, pandas)
        levels = pandas["index_columns"]
        self._fields = [schema.field(name) for name in levels]
        called = {column["field_name"]: column.get("name") for column in pandas["columns"]}
        self.names = tuple(str(called[name] or "") for name in levels)
        metadata = {arrow.PANDAS: schema.metadata[arrow.PANDAS]}
        self._schema = arrow.library().schema(self._fields, metadata)
        self._file: Any = None

    def texts(self, rows: int) -> list[list[str]]:
        """The next `rows` entries of every column as text."""
        return [["" if entry is None else str(entry) for entry in column.to_pylist()] for column in self.arrays(rows)]

    def arrays(self, rows: int) -> list[Any]:
        """The next `rows` entries of every column as arrays of Arrow."""
        if not self._fields:
            return []
        if self._file is None:
            self._file = _open(self._path)
            self._rows, self._row = _Rows(self._file, [field.name for field in self._fields]), 0
        with _named(self._path):
            batches = self._rows.take(slice(self._row, self._row + rows))
        self._row += rows
        table = arrow.library().Table.from_batches(batches)
        return [column.combine_chunks() for column in table.columns]

    def schema(self) -> Any:
        """The columns as a schema of Arrow, with the metadata of pandas."""
        return self._schema

    def again(self) -> ParquetIndex:
        """The same index from its first row."""
        return ParquetIndex(self._path, *self._given)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class ParquetWriter:
    """A table with one row group for each block."""

    by_rows: ClassVar[bool] = True
    any_order: ClassVar[bool] = False

    def __init__(self, path: Path, contents: Contents) -> None:
        self._pyarrow = pyarrow = arrow.library()
        shape = contents.final_shape
        if not 1 <= len(shape) <= 2:
            raise ValueError(f"a .parquet file holds 1 or 2 dimensions; the result has shape {shape}")
        try:
            kind = pyarrow.from_numpy_dtype(contents.dtype)
        except pyarrow.ArrowNotImplementedError:
            raise TypeError(f"a .parquet file holds no {contents.dtype}; {OTHER_DTYPE}") from None
        self._named = contents.names is not None and len(shape) == 2
        if self._named:
            fields = [(_unicode(name), kind) for name in contents.names or ()]
        else:
            fields = [(DEFAULT, kind if len(shape) == 1 else pyarrow.list_(kind, shape[1]))]
        self._schema = pyarrow.schema(fields)
        self._index = contents.index
        if self._index is not None:
            self._schema = arrow.with_index(self._schema, self._index.schema(), self._named)
        self._lists = len(shape) == 2 and not self._named
        # A dictionary would only be tried in vain: hardly two of these numbers are the same.
        self._file = pyarrow.parquet.ParquetWriter(path, self._schema, use_dictionary=False)

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


class _Rows:
    """The rows of some columns, taken from the first to the last; rows between may be passed over."""

    def __init__(self, file: Any, columns: list[str]) -> None:
        self._file, self._columns = file, columns
        self._batches: Iterator[Any] | None = None
        self._left: list[Any] = []
        self._row = 0

    def take(self, rows: slice) -> list[Any]:
        """The rows of a slice as record batches, at least one."""
        count = rows.stop - rows.start
        if self._batches is None:
            self._batches = self._file.iter_batches(batch_size=max(1, count), columns=self._columns)
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


def _open(path: Path) -> Any:
    # With a buffer a column of a row group is read bit by bit, not as a whole.
    return arrow.library().parquet.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False)


def _is_list(types: Any, kind: Any) -> bool:
    """Whether a type is one of Arrow's kinds of lists."""
    kinds = ("list", "large_list", "fixed_size_list", "list_view", "large_list_view")
    return any(getattr(types, f"is_{name}")(kind) for name in kinds)


def _unicode(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"a .parquet file holds no column called {name!r}, which is not valid Unicode") from None
    return name


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Put the name of the file before what is wrong with it, in one line."""
    try:
        yield
    except (arrow.library().ArrowException, OSError, UnicodeError) as error:
        raise ValueError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path}: {error}") from None
