"""pandas: a DataFrame or Series in, one out, with its index and columns.

`axis` is a number, "index" or "columns"; by default it is the last, so that the rows of a DataFrame are the slices. A
missing value is a NaN like any other and makes its slice NaN: nothing is skipped, as pandas' own reductions would.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from softgrad._dispatch import CHOICES, CLASSES, SLICE, VALUE
from softgrad._formulas.namespace import Array
from softgrad._libraries.labelled import Labelled, Like
from softgrad._validation.axis import Axis

NAMES = {"index": 0, "columns": 1}


class _Pandas(Labelled):
    def has_labels(self, x: Any) -> bool:
        return isinstance(x, pd.Series | pd.DataFrame)

    def array(self, x: Any, name: str) -> Array:
        if isinstance(x, pd.DataFrame):
            dtype = _common_dtype([_dtype(values, f"column {column!r}", name) for column, values in x.items()])
            return x.to_numpy(dtype)
        if not hasattr(x, "dtype"):
            raise TypeError(f"{name} must be an array of numbers; got {type(x).__name__}")
        return x.to_numpy(_dtype(x, f"the {type(x).__name__}", name))

    def classes(self, like: Like) -> Any:
        return _labels(like.x)[like.axes[0]]

    def replaced(self, x: Any, values: Array) -> Any:
        return pd.Series(values, index=x.index)

    def positions(self, axis: Any, like: Any) -> Axis:
        return tuple(_position(a, like) for a in axis) if isinstance(axis, tuple) else _position(axis, like)

    def aligned(self, x: Any, name: str, part: str, like: Like) -> Array:
        own = _labels(like.x)
        axes = like.axes_of(part)
        if part == SLICE:
            axes = axes[-x.ndim :]  # a Series lies along the columns, as in the arithmetic of pandas
        if part == CLASSES and len(axes) > 1:
            raise TypeError(f"{name} must be an array without labels where classes have several axes")
        if part == CHOICES and x.ndim == len(axes) + 1:
            _check_same(_labels(x)[:-1], [own[a] for a in axes], axes, name, like)
            return self.array(x, name)
        if x.ndim != len(axes):
            what = {0: "a number or an array without labels", 1: "a Series"}[len(axes)]
            raise ValueError(f"{name} must be {what}; got a {type(x).__name__} of shape {x.shape}")
        _check_same(_labels(x), [own[a] for a in axes], axes, name, like)
        return self.array(x, name)

    def labelled(self, values: Array, part: str, like: Like, chosen: Any, keepdims: bool) -> Any:
        if part not in (SLICE, VALUE, CHOICES):
            return values
        if keepdims and part == VALUE:
            raise TypeError("keepdims is for arrays without labels: a summed axis of a pandas object has none to keep")
        labels = [_labels(like.x)[a] for a in like.axes_of(part)]
        if part == CHOICES and np.ndim(values) > len(labels):
            labels.append(_labels(chosen)[-1] if self.has_labels(chosen) else None)
        if not labels:
            return values
        constructor, sliced = (
            (like.x._constructor, like.x._constructor_sliced)
            if like.x.ndim == 2
            else (like.x._constructor_expanddim, like.x._constructor)
        )
        if len(labels) == 1:
            result = sliced(values, index=labels[0], copy=False)
        else:
            result = constructor(values, index=labels[0], columns=labels[1], copy=False)
        return result.__finalize__(like.x)


_library = _Pandas()
call, array, together, positions = _library.call, _library.array, _library.together, _library.positions
without_labels = _library.without_labels


def _labels(x: Any) -> tuple[Any, ...]:
    return tuple(x.axes)


def _dtype(values: Any, what: str, name: str) -> np.dtype[Any]:
    """The dtype of a column in NumPy, if it holds numbers and none is missing; TypeError that says how to get there."""
    dtype, hint = values.dtype, ""
    own = getattr(dtype, "numpy_dtype", dtype)  # that of nullable and of Arrow's columns
    if isinstance(dtype, pd.CategoricalDtype):
        hint = "; its codes are .cat.codes"
    elif isinstance(own, np.dtype) and own.kind in "fiubc":
        if own is dtype or not values.isna().any():
            return own
        hint = " and missing values; astype('float64') makes them NaN"
    raise TypeError(f"{name} must hold numbers of NumPy's dtypes; {what} has dtype {dtype}{hint}")


def _common_dtype(dtypes: list[np.dtype[Any]]) -> np.dtype[Any]:
    """The common dtype of columns: integers and bool mixed with others are float64, as they are alone."""
    kinds = {dtype.kind for dtype in dtypes}
    if len(set(dtypes)) == 1 or kinds in ({"i"}, {"u"}):
        return np.result_type(*dtypes)
    return np.result_type(*(np.float64 if dtype.kind in "iub" else dtype for dtype in dtypes or [np.dtype(float)]))


def _position(axis: Any, like: Any) -> Any:
    if not isinstance(axis, str):
        return axis
    if NAMES.get(axis, 2) >= like.ndim:
        known = " or ".join(repr(name) for name in list(NAMES)[: like.ndim])
        raise ValueError(f"axis must be a number or {known} for a {type(like).__name__}; got {axis!r}")
    return NAMES[axis]


def _check_same(labels: Any, expected: Any, axes: tuple[int, ...], name: str, like: Like) -> None:
    """ValueError unless the labels are the same, in the same order."""
    for found, own, axis in zip(labels, expected, axes, strict=True):
        if found.equals(own):
            continue
        if len(found) != len(own):
            what = f"got {len(found)} labels for {len(own)}"
        else:
            pairs = enumerate(zip(found, own, strict=True))
            what = next((f"entry {i} is {a!r}, not {b!r}" for i, (a, b) in pairs if a != b), "they are of other kinds")
        raise ValueError(
            f"{name} must have the {list(NAMES)[axis]} of {like.name}; {what} (a plain array goes by position)"
        )
