"""xarray: a DataArray in, one out, with its dimensions, coordinates, name and attributes.

`axis` is the name of a dimension, a tuple of names, or a number. Operands and options that are DataArrays meet by the
names of their dimensions, whatever the order of these, and broadcast along those that they lack. What a DataArray
wraps is passed on as it is: where it is lazy, so is the result.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from softgrad._dispatch import CHOICES, CLASSES, SLICE, VALUE
from softgrad._formulas.namespace import Array
from softgrad._libraries.labelled import Labelled, Like
from softgrad._validation.axis import Axis


class _XArray(Labelled):
    def has_labels(self, x: Any) -> bool:
        return isinstance(x, xr.DataArray)

    def array(self, x: Any, name: str) -> Array:
        if not isinstance(x, xr.DataArray):
            hint = ": its map() method calls a function on every DataArray" if isinstance(x, xr.Dataset) else ""
            raise TypeError(f"{name} must be a DataArray; got a {type(x).__name__}{hint}")
        return x.data

    def classes(self, like: Like) -> Any:
        return like.x.indexes.get(like.x.dims[like.axes[0]])

    def replaced(self, x: Any, values: Array) -> Any:
        return x.copy(data=values)

    def positions(self, axis: Any, like: Any) -> Axis:
        return tuple(_position(a, like) for a in axis) if isinstance(axis, tuple) else _position(axis, like)

    def aligned(self, x: Any, name: str, part: str, like: Like) -> Array:
        sizes = {like.x.dims[a]: like.x.shape[a] for a in like.axes_of(part)}
        if part == CHOICES:
            sizes |= {dim: size for dim, size in x.sizes.items() if dim not in like.x.dims}
            if len(sizes) > len(like.batch) + 1:
                raise ValueError(f"{name} must have at most one dimension besides {like.name}; got {tuple(x.dims)}")
        for dim in x.dims:
            if dim not in sizes:
                raise ValueError(
                    f"{name} must have no dimensions but {tuple(sizes)}, as {like.name}; got {tuple(x.dims)}"
                )
        _check_same(x, name, like)
        if part == CLASSES and len(sizes) > 1:
            return np.reshape(x.variable.set_dims(sizes).data, -1)
        return x.variable.set_dims(sizes).data

    def labelled(self, values: Array, part: str, like: Like, chosen: Any, keepdims: bool) -> Any:
        if part not in (SLICE, VALUE, CHOICES):
            return values
        keepdims = keepdims and part == VALUE
        dims = [like.x.dims[a] for a in like.axes_of(part, keepdims)]
        gone = [] if part == SLICE else [like.x.dims[a] for a in like.axes]
        coords = like.x.coords.to_dataset().drop_dims(gone, errors="ignore").coords
        if part == CHOICES and np.ndim(values) > len(dims):
            dims.append(_last_dim(chosen, dims) if self.has_labels(chosen) else f"dim_{len(dims)}")
            if self.has_labels(chosen):
                coords = coords.to_dataset().merge(chosen.coords.to_dataset(), join="exact").coords
        return type(like.x)(values, dims=dims, coords=coords, name=like.x.name, attrs=like.x.attrs)


_library = _XArray()
call, array, together, positions = _library.call, _library.array, _library.together, _library.positions
without_labels = _library.without_labels


def _last_dim(chosen: Any, dims: list[Any]) -> Any:
    return next(dim for dim in chosen.dims if dim not in dims)


def _position(axis: Any, like: Any) -> Any:
    if axis is None or hasattr(axis, "__index__"):
        return axis
    if axis not in like.dims:
        raise ValueError(f"axis must be a number or one of the dimensions {like.dims}; got {axis!r}")
    return like.dims.index(axis)


def _check_same(x: Any, name: str, like: Like) -> None:
    """ValueError unless the sizes and coordinates of the dimensions in common are the same, in the same order."""
    for dim, size in x.sizes.items():
        if dim not in like.x.dims:
            continue
        if size != like.x.sizes[dim]:
            raise ValueError(f"{name} must have {like.x.sizes[dim]} entries along {dim!r}, as {like.name}; got {size}")
        if dim in x.indexes and dim in like.x.indexes and not x.indexes[dim].equals(like.x.indexes[dim]):
            raise ValueError(
                f"{name} must have the coordinates of {like.name} along {dim!r}, in their order "
                "(a plain array goes by position)"
            )
