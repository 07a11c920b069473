"""How a file is processed: functions of whole slices take one pass, normalizations of long slices two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from softgrad._api import softmax as functions
from softgrad._formulas import states
from softgrad._numpy import states as numpy_states
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

    @np.errstate(all="ignore")  # a cast may underflow, and that is its result
    def narrowed(self, values: Array) -> Array:
        """Values in the dtype of the result."""
        return values.astype(self.result.dtype, copy=False)

    def computed(self, block: Array) -> Array:
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
