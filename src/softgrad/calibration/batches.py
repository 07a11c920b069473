"""Logits and labels in batches of rows, from arrays, Dask arrays or files: a function of every batch, merged in order.

What is computed of a batch depends on its rows alone, so that splits differ only in how results are merged.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from softgrad._api.losses import cross_entropy
from softgrad._dispatch import library_of
from softgrad._formulas.namespace import NDArray as Array
from softgrad._formulas.precision import silent
from softgrad._numpy import threads
from softgrad._validation.arrays import as_mask, as_real, as_temperature
from softgrad._validation.axis import Axis, Rows, normalize_axis
from softgrad._validation.labels import as_labels, as_weight
from softgrad.files.blocks import Region, Selection, array_regions, regions, whole_slices
from softgrad.files.formats.table import format_of
from softgrad.files.operands import Operand, call_of
from softgrad.files.overlap import read_ahead

Found = TypeVar("Found")
Progress = Callable[[int, int], None]

SHORT, SHORTER = 2**10, 4
"""Entries of a slice that counts as short, and how much more of such slices a block holds."""

PATHS = (str, os.PathLike)


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Rows of logits with what belongs to them; rows that are ignored are left out."""

    rows: Array
    """Of a floating dtype, shape (R, n), divided by the temperature; −inf where masked out."""
    labels: Array
    weight: Array | None
    n_bytes: Array | None
    index: Array | None
    """The number of each row in the block, where some are left out."""
    start: tuple[int, ...]
    shape: tuple[int, ...]
    """Of the slices of the block, and where they begin in the source."""
    source: str

    def refuse(self, row: int, reason: str) -> ValueError:
        """The error of one row, with its place."""
        flat = row if self.index is None else int(self.index[row])
        place = [i + first for i, first in zip(np.unravel_index(flat, self.shape), self.start, strict=True)]
        where = f"[{', '.join(map(str, place))}]" if place else ""
        return ValueError(f"{self.source}{where if self.source == 'logits' else f', slice {where}'}: {reason}")


@dataclass(frozen=True)
class Reading:
    """How a block becomes a batch."""

    axis: int
    n: int
    temperature: float = 1.0
    ignore_index: int | None = None
    source: str = "logits"
    files: tuple[tuple[str, str], ...] = ()
    """The file that an operand comes from, by its name."""

    @silent
    def batch(self, block: Any, given: dict[str, Any], start: tuple[int, ...]) -> Batch:
        """Check a block; `start` is the position of its first slice."""
        mask = given.get("where")
        if isinstance(block, np.ma.MaskedArray):
            hidden = np.ma.getmaskarray(block)
            block, mask = block.data, ~hidden if mask is None else ~hidden & mask
        x = as_real(block, "logits")
        layout = Rows(x.shape, (self.axis,))
        shape = layout.batch_shape
        labels = self._located(
            "labels", lambda: as_labels(given["labels"], shape, self.n, self.ignore_index, start=start)
        )
        keep = None if labels.ignored is None else ~labels.ignored.reshape(-1)
        x = layout.to_rows(x).reshape(-1, self.n)
        if mask is not None:
            valid = layout.to_rows(as_mask(mask, layout.shape)).reshape(-1, self.n)
            x = np.where(valid, x, x.dtype.type(-np.inf))
            present = valid.any(axis=-1)
            keep = present if keep is None else keep & present
        columns = {"labels": labels.index.reshape(-1)}
        for name in ("sample_weight", "n_bytes"):
            if (values := given.get(name)) is not None:
                check = partial(as_weight, values, shape, np.float64, np, name, start)
                columns[name] = self._located(name, check).reshape(-1)
        temperature: Any = self.temperature
        if "temperature" in given:
            check = partial(as_temperature, given["temperature"], layout)
            temperature = np.asarray(self._located("temperature", check)).reshape(-1)
        index = None
        if keep is not None and not keep.all():
            index = np.flatnonzero(keep)
            x, columns = x[index], {name: values[index] for name, values in columns.items()}
            temperature = temperature[index] if np.ndim(temperature) else temperature
        x = _tempered(x, temperature)
        return Batch(
            x, columns["labels"], columns.get("sample_weight"), columns.get("n_bytes"), index, start, shape, self.source
        )

    def _located(self, name: str, check: Callable[[], Found]) -> Found:
        try:
            return check()
        except (IndexError, ValueError) as error:
            where = dict(self.files).get(name)
            if where is None:
                raise
            raise type(error)(f"{where}: {error}") from None


