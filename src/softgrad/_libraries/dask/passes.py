"""Slices that span several blocks, for functions that need only a state of every slice: the kernels on each block.

The first pass over the blocks computes their states, which a tree merges. A second pass, if there is one, uses the
merged states.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import dask.array as da
import numpy as np
from dask.array.utils import meta_from_array

from softgrad._formulas import states
from softgrad._formulas.namespace import Array
from softgrad._formulas.precision import silent
from softgrad._libraries.dask.blocks import joined, leaves, only, reduced
from softgrad._libraries.dask.slices import Slices
from softgrad._numpy import states as numpy_states
from softgrad._validation.arrays import as_real

if TYPE_CHECKING:
    from softgrad._libraries.dask.rounds import Formula


class Kind(NamedTuple):
    """How the state of a block is computed, and how two states are merged."""

    of: Callable[..., states.State]
    merge: Callable[[states.State, states.State], states.State]


WITH_DEPTH = Kind(numpy_states.state, numpy_states.merge)
WITHOUT_DEPTH = Kind(numpy_states.normalizer, numpy_states.merge)

ONE_PASS: dict[str, tuple[Kind, Callable[[states.State], Array]]] = {
    "logsumexp": (WITHOUT_DEPTH, states.logsumexp),
    "entropy": (WITH_DEPTH, states.entropy),
}
"""Functions of the states alone: one pass."""

TWO_PASSES: dict[str, Callable[..., Array]] = {
    "softmax": numpy_states.softmax,
    "log_softmax": numpy_states.log_softmax,
}
"""Functions of the states and the entries: two passes."""

LABELLED = ("cross_entropy", "cross_entropy_grad")
"""Functions of the states, the entries and the labels, if there are no options: two passes."""


def compute(formula: Formula, given: list[Any], slices: Slices, empty: tuple[Array, ...]) -> list[Array] | None:
    """The results, of the types of the empty ones; None if states are not enough for them."""
    name, operands = slices.function.name, slices.operands.keys()
    if operands <= {"x", "logits", "where"} and name in ONE_PASS and slices.options.keys() <= {"dtype"}:
        kind, value = ONE_PASS[name]
        return [_per_slice(partial(_value, value), [], _states(kind, formula, given, slices), slices, empty[0])]
    if operands <= {"x", "logits", "where"} and name in TWO_PASSES and not slices.options:
        found = _states(WITHOUT_DEPTH, formula, given, slices)
        return [_per_entry(partial(_normalized, TWO_PASSES[name], formula), given, found, slices, empty[0])]
    if operands == {"logits", "labels"} and name in LABELLED and not slices.options:
        if slices.operands["logits"].array.dtype.itemsize < 4:
            return None  # log p in half precision is not enough for a loss
        return _labelled(formula, given, slices, empty)
    return None


def _labelled(formula: Formula, given: list[Any], slices: Slices, empty: tuple[Array, ...]) -> list[Array]:
    logits, labels, places = given[:2], given[2:4], given[4:]
    alone = replace(formula, cores=formula.cores[:1])
    found = _states(WITHOUT_DEPTH, alone, [*logits, *places], slices)
    task, meta = partial(_log_probability, alone), np.empty((0,) * len(slices.shape))
    picked = da.blockwise(
        task, slices.everything, *logits, *places, *labels, found, slices.batch, meta=meta, token="log-probability"
    )
    log = reduced(picked, _sum, slices, "log-probability")
    results = [_per_slice(_negative, [], log, slices, empty[0])]
    if len(empty) > 1:
        given = [*logits, *places, *labels, log, slices.batch]
        results.append(_per_entry(partial(_label_gradient, alone), given, found, slices, empty[1]))
    return results


def _states(kind: Kind, formula: Formula, given: list[Any], slices: Slices) -> Array:
    meta, name = np.empty((0,) * len(slices.shape)), f"{slices.function.name}-states"
    found = da.blockwise(partial(_state, kind, formula), slices.everything, *given, meta=meta, token=name)
    return reduced(found, partial(_one_state, kind), slices, "state")


def _per_slice(task: Callable[..., Array], given: list[Any], found: Array, slices: Slices, empty: Array) -> Array:
    own = {"meta": meta_from_array(empty, len(slices.batch)), "token": slices.function.name}
    return da.blockwise(partial(task, empty.dtype), slices.batch, *given, found, slices.batch, **own)


def _per_entry(task: Callable[..., Array], given: list[Any], found: Array, slices: Slices, empty: Array) -> Array:
    own = {"meta": meta_from_array(empty, len(slices.shape)), "token": slices.function.name}
    return da.blockwise(partial(task, empty.dtype), slices.everything, *given, found, slices.batch, **own)


def _state(kind: Kind, formula: Formula, *blocks: Any) -> states.State:
    arrays, places, _ = formula.given(blocks)
    x, *where = arrays
    x = as_real(x)
    if numpy_states.has_kernel(x):
        return kind.of(x, *where)
    groups = formula.groups([x, *where], formula.positions(places), {})
    return states.State(*joined([kind.of(*group) for group, _, _ in groups]))


def _one_state(kind: Kind, found: Any, axis: Any = None, keepdims: Any = None) -> states.State:
    merged: states.State = functools.reduce(kind.merge, leaves(found))
    return merged


@silent  # a cast may underflow or overflow, and that is its result
def _value(value: Callable[[states.State], Array], dtype: Any, state: states.State) -> Array:
    return np.asarray(value(state)).astype(dtype)


@silent
def _normalized(normalize: Callable[..., Array], formula: Formula, dtype: Any, *blocks: Any) -> Array:
    *others, state = blocks
    (x, *where), places, _ = formula.given(others)
    rows = normalize(as_real(x), only(state), *where)
    return formula.in_block((x, *where), places, rows.astype(dtype, copy=False))


def _log_probability(formula: Formula, *blocks: Any) -> Array:
    """Log p at the labels that are in the block, 0 for the others."""
    *others, labels, state = blocks
    (x,), places, _ = formula.given(others)
    x = as_real(x)
    if x.shape[-1] == 0:
        return np.zeros(x.shape[:-1], x.dtype)
    index, here = _position(formula.positions(places), only(labels))
    at_label = np.take_along_axis(x, index[..., np.newaxis], axis=-1)
    log = numpy_states.log_softmax(at_label, only(state))[..., 0]
    return np.where(here, log, np.zeros_like(log))


@silent
def _label_gradient(formula: Formula, dtype: Any, *blocks: Any) -> Array:
    """The gradient: p, and p − 1 at the label as expm1(log p), which does not cancel where p is nearly 1."""
    *others, labels, log, state = blocks
    (x,), places, _ = formula.given(others)
    p = numpy_states.softmax(as_real(x), only(state)).astype(dtype, copy=False)
    if p.shape[-1]:
        index, here = (a[..., np.newaxis] for a in _position(formula.positions(places), only(labels)))
        less_one = np.expm1(only(log)).astype(dtype, copy=False)[..., np.newaxis]
        np.put_along_axis(p, index, np.where(here, less_one, np.take_along_axis(p, index, axis=-1)), axis=-1)
    return formula.in_block((x,), places, p)


def _position(positions: Array, labels: Array) -> tuple[Array, Array]:
    """The index of labels among the positions of a block, and whether they are among them."""
    index = np.minimum(np.searchsorted(positions, labels), len(positions) - 1)
    return index, positions[index] == labels


def _negative(dtype: Any, log: Array) -> Array:
    return -np.asarray(log, dtype=dtype)


def _sum(found: Any, axis: Any = None, keepdims: Any = None) -> Array:
    return functools.reduce(np.add, leaves(found))
