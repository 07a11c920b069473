"""Arrays that belong to the slices of a source, such as labels: in memory or in files, taken block by block with it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from softgrad._api.sampling import OF_NUMBERS, uniforms_for
from softgrad._dispatch import CHOICES, CLASSES, FUNCTIONS, OPTIONS, SLICE, VALUE, Function
from softgrad._validation.axis import Rows, normalize_axis
from softgrad.files.blocks import Contents, Region
from softgrad.files.formats.table import Reader
from softgrad.files.selection import Classes, Selection
from softgrad.files.sources import ArrayReader, Shards, described, is_path, is_shards, open_source

Array = np.ndarray[Any, Any]

INTEGERS = ("labels", "index")
"""Operands that tables, whose numbers are floating, hold as whole numbers, or as the names of classes."""

OPERANDS = {"labels": VALUE, "index": CHOICES, "targets": SLICE, "logits_q": SLICE}
"""What belongs to a slice of an array that comes with a function that is not softgrad's, by its name there."""


@dataclass(frozen=True)
class Slices:
    """The slices of a source, which other arrays belong to."""

    source: str
    """The file that they are from, for messages; "" for an array in memory."""
    reader: Reader
    axis: int

    @property
    def contents(self) -> Contents:
        """The array that they are slices of."""
        return self.reader.contents

    @property
    def classes(self) -> Classes | None:
        """The classes that the columns of a table name."""
        names = self.contents.names
        return None if names is None or self.axis != len(self.contents.shape) - 1 else Classes(names)

    def place(self, index: tuple[int, ...]) -> str:
        """What messages call a slice, by its place among the others."""
        source = self.source
        if isinstance(self.reader, Shards) and self.axis > 0:
            source, row = self.reader.located(index[0])
            index = (row, *index[1:])
        return f"{source}{', ' if source else ''}slice [{', '.join(map(str, index))}]"


def slices_of(source: Any, reader: Reader, axis: Any) -> Slices:
    """The slices along `axis` of a source that `reader` reads."""
    if isinstance(axis, tuple) or not hasattr(axis, "__index__"):
        raise TypeError(f"axis must be one integer: files hold slices along one axis; got {axis!r}")
    (along,) = normalize_axis(axis, len(reader.contents.shape))
    return Slices(described(source), reader, along)


