"""Reliability: how often predictions of a confidence are right, in bins and smoothed; errors of calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from softgrad._dispatch import SLICE
from softgrad._formulas.namespace import NDArray as Array
from softgrad._formulas.precision import silent
from softgrad._validation.arrays import as_unmasked
from softgrad.calibration.plain import numbers, without_labels

__all__ = ["ReliabilityBins", "expected_calibration_error", "reliability_curve", "smooth_calibration_error"]

TERMS = 2**11
"""Cosines of the smoothed residual at most: for widths from 0.0014, which a million predictions may show."""

STRATEGIES = ("uniform", "quantile")


def read_only(record: Any) -> None:
    """Make a record's arrays copies that cannot be written: they are what an evaluation goes on to merge."""
    for name in record.__slots__:
        values = np.array(getattr(record, name))
        values.flags.writeable = False
        object.__setattr__(record, name, values)


@dataclass(frozen=True, eq=False, slots=True)
class ReliabilityBins:
    """Predictions by their confidence, in bins (lower, upper].

    Parameters
    ----------
    lower, upper : ndarray, shape (bins,)
        The ends of the bins.
    count : ndarray of int, shape (bins,)
        How many predictions are in the bin.
    weight : ndarray, shape (bins,)
        The sum of their weights; the count where there are none.
    confidence, accuracy : ndarray, shape (bins,)
        The mean confidence, and the share of predictions that are right; NaN in an empty bin.

    Examples
    --------
    >>> from softgrad.calibration import reliability_curve
    >>> reliability_curve([0.6, 0.7, 0.9], [True, False, True], bins=2).accuracy
    array([       nan, 0.66666667])
    """

    lower: Array
    upper: Array
    count: Array
    weight: Array
    confidence: Array
    accuracy: Array

    def __post_init__(self) -> None:
        read_only(self)

    def error(self, norm: str = "l1", *, debiased: bool = False) -> float:
        """The calibration error of the bins; see `expected_calibration_error`.

        Parameters
        ----------
        norm : {"l1", "l2", "max"}, default: "l1"
            The mean of the gaps, the root of the mean of their squares, or the largest.
        debiased : bool, default: False
            For "l2": whether what chance alone adds to the squares is subtracted.

        Returns
        -------
        float
            NaN without predictions.
        """
        if norm not in ("l1", "l2", "max"):
            raise ValueError(f"norm must be 'l1', 'l2' or 'max'; got {norm!r}")
        if debiased and norm != "l2":
            raise ValueError(f"debiased is for norm='l2'; got norm={norm!r}")
        used = self.weight > 0
        if not used.any():
            return float("nan")
        share = self.weight[used] / self.weight[used].sum()
        gap = np.abs(self.accuracy - self.confidence)[used]
        if norm == "l1":
            return float(share @ gap)
        if norm == "max":
            return float(gap.max())
        squares = gap * gap
        if debiased:  # the variance of the accuracy of n predictions, estimated from them
            accuracy, count = self.accuracy[used], self.count[used]
            squares = squares - accuracy * (1 - accuracy) / np.maximum(count - 1, 1)
        return float(np.sqrt(max(0.0, share @ squares)))


def reliability_curve(
    confidence: Any, correct: Any, /, *, bins: int = 15, strategy: str = "uniform", sample_weight: Any = None
) -> ReliabilityBins:
    """How often predictions are right, by their confidence.

    Parameters
    ----------
    confidence : array_like, shape (m,)
        The probabilities of what was predicted, in [0, 1].
    correct : array_like of bool, shape (m,)
        Whether the predictions are right.
    bins : int, default: 15
        The number of bins.
    strategy : {"uniform", "quantile"}, default: "uniform"
        Bins of the same width, or with the same number of predictions: between the percentiles of `confidence`.
    sample_weight : array_like, shape (m,), optional
        Weights of the predictions, at least 0; they do not change the bins.

    Returns
    -------
    ReliabilityBins
        All bins, empty ones included.

    Raises
    ------
    ValueError
        If the shapes differ, or an argument is outside its range.

    See Also
    --------
    sklearn.calibration.calibration_curve : the same means, without the bins that are empty.

    Examples
    --------
    >>> from softgrad.calibration import reliability_curve
    >>> found = reliability_curve([0.55, 0.65, 0.95, 0.85], [0, 1, 1, 1], bins=2, strategy="quantile")
    >>> found.count, found.accuracy
    (array([2, 2]), array([0.5, 1. ]))
    """
    confidence, correct, weight = _checked(confidence, correct, sample_weight)
    _check_bins(bins, strategy)
    edges = np.linspace(0.0, 1.0, bins + 1)
    if strategy == "quantile":
        edges = np.percentile(confidence, 100 * edges) if confidence.size else edges
    place = np.searchsorted(edges[1:-1], confidence)
    count = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, values, bins) for values in (weight, weight * confidence, weight * correct)]
    return bins_of(edges, count, *sums)


