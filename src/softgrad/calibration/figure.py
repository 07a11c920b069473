"""Reliability diagrams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from softgrad.calibration.reliability import STRATEGIES, ReliabilityBins

if TYPE_CHECKING:
    from softgrad.calibration.evaluation import Evaluation


def reliability_diagram(evaluation: Evaluation, axes: Any, label: str | None, strategy: str) -> Any:
    """Accuracy by confidence above, rows by confidence below."""
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be 'uniform' or 'quantile'; got {strategy!r}")
    bins = evaluation.bins if strategy == "uniform" else evaluation.quantile_bins
    error = evaluation.ece if strategy == "uniform" else evaluation.quantile_ece
    if axes is not None and np.shape(axes) != (2,):
        raise TypeError(f"axes must be two, one for the diagram and one for the counts; got {axes!r}")
    above, below = new_axes() if axes is None else axes
    name = f"{label}: " if label else ""
    _draw_accuracy(above, bins, f"{name}calibration error {error:.3f}")
    _draw_counts(below, bins)
    return above.figure


def new_axes() -> tuple[Axes, Axes]:
    """Two axes, one above the other, in a new figure."""
    figure = Figure(figsize=(5, 6), layout="constrained", dpi=150)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    return above, below


def _draw_accuracy(axes: Axes, bins: ReliabilityBins, label: str) -> None:
    """Bars of accuracy, with points at the mean confidence of each bin."""
    used = bins.weight > 0
    bars = axes.bar(
        bins.lower[used], bins.accuracy[used], (bins.upper - bins.lower)[used], align="edge", alpha=0.35, linewidth=0
    )
    colour = bars.patches[0].get_facecolor()[:3] if used.any() else None
    axes.plot(bins.confidence[used], bins.accuracy[used], "o-", color=colour, markersize=4, label=label)
    if not any(line.get_label() == "perfect" for line in axes.lines):
        axes.plot([0, 1], [0, 1], "--", color="black", linewidth=0.8, label="perfect")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy", title="Reliability")
    axes.legend(loc="upper left", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_counts(axes: Axes, bins: ReliabilityBins) -> None:
    axes.bar(bins.lower, bins.count, bins.upper - bins.lower, align="edge", alpha=0.5, linewidth=0)
    largest = int(np.max(bins.count, initial=1))
    axes.set(xlabel="confidence", ylabel="rows", ylim=(0, 1.05 * max(largest, axes.get_ylim()[1] / 1.05)))
    axes.spines[["top", "right"]].set_visible(False)
