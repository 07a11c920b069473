"""Passes over a file: functions of whole slices take one, normalizations of long slices two."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial, reduce
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
from softgrad.files.overlap import WriteBehind, read_ahead

Array = np.ndarray[Any, Any]
Read = Callable[[Region], Array]
Write = Callable[[Region, Array], None]
Written = Callable[[Region], bool]
"""Whether a region of the result is there already."""
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

    def run(self, reads: tuple[Read, ...], write: Write, written: Written, count: Count) -> None:
        """Compute what is not written yet; there is one way of reading for each pass."""
        with WriteBehind(write) as behind:
            if self.long is None:
                self._run_whole_slices(reads[0], behind, written, count)
            else:
                self._run_partial_slices(self.long, reads, behind, written, count)

    def _run_whole_slices(self, read: Read, write: Write, written: Written, count: Count) -> None:
        def missing() -> Iterator[Region]:
            for region in regions(self.given.shape, self.lengths, self.given.order, self.axis):
                if written(self.result.place(region)):
                    count(math.prod(shape_of(region)))
                else:
                    yield region

        for region, block in read_ahead(read, missing()):
            write(self.result.place(region), self._computed(block))
            count(math.prod(shape_of(region)))

    def _run_partial_slices(
        self, long: Normalization, reads: tuple[Read, ...], write: Write, written: Written, count: Count
    ) -> None:
        axis, shape = self.axis, self.given.shape
        for slices in regions(shape, (*self.lengths[:axis], shape[axis], *self.lengths[axis + 1 :]), self.given.order):
            starts = range(0, shape[axis], self.lengths[axis])
            ends = [min(start + self.lengths[axis], shape[axis]) for start in starts]
            parts = [(*slices[:axis], slice(*ends), *slices[axis + 1 :]) for ends in zip(starts, ends, strict=True)]
            places = [self.result.place(part) for part in parts]
            if all(map(written, places)):
                count(self.passes * math.prod(shape_of(slices)))
                continue
            state = reduce(long.merge, (long.state(rows) for _, rows in self._rows(reads[0], parts, count)))
            if long.by_slice:
                write(places[0], self._narrowed(states.logsumexp(state).reshape(shape_of(places[0]))))
                continue
            for part, rows in self._rows(reads[1], parts, count):
                values = long.apply(rows, state)
                write(self.result.place(part), self._narrowed(np.moveaxis(values, -1, axis)))

    def _rows(self, read: Read, parts: list[Region], count: Count) -> Iterator[tuple[Region, Array]]:
        for part, block in read_ahead(read, parts):
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