@dataclass(frozen=True)
class Data:
    """Where logits and labels are."""

    reading: Reading

    def fold(self, f: Callable[[Batch], Found], add: Callable[[Found, Found], Found]) -> Found:
        """`f` of every batch, merged by `add` from the first to the last."""
        raise NotImplementedError


@dataclass(frozen=True)
class InMemory(Data):
    """Arrays of NumPy."""

    logits: Array
    arrays: dict[str, Any]
    workers: int | None = None

    def fold(self, f: Callable[[Batch], Found], add: Callable[[Found, Found], Found]) -> Found:
        """`f` of every batch, merged by `add` from the first to the last."""
        axis, shape = self.reading.axis, self.logits.shape
        with ExitStack() as files:
            operands = _operands(self.arrays, shape, axis, Path("logits"), partial(_opened, files))
            given = [operand.read(_all(shape)) for operand in operands]
        order: Any = "F" if self.logits.flags.f_contiguous and not self.logits.flags.c_contiguous else "C"
        waiting: dict[int, Found] = {}
        merged: list[Found] = []
        lock, done = threading.Lock(), 0

        def run(number: int, region: Region) -> None:
            nonlocal done
            parts = {operand.name: operand.taken(v, region) for operand, v in zip(operands, given, strict=True)}
            result = f(self.reading.batch(self.logits[region], parts, _start(region, axis)))
            with lock:
                waiting[number] = result
                while done in waiting:
                    result = waiting.pop(done)
                    merged[:] = [add(merged[0], result) if merged else result]
                    done += 1

        blocks = list(enumerate(_blocks(shape, axis, order))) or [(0, _all(shape))]
        threads.side_by_side(run, blocks, threads.count(self.workers, self.logits.size))
        return merged[0]


