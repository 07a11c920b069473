"""MaskedArrays as their data and a mask."""

from __future__ import annotations

from typing import Any

import numpy as np

from softgrad._formulas.namespace import Array
from softgrad._validation.arrays import as_real


def unmasked_operands(operands: dict[str, Any], nothing: float) -> tuple[dict[str, Any], Array]:
    """MaskedArrays as their data; the output, the first operand, becomes `nothing` where any is masked."""
    masks = np.broadcast_arrays(*(np.ma.getmaskarray(a) for a in operands.values()))
    masked = np.logical_or.reduce(masks)
    (first, output), *others = ((key, np.ma.getdata(a)) for key, a in operands.items())
    output = as_real(output, first)
    return {first: np.where(masked, output.dtype.type(nothing), output), **dict(others)}, masked


def unmasked(x: Array, where: Any) -> tuple[Array, Any, Array | None]:
    """A MaskedArray as its data, with its mask taken into `where`; anything else as it is."""
    if not isinstance(x, np.ma.MaskedArray):
        return x, where, None
    masked = np.ma.getmaskarray(x)
    return x.data, ~masked if where is None else ~masked & where, masked
