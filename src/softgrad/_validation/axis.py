"""Slices as rows: an axis, several axes or all of them become one last axis, and back.

Everything below the public functions works on the last axis only; this file is the one place that knows about `axis`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

Axis = int | tuple[int, ...] | None


def normalize_axis(axis: Axis, ndim: int) -> tuple[int, ...]:
    """The axes that `axis` names, as sorted non-negative numbers; AxisError or ValueError if there are no such axes."""
    if type(axis) is int and -ndim <= axis < ndim:  # nearly always, and the quickest
        return (axis % ndim,)
    if axis is None:
        return tuple(range(ndim))
    axes = axis if isinstance(axis, tuple) else (axis,)
    found = []
    for a in axes:
        if not -ndim <= (a := _index(a)) < ndim:
            raise np.exceptions.AxisError(a, ndim, None if ndim else "a single number is a slice with axis=None only")
        found.append(a % ndim)
    if len(set(found)) != len(found):
        raise ValueError(f"axis must not name an axis twice; got {axis!r} for an array of {ndim} dimensions")
    return tuple(sorted(found))


def _index(axis: Any) -> int:
    try:
        return int(axis.__index__())
    except AttributeError:
        raise TypeError(f"axis must be an integer, a tuple of integers or None; got {axis!r}") from None


class Rows(NamedTuple):
    """How the slices of an array of `shape` along `axes` lie as rows along one last axis."""

    shape: tuple[int, ...]
    axes: tuple[int, ...]

    @classmethod
    def of(cls, shape: tuple[int, ...], axis: Axis) -> Rows:
        """Validate `axis` against `shape`."""
        return cls(shape, normalize_axis(axis, len(shape)))

    @property
    def _is_last(self) -> bool:
        """Whether the slices are rows as they are."""
        return self.axes == (len(self.shape) - 1,)

    @property
    def batch_axes(self) -> tuple[int, ...]:
        """The axes that stay: one slice for each index into them."""
        return tuple(a for a in range(len(self.shape)) if a not in self.axes)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The shape of one value per slice."""
        if len(self.axes) == 1:
            (axis,) = self.axes
            return self.shape[:axis] + self.shape[axis + 1 :]
        return tuple(self.shape[a] for a in self.batch_axes)

    @property
    def kept_shape(self) -> tuple[int, ...]:
        """The shape of one value per slice where every reduced axis is kept with length 1."""
        return tuple(1 if a in self.axes else n for a, n in enumerate(self.shape))

    @property
    def n(self) -> int:
        """The number of entries in one slice."""
        return self.shape[-1] if self._is_last else math.prod(self.shape[a] for a in self.axes)

    @property
    def size(self) -> int:
        """The number of entries of all slices."""
        return math.prod(self.shape)

    @property
    def order(self) -> tuple[int, ...]:
        """The axes with those of the slices last."""
        if len(self.axes) == 1:
            (axis,) = self.axes
            return (*range(axis), *range(axis + 1, len(self.shape)), axis)
        return (*self.batch_axes, *self.axes)

    def to_rows(self, x: Any, xp: Any = np) -> Any:
        """`x` (of `shape`) as rows: batch axes first, the slice along one last axis. A view where there is one."""
        if self._is_last:
            return x
        moved = x.transpose(self.order) if xp is np else xp.permute_dims(x, self.order)
        return moved if len(self.axes) == 1 else xp.reshape(moved, (*self.batch_shape, self.n))

    def from_rows(self, rows: Any, xp: Any = np) -> Any:
        """Rows back to an array of `shape`: the inverse of `to_rows`."""
        if self._is_last:
            return rows
        order = self.order
        if len(self.axes) != 1:
            rows = xp.reshape(rows, tuple(self.shape[a] for a in order))
        return xp.permute_dims(rows, tuple(map(order.index, range(len(order)))))