@silent
def bins_of(edges: Array, count: Array, weight: Array, confidence: Array, correct: Array) -> ReliabilityBins:
    """Bins from sums over their predictions."""
    return ReliabilityBins(edges[:-1], edges[1:], count, weight, confidence / weight, correct / weight)


def expected_calibration_error(
    confidence: Any,
    correct: Any,
    /,
    *,
    bins: int = 15,
    strategy: str = "uniform",
    norm: str = "l1",
    debiased: bool = False,
    sample_weight: Any = None,
) -> float:
    """The gap between confidence and accuracy, averaged over bins of confidence.

    With w_b the share of the predictions in bin b, it is ``Σ_b w_b |accuracy_b − confidence_b|``; for ``norm="l2"`` the
    root of the mean of the squares, for ``norm="max"`` the largest gap.

    Parameters
    ----------
    confidence, correct, bins, strategy, sample_weight
        As for `reliability_curve`.
    norm : {"l1", "l2", "max"}, default: "l1"
        How gaps are averaged.
    debiased : bool, default: False
        For "l2": subtract accuracy (1 − accuracy)/(n_b − 1) from the square of every bin, which is what chance adds to
        it on average; less than 0 in total is 0.

    Returns
    -------
    float
        In [0, 1]; NaN without predictions.

    Raises
    ------
    ValueError
        If the shapes differ, or an argument is outside its range.

    Notes
    -----
    Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017; the debiased form is that of
    Kumar, Liang, Ma, "Verified uncertainty calibration", NeurIPS 2019. A confidence that is the bound of two bins is in
    the lower one, as in scikit-learn; torchmetrics puts it into the upper one.

    Examples
    --------
    >>> from softgrad.calibration import expected_calibration_error
    >>> round(expected_calibration_error([0.9, 0.9, 0.9, 0.9], [1, 1, 0, 0]), 12)
    0.4
    """
    found = reliability_curve(confidence, correct, bins=bins, strategy=strategy, sample_weight=sample_weight)
    return found.error(norm, debiased=debiased)


def smooth_calibration_error(confidence: Any, correct: Any, /, *, sample_weight: Any = None) -> float:
    """The calibration error without bins: residuals smoothed by a width that is the error itself.

    The residual of a prediction is [correct] − confidence. smECE_σ is the integral of the size of the mean residual,
    smoothed over confidence by a Gaussian of width σ that is reflected at 0 and 1. It falls as σ grows, and smECE is
    the σ with smECE_σ = σ.

    Parameters
    ----------
    confidence, correct, sample_weight
        As for `reliability_curve`.

    Returns
    -------
    float
        In [0, 1]; NaN without predictions. Below about 0.002 the width stays at that.

    Raises
    ------
    ValueError
        If the shapes differ, or an argument is outside its range.

    Notes
    -----
    Błasiok, Nakkiran, "Smooth ECE: principled reliability diagrams via kernel smoothing", arXiv:2309.12236. The
    reflected Gaussian is diagonal in cosines: Σ_k e^(−σ²π²k²/2) cos πks cos πkt.

    Examples
    --------
    >>> from softgrad.calibration import smooth_calibration_error
    >>> round(smooth_calibration_error([0.9] * 10, [True] * 5 + [False] * 5), 3)
    0.4
    """
    confidence, correct, weight = _checked(confidence, correct, sample_weight)
    total = weight.sum()
    return smoothed_error(confidence, weight * (correct - confidence) / total) if total > 0 else float("nan")


def smoothed_error(place: Array, residual: Array) -> float:
    """smECE of residuals, which are shares of all predictions, at their places in [0, 1]."""
    used = residual != 0
    coefficients = _cosine_sums(place[used], residual[used])
    low, high = 0.0, 1.0
    while high - low > 1e-6 * high:
        width = (low + high) / 2
        if _smoothed(coefficients, width) > width:
            low = width
        else:
            high = width
        if high < 2.0 / TERMS:
            return _smoothed(coefficients, high)
    return (low + high) / 2


def _cosine_sums(place: Array, residual: Array) -> Array:
    """Σ residual cos(πk·place) for every k, by powers of e^(iπ place)."""
    turn = np.exp(1j * np.pi * place)
    sums, power = np.empty(TERMS), residual.astype(complex)
    for k in range(TERMS):
        sums[k] = power.real.sum()
        power *= turn
    return sums