@dataclass(frozen=True)
class InFiles(Data):
    """A file of logits, and labels from a file or an array."""

    path: Path
    selection: Selection
    arrays: dict[str, Any]
    progress: Progress

    def fold(self, f: Callable[[Batch], Found], add: Callable[[Found, Found], Found]) -> Found:
        """`f` of every batch, merged by `add` from the first to the last."""
        axis = self.reading.axis
        with ExitStack() as files:
            opened = partial(_opened, files)
            reader = opened(format_of(self.path).reader(self.path, self.selection))
            contents = reader.contents
            operands = _operands(self.arrays, contents.shape, axis, self.path, opened)
            by_rows = reader.by_rows or any(operand.by_rows for operand in operands)

            def read(unit: Region) -> tuple[Array, list[Array]]:
                return reader.read(unit), [operand.read(unit) for operand in operands]

            merged: list[Found] = []
            lengths = whole_slices(contents, axis, by_rows)
            done, entries = 0, max(1, int(np.prod(contents.shape)))
            units = list(regions(contents.shape, lengths, contents.order, axis)) or [_all(contents.shape)]
            for unit, (block, given) in read_ahead(read, units):
                first = _start(unit, axis)
                for region in list(array_regions(block.shape, axis, contents.order)) or [_all(block.shape)]:
                    parts = {o.name: o.taken(v, region) for o, v in zip(operands, given, strict=True)}
                    start = tuple(a + b for a, b in zip(first, _start(region, axis), strict=True))
                    result = f(self.reading.batch(block[region], parts, start))
                    merged[:] = [add(merged[0], result) if merged else result]
                done += block.size
                self.progress(reader.nbytes * done // entries, reader.nbytes)
        return merged[0]


@dataclass(frozen=True)
class InDask(Data):
    """Dask arrays, in chunks of rows."""

    rows: Any
    """The module for rows in blocks."""
    logits: Any
    columns: dict[str, Any]

    def fold(self, f: Callable[[Batch], Found], add: Callable[[Found, Found], Found]) -> Found:
        """`f` of every chunk, merged by `add`, now."""
        names = tuple(self.columns)
        task = partial(_of_chunk, f, self.reading, names)
        task.__name__ = "evaluate"  # type: ignore[attr-defined]  # what Dask calls the tasks
        found = self.rows.each(task, self.logits, *self.columns.values())
        merged: Found = self.rows.merged(found, partial(reduce, add))
        return merged


def _of_chunk(
    f: Callable[[Batch], Found], reading: Reading, names: tuple[str, ...], block: Array, *columns: Array
) -> Found:
    given = dict(zip(names, columns, strict=True))
    start = given.pop("start")
    return f(reading.batch(block, given, (int(start[0]) if len(start) else 0,)))


def data_of(
    logits: Any,
    labels: Any,
    *,
    axis: Axis = -1,
    temperature: Any = 1.0,
    ignore_index: int | None = None,
    tensor: str | None = None,
    columns: Any = None,
    progress: Progress | None = None,
    workers: int | None = None,
    **arrays: Any,
) -> Data:
    """Check what a user gives, but for what is read later."""
    arrays = {"labels": labels, **{name: value for name, value in arrays.items() if value is not None}}
    if not (isinstance(temperature, int | float | np.number) and temperature >= 0):
        if isinstance(temperature, int | float | np.number):
            raise ValueError(f"temperature must be at least 0; got {temperature}")
        arrays["temperature"], temperature = temperature, 1.0
    common: dict[str, Any] = {"temperature": float(temperature), "ignore_index": ignore_index}
    if isinstance(logits, PATHS):
        return _in_files(Path(logits), axis, Selection(tensor, columns), arrays, common, progress)
    for name, value in {"tensor": tensor, "columns": columns}.items():
        if value is not None:
            raise TypeError(f"{name} is for files; got an array")
    arrays = {name: value if isinstance(value, PATHS) else _plain(value) for name, value in arrays.items()}
    logits = _plain(logits)
    rows = _row_blocks(logits)
    if rows is not None:
        return _in_dask(rows, logits, axis, arrays, common)
    axes = normalize_axis(axis, logits.ndim)
    if logits.ndim == 1:  # one slice
        logits, axes = logits[np.newaxis], (1,)
        arrays = {name: value if isinstance(value, PATHS) else value[np.newaxis] for name, value in arrays.items()}
    if len(axes) != 1:
        raise TypeError(f"axis must be one integer; got {axis!r}")
    n = logits.shape[axes[0]]
    return InMemory(Reading(axes[0], n, files=_files(arrays), **common), logits, arrays, workers)


def _in_files(
    path: Path, axis: Axis, selection: Selection, arrays: dict[str, Any], common: Any, progress: Progress | None
) -> InFiles:
    with closing(format_of(path).reader(path, selection)) as reader:
        shape = reader.contents.shape
    (sliced,) = normalize_axis(axis, len(shape))
    reading = Reading(sliced, shape[sliced], source=str(path), files=_files(arrays), **common)
    return InFiles(reading, path, selection, arrays, progress or (lambda done, total: None))


def _in_dask(rows: Any, logits: Any, axis: Axis, arrays: dict[str, Any], common: Any) -> InDask:
    import dask.array as da  # noqa: PLC0415  an array of it has arrived

    (sliced,) = normalize_axis(axis, logits.ndim)
    n = logits.shape[sliced]
    batch = tuple(size for a, size in enumerate(logits.shape) if a != sliced)
    logits = da.moveaxis(logits, sliced, -1)
    whole = {name for name in arrays if name == "where"}
    for name, value in arrays.items():
        if isinstance(value, PATHS):
            raise TypeError(f"{name} must be an array beside Dask arrays; got a path")
        if name in whole:
            raise TypeError("where is not for Dask arrays: give −inf as the logits that are masked out")
        if tuple(value.shape) != batch and len(batch) != 1:
            raise ValueError(f"{name} must have shape {batch}, one per slice of the logits; got {tuple(value.shape)}")
        arrays[name] = value.reshape(-1) if len(batch) != 1 else value
    if len(batch) != 1:
        logits = logits.reshape(-1, n)
    rows.check_features(logits)
    found = {name: rows.beside(logits, name, value) for name, value in arrays.items()}
    found["start"] = da.arange(logits.shape[0], chunks=logits.chunks[0])
    return InDask(Reading(1, n, **common), rows, logits, found)


def _row_blocks(x: Any) -> Any:
    """The module for rows in blocks of arrays of x's library, as Dask has one."""
    return getattr(library_of(type(x)), "row_blocks", None)


def _plain(x: Any) -> Any:
    """Arrays of other libraries as NumPy's, but for Dask's."""
    package = type(x).__module__.partition(".")[0]
    if package == "xarray":
        x = x.data
    elif package == "pandas":
        x = x.to_numpy()
    elif package == "torch":
        x = x.detach().cpu()
        x = (x.float() if str(x.dtype) == "torch.bfloat16" else x).numpy()
    if isinstance(x, np.ndarray) or _row_blocks(x) is not None:
        return x
    return np.asarray(x)


def _operands(
    arrays: dict[str, Any], shape: tuple[int, ...], axis: int, source: Path, opened: Any
) -> tuple[Operand, ...]:
    """The arrays that come with the slices, checked for their shapes."""
    for name, value in arrays.items():
        if name == "labels" and isinstance(value, np.ndarray) and value.size and value.dtype.kind not in "iu":
            raise TypeError(f"labels must be integers; got dtype {value.dtype}")
    return call_of(cross_entropy, arrays, source, shape, axis, opened).operands


def _files(arrays: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((name, str(value)) for name, value in arrays.items() if isinstance(value, PATHS))


def _start(region: Region, axis: int) -> tuple[int, ...]:
    """The position of the first slice of a region."""
    return tuple(part.start for a, part in enumerate(region) if a != axis)


def _blocks(shape: tuple[int, ...], axis: int, order: Any) -> Iterator[Region]:
    """Blocks of whole slices of an array in memory: of short ones more, since merging costs as much for a few rows."""
    n = shape[axis]
    counted = max(1, n // SHORTER) if n <= SHORT else n
    reduced = tuple(counted if a == axis else size for a, size in enumerate(shape))
    for region in array_regions(reduced, axis, order):
        yield tuple(slice(0, n) if a == axis else part for a, part in enumerate(region))


def _all(shape: tuple[int, ...]) -> Region:
    return tuple(slice(0, n) for n in shape)


def _opened(files: ExitStack, reader: Any) -> Any:
    return files.enter_context(closing(reader))


def _tempered(x: Array, temperature: Any) -> Array:
    """x/T in float64; at T = 0 the largest entries are 0 and the others −inf."""
    if np.ndim(temperature) == 0 and temperature == 1:
        return x
    wide = x.astype(np.promote_types(x.dtype, np.float64) if x.dtype.kind == "f" else np.float64, copy=False)
    temperature = np.reshape(temperature, (-1, 1))
    cold = np.where(
        np.isnan(wide), wide, np.where(wide == wide.max(axis=-1, keepdims=True, initial=-np.inf), 0.0, -np.inf)
    )
    return np.where(temperature == 0, cold, wide / temperature) if (temperature == 0).any() else wide / temperature
