"""A function of some rows at a time, written with NumPy, called as a generalized ufunc is."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from softgrad._formulas.namespace import NDArray as Array
from softgrad._formulas.precision import silent

BLOCK = 2**17
"""Entries of the rows that go through all steps together: what the steps leave in float64 stays in the cache."""


@dataclass(frozen=True)
class RowLoop:
    """The rows of any batch as those of matrices, and what belongs to a row beside them, in blocks."""

    function: Callable[..., Array]
    """Takes a contiguous matrix and its mask, which may be None, then one vector for each number per row."""
    signature: str
    """As that of a generalized ufunc; the mask is no part of it where there is none."""
    entries: int = BLOCK
    """How many entries a block has."""

    @silent
    def __call__(self, *operands: Array, out: tuple[Array, ...]) -> None:
        """Write the one result."""
        cores = [core.count(",") + 1 if core else 0 for core in re.findall(r"\(([^)]*)\)", self.signature)]
        ends = [a.shape[a.ndim - core :] for a, core in zip(operands, cores, strict=False)]
        batch = np.broadcast_shapes(*(a.shape[: a.ndim - len(end)] for a, end in zip(operands, ends, strict=True)))
        count = math.prod(batch)
        rows = [np.broadcast_to(a, batch + end).reshape(count, *end) for a, end in zip(operands, ends, strict=True)]
        (result,) = out
        found = np.empty((count, *result.shape[len(batch) :]), result.dtype)
        step = max(1, self.entries // max(1, ends[0][0]))
        for start in range(0, count, step):
            block = [a[start : start + step] for a in rows]
            found[start : start + step] = self.function(np.ascontiguousarray(block[0]), *block[1:])
        result[...] = found.reshape(result.shape)