@dataclass(frozen=True)
class Operand:
    """An array, and which of its axes follow which axes of the source."""

    name: str
    """What the function calls it."""
    reader: Reader
    where_from: str
    """The file that it is in; "" for an array in memory."""
    axes: tuple[int | None, ...]
    """The axis of the source that each own axis follows; None for one that is taken as a whole."""
    squeezed: tuple[int, ...] = ()
    """Own axes of length 1 that stand for the slices, which the function does not expect."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self.reader.contents.shape

    def read(self, region: Region) -> Array:
        """The entries that belong to a region of the source."""
        own = self._own(region)
        values = np.asarray(self.reader.read(own))
        if self.name == "where" and values.dtype != bool:
            self._check(np.isin(values, (0, 1)), values, own, "must be 0 or 1, or of dtype bool")
            return values.astype(bool)
        if self.name in INTEGERS and values.dtype.kind == "f":
            with np.errstate(invalid="ignore"):  # NaN becomes a number that is not equal to it
                whole = values.astype(np.int64)
            self._check(whole == values, values, own, "must be integers")
            return whole
        return values

    def place(self, index: tuple[int, ...]) -> tuple[str, str]:
        """The file that holds an entry of the array, and how messages call that entry."""
        where = self.where_from
        if isinstance(self.reader, Shards) and index:
            where, row = self.reader.located(index[0])
            index = (row, *index[1:])
        return where, f"{self.name}[{', '.join(map(str, index))}]" if index else self.name

    def place_of_slice(self, index: tuple[int, ...], axis: int, found: tuple[int, ...] = ()) -> tuple[str, str]:
        """The file that holds what belongs to a slice of the source, and how messages call that.

        `found` is the index of an entry in what the function was given for that slice alone, if it is known.
        """
        of_slice = dict(zip((a for a in range(len(index) + 1) if a != axis), index, strict=True))
        axes = [a for i, a in enumerate(self.axes) if i not in self.squeezed]
        if len(found) == len(axes):
            return self.place(
                tuple(of_slice.get(a, i) if a is not None else i for a, i in zip(axes, found, strict=True))
            )
        return self.place(tuple(of_slice[a] for a in axes if a in of_slice))

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

    def _check(self, good: Array, values: Array, own: Region, expected: str) -> None:
        """ValueError that names the first entry that is not good."""
        if not good.all():
            found = np.argwhere(~good)[0].tolist()
            index = tuple(part.start + i for a, (part, i) in enumerate(zip(own, found, strict=True)))
            where, entry = self.place(tuple(i for a, i in enumerate(index) if a not in self.squeezed))
            where = f"{where}: " if where else ""
            raise ValueError(f"{where}{self.name} {expected}; {entry} is {values[tuple(found)]}")


@dataclass(frozen=True)
class Call:
    """A function with what every block of a call has in common, and the operands that come with each block."""

    function: Callable[..., Any]
    operands: tuple[Operand, ...] = ()
    positional: int = 0
    """How many of the operands are positional; they come first."""

    def __call__(self, block: Array, given: list[Array], **options: Any) -> Any:
        """The function of a block and of what the operands have for it."""
        named = {operand.name: values for operand, values in zip(self.operands, given, strict=True)}
        values = [named.pop(operand.name) for operand in self.operands[: self.positional]]
        return self.function(block, *values, **named, **options)

    def located(self, error: Exception, index: tuple[int, ...], slices: Slices) -> Exception:
        """The error of a call on one slice, with its place: in the file of the operand that it is about, if any."""
        where = slices.place(index)
        message = str(error)
        for operand in self.operands:
            name = operand.name
            entry = re.search(rf"\b{name}(?:\[([\d, ]+)\])?(?= (?:is|has|sums?)\b)", message)
            if entry is not None:  # `labels[0] is 17`, or `labels is 17`, of the only slice
                found = tuple(map(int, (entry[1] or "").split(", "))) if entry[1] else ()
                file, called = operand.place_of_slice(index, slices.axis, found)
                message, where = message[: entry.start()] + called + message[entry.end() :], file or where
            elif message.startswith(f"{name} "):
                file, called = operand.place_of_slice(index, slices.axis)
                where = f"{file}, {called}" if file else where
        return type(error)(f"{where}: {message}")


def call_of(
    function: Callable[..., Any],
    arrays: dict[str, Any],
    slices: Slices,
    opened: Callable[[Reader], Reader],
    dtype: np.dtype[Any] | None = None,
) -> Call:
    """The call of a function with what comes along for each slice, and with the options that all slices share.

    A function of softgrad computes in `dtype`, if it has that option.
    """
    function, arrays, first = _with_numbers(function, arrays, slices)
    declared = _declared(function)
    if declared is not None and dtype is not None and "dtype" in inspect.signature(declared.plain).parameters:
        function = partial(function, dtype=dtype)
    order = declared.names[1 + len(first) :] if declared is not None else ()
    found, options = separated(arrays, slices, opened, declared)
    if options:
        function = partial(function, **options)
    missing = [name for name in order if name not in found]
    if missing and len(missing) < len(order):
        raise TypeError(f"{declared.name if declared else ''} needs {', '.join(missing)}, too")
    if missing and not _bound_positionally(function):
        raise TypeError(f"{declared.name if declared else 'function'} needs {', '.join(missing)}: an array or a file")
    first += [found.pop(name) for name in order if name in found]
    return Call(function, (*first, *found.values()), len(first))


def separated(
    arrays: dict[str, Any],
    slices: Slices,
    opened: Callable[[Reader], Reader],
    declared: Function | None = None,
) -> tuple[dict[str, Operand], dict[str, Any]]:
    """What comes along for each slice, and what all slices share: numbers, and the weights of classes."""
    operands: dict[str, Operand] = {}
    options: dict[str, Any] = {}
    for name, value in arrays.items():
        kind = _kind(declared, name)
        is_file = is_path(value) or is_shards(value)
        if not is_file and (kind == CLASSES or np.ndim(value) == 0):
            options[name] = value
            continue
        classes = slices.classes if name in INTEGERS else None
        reader = opened(
            open_source(value, Selection(called=name, by_name_only=True, single=kind == VALUE, classes=classes))
        )
        if kind == CLASSES:
            options[name] = reader.read(tuple(slice(0, n) for n in reader.contents.shape)).reshape(-1)
        else:
            operands[name] = _operand(name, kind, reader, described(value), slices)
    return operands, options


def _with_numbers(
    function: Callable[..., Any], arrays: dict[str, Any], slices: Slices
) -> tuple[Callable[..., Any], dict[str, Any], list[Operand]]:
    """A function with a generator as one of uniform numbers, which are its first operand; any other as it is."""
    plain: Any = function
    options, shape, axis = arrays, slices.contents.shape, slices.axis
    while isinstance(plain, partial):
        plain, options = plain.func, {**plain.keywords, **options}
    if plain not in OF_NUMBERS:
        return function, arrays, []
    of_numbers, core = OF_NUMBERS[plain]
    options, size, replace = {**options}, options.get("size"), options.get("replace", True)
    if size is not None and axis != len(shape) - 1:
        raise ValueError(f"size is for slices along the last axis of a file; got axis {axis}")
    rows = Rows.of(shape, axis)
    uniforms = uniforms_for(rows, core, options.pop("rng", None), size, replace).lazily()
    of_entries = core == SLICE or not replace
    axes = tuple(range(len(shape))) if of_entries else (*rows.batch_axes, *([] if size is None else [None]))
    return of_numbers, options, [Operand("uniforms", ArrayReader(uniforms, Selection()), "", axes)]


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
    return OPTIONS.get(name, OPERANDS.get(name))


def _operand(name: str, kind: str | None, reader: Reader, where_from: str, slices: Slices) -> Operand:
    own = reader.contents.shape
    if kind == CHOICES and reader.by_rows and own[slices.axis :][:1] == (1,):
        kind = VALUE  # the one column of a table
    axes, squeezed = _followed(name, kind, own, slices, f"{where_from}: " if where_from else "")
    if reader.by_rows and axes[0] != 0:  # its rows are not taken from the first to the last
        whole = reader.read(tuple(slice(0, n) for n in own))
        return Operand(name, ArrayReader(whole, Selection()), where_from, axes, squeezed)
    return Operand(name, reader, where_from, axes, squeezed)


def _followed(
    name: str, kind: str | None, own: tuple[int, ...], slices: Slices, place: str
) -> tuple[tuple[int | None, ...], tuple[int, ...]]:
    """Which axes of the source the axes of an array follow, and which stand for slices with length 1."""
    shape, axis = slices.contents.shape, slices.axis
    ndim = len(shape)
    others = tuple(a for a in range(ndim) if a != axis)
    if kind == SLICE or (kind is None and len(own) == ndim):
        if len(own) <= ndim and (axes := _broadcast(own, shape, tuple(range(ndim)))) is not None:
            return axes, ()
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
            axes = _broadcast(own, shape, others)
            if axes is not None:
                return axes, ()
    source = slices.source or "the source"
    raise ValueError(f"{place}{name} must have shape {expected}, as {source} has it; got {own}")


def _broadcast(own: tuple[int, ...], shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int | None, ...] | None:
    """The axes of the source that an array follows as far as it is not 1 long there; None if it does not fit."""
    axes = axes[len(axes) - len(own) :]
    if not all(n in (1, shape[a]) for n, a in zip(own, axes, strict=True)):
        return None
    return tuple(a if n == shape[a] else None for n, a in zip(own, axes, strict=True))
