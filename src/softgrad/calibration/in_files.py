"""Rows of files that may be larger than memory, with what belongs to them from files or arrays."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np

from softgrad._api.losses import cross_entropy
from softgrad._formulas.namespace import NDArray as Array
from softgrad._numpy import threads
from softgrad.calibration.batches import Batch, Data, Found
from softgrad.files.blocks import Region, Selection, array_regions, regions, whole_slices
from softgrad.files.formats.table import Reader, format_of
from softgrad.files.operands import call_of
from softgrad.files.overlap import read_ahead

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class InFiles(Data):
    """A file of logits, read again by every pass."""

    path: Path
    selection: Selection
    arrays: dict[str, Any]
    progress: Progress
    workers: int | None = None

    def fold(self, f: Callable[[Batch], Found], add: Callable[[Found, Found], Found]) -> Found:
        """`f` of every batch, merged by `add` from the first to the last."""
        axis = self.reading.axis
        with ExitStack() as files:
            opened = partial(_opened, files)
            reader = opened(format_of(self.path).reader(self.path, self.selection))
            contents = reader.contents
            operands = call_of(cross_entropy, self.arrays, self.path, contents.shape, axis, opened).operands
            by_rows = reader.by_rows or any(operand.by_rows for operand in operands)

            def read(unit: Region) -> tuple[Array, list[Array]]:
                return reader.read(unit), [operand.read(unit) for operand in operands]

            def computed(unit: Region, block: Array, given: list[Array]) -> Found:
                first, found = _start(unit, axis), []
                for region in list(array_regions(block.shape, axis, contents.order)) or [_all(block.shape)]:
                    parts = {o.name: o.taken(v, region) for o, v in zip(operands, given, strict=True)}
                    start = tuple(a + b for a, b in zip(first, _start(region, axis), strict=True))
                    found.append(f(self.reading.batch(block[region], parts, start)))
                return reduce(add, found)

            waiting: deque[Future[Found]] = deque()
            merged: list[Found] = []

            def merge(most: int) -> None:
                while len(waiting) > most:
                    found = waiting.popleft().result()
                    merged[:] = [add(merged[0], found) if merged else found]

            lengths = whole_slices(contents, axis, by_rows)
            done, entries = 0, max(1, int(np.prod(contents.shape)))
            units = list(regions(contents.shape, lengths, contents.order, axis)) or [_all(contents.shape)]
            workers = threads.count(self.workers, entries)
            with ThreadPoolExecutor(workers) as pool:
                for unit, (block, given) in read_ahead(read, units):
                    waiting.append(pool.submit(computed, unit, block, given))
                    merge(workers)
                    done += block.size
                    self.progress(reader.nbytes * done // entries, reader.nbytes)
                merge(0)
        return merged[0]


def shape_of(path: Path, selection: Selection) -> tuple[int, ...]:
    """The shape of the array in a file."""
    with closing(format_of(path).reader(path, selection)) as reader:
        return reader.contents.shape


def whole(path: Path) -> Array:
    """The array in a file; whole numbers of a table, and the only column of one, as what they are."""
    with closing(format_of(path).reader(path, Selection())) as reader:
        values = reader.read(_all(reader.contents.shape))
    if reader.by_rows and values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if reader.by_rows and (values == np.floor(values)).all():
        values = values.astype(np.int64)
    return values


def _start(region: Region, axis: int) -> tuple[int, ...]:
    """The position of the first slice of a region."""
    return tuple(part.start for a, part in enumerate(region) if a != axis)


def _all(shape: tuple[int, ...]) -> Region:
    return tuple(slice(0, n) for n in shape)


def _opened(files: ExitStack, reader: Reader) -> Reader:
    return files.enter_context(closing(reader))
