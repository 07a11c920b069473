"""Tables in .parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from softgrad.files.formats import arrow
from softgrad.files.formats.columns import ColumnsReader, ColumnsWriter

BUFFER = 2**16
"""Bytes of a column to read at once."""


class ParquetTable:
    """An open Parquet file; a record batch is as long as it is asked for."""

    def __init__(self, path: Path) -> None:
        # With a buffer a column of a row group is read bit by bit, not as a whole.
        self._file = arrow.library().parquet.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False)
        self.schema, self.rows = self._file.schema_arrow, self._file.metadata.num_rows

    def batches(self, places: list[int], rows: int) -> Iterator[Any]:
        """The columns at `places` as record batches of `rows` rows."""
        names = [self.schema.names[place] for place in places]
        yield from self._file.iter_batches(batch_size=rows, columns=names)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class ParquetReader(ColumnsReader):
    """A table in a Parquet file."""

    called = "a .parquet file"

    @staticmethod
    def open(path: Path) -> ParquetTable:
        """Open a file."""
        return ParquetTable(path)


class ParquetWriter(ColumnsWriter):
    """A Parquet file with one row group for each block."""

    called = "a .parquet file"

    @staticmethod
    def open(path: Path, schema: Any) -> Any:
        """Open a writer of Arrow for tables of a schema."""
        # A dictionary would only be tried in vain: hardly two of these numbers are the same.
        return arrow.library().parquet.ParquetWriter(path, schema, use_dictionary=False)
