"""Everything that an evaluation adds up over rows: for one batch, and merged."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from softgrad._formulas.namespace import NDArray as Array
from softgrad.calibration import sums
from softgrad.calibration.batches import Batch
from softgrad.calibration.classes import Classes
from softgrad.calibration.reliability import Cells, ReliabilityBins, bins_of
from softgrad.calibration.scores import scores

MEANS = ("nll", "brier", "entropy", "confidence", "accuracy")
"""Scores of which the mean is reported."""


class Options(NamedTuple):
    """What evaluations that are merged have in common."""

    n_classes: int
    top_k: tuple[int, ...]
    bins: int
    per_class: bool


@dataclass(frozen=True, eq=False, slots=True)
class Sums:
    """Everything that is added up over rows; sums in double words, high and low along the first axis."""

    count: int
    weight: Array
    """Σ w and Σ w²."""
    means: Array
    """Σ w v for every score v."""
    moments: Array
    """Σ w² v and Σ w² v², plain sums: they are only for intervals."""
    bytes: Array
    """Σ w bytes."""
    cell_count: Array
    cells: Array
    """Σ w, Σ w confidence and Σ w [correct] of every cell of confidence."""
    labels: Array
    """Σ w of every class."""
    classes: Classes | None

    @classmethod
    def of(cls, options: Options, batch: Batch) -> Sums:
        """The sums of a batch."""
        s = scores(batch)
        weight, cells = batch.weight, Cells(options.bins)
        places, correct = cells.places(s.confidence), s.correct
        weights = np.array([[len(s.nll)] * 2, [0.0] * 2])
        if weight is not None:
            weights = sums.summed(np.stack([weight, weight**2]))
        of_bytes = sums.zeros()
        if batch.n_bytes is not None:
            of_bytes = sums.summed(batch.n_bytes if weight is None else batch.n_bytes * weight)
        flags = [correct, *(correct if k == 1 else s.rank < k for k in options.top_k)]
        means, moments = (
            np.concatenate(parts, axis=-1)
            for parts in zip(_of_values(s.values, weight), _of_flags(flags, weight), strict=True)
        )
        of_cell = partial(_grouped, places, weight, cells.size)
        wrong, right = np.bincount(places + cells.size * correct, minlength=2 * cells.size).reshape(2, cells.size)
        if weight is None:
            of_rows, of_correct = _exact(wrong + right), _exact(right)
        else:
            of_rows, of_correct = of_cell(), of_cell(correct)
        return cls(
            len(s.nll),
            weights,
            means,
            moments,
            of_bytes,
            wrong + right,
            np.stack([of_rows, of_cell(s.confidence), of_correct], axis=1),
            _grouped(batch.labels, weight, options.n_classes),
            Classes.of(batch, s, options.bins) if options.per_class else None,
        )

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.count + other.count,
            sums.added(self.weight, other.weight),
            sums.added(self.means, other.means),
            self.moments + other.moments,
            sums.added(self.bytes, other.bytes),
            self.cell_count + other.cell_count,
            sums.added(self.cells, other.cells),
            sums.added(self.labels, other.labels),
            None if self.classes is None or other.classes is None else self.classes + other.classes,
        )

    def uniform_bins(self, bins: int) -> ReliabilityBins:
        """Bins of the same width."""
        cells = Cells(bins)
        return self._binned(cells.uniform, cells.edges)

    def quantile_bins(self, bins: int) -> ReliabilityBins:
        """Bins of nearly the same weight; their bounds are the largest confidences in them, to the width of a cell."""
        weight, confidence, _ = self.cells[0]
        used = np.flatnonzero(weight)
        if not used.size:
            return self.uniform_bins(bins)
        below = np.cumsum(weight)
        middle = bins * (below - weight / 2)[used] / below[-1]
        place = np.zeros(len(weight), np.int64)
        place[used] = np.minimum(middle.astype(np.int64), bins - 1)
        edges = np.linspace(0.0, 1.0, bins + 1)
        for i in range(1, bins):
            last = np.searchsorted(place[used], i) - 1
            edges[i] = confidence[used[last]] / weight[used[last]] if last >= 0 else 0.0
        return self._binned(place, edges)

    def _binned(self, place: Array, edges: Array) -> ReliabilityBins:
        bins = len(edges) - 1
        count = np.bincount(place, self.cell_count, bins).astype(np.int64)
        totals = []
        for high, low in self.cells.swapaxes(0, 1):
            total = sums.added(sums.grouped(place, high, bins), sums.grouped(place, low, bins))
            totals.append(total[0])
        return bins_of(edges, count, *totals)

    def equals(self, other: Sums) -> bool:
        """Whether every number is the same."""
        return all(_equal(getattr(self, field.name), getattr(other, field.name)) for field in fields(self))


def _of_values(values: Array, weight: Array | None) -> tuple[Array, Array]:
    """Σ w v in double words, and plain Σ w² v and Σ w² v²."""
    weighted, squared = (values, values) if weight is None else (values * weight, values * weight**2)
    with np.errstate(all="ignore"):
        moments = np.stack([squared.sum(axis=-1), np.einsum("ij,ij->i", squared, values)])
    return sums.summed(weighted), moments


def _of_flags(flags: list[Array], weight: Array | None) -> tuple[Array, Array]:
    """`_of_values` of flags, which are their own squares."""
    if weight is not None:
        return _of_values(np.stack(flags).astype(np.float64), weight)
    counts = np.array([np.count_nonzero(flag) for flag in flags], np.float64)
    return _exact(counts), np.stack([counts, counts])


def _exact(counts: Array) -> Array:
    """Counts as sums in double words."""
    return np.stack([counts, np.zeros(len(counts))])


def _grouped(places: Array, weight: Array | None, size: int, values: Array | None = None) -> Array:
    """Weights, or weighted values, summed by place."""
    if weight is None and values is None:
        return _exact(np.bincount(places, minlength=size))
    factors = [factor for factor in (weight, values) if factor is not None]
    return sums.grouped(places, np.prod(factors, axis=0) if len(factors) > 1 else factors[0], size)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    return bool(np.array_equal(a, b, equal_nan=isinstance(a, np.ndarray)))
