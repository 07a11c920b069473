"""Tables in files of Arrow's own format (.arrow, .feather), read one record batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from softgrad.files.formats import arrow
from softgrad.files.formats.columns import ColumnsReader, ColumnsWriter

END = b"\xff\xff\xff\xff\0\0\0\0"
"""What ends a stream of record batches: one without it is cut off."""


class ArrowTable:
    """An open Arrow file, or a stream that was written to a file; record batches are as long as they were written."""

    def __init__(self, path: Path) -> None:
        self._pyarrow = pyarrow = arrow.library()
        self._file = pyarrow.OSFile(str(path))
        try:
            self._is_stream = self._file.read(6) != b"ARROW1"
            if self._is_stream:
                self._check_end()
            self.schema = self._reader(None).schema
            self.rows = self._count()
        except BaseException:
            self.close()
            raise

    def batches(self, places: list[int], rows: int) -> Iterator[Any]:
        """The columns at `places` as the record batches of the file."""
        del rows
        read = sorted(set(places))  # in the order of the file
        yield from (batch.select([read.index(place) for place in places]) for batch in self._batches(read))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _batches(self, places: list[int]) -> Iterator[Any]:
        reader = self._reader(self._pyarrow.ipc.IpcReadOptions(included_fields=places))
        if self._is_stream:
            yield from reader
        else:
            yield from map(reader.get_batch, range(reader.num_record_batches))

    def _reader(self, options: Any) -> Any:
        self._file.seek(0)
        ipc = self._pyarrow.ipc
        return (ipc.open_stream if self._is_stream else ipc.open_file)(self._file, options=options)

    def _check_end(self) -> None:
        size = self._file.size()
        self._file.seek(max(0, size - len(END)))
        if self._file.read() != END:
            raise ValueError("not an Arrow file, or cut off")

    def _count(self) -> int:
        # Not by count_rows of pyarrow, which believes a damaged length: blocks without end would be planned for it.
        return sum(batch.num_rows for batch in self._batches([0])) if len(self.schema) else 0


class ArrowReader(ColumnsReader):
    """A table in an Arrow file."""

    called = "an Arrow file"

    @staticmethod
    def open(path: Path) -> ArrowTable:
        """Open a file."""
        return ArrowTable(path)


class ArrowWriter(ColumnsWriter):
    """An Arrow file with one record batch for each block."""

    called = "an Arrow file"

    @staticmethod
    def open(path: Path, schema: Any) -> Any:
        """Open a writer of Arrow for tables of a schema."""
        return arrow.library().ipc.new_file(str(path), schema)