def _smoothed(coefficients: Array, width: float) -> float:
    """∫ |smoothed residual|, by the midpoint rule: a cosine transform by a longer Fourier transform."""
    k = np.arange(len(coefficients))
    damped = coefficients * np.exp(-((width * np.pi * k) ** 2) / 2)
    damped[1:] *= 2
    points = 4 * len(k)
    shifted = np.zeros(2 * points, complex)
    shifted[: len(k)] = damped * np.exp(1j * np.pi * k / (2 * points))
    values = np.fft.ifft(shifted)[:points].real * (2 * points)  # Σ_k a_k cos(πk(j + 1/2)/points)
    return float(np.abs(values).mean())


NAMES = ("confidence", "correct", "sample_weight")


def _numbers(values: Any, name: str) -> Array:
    return np.asarray(as_unmasked(numbers(values, name), name), np.float64).reshape(-1)


def _checked(confidence: Any, correct: Any, sample_weight: Any) -> tuple[Array, Array, Array]:
    others = {"correct": (correct, SLICE), "sample_weight": (sample_weight, SLICE)}
    confidence, _, given = without_labels(confidence, "confidence", None, others)
    given = {"confidence": confidence, **{name: value for name, value in given.items() if value is not None}}
    confidence, correct, weight = (_numbers(given[name], name) if name in given else None for name in NAMES)
    weight = np.ones_like(confidence) if weight is None else weight
    for name, values, highest in zip(NAMES, (confidence, correct, weight), (1, 1, np.inf), strict=True):
        if values.shape != confidence.shape:
            raise ValueError(f"{name} must have shape {confidence.shape}, as confidence; got {values.shape}")
        bad = ~((values >= 0) & (values <= highest) & np.isfinite(values))
        if bad.any():
            place = int(bad.argmax())
            raise ValueError(f"{name} must lie in [0, {highest}]; {name}[{place}] is {values[place]}")
    return confidence, correct, weight


def _check_bins(bins: Any, strategy: str) -> None:
    check_bin_count(bins)
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be 'uniform' or 'quantile'; got {strategy!r}")


def check_bin_count(bins: Any) -> int:
    """A number of bins."""
    if isinstance(bins, bool) or not hasattr(bins, "__index__") or bins < 1:
        raise ValueError(f"bins must be an integer of at least 1; got {bins!r}")
    return int(bins)


# Cells: fine bins that every kind of bin is made of, for what is merged before the bins are known


OCTAVE = 2**7
"""Cells for each halving of 1 − confidence."""

OCTAVES = 40
"""Halvings that are distinguished: confidences within 10⁻¹² of 1 share one cell."""

MANTISSA = 52
SHIFT = MANTISSA - 7
BASE = ((1023 - OCTAVES) << 7) - 1
CELLS = OCTAVES * OCTAVE + 2


@dataclass(frozen=True)
class Cells:
    """A partition of (0, 1] that is fine in 1 − confidence, cut at the bounds of `bins` uniform bins.

    The place of a cell is the sum of two numbers that grow with confidence, one by the bits of 1 − confidence and one
    by the uniform bins; so it grows with every step of either, and every bin is a run of cells.
    """

    bins: int

    @property
    def size(self) -> int:
        """The number of cells."""
        return CELLS + self.bins - 1

    @property
    def edges(self) -> Array:
        """The bounds of the uniform bins."""
        return np.linspace(0.0, 1.0, self.bins + 1)

    def places(self, confidence: Array) -> Array:
        """The cells of predictions."""
        found = _fine(confidence)
        found += self._uniform_bins(confidence)
        return found

    def _uniform_bins(self, confidence: Array) -> Array:
        """The uniform bins of predictions: a product finds them but for its rounding, 5 times as fast as a search."""
        inner = self.edges[1:-1]
        lower, upper = np.concatenate([[-np.inf], inner]), np.concatenate([inner, [np.inf]])
        found = np.minimum((confidence * self.bins).astype(np.int64), self.bins - 1)
        found -= confidence <= lower[found]
        found += confidence > upper[found]
        return found

    @property
    def uniform(self) -> Array:
        """The uniform bin of every cell."""
        first_above = _fine(self.edges[1:-1]) + np.arange(1, self.bins)
        return np.searchsorted(first_above, np.arange(self.size), side="right")


def _fine(confidence: Array) -> Array:
    """Places that grow with confidence, by the exponent and the first bits of 1 − confidence."""
    bits = (1 - confidence).view(np.int64) >> SHIFT
    found: Array = CELLS - 1 - np.minimum(np.maximum(bits - BASE, 0), CELLS - 1)
    return found
