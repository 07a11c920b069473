"""Columns of Arrow as arrays: numbers, or lists of them of one length, nested or tensors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from softgrad.files.formats import arrow

Array = np.ndarray[Any, Any]

LISTS = ("list", "large_list", "fixed_size_list", "list_view", "large_list_view")
TEXTS = ("string", "large_string", "string_view")
"""Arrow's kinds of lists and of text."""


def entry_type(kind: Any) -> Any:
    """The type of the entries of lists, nested or tensors; that of the categories of a dictionary; else itself."""
    while True:
        if is_tensor(kind):
            kind = kind.storage_type
        elif is_list(kind) or arrow.library().types.is_dictionary(kind):
            kind = kind.value_type
        else:
            return kind


def is_list(kind: Any) -> bool:
    """Whether a type is one of lists."""
    return _is_any(kind, LISTS)


def is_tensor(kind: Any) -> bool:
    """Whether a type is that of tensors of one shape."""
    return isinstance(kind, arrow.library().FixedShapeTensorType)


def is_text(kind: Any) -> bool:
    """Whether a type is text, also as the categories of a dictionary."""
    return _is_any(entry_type(kind), TEXTS)


def shape_of_row(column: Any, name: str) -> tuple[int, ...]:
    """The shape of the first row of a column of lists."""
    if is_tensor(column.type):
        kind = column.type
        return tuple(kind.shape[axis] for axis in kind.permutation or range(len(kind.shape)))
    shape, column = [], column.slice(0, 1)
    while is_list(column.type):
        _check_valid(column, name, 0, 1)
        shape.append(column.value_lengths()[0].as_py() if len(column) else 0)
        column = column.flatten().slice(0, 1)
    return tuple(shape)


def entries(column: Any, shape: tuple[int, ...], name: str, row: int) -> Any:
    """The entries of a column whose rows have this shape, one after the other; its first row is number `row`."""
    kind, rows = column.type, max(1, len(column))
    _check_valid(column, name, row, 1)
    if is_tensor(kind):
        column, shape = column.storage, (math.prod(shape),)
    for level, length in enumerate(shape):
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        per_row = math.prod(shape[:level])
        if (lengths != length).any():
            bad = int(np.argmax(lengths != length))
            raise ValueError(
                f"the lists of column {name!r} must have {length} entries, as the first; that of row"
                f" {row + bad // max(1, per_row)} has {lengths[bad]}"
            )
        column = column.flatten()
        _check_valid(column, name, row, max(1, len(column) // rows))
    return column


def in_order(values: Array, kind: Any, shape: tuple[int, ...]) -> Array:
    """The entries of rows of lists as an array; those of a tensor may be stored with its axes in another order."""
    if not is_tensor(kind) or kind.permutation is None:
        return values.reshape(shape)
    stored = values.reshape(shape[0], *kind.shape)
    return stored.transpose(0, *(axis + 1 for axis in kind.permutation))


def _check_valid(column: Any, name: str, row: int, per_row: int) -> None:
    """ValueError if an entry is missing; `per_row` of them belong to a row, the first to number `row`."""
    if column.null_count:
        missing = np.argmax(column.is_null().to_numpy(zero_copy_only=False))
        raise ValueError(f"column {name!r} has missing values, the first in row {row + int(missing) // per_row}")


def _is_any(kind: Any, names: tuple[str, ...]) -> bool:
    types = arrow.library().types
    return any(getattr(types, f"is_{name}")(kind) for name in names)
