"""Rows of files that may be larger than memory, with what belongs to them from files or arrays."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from softgrad._numpy import threads
from softgrad.calibration.batches import Batch, Data, Found
from softgrad.files.read import Block, Blocks

Progress = Callable[[int, int], None]

MOST_THREADS = 12
"""Each holds a block of 8 MiB or two; more would wait for the file."""


@dataclass(frozen=True)
class InFiles(Data):
    """Blocks of files, read again by every pass."""

    blocks: Blocks
    progress: Progress
    workers: int | None = None

    def fold(self, f: Callable[[Batch], Found], add: Callable[[Found, Found], Found]) -> Found:
        """`f` of every batch, merged by `add` from the first to the last."""
        axis, blocks = self.reading.axis, self.blocks

        def computed(block: Block) -> Found:
            start = tuple(part.start for a, part in enumerate(block.place) if a != axis)
            return f(self.reading.batch(block.values, block.arrays, start))

        waiting: deque[Future[Found]] = deque()
        merged: list[Found] = []

        def merge(most: int) -> None:
            while len(waiting) > most:
                found = waiting.popleft().result()
                merged[:] = [add(merged[0], found) if merged else found]

        done, entries = 0, max(1, math.prod(blocks.shape))
        workers = min(MOST_THREADS, threads.count(self.workers, entries))
        with ThreadPoolExecutor(workers) as pool:
            for block in blocks:
                waiting.append(pool.submit(computed, block))
                merge(workers)
                done += block.values.size
                self.progress(blocks.nbytes * done // entries, blocks.nbytes)
            merge(0)
        if not merged:
            batch = tuple(n for a, n in enumerate(blocks.shape) if a != axis)
            arrays = {"labels": np.zeros(batch, np.int64)}
            return f(self.reading.batch(np.zeros(blocks.shape, blocks.dtype), arrays, (0,) * len(batch)))
        return merged[0]
