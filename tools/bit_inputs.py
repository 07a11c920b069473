"""Arrays for every operand and option, always the same: rows of every kind in every dtype."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

try:
    import ml_dtypes

    HALVES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
except ImportError:
    HALVES = {"float16": np.float16}

Array = Any
INTEGERS = ("bool", "int8", "uint16", "int64")
KERNEL_DTYPES = {**HALVES, "float32": np.float32, "float64": np.float64}
DTYPES = {**KERNEL_DTYPES, "longdouble": np.longdouble, **{name: np.dtype(name) for name in INTEGERS}}

LENGTHS = (1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 24, 31, 33, 64, 65, 100, 129, 255, 256, 257, 300)
SMALL = (
    *(((n,), -1) for n in (1, 2, 3, 10, 40)),
    *(((25, n), -1) for n in LENGTHS),
    *(((2, 3, 5), axis) for axis in (0, 1, (0, 2), None)),
    *(((300, 9), 0), ((9, 300), 0), ((0, 5), -1), ((5, 0), -1)),
)
LARGE = (
    *(((1000, 10), -1), ((64, 1000), -1), ((25, 4097), -1)),
    *(((2, 70_001), -1), ((1000, 70), 0)),
)
HUGE = (((1, 2**21 + 5), -1),)


def _rows(rng: np.random.Generator, n: int) -> list[Callable[[Array], Array]]:
    """What makes rows of every kind out of normal numbers: saturated, subnormal, tied, not finite."""
    k, down = n // 2, np.linspace(0, 1, n)
    at = np.arange(n) == k
    return [
        lambda row: row,
        lambda row: row * 100,
        np.rint,
        lambda row: row + 120 * at,
        lambda row: row - 110 * down,  # results down to the subnormal numbers of float32
        lambda row: row - 760 * rng.permutation(down),  # and of float64
        lambda row: row + 1e6,
        lambda row: row * 1e-42,
        lambda row: row * 1e-310,
        lambda row: row * 0.0,  # zeros of both signs
        lambda row: np.where(at, np.nan, row),
        lambda row: np.where(at, np.inf, row),
        lambda row: np.where(at | (row > 0), -np.inf, row),
        lambda row: np.full(n, -np.inf),
    ]


class Inputs:
    """Arrays of one dtype and shape for every operand and option, made when they are asked for."""

    def __init__(self, dtype: str, shape: tuple[int, ...], axis: Any) -> None:
        self.dtype, self.shape, self.axis = dtype, shape, axis
        axes = range(len(shape)) if axis is None else [a % len(shape) for a in np.atleast_1d(axis)]
        self.axes = tuple(axes)
        self.slices = tuple(1 if a in self.axes else size for a, size in enumerate(shape))
        self.values = tuple(size for a, size in enumerate(shape) if a not in self.axes)
        self.n = int(np.prod([shape[a] for a in self.axes]))

    def rng(self, stream: int) -> np.random.Generator:
        return np.random.default_rng([stream, *self.shape])

    def logits(self, stream: int) -> Array:
        rng = self.rng(stream)
        if self.dtype in INTEGERS:
            low, high = (0, 2) if self.dtype == "bool" else (np.iinfo(self.dtype).min, np.iinfo(self.dtype).max)
            return rng.integers(low, high, self.shape, DTYPES[self.dtype], endpoint=self.dtype != "bool")
        x = rng.standard_normal(self.shape) * 3
        kinds = _rows(rng, self.shape[-1])
        rows = x.reshape(-1, self.shape[-1])[:500] if x.size else x
        for i in range(len(rows)):
            rows[i] = kinds[(i + stream) % len(kinds)](rows[i])
        return x / np.longdouble(3) if self.dtype == "longdouble" else x.astype(DTYPES[self.dtype])

    k, share = np.int64(2), np.float64(0.8)
    x = cached_property(lambda self: self.logits(0))
    x2 = cached_property(lambda self: self.logits(1))
    g = cached_property(lambda self: self.logits(2))
    v = cached_property(lambda self: self.logits(3))
    mask = cached_property(
        lambda self: (self.rng(4).random(self.shape) < 0.8) & (self.rng(5).random(self.slices) < 0.9)
    )
    per_slice = cached_property(lambda self: self.rng(6).integers(0, 5, self.slices) / 2)  # with zeros
    sample_weight = cached_property(lambda self: self.rng(6).integers(0, 5, self.values) / 2)
    labels = cached_property(lambda self: self.rng(7).integers(0, max(self.n, 1), self.values))
    class_weight = cached_property(lambda self: np.linspace(0, 2, self.n))
    b = cached_property(lambda self: self.rng(8).standard_normal(self.shape))

    @cached_property
    def p(self) -> Array:
        """Probabilities, by NumPy alone, so that they are the same whatever softgrad returns."""
        wide = np.asarray(self.x2, np.float64)
        e = np.exp(wide - wide.max(self.axes, keepdims=True, initial=-1e308))
        return (e / e.sum(self.axes, keepdims=True)).astype(self.x2.dtype if self.dtype not in INTEGERS else float)

    @cached_property
    def y(self) -> Array:
        return np.log(self.p)

    @cached_property
    def targets(self) -> Array:
        positive = self.rng(9).random(self.shape)
        return positive / positive.sum(self.axes, keepdims=True)
