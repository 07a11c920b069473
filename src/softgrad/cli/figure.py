"""Probabilities and Jacobian as a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Array = np.ndarray[Any, Any]

ANNOTATED = 8
"""Logits up to which the values are written into the picture."""


SUFFIXES = (".png", ".pdf", ".svg")
"""The formats that are drawn, of the many that matplotlib knows."""


def check_suffix(path: Path) -> None:
    """ValueError if the suffix of `path` names no format that is drawn."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"Format '{path.suffix[1:]}' is not supported: {path} must end in .png, .pdf or .svg")


def save_figure(path: Path, p: Array, J: Array) -> None:
    """Draw the probabilities and the Jacobian into a file whose suffix names its format.

    Parameters
    ----------
    path : Path
        The file to write.
    p : ndarray, shape (n,)
        Probabilities.
    J : ndarray, shape (n, n)
        Their Jacobian with respect to the logits.

    Raises
    ------
    OSError
        If the file cannot be written.
    ValueError
        If the suffix is none of `SUFFIXES`.
    """
    check_suffix(path)
    figure = Figure(figsize=(11, 4.6), layout="constrained", dpi=150)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    _draw_probabilities(left, p)
    _draw_jacobian(right, J)
    figure.savefig(path)


def _draw_probabilities(axes: Axes, p: Array) -> None:
    bars = axes.bar(np.arange(len(p)), p, color="tab:blue")
    axes.set(title="softmax", xlabel="logit", ylabel="probability", ylim=(0, 1.08))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    if len(p) <= ANNOTATED:
        axes.set_xticks(np.arange(len(p)))
        axes.bar_label(bars, fmt="%.3g", padding=2)


def _draw_jacobian(axes: Axes, J: Array) -> None:
    largest = float(np.nanmax(np.abs(J), initial=0.0))
    norm = CenteredNorm(0.0, largest or 1.0)
    image = axes.imshow(J, cmap="RdBu_r", norm=norm, interpolation="nearest")
    axes.set(title="Jacobian", xlabel="logit", ylabel="probability")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    axes.figure.colorbar(image, ax=axes, label="d probability / d logit")
    n = len(J)
    if n <= ANNOTATED:
        axes.set_xticks(np.arange(n))
        axes.set_yticks(np.arange(n))
        for i, j in np.ndindex(n, n):
            colour = "white" if abs(J[i, j]) > 0.6 * largest else "black"
            axes.text(j, i, f"{J[i, j] + 0.0:.2g}", ha="center", va="center", color=colour, fontsize=9)
