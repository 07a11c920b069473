"""Logits, probabilities and Jacobian as a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm, SymLogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Array = np.ndarray[Any, Any]

ANNOTATED = 8
"""Logits up to which values are written into the picture and scales are linear."""

LEAST_SHOWN = 1e-6
"""What logarithmic scales distinguish from 0, as a part of the largest."""

SUFFIXES = (".png", ".pdf", ".svg")
"""The formats that are drawn, of the many that matplotlib knows."""


def check_suffix(path: Path) -> None:
    """ValueError if the suffix of `path` names no format that is drawn."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"Format '{path.suffix[1:]}' is not supported: {path} must end in .png, .pdf or .svg")


def save_figure(path: Path, x: Array, p: Array, J: Array) -> None:
    """Draw the logits, the probabilities and the Jacobian into a file whose suffix names its format.

    Parameters
    ----------
    path : Path
        The file to write.
    x : ndarray, shape (n,)
        Logits.
    p : ndarray, shape (n,)
        Their probabilities.
    J : ndarray, shape (n, n)
        The Jacobian of `p` with respect to `x`.

    Raises
    ------
    OSError
        If the file cannot be written.
    ValueError
        If the suffix is none of `SUFFIXES`.
    """
    check_suffix(path)
    figure = Figure(figsize=(11, 5), layout="constrained", dpi=150)
    left, right = np.asarray(figure.subfigures(1, 2, width_ratios=(1, 1.1)))
    above, below = left.subplots(2, 1, sharex=True, height_ratios=(1, 1.4))
    _draw_logits(above, x)
    _draw_probabilities(below, p)
    _draw_jacobian(right.subplots(), J)
    figure.savefig(path)


def _draw_logits(axes: Axes, x: Array) -> None:
    finite = np.isfinite(x)
    bars = axes.bar(np.arange(len(x)), np.where(finite, x, 0), color="tab:grey")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(title="logits", ylabel="logit")
    axes.margins(y=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    if len(x) <= ANNOTATED:
        axes.bar_label(bars, labels=[f"{value:g}" for value in x], padding=2)


def _draw_probabilities(axes: Axes, p: Array) -> None:
    """Bars; of many probabilities the small ones are seen on a logarithmic scale only."""
    bars = axes.bar(np.arange(len(p)), p, color="tab:blue")
    axes.set(title="softmax", xlabel="class", ylabel="probability")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    if len(p) <= ANNOTATED:
        axes.set(ylim=(0, 1.08), xticks=np.arange(len(p)))
        axes.bar_label(bars, fmt="%.3g", padding=2)
    elif np.any(p > 0):
        smallest = max(float(np.min(p[p > 0])), LEAST_SHOWN)
        axes.set_yscale("log")
        axes.set_ylim(smallest / 3, 2)


def _draw_jacobian(axes: Axes, J: Array) -> None:
    """A square per entry; of many the colours are logarithmic on both sides of 0."""
    n = len(J)
    largest = float(np.nanmax(np.abs(J), initial=0.0)) or 1.0
    few = n <= ANNOTATED
    norm = CenteredNorm(0.0, largest) if few else SymLogNorm(largest * LEAST_SHOWN, vmin=-largest, vmax=largest)
    image = axes.imshow(J, cmap="RdBu_r", norm=norm, interpolation="nearest")
    axes.set(title="Jacobian", xlabel="logit of class", ylabel="probability of class")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    bar = axes.figure.colorbar(image, ax=axes, label="∂ probability / ∂ logit")
    if few:
        axes.set_xticks(np.arange(n))
        axes.set_yticks(np.arange(n))
        for i, j in np.ndindex(n, n):
            colour = "white" if abs(J[i, j]) > 0.6 * largest else "black"
            axes.text(j, i, f"{J[i, j] + 0.0:.2g}", ha="center", va="center", color=colour, fontsize=9)
    else:
        shown = largest * LEAST_SHOWN ** np.array([0.0, 0.5, 1.0])
        ticks = [*-shown, 0.0, *shown[::-1]]
        bar.set_ticks(ticks, labels=[f"{tick:.1g}" for tick in ticks])
