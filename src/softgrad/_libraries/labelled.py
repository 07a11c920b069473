"""Arrays with labels, by one rule: labels must agree, arrays without labels go by position, and results keep labels.

The libraries themselves align by label, which reorders or pads silently. Here nothing is reordered: operands and
options whose labels differ are an error.
"""

from __future__ import annotations

import reprlib
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from softgrad._dispatch import BUFFERS, CHOICES, CLASSES, OPTIONS, SLICE, Function, library_of, refuse
from softgrad._formulas.namespace import Array
from softgrad._validation.arrays import LABELLED
from softgrad._validation.axis import Axis, normalize_axis


class Labelled(ABC):
    """A library of labelled arrays: removes labels from operands and options, checks them, and labels results."""

    @abstractmethod
    def has_labels(self, x: Any) -> bool:
        """Whether `x` is an array with labels."""

    @abstractmethod
    def array(self, x: Any, name: str) -> Array:
        """`x`, of this library, without labels; TypeError unless it holds numbers of an ordinary dtype."""

    @abstractmethod
    def classes(self, like: Like) -> Any:
        """The names of the entries of slices along one axis, as an index of pandas; None if they have none."""

    @abstractmethod
    def replaced(self, x: Any, values: Array) -> Any:
        """`x`, an array with labels, with other values."""

    @abstractmethod
    def positions(self, axis: Any, like: Any) -> Axis:
        """`axis` by number, where it may name axes of `like`."""

    @abstractmethod
    def aligned(self, x: Any, name: str, part: str, like: Like) -> Array:
        """`x` without labels, which agree with those of `like`; ValueError if they do not."""

    @abstractmethod
    def labelled(self, values: Array, part: str, like: Like, chosen: Any, keepdims: bool) -> Any:
        """`values` with the labels of `like` that belong to `part`; `chosen` is the operand of chosen entries."""

    def call(self, function: Function, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Call `function` on arrays without labels, and label what comes back."""
        given = [*zip(operands, function.names, function.operands, strict=True)]
        slices = [(x, name) for x, name, part in given if part == SLICE and self.has_labels(x)]
        if not slices:  # labels that no slice has are of no use: everything goes by position
            plain = {key: _without_labels(value, key) if key in OPTIONS else value for key, value in options.items()}
            return function(*(_without_labels(x, name) for x, name, _ in given), **plain)
        x, name = max(slices, key=lambda slice_: slice_[0].ndim)
        refuse(options, BUFFERS, f"NumPy arrays; got {_package(x)}.{type(x).__name__} as input")
        like = Like(x, name, normalize_axis(self.positions(options.get("axis", -1), x), x.ndim))
        keepdims = options.get("keepdims", False)
        known = {key: (value, key, OPTIONS[key]) for key, value in options.items() if key in OPTIONS}
        result = function(
            *(self._unlabelled(*operand, like) for operand in given),
            **{
                **options,
                **{key: self._unlabelled(*option, like) for key, option in known.items()},
                "axis": like.axes[0] if len(like.axes) == 1 else like.axes,
            },
        )
        chosen = next((x for x, _, part in given if part == CHOICES), None)
        results = (result,) if len(function.results) == 1 else result
        parts = zip(results, function.results, strict=True)
        return function.packed(tuple(self.labelled(values, part, like, chosen, keepdims) for values, part in parts))

    def without_labels(
        self, x: Any, name: str, axis: Any, others: dict[str, tuple[Any, str]]
    ) -> tuple[Array, Axis, dict[str, Array]]:
        """`x`, its axes by number, and `others`, each with what of it belongs to a slice: all without their labels.

        The labels of the others must agree with those of `x`, and labels may be names of classes.
        """
        like = Like(x, name, normalize_axis(self.positions(axis, x), x.ndim))
        arrays = {key: self._unlabelled(value, key, part, like) for key, (value, part) in others.items()}
        return self.array(x, name), like.axes[0] if len(like.axes) == 1 else like.axes, arrays

    def together(self, x: Any, name: str, y: Any, other: str) -> tuple[Array, Array]:
        """Two arrays of this library without their labels, which must agree."""
        if not (self.has_labels(x) and self.has_labels(y)):
            return x, y
        if y.ndim > x.ndim:
            return self.together(y, other, x, name)[::-1]
        like = Like(x, name, tuple(range(x.ndim)))
        return self.array(x, name), self._unlabelled(y, other, SLICE, like)

    def _unlabelled(self, x: Any, name: str, part: str, like: Like) -> Array:
        if x is None:
            return None
        if name == "labels" and len(like.axes) == 1:
            x = self._numbered(x, like)
        if self.has_labels(x):
            return self.aligned(x, name, part, like)
        if _package(x) in LABELLED:
            if _package(x) != _package(like.x):
                raise TypeError(
                    f"{name} must be an array without labels or one of {_package(like.x)}, as {like.name} is; "
                    f"got {_package(x)}.{type(x).__name__}"
                )
            x = self.array(x, name)
        if part == SLICE:
            _check_fits(x, name, like)
        return x

    def _numbered(self, labels: Any, like: Like) -> Any:
        """Names of classes as their positions; labels of any other kind as they are."""
        values = np.asarray(labels)
        is_name = values.dtype.kind in "UT" or (
            values.dtype.kind == "O" and any(isinstance(v, str) for v in values.flat)
        )
        classes = self.classes(like) if is_name else None
        if classes is None:
            return labels
        if not classes.is_unique:
            raise ValueError(f"labels cannot name classes: some of those of {like.name} have one name")
        found = np.asarray(classes.get_indexer(values.ravel())).reshape(values.shape)
        if (found < 0).any():
            wrong = values[found < 0].flat[0]
            known = reprlib.repr(list(classes))[1:-1]
            raise ValueError(f"labels must be among the classes of {like.name}, {known}; got {str(wrong)!r}")
        return self.replaced(labels, found) if self.has_labels(labels) else found


class Like:
    """The operand whose labels the results get, the name of its argument, and the axes of its slices."""

    def __init__(self, x: Any, name: str, axes: tuple[int, ...]) -> None:
        self.x = x
        self.name = name
        self.axes = axes

    @property
    def batch(self) -> tuple[int, ...]:
        """The axes that number the slices."""
        return tuple(a for a in range(self.x.ndim) if a not in self.axes)

    def axes_of(self, part: str, keepdims: bool = False) -> tuple[int, ...]:
        """The axes that a part of every slice has, except that of chosen entries."""
        if part == SLICE or keepdims:
            return tuple(range(self.x.ndim))
        return self.axes if part == CLASSES else self.batch


def _package(x: Any) -> str:
    return type(x).__module__.partition(".")[0]


def _without_labels(x: Any, name: str) -> Array:
    """`x` without its labels, of whichever library they are."""
    return library_of(type(x)).array(x, name) if _package(x) in LABELLED else x  # type: ignore[union-attr]


def _check_fits(x: Any, name: str, like: Like) -> None:
    """ValueError unless `x` without labels broadcasts to the shape that has them."""
    shape, whole = np.shape(x), tuple(like.x.shape)
    try:
        fits = np.broadcast_shapes(shape, whole) == whole
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{name} must broadcast to the shape of {like.name}, {whole}; got shape {shape}")
