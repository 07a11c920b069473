"""One softmax over the scores of ten million documents, which lie in several files and are never in memory together.

    pip install "softgrad[examples]"
    python examples/larger_than_memory.py

A search engine has a score for each of its documents and queries, in one file for each part of its collection. The
probability that a document is the one wanted depends on all files.
"""

from __future__ import annotations

import sys
import tempfile
import tracemalloc
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

try:
    from rich.console import Console
    from rich.progress import track
except ModuleNotFoundError as error:
    sys.exit(f'this example needs {error.name}: pip install "softgrad[examples]"')

import softgrad as sg

Array = np.ndarray[Any, Any]

console = Console(soft_wrap=True)

FILES, DOCUMENTS, QUERIES, BLOCK = 4, 2_500_000, 8, 2**16
CLOSE = 1e-6


def write_scores(path: Path, random: np.random.Generator) -> None:
    """One part of the collection: a row of scores for each document."""
    scores = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(DOCUMENTS, QUERIES))
    for start in range(0, DOCUMENTS, BLOCK):
        rows = scores[start : start + BLOCK]
        rows[:] = 3 * random.standard_normal(rows.shape, dtype=np.float32)


def read_state(path: Path) -> sg.LogSumExpState:
    """What one pass over a file leaves behind: five numbers for each query, which another machine could send."""
    scores = np.load(path, mmap_mode="r")
    state = sg.LogSumExpState(axis=0)
    for start in range(0, DOCUMENTS, BLOCK):
        state.update(scores[start : start + BLOCK])
    return state


def column_sums(path: Path) -> Array:
    """The probability, for each query, that its document is in a file."""
    p = np.load(path, mmap_mode="r")
    return sum(p[start : start + BLOCK].sum(axis=0, dtype=np.float64) for start in range(0, DOCUMENTS, BLOCK))


def main(folder: Path) -> int:
    """Normalize all files together; 0 if the probabilities of every query sum to 1."""
    tracemalloc.start()
    scores = [folder / f"scores-{i}.npy" for i in range(FILES)]
    for i, path in enumerate(scores):
        write_scores(path, np.random.default_rng(i))
    size = sum(path.stat().st_size for path in scores)
    console.print(f"{FILES * DOCUMENTS:,} documents, {QUERIES} queries: {FILES} files, {size / 1e6:.0f} MB")

    state = reduce(add, map(read_state, scores))
    likely = np.exp(state.entropy())
    console.print(f"candidates left by a query, as e to its entropy: {likely.min():,.0f} to {likely.max():,.0f}")

    targets = [folder / f"probabilities-{i}.npy" for i in range(FILES)]
    for source, target in track([*zip(scores, targets, strict=True)], "softmax", console=console):
        # The slices run through all files, and the state knows them: a block may be any rows.
        sg.apply_blocks(lambda rows, axis: state.normalize(rows), source, target)
    console.print(f"the most memory that arrays took: {tracemalloc.get_traced_memory()[1] / 1e6:.0f} MB")

    error = np.abs(sum(map(column_sums, targets)) - 1).max()
    correct = bool(error <= CLOSE)
    verdict = f"the probabilities of each query sum to 1 within {error:.0e} (allowed: {CLOSE:.0e})"
    console.print(verdict, style="green" if correct else "red", highlight=False)
    return 0 if correct else 1


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        code = main(Path(place))
    sys.exit(code)
