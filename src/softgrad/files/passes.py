"""Passes over a file: functions of whole slices take one, normalizations of long slices two."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from softgrad._api import softmax as functions
from softgrad._formulas import states
from softgrad._numpy import states as numpy_states
from softgrad._validation.arrays import as_real
from softgrad.files.blocks import (
    Contents,
    Lengths,
    Region,
    array_regions,
    partial_slices,
    regions,
    scattered,
    shape_of,
    whole_slices,
)
from softgrad.files.formats.table import Reader, Writer
from softgrad.files.journal import Digest, NoJournal, key_of
from softgrad.files.overlap import Behind, read_ahead

Array = np.ndarray[Any, Any]
Read = Callable[[Region], Array]
Count = Callable[[int], None]
"""Receives the number of entries that are done."""


@dataclass(frozen=True, slots=True)
class Normalization:
    """softmax, log_softmax or logsumexp: a first pass over partial slices computes their state."""

    function: Callable[..., Any]
    temperature: float
    by_slice: bool
    """Whether the result has one value per slice."""

    @classmethod
    def of(cls, function: Any) -> Normalization | None:
        """The normalization that `function` is, with its options bound; None for any other function."""
        options: dict[str, Any] = {}
        while isinstance(function, partial):
            if function.args:
                return None
            function, options = function.func, {**function.keywords, **options}
        temperature = options.get("temperature", 1.0)
        if options.keys() - {"temperature", "dtype"} or not isinstance(temperature, int | float):
            return None
        if function is functions.softmax:
            return cls(numpy_states.softmax, float(temperature), False)
        if function is functions.log_softmax:
            return cls(numpy_states.log_softmax, float(temperature), False)
        return cls(states.logsumexp, 1.0, True) if function is functions.logsumexp else None

    def state(self, rows: Array) -> states.State:
        """The state of partial slices."""
        return numpy_states.normalizer(rows, None, self.temperature)

    def merge(self, a: states.State, b: states.State) -> states.State:
        """The state of both."""
        return numpy_states.merge_normalizers(a, b, self.temperature)

    def apply(self, rows: Array, state: states.State) -> Array:
        """The result for partial slices whose state is known."""
        return np.asarray(self.function(rows, state, None, self.temperature))


@dataclass(frozen=True, slots=True)
class Plan:
    """How a file is processed: in blocks of whole slices once, or of partial slices twice where slices are long."""

    function: Callable[..., Any]
    given: Contents
    result: Contents
    axis: int
    lengths: Lengths
    long: Normalization | None
    """What is computed of partial slices; None: blocks hold whole ones."""

    @classmethod
    def of(cls, function: Callable[..., Any], given: Contents, result: Contents, axis: int, by_rows: bool) -> Plan:
        """Choose by how the slices are stored in the file."""
        lengths, long = whole_slices(given, axis, by_rows), Normalization.of(function)
        if long is not None and scattered(given, axis, lengths, by_rows):
            lengths = partial_slices(given, axis, by_rows)
        else:
            long = None
        return cls(function, given, replace(result, chunks=given.chunks or lengths), axis, lengths, long)

    @property
    def passes(self) -> int:
        """How often every entry is read."""
        return 1 if self.long is None or self.long.by_slice else 2

    @property
    def origin(self) -> dict[str, Any]:
        """What a result is computed from, but for the function and the contents of the file."""
        given, result = self.given, self.result
        return {
            "axis": self.axis,
            "tensor": given.tensor,
            "columns": None if given.names is None else list(given.names),
            "shape": list(given.shape),
            "dtype": [str(given.dtype), str(result.dtype)],
            "grid": list(result.chunks or ()),
        }

    def units(self) -> Iterator[Region]:
        """Blocks of whole slices that cover the array: what is computed, or resumed, as a whole."""
        axis, shape = self.axis, self.given.shape
        lengths = self.lengths if self.long is None else (*self.lengths[:axis], shape[axis], *self.lengths[axis + 1 :])
        return regions(shape, lengths, self.given.order, axis)

    def parts(self, unit: Region) -> list[Region]:
        """What is read at once of a unit."""
        if self.long is None:
            return [unit]
        axis, n, step = self.axis, self.given.shape[self.axis], self.lengths[self.axis]
        ends = [(start, min(start + step, n)) for start in range(0, n, step)]
        return [(*unit[:axis], slice(*pair), *unit[axis + 1 :]) for pair in ends]

    def places(self, unit: Region) -> list[Region]:
        """What is written at once of the result for a unit."""
        by_slice = self.long is not None and self.long.by_slice
        return [self.result.place(part) for part in ([unit] if by_slice else self.parts(unit))]

    def run(self, open_reader: Callable[[], Reader], writer: Writer, journal: NoJournal, count: Count) -> None:
        """Compute what the journal does not list as finished."""
        finished = self._confirmed(open_reader, writer, journal, count) if journal.finished else frozenset()
        units = (unit for unit in self.units() if key_of(unit) not in finished)
        with Behind() as behind:
            if self.long is None:
                self._run_whole_slices(open_reader().read, units, writer, journal, behind, count)
            else:
                reads = [open_reader().read for _ in range(self.passes)]
                for unit in units:
                    self._run_partial_slices(self.long, reads, unit, writer, journal, behind, count)

    def _confirmed(
        self, open_reader: Callable[[], Reader], writer: Any, journal: NoJournal, count: Count
    ) -> frozenset[str]:
        """The units that an earlier run has finished: the source is the same, and what was written is intact."""
        read, found = open_reader().read, set()
        for unit in self.units():
            key = key_of(unit)
            if key not in journal.finished:
                continue
            digest = journal.digest()
            for _, block in read_ahead(read, self.parts(unit)):
                digest.update(block)
            before, written = journal.finished[key]
            if str(digest) != before:
                raise ValueError(
                    f"was begun with another source: its entries [{key}] have changed; run without resume=True to"
                    " start again"
                )
            digest = journal.digest()
            for values in map(writer.read, self.places(unit)):
                if values is not None:
                    digest.update(values)
            if str(digest) == written:
                found.add(key)
                count(self.passes * math.prod(shape_of(unit)))
        return frozenset(found)

    def _run_whole_slices(
        self, read: Read, units: Iterator[Region], writer: Writer, journal: NoJournal, behind: Behind, count: Count
    ) -> None:
        def store(unit: Region, values: Array, digest: Digest) -> None:
            written = journal.digest()
            written.update(values)
            writer.write(self.result.place(unit), values)
            journal.record(unit, digest, written)

        for unit, block in read_ahead(read, units):
            digest = journal.digest()
            digest.update(block)
            behind.submit(store, unit, self._computed(block), digest)
            count(math.prod(shape_of(unit)))

    def _run_partial_slices(
        self,
        long: Normalization,
        reads: list[Read],
        unit: Region,
        writer: Writer,
        journal: NoJournal,
        behind: Behind,
        count: Count,
    ) -> None:
        digest, written = journal.digest(), journal.digest()

        def store(place: Region, values: Array) -> None:
            written.update(values)
            writer.write(place, values)

        state: states.State | None = None
        for _, rows in self._rows(reads[0], self.parts(unit), count, digest):
            state = long.state(rows) if state is None else long.merge(state, long.state(rows))
        if state is not None and long.by_slice:
            (place,) = self.places(unit)
            behind.submit(store, place, self._narrowed(states.logsumexp(state).reshape(shape_of(place))))
        elif state is not None:
            for part, rows in self._rows(reads[1], self.parts(unit), count):
                values = long.apply(rows, state)
                behind.submit(store, self.result.place(part), self._narrowed(np.moveaxis(values, -1, self.axis)))
        behind.submit(journal.record, unit, digest, written)

    def _rows(
        self, read: Read, parts: list[Region], count: Count, digest: Digest | None = None
    ) -> Iterator[tuple[Region, Array]]:
        for part, block in read_ahead(read, parts):
            if digest is not None:
                digest.update(block)
            yield part, np.asarray(np.moveaxis(as_real(block), self.axis, -1))
            count(math.prod(shape_of(part)))

    @np.errstate(all="ignore")  # a cast may underflow, and that is its result
    def _narrowed(self, values: Array) -> Array:
        return values.astype(self.result.dtype, copy=False)

    def _computed(self, block: Array) -> Array:
        """The result for whole slices, computed in small blocks, so that temporary arrays stay small."""
        known = Normalization.of(self.function)
        if known is not None and not known.by_slice and block.dtype == self.result.dtype and block.flags.writeable:
            for region in array_regions(block.shape, self.axis, self.result.order):
                self.function(block[region], axis=self.axis, out=block[region])
            return block
        everything = tuple(slice(0, n) for n in block.shape)
        values = np.empty(shape_of(self.result.place(everything)), self.result.dtype, self.result.order)
        for region in array_regions(block.shape, self.axis, self.result.order):
            place = self.result.place(region)
            values[place] = np.reshape(self.function(block[region], axis=self.axis), shape_of(place))
        return values
