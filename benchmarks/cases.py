"""What is measured: a function on one shape, axis and dtype."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
Call = Callable[[], Any]
Inputs = tuple[Array, ...]

DTYPES = ("float16", "float32", "float64")


@dataclass(frozen=True)
class Case:
    """One row of a table."""

    function: str
    shape: tuple[int, ...]
    dtype: str
    axis: int = -1

    @property
    def shape_name(self) -> str:
        """64×1000, or 4096×4096 axis 0."""
        sizes = "×".join(map(str, self.shape)) if len(self.shape) > 1 else f"({self.shape[0]},)"
        return sizes if self.axis == -1 else f"{sizes} axis {self.axis}"

    def __str__(self) -> str:
        return f"{self.function} {self.shape_name} {self.dtype}"


class Prepared(NamedTuple):
    """A case with its arrays."""

    inputs: tuple[Array, ...]
    out: Any
    """What entries that take buffers write to: an array, or one for each result."""
    baseline: Callable[[], Any]
    """NumPy moving the same bytes and computing nothing."""
    entries: int
    """What the time of a call is divided by."""


def logits(case: Case) -> Array:
    """Standard normal numbers."""
    rng = np.random.default_rng(0)
    wide = np.float64 if case.dtype == "float64" else np.float32
    return rng.standard_normal(case.shape, wide).astype(case.dtype, copy=False)


def bits(x: Array) -> Array:
    """The same memory as integers, which NumPy moves and compares at full speed in every width, float16 included."""
    return x.view(f"u{x.itemsize}")
