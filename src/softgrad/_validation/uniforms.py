"""Uniform numbers in the order of a generator, all at once or only those of a region: PCG64 can jump.

A draw is a function of one number of the stream, and the numbers are in the order of the slices. So draws do not depend
on how the slices are divided between calls, threads, blocks of a file or chunks of Dask.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from softgrad._formulas.namespace import NDArray as Array

JUMPING = (np.random.PCG64, np.random.PCG64DXSM)
"""Bit generators that take one step for each number and can take any number of steps at once."""


def as_generator(rng: Any) -> np.random.Generator:
    """`rng`, a Generator, a seed or None, as a Generator: as `numpy.random.default_rng` does."""
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise type(error)(f"rng must be a numpy.random.Generator, a seed or None; got {rng!r} ({error})") from None


class Uniforms:
    """An array of the next numbers of a generator in [0, 1), drawn at once or read by regions.

    Parameters
    ----------
    generator : Generator
        Where the numbers come from.
    shape : tuple of int
        The shape of the array.
    order : tuple of int, optional
        The axes as the numbers run, the slowest first. Default: that of the axes.
    """

    dtype = np.dtype(np.float64)
    chunks = None
    """None are better read together than others."""

    def __init__(
        self, generator: np.random.Generator, shape: tuple[int, ...], order: tuple[int, ...] | None = None
    ) -> None:
        self.shape, self.order = shape, tuple(range(len(shape))) if order is None else order
        self._generator = generator
        self._kind: Any = None
        self._state: Any = None

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def can_jump(self) -> bool:
        """Whether the numbers can be read by regions."""
        return isinstance(self._generator.bit_generator, JUMPING)

    def drawn(self) -> Array:
        """All numbers."""
        return self._laid_out(self._generator.random([self.shape[a] for a in self.order]))

    def lazily(self) -> Uniforms:
        """The same to be read by regions; TypeError if the generator cannot jump. It is moved past the array."""
        bits: Any = self._generator.bit_generator
        if not self.can_jump:
            known = " or ".join(kind.__name__ for kind in JUMPING)
            raise TypeError(
                f"rng must be a seed or a Generator of {known}, whose numbers are read block by block; "
                f"got one of {type(bits).__name__}"
            )
        self._kind, self._state = type(bits), bits.state
        bits.advance(math.prod(self.shape))
        return self

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[tuple(slice(n) for n in self.shape)], dtype)

    def __getitem__(self, region: Any) -> Array:
        """The numbers of a region: one slice with steps of 1 for each axis."""
        sizes = [self.shape[a] for a in self.order]
        ranges = [range(self.shape[a])[region[a]] for a in self.order]
        result = np.empty([len(r) for r in ranges])
        if result.size:
            # Axes from `first` on are read as one run of numbers.
            first = max((axis for axis, r in enumerate(ranges) if len(r) < sizes[axis]), default=0)
            starts = np.zeros(1, np.int64)
            for axis, r in enumerate(ranges):
                places = np.asarray(r if axis < first else r[:1])
                starts = (starts[:, np.newaxis] * sizes[axis] + places).reshape(-1)
            self._read(result.reshape(len(starts), -1), starts)
        return self._laid_out(result)

    def of_slices(self, places: Array, n: int) -> Array:
        """The n numbers of each of the slices at these places of their order, of an array that is read by regions."""
        result = np.empty((len(places), n))
        together = len(places) > 0 and (np.diff(places) == 1).all()
        self._read(result.reshape(1, -1) if together else result, places[:1] * n if together else places * n)
        return result

    def _read(self, runs: Array, starts: Array) -> None:
        generator = np.random.Generator(self._kind(0))
        bits: Any = generator.bit_generator
        for run, start in zip(runs, starts, strict=True):
            bits.state = self._state
            bits.advance(int(start))
            generator.random(out=run)

    def _laid_out(self, numbers: Array) -> Array:
        return numbers.transpose(np.argsort(self.order).astype(int))
