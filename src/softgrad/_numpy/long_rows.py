"""Rows beyond the caches, in blocks: a pass for the state of each, merged, and one that writes the result.

A block is a row of its own to a kernel, so that the blocks of even a single row are spread over threads; and since they
are the same blocks with any number of threads, so are the bits of the result.
"""

from __future__ import annotations

import numpy as np

from softgrad._formulas import states
from softgrad._formulas.compensated import compensated_sum
from softgrad._formulas.namespace import NDArray as Array
from softgrad._numpy import kernels
from softgrad._numpy.states import merged_along_last_axis
from softgrad._numpy.threads import overlap, side_by_side

LONG_ROW = 2**21
"""Entries from which a row goes in blocks: it no longer fits into the caches, and has work for several threads."""

BLOCK = 2**18
"""Entries of a block: a megabyte of float32."""

LEAST_MEAN = 2.0**-80, 2.0**-900
"""Of float32 and float64: the terms of a smaller mean may have underflowed."""


def normalize(name: str, x: Array, out: Array, workers: int) -> None:
    """Write softmax or log_softmax, whose `name` it is, of every row."""
    x = x.copy() if overlap(x, out) else x
    state = tuple(part[..., np.newaxis] for part in _max_and_others(x, workers))
    for block, result in zip(_blocks(x), _blocks(out), strict=True):
        kernels.run(f"{name}_of_state", (block, *state), (result,), workers)


def logsumexp(x: Array, workers: int) -> Array:
    """Log Σ e^x of every row, in float64."""
    largest, others, low = _max_and_others(x, workers)
    zero = np.zeros_like(largest)
    return np.asarray(states.logsumexp(states.State(largest, others, low, zero, zero)))


def softmax_vjp(p: Array, g: Array, out: Array, workers: int) -> None:
    """Write p ∘ (g − Σ p g) of every row, one after the other."""
    p, g = (a.copy() if overlap(a, out) else a for a in (p, g))
    for row in np.ndindex(p.shape[:-1]):
        _softmax_vjp_of_row(p[row], g[row], out[row], workers)


def _softmax_vjp_of_row(p: Array, g: Array, out: Array, workers: int) -> None:
    """The largest p first, then Σ p (g − g_k), then the result."""
    center = np.float64(g[_argmax(p, workers)])
    blocks = list(zip(_blocks(p), _blocks(g), _blocks(out), strict=True))
    parts: list[Array] = []
    for block in blocks:
        sums = tuple(np.empty(block[0].shape[:-1]) for _ in range(2))
        kernels.run("softmax_vjp_sum", (*block[:2], center), sums, workers)
        parts += sums
    total, error = compensated_sum(np, np.concatenate(parts))
    mean = total[0] + error[0]
    if np.abs(mean) >= LEAST_MEAN[p.dtype == np.float64] and np.isfinite(mean):
        for *operands, result in blocks:
            kernels.run("softmax_vjp_of_mean", (*operands, center, mean), (result,), workers)
    else:  # its terms may have underflowed, or where p is 0 there is what must not be read
        kernels.run("softmax_vjp", (p, g), (out,), workers)


def _argmax(p: Array, workers: int) -> int:
    """Where the largest entry of one row is, by its bits: no entry is negative."""
    bits = p.view(f"i{p.dtype.itemsize}")
    starts = range(0, len(p), BLOCK)
    found = [0] * len(starts)

    def find(i: int, start: int) -> None:
        found[i] = start + int(bits[start : start + BLOCK].argmax())

    side_by_side(find, list(enumerate(starts)), workers)
    return max(found, key=bits.__getitem__)


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
