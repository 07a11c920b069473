"""sparsemax and entmax(1.5) compared with sorts in PyTorch and with softgrad's softmax, in turns in one process.

    python benchmarks/sparse.py [--seconds S] [--json FILE]

One thread, float32. The ways of PyTorch sort each row and find the threshold from cumulative sums (Martins & Astudillo,
ICML 2016; Peters, Niculae & Martins, ACL 2019).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import softgrad as sg
from timing import Timed, interleaved

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
        },
        "entmax, α = 1.5": {
            "softgrad": lambda: sg.entmax(x, out=out, workers=1),
            "its softmax": lambda: sg.softmax(x, out=out, workers=1),
            "torch.sort": lambda: entmax15_by_sort(tensor),
        },
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


def main() -> None:
    """Print a line for each case: softgrad's time, and how many times as long the others take."""
    parser = argparse.ArgumentParser(description="Time sparsemax and entmax.")
    parser.add_argument("--seconds", type=float, default=5, help="for each case (default: 5)")
    parser.add_argument("--json", type=Path, help="where to write the results, too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    for shape in SHAPES:
        for name, ways in calls(shape).items():
            times = interleaved({way: Timed(call) for way, call in ways.items()}, options.seconds)
            own = times["softgrad"].median
            others = {way: round(time.median / own, 2) for way, time in times.items() if way != "softgrad"}
            lines.append({"shape": shape, "case": name, "ms": round(own * 1e3, 3), "others / softgrad": others})
            print(json.dumps(lines[-1], ensure_ascii=False), flush=True)
    if options.json:
        rows = ",\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
        options.json.write_text(f"[\n{rows}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
