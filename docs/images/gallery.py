"""Draw the gallery's pictures of the examples that draw none themselves: python docs/images/gallery.py [NAME ...]."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

import softgrad as sg

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "examples"))

mpl.use("Agg")


def torch_and_jax(axes: Axes) -> None:
    """The gradient at the label; where a framework's own is 0, its curve ends."""
    example: Any = importlib.import_module("torch_and_jax")
    found = {
        "softgrad in PyTorch": (
            example.by_torch(sg.cross_entropy),
            {"linewidth": 8, "alpha": 0.3, "color": "tab:green"},
        ),
        "softgrad in JAX": (example.by_jax(sg.cross_entropy), {"linewidth": 2, "color": "tab:green"}),
        "PyTorch's own": (example.by_torch(example.torch_loss), {"marker": "o", "linestyle": "", "color": "tab:red"}),
        "JAX's own": (example.by_jax(example.jax_loss), {"marker": "x", "linestyle": "", "color": "black"}),
    }
    for name, (gradient, style) in found.items():
        size = np.abs(gradient).astype(float)
        axes.semilogy(np.array(example.MARGINS)[size > 0], size[size > 0], label=name, **style)
    axes.text(22, 1e-6, "from a lead of 17 on,\nthe frameworks' own are 0", color="tab:red")
    axes.set(title="Where gradients end", xlabel="lead of the label", ylabel="|gradient at the label|, float32")
    axes.legend(frameon=False)


def tables(axes: Axes) -> None:
    """The doubt of five classifiers about six wines, in two parts."""
    example: Any = importlib.import_module("tables")
    data = example.load_wine(as_frame=True)
    seeds = range(example.MODELS)
    logits = np.stack([example.scores(data.data, data.target, list(data.target_names), seed) for seed in seeds])
    total = sg.entropy(np.log(sg.softmax(logits).mean(axis=0)))
    each = sg.entropy(logits).mean(axis=0)
    most = np.argsort(total)[-6:]
    names = [f"wine {i}" for i in most]
    axes.barh(names, each[most], label="each classifier by itself")
    axes.barh(names, (total - each)[most], left=each[most], label="between the classifiers")
    axes.set(title="Which wines do five classifiers doubt?", xlabel="entropy (nats)")
    axes.legend(frameon=False, loc="lower right")


def boosting(axes: Axes) -> None:
    """The second derivative per class, by choice of curvature, as the probability of the label grows."""
    margin = np.linspace(-8, 8, 161)
    logits = np.zeros((len(margin), 10))
    logits[:, 0] = margin
    labels = np.zeros(len(margin), int)
    for curvature in ("diagonal", "upper", "friedman", "residual"):
        hess = sg.cross_entropy_grad_hess(logits, labels, curvature=curvature).hess[:, 0]
        axes.plot(sg.softmax(logits)[:, 0], hess, label=curvature)
    axes.set(title="Four curvatures, ten classes", xlabel="probability of the label", ylabel="second derivative")
    axes.legend(frameon=False)


def larger_than_memory(axes: Axes) -> None:
    """The logsumexp of scores that arrive in blocks, from four files."""
    random = np.random.default_rng(0)
    scores = random.gumbel(size=(4, 64, 4096)).astype(np.float32)
    states = []
    for part in scores:
        state, seen = sg.LogSumExpState(), []
        for block in part:
            state = state.update(block)
            seen.append(state.logsumexp())
        states.append(state)
        axes.plot(
            4096 * np.arange(1, 65), seen, color="tab:blue", linewidth=1, label=None if states[1:] else "one file"
        )
    merged = states[0] + states[1] + states[2] + states[3]
    axes.axhline(merged.logsumexp(), color="tab:orange", label="all four, merged")
    axes.set(title="States of four files, merged", xlabel="documents read", ylabel="logsumexp of the scores")
    axes.legend(frameon=False)


def dask_cluster(axes: Axes) -> None:
    """The committed benchmark: how much more time Dask takes than NumPy."""
    file = ROOT / "benchmarks" / "results" / "2026-11-24-amd-epyc" / "dask_cluster.md"
    rows = [line.split("|")[1:4] for line in file.read_text(encoding="utf-8").splitlines() if line.count("|") == 4]
    cases = [(name.strip(), float(ratio)) for name, _, ratio in rows[2:]]
    bars = axes.barh([name for name, _ in cases][::-1], [ratio for _, ratio in cases][::-1])
    axes.bar_label(bars, fmt="%.1f×", padding=3)
    axes.axvline(1, color="black", linestyle="--", linewidth=1)
    axes.set(title="1 GB on two processes", xlabel="time with Dask ÷ time in one process", xlim=(0, 4.2))


def from_scipy(axes: Axes) -> None:
    """Points of twelve Gaussians and the means that EM found."""
    example: Any = importlib.import_module("from_scipy")
    random = np.random.default_rng(0)
    centres = 3 * random.normal(size=(example.COMPONENTS, 2))
    points = centres[random.integers(example.COMPONENTS, size=4000)] + random.normal(size=(4000, 2))
    means, _ = example.fit(example.compat, points, random.permutation(points)[: example.COMPONENTS])
    nearest = -0.5 * ((points[:, None] - means) ** 2).sum(axis=-1)
    colours = 1 - sg.entropy(nearest) / np.log(example.COMPONENTS)
    image = axes.scatter(*points.T, c=colours, s=4, cmap="viridis")
    axes.plot(*means.T, "r+", markersize=12, markeredgewidth=2, label="means")
    axes.figure.colorbar(image, ax=axes, label="certainty, 1 − entropy / log 12")
    axes.set(title="A mixture of Gaussians by EM", xticks=[], yticks=[])
    axes.legend()


def main() -> None:
    """Draw those that are named, or all."""
    pictures = {f.__name__: f for f in (torch_and_jax, tables, boosting, larger_than_memory, dask_cluster, from_scipy)}
    for name in sys.argv[1:] or pictures:
        figure, axes = plt.subplots(figsize=(6, 3.8), layout="constrained", dpi=110)
        pictures[name](axes)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(HERE / "gallery" / f"{name}.png")
        plt.close(figure)


if __name__ == "__main__":
    main()
