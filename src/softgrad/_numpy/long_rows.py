"""Rows beyond the caches, in blocks: a pass for the state of each, merged, and one that writes the result.

A block is a row of its own to a kernel, so that the blocks of even a single row are spread over threads; and since they
are the same blocks with any number of threads, so are the bits of the result.
"""

from __future__ import annotations

import numpy as np

from softgrad._formulas import states
from softgrad._formulas.namespace import NDArray as Array
from softgrad._numpy import kernels
from softgrad._numpy.states import merged_along_last_axis

LONG_ROW = 2**21
"""Entries from which a row goes in blocks: it no longer fits into the caches, and has work for several threads."""

BLOCK = 2**18
"""Entries of a block: a megabyte of float32."""


def normalize(name: str, x: Array, out: Array, workers: int) -> None:
    """Write softmax or log_softmax, whose `name` it is, of every row."""
    if np.may_share_memory(x, out) and x.__array_interface__ != out.__array_interface__:
        x = x.copy()  # a block of the result may be stored where a later one is read
    state = tuple(part[..., np.newaxis] for part in _max_and_others(x, workers))
    for block, result in zip(_blocks(x), _blocks(out), strict=True):
        kernels.run(f"{name}_of_state", (block, *state), (result,), workers)


def logsumexp(x: Array, workers: int) -> Array:
    """Log Σ e^x of every row, in float64."""
    largest, others, low = _max_and_others(x, workers)
    zero = np.zeros_like(largest)
    return np.asarray(states.logsumexp(states.State(largest, others, low, zero, zero)))


def _max_and_others(x: Array, workers: int) -> tuple[Array, ...]:
    """The maximum of every row and Σ e^(x − max) without one 1 of it, in two parts."""
    found = []
    for block in _blocks(x):
        outs = tuple(np.empty(block.shape[:-1]) for _ in range(3))
        kernels.run("max_and_rest", (block,), outs, workers)
        found.append(outs)
    parts = (np.concatenate(part, axis=-1) for part in zip(*found, strict=True))
    largest, rest, low = parts
    zero = np.zeros_like(largest)
    return merged_along_last_axis(largest, rest, low, zero, zero)[:3]


def _blocks(x: Array) -> list[Array]:
    """Views of `x`: its rows as (…, blocks, entries), and what is left of each as one shorter block."""
    *batch, n = x.shape
    whole = n - n % BLOCK
    views = [x[..., :whole].reshape(*batch, -1, BLOCK)]
    return views if whole == n else [*views, x[..., np.newaxis, whole:]]
