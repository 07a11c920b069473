"""A function at a point, differentiated along directions by finite differences with an estimate of their error."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from softgrad._validation.arrays import as_real

Array = np.ndarray[Any, Any]
ArrayFunction = Callable[[Any], Any]

STEPS = 4.0 ** -np.arange(1, 13)
"""Steps relative to the size of x: the first leave rounding far behind, the last suit slopes 10⁶ times as large."""

NEAR = 6
"""Which step the larger ones must agree with, roughly."""


class Point:
    """A function at a point: its value, and its derivative along directions by finite differences."""

    def __init__(self, function: ArrayFunction, x: Any) -> None:
        self.function = function
        self.x = np.array(as_real(x))
        self.x64 = self.x.astype(np.result_type(self.x.dtype, np.float64))
        _require_values(self.x64, "x")
        self.y = np.array(as_real(function(self.x.copy()), "function(x)"))
        _require_values(self.y, "function(x)")
        self.size = _size(self.x64) or 1.0
        self.y64 = self._value(self.x64)
        self.eps = self._precision()

    def _precision(self) -> float:
        """The machine epsilon that the function computes in: the values of a float32 layer all fit in float32."""
        nearby = self.x64 + STEPS[-1] * self.size * np.random.default_rng(0).uniform(-1, 1, self.x.shape)
        with np.errstate(all="ignore"):  # a value that float32 does not hold is none of float32
            values = np.asarray(self.function(nearby))
            single = np.array_equal(values.astype(np.float32), values)
        return max(_eps(values.dtype), _eps(np.dtype(np.float32)) if single else 0.0)

    def settle(self) -> None:
        """Call the function at x once more: a layer's backward pass belongs to its last call."""
        again = np.asarray(self.function(self.x.copy()))
        near = relative_tolerance(None, self.y)
        if not np.allclose(again, self.y, rtol=near, atol=near * float(np.max(np.abs(self.y)))):
            raise ValueError("function must be repeatable; two calls on the same x gave different values (dropout?)")

    def directions(self, count: int, seed: int | np.random.Generator) -> Iterator[tuple[Array, Array]]:
        """Draw v, of the size of x, and g: no entry is near 0, and no two are likely to cancel."""
        if count < 1:
            raise ValueError(f"directions must be at least 1; got {count}")
        random = np.random.default_rng(seed)
        size = min(self.size, _largest(self.x.dtype) / 4)  # 1.5 times that is to be a number of the dtype
        for _ in range(count):
            v, g = (random.uniform(0.5, 1.5, a.shape) * random.choice([-1.0, 1.0], a.shape) for a in (self.x, self.y))
            yield np.asarray(size * v).astype(self.x.dtype), np.asarray(g).astype(self.y.dtype)

    def unit(self, j: int) -> Array:
        """Point along entry j of x."""
        e = np.zeros_like(self.x64)
        e.flat[j] = 1.0
        return e

    def along(self, v: Array) -> tuple[Array, Array]:
        """Compute J v and an estimate of its error, entry by entry."""
        stretch = self.size / float(np.max(np.abs(v)))
        image, error = self._extrapolated(stretch * v.astype(self.x64.dtype))
        return image / stretch, error / stretch

    def _extrapolated(self, v: Array) -> tuple[Array, Array]:
        """Differentiate along v, whose largest entry has the size of x: then J v, too, is as large as f may vary."""
        best, error = np.zeros(self.y.shape), np.full(self.y.shape, np.inf)
        row: list[Array] = []
        with np.errstate(all="ignore"):  # a large step may leave the domain: its NaN loses against the smaller ones
            near, near_rounding, _ = self._central(v, STEPS[NEAR])
            for level, step in enumerate(STEPS):
                slope, rounding, magnitude = self._central(v, step)
                finer = [slope]
                for order, coarse in enumerate(row, 1):
                    value = finer[-1] + (finer[-1] - coarse) / (16.0**order - 1)
                    estimate = np.maximum(np.abs(value - finer[-1]), np.abs(value - coarse)) + rounding
                    if level < NEAR:  # on a plateau, or a whole period apart, large steps agree among themselves only
                        agrees = np.abs(value - near) <= 1e-3 * (np.abs(value) + np.abs(near)) + near_rounding
                        estimate = np.where(agrees, estimate, np.inf)
                    best = np.where(estimate < error, value, best)
                    error = np.fmin(error, estimate)
                    finer.append(value)
                row = finer
                if np.all(error <= 1e-10 * np.abs(best) + 1e-12 * magnitude):
                    break
        if np.any(error > 1e-3 * (np.max(np.abs(best)) + np.max(np.abs(self.y)))):
            raise ValueError(
                "finite differences of function do not settle as the step shrinks: at x it has a jump, or noise, or "
                "is computed in low precision"
            )
        return best, error

    def _central(self, v: Array, step: float) -> tuple[Array, Array, Array]:
        """Take the central difference along v; say how far rounding may have moved it and how large its terms are."""
        plus, minus = self._value(self.x64 + step * v), self._value(self.x64 - step * v)
        slope = (plus - minus) / (2 * step)
        magnitude = np.maximum(np.abs(plus), np.abs(minus)) + np.abs(slope)
        return slope, 16 * self.eps * magnitude / step, magnitude

    def has_kink(self, j: int) -> bool:
        """Whether the slopes to either side of x differ along entry j."""
        e = STEPS[-3] * self.size * self.unit(j)
        with np.errstate(all="ignore"):
            right, left = self._value(self.x64 + e) - self.y64, self.y64 - self._value(self.x64 - e)
        return bool(np.max(np.abs(right - left)) > 0.1 * max(np.max(np.abs(right)), np.max(np.abs(left))))

    def _value(self, x: Array) -> Array:
        return np.array(self.function(x), dtype=self.x64.dtype)  # a copy: layers reuse their buffers


def _require_values(values: Array, name: str) -> None:
    if values.size == 0:
        raise ValueError(f"{name} must not be empty; got shape {values.shape}")
    bad = first_not_finite(values)
    if bad is not None:
        raise ValueError(f"{name} must be finite; got {values[bad]} at index {bad}")


def first_not_finite(values: Array) -> tuple[int, ...] | None:
    """Find the index of the first entry that is NaN or infinite."""
    bad = np.flatnonzero(~np.isfinite(values))
    return unravel(bad[0], values.shape) if len(bad) else None


def relative_tolerance(rtol: float | None, *arrays: Array) -> float:
    """Return `rtol`, or by default the square root of the coarsest machine epsilon among `arrays`."""
    return math.sqrt(max(_eps(a.dtype) for a in arrays)) if rtol is None else rtol


def _size(values: Array) -> float:
    """The root of the mean square, which overflows only where the values do."""
    largest = float(np.max(np.abs(values)))
    return largest * float(np.sqrt(np.mean((values / largest) ** 2))) if largest else 0.0


def _largest(dtype: np.dtype[Any]) -> float:
    return 2.0**127 if dtype.name == "bfloat16" else min(float(np.finfo(dtype).max), float(np.finfo(np.float64).max))


def _eps(dtype: np.dtype[Any]) -> float:
    if dtype.name == "bfloat16":
        return 2.0**-7
    return max(float(np.finfo(dtype if dtype.kind == "f" else np.float64).eps), float(np.finfo(np.float64).eps))


def unravel(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Turn a flat index into one per axis."""
    return tuple(map(int, np.unravel_index(flat, shape)))
