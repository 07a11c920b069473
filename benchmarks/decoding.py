"""Masks and draws compared with the ways that are taken without them, in turns in one process.

    python benchmarks/decoding.py [--seconds S] [--json FILE]

One thread. The masks of PyTorch are by `torch.sort`, as its users write them; draws are compared with
`torch.multinomial` of `torch.softmax`, with `Generator.choice` of one row and with softgrad's own softmax.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import softgrad as sg
from ratios import print_ratios

SHAPES = ((64, 131_072), (64, 1000), (10_000, 100), (100_000, 10))
K, P = 50, 0.9


def top_k_by_sort(x: Any, k: int) -> Any:
    """Sorted in descending order, compared with the k-th."""
    return x >= torch.sort(x, dim=-1, descending=True).values[:, k - 1 : k]


def top_p_by_sort(x: Any, p: float) -> Any:
    """Entries whose predecessors in descending order do not reach p, put back where they were."""
    values, order = torch.sort(x, dim=-1, descending=True)
    probability = torch.softmax(values, dim=-1)
    kept = torch.cumsum(probability, dim=-1) - probability < p
    return torch.empty_like(kept).scatter_(-1, order, kept)


def choice(rng: np.random.Generator, x: Any) -> Any:
    """One draw from each row, by Generator.choice."""
    return [rng.choice(len(p), p=p) for p in sg.softmax(x, dtype=np.float64, workers=1)]


def calls(shape: tuple[int, int]) -> dict[str, dict[str, Callable[[], Any]]]:
    """For each result the ways to it, softgrad's first."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=shape) * 3).astype(np.float32)
    tensor, k = torch.from_numpy(x), min(K, shape[1] // 2)
    return {
        f"top_k_mask, k = {k}": {
            "softgrad": lambda: sg.top_k_mask(x, k, workers=1),
            "torch.sort": lambda: top_k_by_sort(tensor, k),
        },
        f"top_p_mask, p = {P}": {
            "softgrad": lambda: sg.top_p_mask(x, P, workers=1),
            "torch.sort": lambda: top_p_by_sort(tensor, P),
        },
        "sample": {
            "softgrad": lambda: sg.sample(x, rng=rng, workers=1),
            "its softmax": lambda: sg.softmax(x, workers=1),
            "torch.multinomial": lambda: torch.multinomial(torch.softmax(tensor, dim=-1), 1),
            "Generator.choice": lambda: choice(rng, x),
        },
        "sample, T = 0.7": {
            "softgrad": lambda: sg.sample(x, rng=rng, temperature=0.7, workers=1),
            "its softmax": lambda: sg.softmax(x, temperature=0.7, workers=1),
            "torch.multinomial": lambda: torch.multinomial(torch.softmax(tensor / 0.7, dim=-1), 1),
        },
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    print_ratios("Time masks and draws.", SHAPES, calls)
