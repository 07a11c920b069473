"""Arrays that belong to the slices of a source, such as labels: in memory or in files, taken block by block with it."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from softgrad._dispatch import CHOICES, CLASSES, FUNCTIONS, OPTIONS, SLICE, VALUE, Function
from softgrad.files.blocks import Region, Selection
from softgrad.files.formats.table import Reader, format_of

Array = np.ndarray[Any, Any]

INTEGERS = ("labels", "index")
"""Operands that tables, whose numbers are floating, hold as whole numbers."""


@dataclass(frozen=True)
class Operand:
    """An array, and which of its axes follow which axes of the source."""

    name: str
    """What the function calls it."""
    where_from: str
    shape: tuple[int, ...]
    axes: tuple[int | None, ...]
    """The axis of the source that each own axis follows; None for one that is taken as a whole."""
    squeezed: tuple[int, ...]
    """Own axes of length 1 that stand for the slices, which the function does not expect."""
    read_region: Callable[[Region], Array]
    by_rows: bool

    def read(self, region: Region) -> Array:
        """The entries that belong to a region of the source."""
        values = np.asarray(self.read_region(self._own(region)))
        if self.name == "where" and values.dtype != bool:
            if not np.isin(values, (0, 1)).all():
                raise ValueError(f"{self.where_from}: where must be 0 or 1, or of dtype bool")
            return values.astype(bool)
        if self.name in INTEGERS and values.dtype.kind == "f":
            whole = values.astype(np.int64)
            if not (whole == values).all():
                bad = values[whole != values][0]
                raise ValueError(f"{self.where_from}: {self.name} must be integers; got {bad}")
            return whole
        return values

    def taken(self, values: Array, region: Region) -> Array:
        """The entries of a region of a block, as the function expects them."""
        return np.squeeze(values[self._own(region)], axis=self.squeezed)

    def sample(self, lengths: list[int]) -> Array:
        """Entries that any function takes, for slices of `lengths`."""
        shape = [n if a is None else lengths[a] for a, n in zip(self.axes, self.shape, strict=True)]
        dtype = np.dtype(np.int64 if self.name in INTEGERS else bool if self.name == "where" else np.float64)
        values = np.zeros(shape, dtype) if self.name in INTEGERS else np.ones(shape, dtype)
        return np.squeeze(values, axis=self.squeezed)

    def _own(self, region: Region) -> Region:
        return tuple(slice(0, n) if a is None else region[a] for a, n in zip(self.axes, self.shape, strict=True))


@dataclass(frozen=True)
class Call:
    """A function with what every block of a call has in common, and the operands that come with each block."""

    function: Callable[..., Any]
    operands: tuple[Operand, ...] = ()
    positional: int = 0
    """How many of the operands are positional; they come first."""
    source: str = ""
    """The file that the blocks are from, for messages."""

    def __call__(self, block: Array, given: list[Array], **options: Any) -> Any:
        """The function of a block and of what the operands have for it."""
        named = {operand.name: values for operand, values in zip(self.operands, given, strict=True)}
        values = [named.pop(operand.name) for operand in self.operands[: self.positional]]
        return self.function(block, *values, **named, **options)

    def located(self, error: Exception, index: tuple[int, ...]) -> Exception:
        """The error of a call on one slice, with the place of that slice in the source."""
        message = str(error)
        for operand in self.operands:  # of the only slice
            message = re.sub(rf"\b{operand.name}\[0(, 0)*\]", operand.name, message)
        place = ", ".join(map(str, index))
        return type(error)(f"{self.source}, slice [{place}]: {message}")


def call_of(
    function: Callable[..., Any],
    arrays: dict[str, Any],
    source: Path,
    shape: tuple[int, ...],
    axis: int,
    opened: Callable[[Reader], Reader],
) -> Call:
    """Separate the arrays that come with the slices of the source and the options that all blocks share."""
    declared = _declared(function)
    order = declared.names[1:] if declared is not None else ()
    found: dict[str, Operand] = {}
    for name, value in arrays.items():
        kind = _kind(declared, name)
        if not isinstance(value, str | os.PathLike) and (kind == CLASSES or np.ndim(value) == 0):
            function = partial(function, **{name: value})
            continue
        read, own_shape, where_from, by_rows = _opened(name, value, opened)
        if kind == CLASSES:
            whole = np.asarray(read(tuple(slice(0, n) for n in own_shape))).reshape(-1)
            function = partial(function, **{name: whole})
            continue
        if kind == CHOICES and by_rows and own_shape[axis] == 1:
            kind = VALUE  # the one column of a table
        axes, squeezed = _followed(name, kind, own_shape, shape, axis, f"{where_from}: " if where_from else "", source)
        found[name] = Operand(name, where_from or name, own_shape, axes, squeezed, read, by_rows)
    missing = [name for name in order if name not in found]
    if missing and len(missing) < len(order):
        raise TypeError(f"{declared.name if declared else ''} needs {', '.join(missing)}, too")
    if missing and not _bound_positionally(function):
        raise TypeError(f"{declared.name if declared else 'function'} needs {', '.join(missing)}: an array or a file")
    first = [found.pop(name) for name in order if name in found]
    return Call(function, (*first, *found.values()), len(first), str(source))


def _bound_positionally(function: Any) -> bool:
    while isinstance(function, partial):
        if function.args:
            return True
        function = function.func
    return False


def _declared(function: Any) -> Function | None:
    """The public function of softgrad that a call comes to; None for any other."""
    while isinstance(function, partial):
        function = function.func
    found = FUNCTIONS.get(getattr(function, "__name__", ""))
    return found if found is not None and inspect.unwrap(function) is found.plain else None


def _kind(declared: Function | None, name: str) -> str | None:
    """What of an array belongs to a slice; None where only its shape decides."""
    if declared is not None and name in declared.names:
        return declared.operands[declared.names.index(name)]
    return OPTIONS.get(name)


def _opened(
    name: str, value: Any, opened: Callable[[Reader], Reader]
) -> tuple[Callable[[Region], Array], tuple[int, ...], str, bool]:
    """How to read an array, its shape, the file that it is in, and whether that is read row by row."""
    if isinstance(value, str | os.PathLike):
        path = Path(value)
        reader = opened(format_of(path).reader(path, Selection()))
        return reader.read, reader.contents.shape, str(path), reader.by_rows
    values = np.asarray(value)
    if values.dtype.kind not in "fiub" and values.dtype.name != "bfloat16":
        raise TypeError(f"{name} must be an array of numbers or the path of a file; got dtype {values.dtype}")
    return values.__getitem__, values.shape, "", False


def _followed(
    name: str, kind: str | None, own: tuple[int, ...], shape: tuple[int, ...], axis: int, place: str, source: Path
) -> tuple[tuple[int | None, ...], tuple[int, ...]]:
    """Which axes of the source the axes of an array follow, and which stand for slices with length 1."""
    ndim = len(shape)
    others = tuple(a for a in range(ndim) if a != axis)
    if kind == SLICE or (kind is None and len(own) == ndim):
        axes = tuple(range(ndim))[ndim - len(own) :]
        fits = all(n in (1, shape[a]) for n, a in zip(own, axes, strict=True)) and len(own) <= ndim
        if fits:
            return tuple(a if n == shape[a] else None for n, a in zip(own, axes, strict=True)), ()
        expected = shape
    elif kind == CHOICES and len(own) == ndim and all(own[a] == shape[a] for a in others):
        return tuple(None if a == axis else a for a in range(ndim)), ()
    else:
        expected = tuple(shape[a] for a in others)
        if own == expected:
            return others, ()
        if len(own) == ndim and own[axis] == 1 and all(own[a] == shape[a] for a in others):
            return tuple(None if a == axis else a for a in range(ndim)), (axis,)
        if ndim == 2 and own in ((*expected, 1), (1, *expected)):  # the one column or row of a table
            place_of_one = 1 if own[1] == 1 else 0
            return tuple(None if i == place_of_one else others[0] for i in range(2)), (place_of_one,)
        if kind == VALUE and name in ("temperature", "alpha") and len(own) <= len(expected):
            axes = others[len(others) - len(own) :]
            if all(n in (1, shape[a]) for n, a in zip(own, axes, strict=True)):
                return tuple(a if n == shape[a] else None for n, a in zip(own, axes, strict=True)), ()
    raise ValueError(f"{place}{name} must have shape {expected}, as {source} has it; got {own}")
