"""sparsemax and entmax compared with sorts in PyTorch and with softgrad's softmax, in turns in one process.

    python benchmarks/sparse.py [--seconds S] [--json FILE]

One thread, float32. The ways of PyTorch sort each row and find the threshold from cumulative sums (Martins & Astudillo,
ICML 2016; Peters, Niculae & Martins, ACL 2019). The packages entmax (by partial sorts and by bisection) and optax
(under jit) are compared, too, where they are installed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import softgrad as sg
from ratios import print_ratios

try:
    import entmax
except ModuleNotFoundError:
    entmax = None
try:
    import jax
    import optax
except ModuleNotFoundError:
    optax = None

SHAPES = ((64, 1000), (4096, 4096), (100_000, 10), (64, 131_072))


def sparsemax_by_sort(x: Any) -> Any:
    """The support is that of the largest k with 1 + k x_k > Σ of the k largest."""
    values = torch.sort(x, dim=-1, descending=True).values
    k = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype)
    excess = torch.cumsum(values, dim=-1) - 1
    size = (k * values > excess).sum(dim=-1, keepdim=True)
    return torch.clamp(x - excess.gather(-1, size - 1) / size, min=0)


def entmax15_by_sort(x: Any) -> Any:
    """The threshold of each k solves a quadratic: its mean and its variance are those of the k largest."""
    x = (x - x.amax(dim=-1, keepdim=True)) / 2
    values = torch.sort(x, dim=-1, descending=True).values
    k = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype)
    mean, square = torch.cumsum(values, dim=-1) / k, torch.cumsum(values**2, dim=-1) / k
    threshold = mean - torch.sqrt(torch.clamp(1 / k - (square - mean**2), min=0))
    size = (threshold <= values).sum(dim=-1, keepdim=True)
    return torch.clamp(x - threshold.gather(-1, size - 1), min=0) ** 2


def by_entmax(name: str, tensor: Any, *options: Any) -> dict[str, Callable[[], Any]]:
    """A function of the package entmax, if it is installed."""
    return {} if entmax is None else {f"entmax.{name}": lambda: getattr(entmax, name)(tensor, *options)}


def by_optax(x: Any) -> dict[str, Callable[[], Any]]:
    """The projection of optax, compiled for all rows together, if it is installed."""
    if optax is None:
        return {}
    project, rows = jax.jit(jax.vmap(optax.projections.projection_simplex)), jax.numpy.asarray(x)
    return {"optax": lambda: project(rows).block_until_ready()}


def at(alpha: float, x: Any, tensor: Any, out: Any) -> dict[str, Callable[[], Any]]:
    """entmax for an α that has no kernel of its own."""
    return {
        "softgrad": lambda: sg.entmax(x, alpha, out=out, workers=1),
        "its softmax": lambda: sg.softmax(x, out=out, workers=1),
        "its α = 1.5": lambda: sg.entmax(x, out=out, workers=1),
        **by_entmax("entmax_bisect", tensor, alpha),
    }


def calls(shape: tuple[int, int]) -> dict[str, dict[str, Callable[[], Any]]]:
    """For each result the ways to it, softgrad's first."""
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    tensor, out = torch.from_numpy(x), np.empty_like(x)
    mask = x > -1
    return {
        "sparsemax": {
            "softgrad": lambda: sg.sparsemax(x, out=out, workers=1),
            "its softmax": lambda: sg.softmax(x, out=out, workers=1),
            "torch.sort": lambda: sparsemax_by_sort(tensor),
            **by_entmax("sparsemax", tensor, -1),
            **by_optax(x),
        },
        "entmax, α = 1.5": {
            "softgrad": lambda: sg.entmax(x, out=out, workers=1),
            "its softmax": lambda: sg.softmax(x, out=out, workers=1),
            "torch.sort": lambda: entmax15_by_sort(tensor),
            **by_entmax("entmax15", tensor, -1),
            **by_entmax("entmax_bisect", tensor, 1.5),
        },
        **{f"entmax, α = {alpha}": at(alpha, x, tensor, out) for alpha in (1.25, 3.0)},
        "sparsemax, mask and T = 0.7": {
            "softgrad": lambda: sg.sparsemax(x, where=mask, temperature=0.7, out=out, workers=1),
            "its softmax": lambda: sg.softmax(x, where=mask, temperature=0.7, out=out, workers=1),
        },
        "sparsemax, T = 100": {
            "softgrad": lambda: sg.sparsemax(x, temperature=100.0, out=out, workers=1),
            "its softmax": lambda: sg.softmax(x, temperature=100.0, out=out, workers=1),
            "torch.sort": lambda: sparsemax_by_sort(tensor / 100),
        },
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    print_ratios("Time sparsemax and entmax.", SHAPES, calls)
