"""Slices that span several blocks: rounds of tasks, one for each block, and trees that merge their results.

The formulas are those of any array; `softgrad._libraries.dask.partial` runs them block by block.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from dask.array.core import unify_chunks

from softgrad._dispatch import CHOICES, MATRIX, SLICE, VALUE, Function
from softgrad._formulas.namespace import Array
from softgrad._libraries.dask import passes
from softgrad._libraries.dask.blocks import arrays as lazy_arrays
from softgrad._libraries.dask.blocks import called, joined, leaves, numbers, only, reduced
from softgrad._libraries.dask.partial import PartialArray, PartialNamespace, Parts, PendingError, merged
from softgrad._libraries.dask.slices import CHOSEN, FLAT, PLACE, ROW, Slices
from softgrad._validation.axis import Rows

GROUP = 2**17
"""The number of entries that a formula is run on at a time."""

Found = tuple[tuple[int, ...], Parts]
"""The shape of the batch of a block, and the parts or answers of its slices."""


@dataclass(frozen=True)
class Formula:
    """A function of slices that span several blocks."""

    function: Function
    names: tuple[str, ...]
    options: dict[str, Any]
    cores: tuple[str, ...]
    axes: tuple[int, ...]
    lengths: tuple[int, ...]
    """Of the slices along the axes."""

    def ask(self, arrays: Sequence[Array], positions: Array, answers: Parts) -> Parts:
        """The parts of the reductions that this block contributes to the next round."""
        asked = [self(*group)[0].parts for group in self.groups(arrays, positions, answers)]
        first = asked[0]
        return {i: (merge, joined([parts[i][1] for parts in asked])) for i, (merge, _) in first.items()}

    def result(self, arrays: Sequence[Array], positions: Array, answers: Parts) -> tuple[Array, ...]:
        """The arrays in its result, when no answer is missing."""
        results = []
        for group in self.groups(arrays, positions, answers):
            namespace, result = self(*group)
            assert not namespace.parts
            results.append(tuple(array.value() for array in numbers(result)))
        return joined(results)

    def groups(self, arrays: Sequence[Array], positions: Array, answers: Parts) -> Iterator[tuple[Any, ...]]:
        """The arguments for some slices at a time, along the first axis of the batch: temporary arrays stay small."""
        shape = self.batch_shape(arrays)
        size = math.prod(shape) * len(positions)
        count = min(shape[0], math.ceil(size / GROUP)) if shape and size else 1
        if count == 1:
            yield arrays, positions, answers
            return
        whole = [np.broadcast_to(a, (shape[0], *a.shape[1:])) for a in arrays]
        for start, stop in itertools.pairwise(np.linspace(0, shape[0], count + 1, dtype=int)):
            group = {i: (merge, tuple(a[start:stop] for a in part)) for i, (merge, part) in answers.items()}
            yield [a[start:stop] for a in whole], positions, group

    def __call__(self, arrays: Sequence[Array], positions: Array, answers: Parts) -> tuple[PartialNamespace, Any]:
        """One run on rows with the entries at `positions`: the namespace with the parts, and the result or None."""
        namespace = PartialNamespace(math.prod(self.lengths), positions, answers)
        partials = [PartialArray(a, namespace, cut=core == SLICE) for a, core in zip(arrays, self.cores, strict=True)]
        try:
            with np.errstate(all="ignore"):
                return namespace, called(self.function, self.names, {**self.options, "axis": -1}, *partials)
        except PendingError:
            return namespace, None

    def given(self, blocks: Sequence[Any]) -> tuple[list[Array], list[Array], Parts]:
        """Operands as rows, start and length of the block along each axis, and the answers so far."""
        operands, others = blocks[: len(self.cores)], blocks[len(self.cores) :]
        places = [only(place)[0] for place in others[: len(self.axes)]]
        answers: Parts = {}
        for _, found in others[len(self.axes) :]:
            answers |= found
        return (
            [self._rows(only(a), core, places) for a, core in zip(operands, self.cores, strict=True)],
            places,
            answers,
        )

    def batch_shape(self, arrays: Sequence[Array]) -> tuple[int, ...]:
        """The shape of one value per slice."""
        return np.broadcast_shapes(*(a.shape[:-1] for a, core in zip(arrays, self.cores, strict=True) if core == SLICE))

    def positions(self, places: Sequence[Array]) -> Array:
        """Which entries of the slices are in the block."""
        found = np.zeros(1, dtype=np.int64)
        for n, (start, length) in zip(self.lengths, places, strict=True):
            found = (found[:, None] * n + np.arange(start, start + length)).ravel()
        return found

    def in_block(self, arrays: Sequence[Array], places: Sequence[Array], rows: Array) -> Array:
        """Rows of a result in the layout of the block."""
        shape = [0] * (len(self.batch_shape(arrays)) + len(places))
        for a, (_, length) in zip(self.axes, places, strict=True):
            shape[a] = length
        batch = iter(self.batch_shape(arrays))
        layout = Rows(tuple(n if a in self.axes else next(batch) for a, n in enumerate(shape)), self.axes)
        return np.ascontiguousarray(layout.from_rows(rows))

    def _rows(self, array: Array, core: str, places: Sequence[Array]) -> Array:
        if core != SLICE:
            return array
        shape = list(array.shape)
        for a, (_, length) in zip(self.axes, places, strict=True):
            shape[a] = length
        return Rows(tuple(shape), self.axes).to_rows(np.broadcast_to(array, shape))


def compute(slices: Slices, cores: tuple[str, ...], empty: tuple[Array, ...]) -> list[Array]:
    """The results in the blocks of the operands, of the types of the empty ones."""
    _check(slices, cores)
    operands = _aligned(slices)
    formula = Formula(
        slices.function,
        slices.names,
        slices.options,
        tuple(a.core for a in slices.operands.values()),
        slices.axes,
        tuple(int(slices.shape[a]) for a in slices.axes),
    )
    everywhere = [*operands, *_places(slices, operands)]
    if (results := passes.compute(formula, everywhere, slices, empty)) is not None:
        return results
    answers: list[Any] = []
    for _ in range(_rounds(formula, slices)):
        meta = np.empty((0,) * len(slices.shape))
        name = f"{slices.function.name}-parts"
        parts = da.blockwise(partial(_parts, formula), slices.everything, *everywhere, *answers, meta=meta, token=name)
        answers += [reduced(parts, _together, slices, "answers"), slices.batch]
    # A result with one value per slice follows from the answers alone: it needs the dtype of the entries, not a block.
    once = list(operands)
    for i, core in enumerate(formula.cores):
        if core == SLICE:
            once[2 * i : 2 * i + 2] = operands[2 * i].dtype, None
    found: dict[int, Array] = {}
    for task, given, kinds in ((_entries, everywhere, (SLICE, ROW)), (_values, once, (VALUE, CHOICES))):
        if chosen := [i for i, core in enumerate(cores) if core in kinds]:
            lazy = partial(task, formula, tuple(chosen))
            own = [cores[i] for i in chosen], [empty[i] for i in chosen]
            results = lazy_arrays(lazy, given + answers, slices, *own)
            found.update(zip(chosen, results, strict=True))
    return [found[i] for i in range(len(cores))]


def _check(slices: Slices, cores: tuple[str, ...]) -> None:
    """ValueError or TypeError for a call that needs every slice in one block."""
    name = next(iter(slices.operands))
    if math.isnan(slices.n):
        raise ValueError(
            f"{name} is cut along its axis into chunks of unknown sizes: call compute_chunk_sizes() before"
        )
    whole = f"along its axis, {name} must lie in one chunk for"
    if (
        slices.function.whole
        or MATRIX in cores
        or ROW in slices.function.results
        or any(FLAT in slices.index(core) for core in cores)
    ):
        raise ValueError(f"{whole} {slices.function.name.strip('_')}; got several: rechunk it")
    for operand in slices.operands.values():
        if type(operand.array._meta) is not np.ndarray:
            raise TypeError(f"{whole} blocks of {type(operand.array._meta).__name__}; got several: rechunk it")


def _aligned(slices: Slices) -> list[Any]:
    """The operands in common blocks, with chosen entries in one block, in the form that blockwise takes."""
    given: list[Any] = []
    for array, index, _ in slices.operands.values():
        given += [array.rechunk({index.index(CHOSEN): -1}) if CHOSEN in index else array, index]
    _, operands = unify_chunks(*given)
    return [part for pair in zip(operands, given[1::2], strict=True) for part in pair]


def _places(slices: Slices, operands: list[Any]) -> list[Any]:
    """For each axis an array whose blocks hold the start and the length of the block of entries at their place."""
    places = []
    for a in slices.axes:
        chunks = max(
            (x.chunks[i.index(a)] for x, i in zip(operands[::2], operands[1::2], strict=True) if a in i), key=sum
        )
        lengths = np.asarray(chunks)
        place = da.from_array(np.stack([np.cumsum(lengths) - lengths, lengths], axis=1), chunks=(1, 2))
        # The declared chunks are those of the operands, so that the blocks are aligned with theirs.
        places += [da.Array(place.dask, place.name, (chunks, (2,)), dtype=place.dtype), (a, PLACE)]
    return places


def _rounds(formula: Formula, slices: Slices) -> int:
    """The number of rounds, determined by runs without entries."""
    rounds, nothing = 0, np.zeros(0, dtype=np.int64)
    answers: Parts = {}
    operands = []
    for array, index, core in slices.operands.values():
        batch = tuple(
            1 if math.isnan(n) else n for d, n in zip(index, array.shape, strict=True) if d not in slices.axes
        )
        operands.append(np.empty((0, *batch, *(0,) * (core == SLICE)), dtype=array.dtype))
    while parts := formula(operands, nothing, answers)[0].parts:
        answers, rounds = answers | parts, rounds + 1
    return rounds


def _parts(formula: Formula, *blocks: Any) -> Found:
    arrays, places, answers = formula.given(blocks)
    return formula.batch_shape(arrays), formula.ask(arrays, formula.positions(places), answers)


def _entries(formula: Formula, chosen: tuple[int, ...], *blocks: Any) -> tuple[Array, ...]:
    arrays, places, answers = formula.given(blocks)
    results = formula.result(arrays, formula.positions(places), answers)
    return tuple(formula.in_block(arrays, places, results[i]) for i in chosen)


def _values(formula: Formula, chosen: tuple[int, ...], *blocks: Any) -> tuple[Array, ...]:
    count = len(formula.cores)
    (shape, answers), *others = blocks[count:]
    answers = functools.reduce(operator.or_, (found for _, found in others), answers)
    arrays = [np.empty((*shape, 0), dtype=a) if isinstance(a, np.dtype) else only(a) for a in blocks[:count]]
    results = formula.result(arrays, np.zeros(0, dtype=np.int64), answers)
    return tuple(results[i] for i in chosen)


def _together(found: Any, axis: Any = None, keepdims: Any = None) -> Found:
    """The results of several blocks, merged."""
    every = list(leaves(found))
    return every[0][0], merged(parts for _, parts in every)
