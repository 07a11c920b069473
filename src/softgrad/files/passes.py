"""How a file is processed: functions of whole slices take one pass, normalizations of long slices two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from softgrad._api import softmax as functions
from softgrad._formulas import states
from softgrad._formulas.precision import silent
from softgrad._numpy import states as numpy_states
from softgrad.files.blocks import (
    Contents,
    Lengths,
    Region,
    array_regions,
    needs_parts,
    partial_slices,
    regions,
    shape_of,
    whole_slices,
)
from softgrad.files.operands import Call, Slices

Array = np.ndarray[Any, Any]


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
        return numpy_states.merge(a, b, self.temperature)

    def apply(self, rows: Array, state: states.State) -> Array:
        """The result for partial slices whose state is known."""
        return np.asarray(self.function(rows, state, None, self.temperature))


@dataclass(frozen=True, slots=True)
class Plan:
    """How a file is processed: in blocks of whole slices once, or of partial slices twice where slices are long."""

    call: Call
    slices: Slices
    results: tuple[Contents | None, ...]
    """One for each result of the function; None for one that is not written."""
    lengths: Lengths
    long: Normalization | None
    """What is computed of partial slices; None: blocks hold whole ones."""

    @classmethod
    def of(cls, call: Call, slices: Slices, results: tuple[Contents | None, ...], by_rows: bool) -> Plan:
        """Choose by how the slices are stored in the file."""
        given, axis = slices.contents, slices.axis
        lengths = whole_slices(given, axis, by_rows)
        long = None if call.operands else Normalization.of(call.function)
        if long is not None and needs_parts(given, axis, lengths, by_rows):
            lengths = partial_slices(given, axis, by_rows)
        else:
            long = None
        grid = given.chunks or lengths
        results = tuple(None if result is None else replace(result, chunks=grid) for result in results)
        return cls(call, slices, results, lengths, long)

    @property
    def given(self) -> Contents:
        """The source."""
        return self.slices.contents

    @property
    def axis(self) -> int:
        """The axis of the slices."""
        return self.slices.axis

    @property
    def result(self) -> Contents:
        """The first result that is written."""
        return next(result for result in self.results if result is not None)

    @property
    def passes(self) -> int:
        """How often every entry is read."""
        return 1 if self.long is None or self.long.by_slice else 2

    @property
    def origin(self) -> dict[str, Any]:
        """What a result is computed from, but for the function and the contents of the file."""
        given, result = self.given, self.result
        return {
            "operands": [[operand.name, list(operand.shape)] for operand in self.call.operands],
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

    def widened(self, rows: Array) -> Array:
        """Rows in the dtype of the result, if that is wider: they are computed in it."""
        return rows.astype(np.result_type(rows.dtype, self.result.dtype), copy=False)

    @silent
    def narrowed(self, values: Array) -> Array:
        """Values in the dtype of the result."""
        return values.astype(self.result.dtype, copy=False)

    def computed(self, unit: Region, block: Array, given: list[Array]) -> list[Array | None]:
        """The results for whole slices, computed in small blocks, so that temporary arrays stay small.

        `block` holds the entries of `unit`, and `given` what the operands have for it.
        """
        order = self.result.order
        known = None if self.call.operands else Normalization.of(self.call.function)
        if known is not None and not known.by_slice and block.dtype == self.result.dtype and block.flags.writeable:
            for region in array_regions(block.shape, self.axis, order):
                self.call(block[region], [], axis=self.axis, out=block[region])
            return [block]
        everything = tuple(slice(0, n) for n in block.shape)
        values = [
            None if result is None else np.empty(shape_of(result.place(everything)), result.dtype, result.order)
            for result in self.results
        ]
        for region in array_regions(block.shape, self.axis, order):
            try:
                found = self._called(block, given, region)
            except (IndexError, ValueError) as error:
                if not self.call.operands:
                    raise
                index, cause = self._located(error, block, given, region)
                starts = [part.start for a, part in enumerate(unit) if a != self.axis]
                place = tuple(start + i for start, i in zip(starts, index, strict=True))
                raise self.call.located(cause, place, self.slices) from None
            self._store(values, found, region)
        return values

    @silent  # a cast may underflow, and that is its result
    def _store(self, values: list[Array | None], found: tuple[Any, ...], region: Region) -> None:
        for result, whole, part in zip(self.results, values, found, strict=True):
            if result is not None and whole is not None:
                place = result.place(region)
                whole[place] = np.reshape(part, shape_of(place))

    def _called(self, block: Array, given: list[Array], region: Region) -> tuple[Any, ...]:
        operands = [operand.taken(v, region) for operand, v in zip(self.call.operands, given, strict=True)]
        return as_results(self.call(block[region], operands, axis=self.axis))

    def _located(
        self, error: Exception, block: Array, given: list[Array], region: Region
    ) -> tuple[tuple[int, ...], Exception]:
        """The first slice of a block that the function refuses, and its error: by halving."""
        for a in (a for a in range(block.ndim) if a != self.axis):
            while region[a].stop - region[a].start > 1:
                middle = (region[a].start + region[a].stop) // 2
                halves = slice(region[a].start, middle), slice(middle, region[a].stop)
                region = (*region[:a], halves[0], *region[a + 1 :])
                try:
                    self._called(block, given, region)
                    region = (*region[:a], halves[1], *region[a + 1 :])
                    self._called(block, given, region)
                except (IndexError, ValueError) as found:
                    error = found
        return tuple(part.start for a, part in enumerate(region) if a != self.axis), error


def as_results(found: Any) -> tuple[Any, ...]:
    """What a function returns, as a tuple of one result or of several."""
    return tuple(found) if isinstance(found, tuple) else (found,)
