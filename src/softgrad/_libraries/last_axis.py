"""A call along any axes as one along the last axis: derivatives are defined for rows only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from softgrad._dispatch import CLASSES, OPTIONS, SLICE, Function, axis_of
from softgrad._formulas.namespace import Array
from softgrad._validation.arrays import as_alpha, as_mask, as_real, as_temperature, broadcast_shapes, broadcast_to
from softgrad._validation.axis import Rows


def plain(value: Any) -> Any:
    """An array of any library as NumPy's own, a MaskedArray or anything else as it is."""
    is_array = hasattr(value, "__array__") and not isinstance(value, np.ma.MaskedArray | type)
    return np.asarray(value) if is_array else value


def as_rows(
    function: Function, operands: tuple[Array, ...], options: dict[str, Any], xp: Any
) -> tuple[tuple[Array, ...], dict[str, Any], Callable[[tuple[Array, ...]], Any]]:
    """Operands and options as rows along the last axis, and a function that turns results back.

    Operands are arrays of `xp`. Those that are slices come out in one shape, each in its own dtype: what dtypes mean
    together is the function's to decide.
    """
    slices = {
        name: as_real(operand, name)
        for name, operand, core in zip(function.names, operands, function.operands, strict=True)
        if core == SLICE
    }
    shape = broadcast_shapes(**slices)
    rows = Rows.of(shape, axis_of(options))
    batch = rows.batch_shape

    def slice_of(name: str, operand: Array) -> Array:
        if name not in slices:
            return operand
        return rows.to_rows(broadcast_to(name, slices[name], shape, xp), xp)

    def option(name: str, value: Any) -> Any:
        if value is None or OPTIONS.get(name, CLASSES) == CLASSES:
            return value
        if name == "where":
            return rows.to_rows(as_mask(value, shape, xp), xp)
        if name == "temperature":
            return as_temperature(value, rows, xp)
        if name == "alpha":
            return as_alpha(value, rows, xp)
        core = shape if OPTIONS[name] == SLICE else batch
        value = broadcast_to(name, xp.asarray(value), core, xp)
        return rows.to_rows(value, xp) if OPTIONS[name] == SLICE else value

    given = {k: option(k, v) for k, v in options.items() if k not in ("axis", "keepdims") and v is not None}

    def restored(result: Array, core: str) -> Array:
        if core == SLICE:
            return rows.from_rows(result, xp)
        return xp.reshape(result, rows.kept_shape) if options.get("keepdims") else result

    def restore(results: tuple[Array, ...]) -> Any:
        return function.packed(tuple(restored(r, core) for r, core in zip(results, function.results, strict=True)))

    return tuple(map(slice_of, function.names, operands)), given, restore
