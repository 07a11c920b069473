"""Rows of arrays in memory, in blocks that threads share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from softgrad._formulas.namespace import NDArray as Array
from softgrad._numpy import threads
from softgrad._validation.arrays import broadcast_to
from softgrad._validation.labels import check_shape
from softgrad.calibration.batches import Batch, Data, Found
from softgrad.files.blocks import Region, array_regions

SHORT, SHORTER = 2**10, 4
"""Entries of a slice that counts as short, and how much more of such slices a block holds."""


@dataclass(frozen=True)
class InMemory(Data):
    """Arrays of NumPy."""

    logits: Array
    arrays: dict[str, Array]
    """What belongs to the slices: of their shape, but for `where`, which has that of the logits."""
    workers: int | None = None

    def fold(self, f: Callable[[Batch], Found], add: Callable[[Found, Found], Found]) -> Found:
        """`f` of every batch, merged by `add` from the first to the last."""
        axis, shape = self.reading.axis, self.logits.shape
        order: Any = "F" if self.logits.flags.f_contiguous and not self.logits.flags.c_contiguous else "C"
        waiting: dict[int, Found] = {}
        merged: list[Found] = []
        lock, done = threading.Lock(), 0

        def run(number: int, region: Region) -> None:
            nonlocal done
            of_slices = tuple(part for a, part in enumerate(region) if a != axis)
            parts = {name: v[region if v.ndim == len(region) else of_slices] for name, v in self.arrays.items()}
            result = f(self.reading.batch(self.logits[region], parts, tuple(part.start for part in of_slices)))
            with lock:
                waiting[number] = result
                while done in waiting:
                    result = waiting.pop(done)
                    merged[:] = [add(merged[0], result) if merged else result]
                    done += 1

        blocks = list(enumerate(_blocks(shape, axis, order)))
        blocks = blocks or [(0, tuple(slice(0, n) for n in shape))]
        threads.side_by_side(run, blocks, threads.count(self.workers, self.logits.size, self.logits.dtype))
        return merged[0]


def laid_out(arrays: dict[str, Array], shape: tuple[int, ...], axis: int) -> dict[str, Array]:
    """Arrays in the shape of the slices, masks in that of the logits; ValueError for one that does not fit."""
    batch = tuple(n for a, n in enumerate(shape) if a != axis)
    found = {}
    for name, values in arrays.items():
        if name == "where":
            found[name] = broadcast_to(name, values, shape, np)
        elif values.ndim == len(shape) and values.shape[axis] == 1 and name != "labels":
            found[name] = broadcast_to(name, np.squeeze(values, axis), batch, np)
        elif name == "temperature":
            found[name] = broadcast_to(name, values, batch, np)
        else:
            check_shape(values, batch, shape[axis], name)
            found[name] = values
    return found


def _blocks(shape: tuple[int, ...], axis: int, order: Any) -> Iterator[Region]:
    """Blocks of whole slices: of short ones more, since merging costs as much for a few rows as for many."""
    n = shape[axis]
    counted = max(1, n // SHORTER) if n <= SHORT else n
    reduced = tuple(counted if a == axis else size for a, size in enumerate(shape))
    for region in array_regions(reduced, axis, order):
        yield tuple(slice(0, n) if a == axis else part for a, part in enumerate(region))
