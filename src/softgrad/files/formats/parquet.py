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

from softgrad.files.blocks import Contents, Region

Array = np.ndarray[Any, Any]

DEFAULT = "values"
"""The name of the one column of an array without names."""


BUFFER = 2**16
"""Bytes of a column to read at once."""


class ParquetReader:
    """A table of numbers; the widest type among its columns is that of the array."""

    by_rows: ClassVar[bool] = True

    def __init__(self, path: Path, tensor: str | None = None) -> None:
        del tensor  # a table has no name
        self._path = path
        pyarrow = _library()
        path.open("rb").close()  # in Python's words, if that fails
        with _named(path):
            # With a buffer a column of a row group is read bit by bit, not as a whole.
            self._file = pyarrow.parquet.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False)
            self._fields = list(self._file.schema_arrow)
            self.contents = self._describe(pyarrow.types)
        self.nbytes = path.stat().st_size
        self._batches: Iterator[Any] | None = None
        self._left: list[Array] = []

    def read(self, region: Region) -> Array:
        """Return the next rows: as many as the first slice of `region` is long."""
        rows = region[0].stop - region[0].start
        if self._batches is None:
            self._batches = self._file.iter_batches(batch_size=rows)
        found = self._left
        with _named(self._path):
            while sum(map(len, found)) < rows:
                batch = next(self._batches, None)
                if batch is None:
                    raise ValueError("fewer rows than the footer promises")
                found.append(self._numbers(batch))
        values = found[0] if len(found) == 1 else np.concatenate(found)
        self._left = [values[rows:]] if len(values) > rows else []
        return values[:rows]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _describe(self, types: Any) -> Contents:
        rows = self._file.metadata.num_rows
        lists = [f for f in self._fields if types.is_list(f.type) or types.is_fixed_size_list(f.type)]
        if lists and len(self._fields) > 1:
            raise TypeError(f"expected columns of numbers, or one column of lists; got {len(self._fields)} columns")
        kinds = [f.type.value_type if f in lists else f.type for f in self._fields]
        for field, kind in zip(self._fields, kinds, strict=True):
            if not (types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind)):
                raise TypeError(f"column {field.name!r} must hold real numbers; got {kind}")
        if not kinds:
            raise ValueError("the table has no columns")
        dtype = np.result_type(*(kind.to_pandas_dtype() for kind in kinds))
        if not lists:
            return Contents((rows, len(kinds)), dtype, names=tuple(f.name for f in self._fields))
        first = next(self._file.iter_batches(batch_size=1), None)
        return Contents((rows, 0 if first is None else len(first.column(0)[0].values)), dtype)

    def _numbers(self, batch: Any) -> Array:
        values = np.empty((batch.num_rows, self.contents.shape[1]), self.contents.dtype)
        for place, (field, column) in enumerate(zip(self._fields, batch.columns, strict=True)):
            flat = column if self.contents.names is not None else column.flatten()
            if column.null_count or flat.null_count:
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


class ParquetWriter:
    """A table with one row group for each block."""

    by_rows: ClassVar[bool] = True
    any_order: ClassVar[bool] = False

    def __init__(self, path: Path, contents: Contents) -> None:
        self._pyarrow = pyarrow = _library()
        shape = contents.final_shape
        if not 1 <= len(shape) <= 2:
            raise ValueError(f"a .parquet file holds 1 or 2 dimensions; the result has shape {shape}")
        try:
            kind = pyarrow.from_numpy_dtype(contents.dtype)
        except pyarrow.ArrowNotImplementedError:
            raise TypeError(f"a .parquet file holds no {contents.dtype}; choose another dtype") from None
        self._named = contents.names is not None and len(shape) == 2
        if self._named:
            fields = [(name, kind) for name in contents.names or ()]
        else:
            fields = [(DEFAULT, kind if len(shape) == 1 else pyarrow.list_(kind, shape[1]))]
        self._schema = pyarrow.schema(fields)
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
        self._file.write_table(pyarrow.Table.from_arrays(columns, schema=self._schema))

    def close(self) -> None:
        """Write the footer and close the file."""
        self._file.close()


def _library() -> Any:
    try:
        import pyarrow  # noqa: PLC0415  only these files need it
        import pyarrow.parquet  # noqa: PLC0415
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            '.parquet files need pyarrow: pip install "softgrad[parquet]"', name="pyarrow"
        ) from None
    return pyarrow


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Put the name of the file before what is wrong with it, in one line."""
    try:
        yield
    except TypeError as error:
        raise TypeError(f"{path}: {error}") from None
    except (ValueError, OSError) as error:  # pyarrow's own are of both kinds
        raise ValueError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
