"""Labels, weights and targets of losses, checked once; every error names the argument and the first offending entry."""

from __future__ import annotations

import math
import operator
from typing import Any, NamedTuple

import numpy as np

from softgrad._formulas.namespace import Array, is_known, widest
from softgrad._validation.arrays import as_float, as_unmasked, broadcast_to, is_foreign, without_mask


class Labels(NamedTuple):
    """Labels that were checked; the other two are None where there are no such rows."""

    index: Array  # integers in [0, n)
    ignored: Array | None  # which are ignored; their index is 0
    outside: Array | None  # which are wrong, as far as that could not be known yet; their index is 0


def as_labels(
    labels: Any,
    shape: tuple[int, ...],
    n: int,
    ignore_index: Any = None,
    xp: Any = np,
    name: str = "labels",
    start: tuple[int, ...] | None = None,
) -> Labels:
    """`labels` as int64 in [0, n), of `shape`; `start` is where they begin in a larger array, for the error."""
    found = labels if is_foreign(labels) else _as_numpy(labels, name)
    if not _holds_integers(found, xp):
        raise TypeError(f"{name} must be integers; got dtype {found.dtype}{_instead(found, shape, n, name)}")
    check_shape(found, shape, n, name)
    ignored = None
    if ignore_index is not None:
        ignored = found == _as_integer(ignore_index, "ignore_index")
        ignored = ignored if not is_known(ignored) or xp.any(ignored) else None
    if not is_known(found):
        outside = (found < 0) | (found >= n)
        outside = outside if ignored is None else outside & ~ignored
        unused = outside if ignored is None else outside | ignored
        return Labels(xp.where(unused, xp.zeros_like(found), found), ignored, outside)
    counted = found if ignored is None else found[~ignored]
    if not _lie_below(n, counted, xp):
        outside = (found < 0) | (found >= n)
        where = _first(outside if ignored is None else outside & ~ignored, xp)
        label = int(found[where])
        hint = f": ignore_index={label} leaves such rows out" if label < 0 and name == "labels" else ""
        hint = ": classes are numbered from 0" if label == n and name == "labels" else hint
        raise IndexError(f"{name} must lie in [0, {n}); {name}{_subscript(where, start)} is {label}{hint}")
    found = xp.astype(found, widest(xp, integral=True), copy=False)
    return Labels(found if ignored is None else xp.where(ignored, xp.zeros_like(found), found), ignored, None)


def check_shape(values: Array, shape: tuple[int, ...], n: int, name: str = "labels") -> None:
    """ValueError unless there is one of `values` for each slice, of n entries."""
    if tuple(values.shape) != shape:
        raise ValueError(
            f"{name} must have shape {shape}, one per slice of the logits; "
            f"got {tuple(values.shape)}{_instead(values, shape, n, name)}"
        )


def as_weight(
    weight: Any, shape: tuple[int, ...], dtype: Any, xp: Any, name: str, start: tuple[int, ...] | None = None
) -> Array:
    """Finite factors ≥ 0, one per class or per row, broadcast to `shape`; unknown ones are NaN where they are not.

    `start` is where they begin in a larger array, for the error.
    """
    values = xp.astype(xp.asarray(as_unmasked(weight, name)), dtype, copy=False)
    bad = ~((values >= 0) & (values < xp.inf))
    if not is_known(values):
        values = xp.where(bad, xp.full_like(values, xp.nan), values)
    elif xp.any(bad):
        where = _first(bad, xp)
        place = f"{name}{_subscript(where, start)}"
        raise ValueError(f"{name} must be finite and at least 0; {place} is {float(values[where])}")
    return broadcast_to(name, values, shape, xp)


def as_number(value: Any, name: str, highest: float = math.inf) -> float:
    """A finite float in [0, highest]."""
    number = as_float(value, f"{name} must be a number")
    if not (0 <= number <= highest and number < math.inf):
        interval = f"[0, {highest:g}]" if highest < math.inf else "[0, inf)"
        raise ValueError(f"{name} must lie in {interval}; got {number}")
    return number


def as_nonnegative(values: Array, name: str, xp: Any) -> Array:
    """`values`; ValueError if one is below 0, and NaN where that is not known yet."""
    if not is_known(values):
        return xp.where(values < 0, xp.full_like(values, xp.nan), values)
    with np.errstate(invalid="ignore"):  # of a NaN, which is no mistake
        if math.prod(values.shape) and xp.any(values < 0):
            raise ValueError(f"{name} must be at least 0; the smallest is {float(xp.min(values))}")
    return values


def as_targets(targets: Any, shape: tuple[int, ...], dtype: Any, xp: Any) -> Array:
    """Coefficients for every entry of the logits, in their dtype."""
    values = xp.astype(as_unmasked(targets, "targets"), dtype, copy=False)
    return broadcast_to("targets", values, shape, xp)


def _instead(labels: Array, shape: tuple[int, ...], n: int, name: str) -> str:
    """What to write instead of labels that are something else, as far as their shape says."""
    size, has_one_more = math.prod(labels.shape), len(labels.shape) == len(shape) + 1
    if name != "labels":
        return ""
    if has_one_more and n > 1 and size == math.prod(shape) * n:
        return ": a target for every class, such as one-hot labels, is for soft_cross_entropy"
    if has_one_more and size == math.prod(shape):
        return ": squeeze() removes the axis of length 1"
    if tuple(labels.shape) == shape and getattr(labels.dtype, "kind", "f") == "f":
        return ": astype(int) makes them integers"
    return ""


def _as_numpy(labels: Any, name: str) -> Array:
    hint = ("filled(-1) with ignore_index=-1 leaves such rows out",) if name == "labels" else ()
    labels = without_mask(labels, name, *hint)
    try:
        found = np.asarray(labels)
    except ValueError as error:
        raise ValueError(f"{name} must be an array of integers: {error}") from None
    return found.astype(np.int64) if found.size == 0 and isinstance(labels, list | tuple) else found


def _lie_below(n: int, labels: Array, xp: Any) -> bool:
    """Whether all labels are in [0, n)."""
    if math.prod(labels.shape) == 0:
        return True
    if xp is np:  # one pass instead of two: without its sign a negative number is a large one
        return int(np.maximum.reduce(labels.astype(np.int64, copy=False).view(np.uint64), axis=None)) < n
    return int(xp.min(labels)) >= 0 and int(xp.max(labels)) < n


def _holds_integers(labels: Array, xp: Any) -> bool:
    return labels.dtype.kind in "iu" if isinstance(labels, np.ndarray) else bool(xp.isdtype(labels.dtype, "integral"))


def _as_integer(value: Any, name: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer or None; got {value!r}") from None


def _first(bad: Array, xp: Any) -> tuple[int, ...]:
    """The position of the first True."""
    flat = int(xp.argmax(xp.astype(xp.reshape(bad, (-1,)), xp.int8)))
    return tuple(int(i) for i in np.unravel_index(flat, tuple(bad.shape)))


def _subscript(where: tuple[int, ...], start: tuple[int, ...] | None) -> str:
    where = where if start is None else tuple(map(operator.add, where, start))
    return f"[{', '.join(map(str, where))}]" if where else ""
