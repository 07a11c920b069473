"""What logits are worth against labels: losses, accuracies and calibration, in one pass and mergeable."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from softgrad.calibration import intervals, sums, table
from softgrad.calibration.classes import ClassRows
from softgrad.calibration.data import data_of
from softgrad.calibration.reliability import ReliabilityBins, check_bin_count, smoothed_error
from softgrad.calibration.totals import MEANS, Options, Sums

__all__ = ["Evaluation", "evaluate"]

LN2 = math.log(2)

DEFAULT_TOP_K = (1, 5)


class Evaluation:
    """What `evaluate` found; evaluations of other rows can be merged with it.

    Parameters
    ----------
    options, found
        Internal; `evaluate` makes the objects.

    Attributes
    ----------
    count : int
        Rows that were counted: all but those that are ignored, wholly masked out or of weight 0. Means are weighted if
        rows are.
    accuracy : float
        The share of rows whose label is the first of the largest logits.
    top_k_accuracy : dict of int to float
        The share of rows whose label is among the k largest logits, of equal ones the first.
    nll : float
        The mean of −log p at the label, in nats.
    perplexity, bits : float
        e^nll, and nll / log 2.
    bits_per_byte : float or None
        The sum of the losses in bits over the number of bytes, where that was given.
    constant_nll : float
        The nll of the best predictor that does not look at its input: the entropy of the labels, in nats.
    brier : float
        The mean of Σ_j (p_j − [j is the label])², in [0, 2].
    entropy, confidence : float
        Means of −Σ p log p, in nats, and of the largest p.
    ece, quantile_ece, debiased_ece, smooth_ece : float
        Errors of calibration of the largest p: the mean gap between confidence and accuracy over uniform bins, over
        bins of as many rows, the debiased root of the mean square over uniform bins, and without bins; see
        `softgrad.calibration`.
    classwise_ece : float or None
        The mean over classes of the error of each one's probability, with `per_class`.
    bins, quantile_bins : softgrad.calibration.ReliabilityBins
        Confidence and accuracy in the bins of `ece` and `quantile_ece`.
    per_class : ClassRows or None
        Numbers for each class, with `per_class`.

    See Also
    --------
    evaluate : makes the object.

    Notes
    -----
    Sums are kept in double-word arithmetic: counts are equal, and means to an ulp or two, however rows are split into
    blocks, files, chunks or workers. `quantile_bins` and `smooth_ece` are made of about 5000 cells of confidence, no
    wider than 1/256 and finer towards 1; a quantile bin is a run of cells. Objects can be pickled.

    Examples
    --------
    >>> import numpy as np
    >>> import softgrad as sg
    >>> logits, labels = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), np.array([0, 1, 1])
    >>> first, second = sg.evaluate(logits[:1], labels[:1]), sg.evaluate(logits[1:], labels[1:])
    >>> (first + second).nll == sg.evaluate(logits, labels).nll
    True
    """

    def __init__(self, options: Options, found: Sums) -> None:
        self._options, self._sums = options, found

    def update(self, logits: Any, labels: Any, /, **options: Any) -> Evaluation:
        """Take in more rows; `top_k`, `bins` and `per_class` are those of before.

        Parameters
        ----------
        logits, labels, **options
            As for `evaluate`.

        Returns
        -------
        Evaluation
            Itself.

        Examples
        --------
        >>> import softgrad as sg
        >>> sg.evaluate([[1.0, 0.0]], [0]).update([[0.0, 1.0]], [0]).accuracy
        0.5
        """
        for name in self._options._fields:
            if name in options:
                raise TypeError(f"{name} is that of the evaluation, {getattr(self._options, name)}; leave it out")
        _, top_k, bins, per_class = self._options
        self._sums = (self + evaluate(logits, labels, top_k=top_k, bins=bins, per_class=per_class, **options))._sums
        for name in [name for name in vars(self) if not name.startswith("_")]:
            delattr(self, name)  # what was cached
        return self

    def __add__(self, other: Evaluation) -> Evaluation:
        if not isinstance(other, Evaluation):
            return NotImplemented
        for name, own, others in zip(Options._fields, self._options, other._options, strict=True):
            if own != others:
                raise ValueError(f"evaluations with the same {name} can be merged; got {own} and {others}")
        return Evaluation(self._options, self._sums + other._sums)

    def __radd__(self, other: Any) -> Evaluation:
        return self if other == 0 else NotImplemented  # so that sum() works

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Evaluation) and self._options == other._options and self._sums.equals(other._sums)

    __hash__ = None  # type: ignore[assignment]

    @property
    def count(self) -> int:
        """Rows that were counted."""
        return self._sums.count

    @property
    def weight(self) -> float:
        """The sum of the weights; the count where there are none."""
        return float(self._sums.weight[0, 0])

    def _mean(self, place: int) -> float:
        return float(self._sums.means[0, place] / self.weight) if self.weight else math.nan

    @property
    def nll(self) -> float:
        """The mean loss, in nats."""
        return self._mean(0)

    @property
    def brier(self) -> float:
        """The mean Brier score."""
        return self._mean(1)

    @property
    def entropy(self) -> float:
        """The mean entropy, in nats."""
        return self._mean(2)

    @property
    def confidence(self) -> float:
        """The mean of the largest probability."""
        return self._mean(3)

    @property
    def accuracy(self) -> float:
        """The share of rows whose label comes first."""
        return self._mean(4)

    @property
    def top_k_accuracy(self) -> dict[int, float]:
        """By k, the share of rows whose label is among the first k."""
        first = len(MEANS)
        return {k: self._mean(first + i) for i, k in enumerate(self._options.top_k)}

    @property
    def perplexity(self) -> float:
        """e^nll."""
        return _exp(self.nll)

    @property
    def bits(self) -> float:
        """nll in bits."""
        return self.nll / LN2

    @property
    def bits_per_byte(self) -> float | None:
        """Bits over bytes; None without bytes."""
        total = float(self._sums.bytes[0])
        return float(self._sums.means[0, 0]) / LN2 / total if total else None

    @property
    def constant_nll(self) -> float:
        """The entropy of the labels, in nats."""
        if not self.weight:
            return math.nan
        share = self._sums.labels[0] / self.weight
        used = share[share > 0]
        return float(-(used * np.log(used)).sum()) + 0.0

    @cached_property
    def bins(self) -> ReliabilityBins:
        """Uniform bins of confidence."""
        return self._sums.uniform_bins(self._options.bins)

    @cached_property
    def quantile_bins(self) -> ReliabilityBins:
        """Bins of as many rows."""
        return self._sums.quantile_bins(self._options.bins)

    @property
    def ece(self) -> float:
        """The mean gap over `bins`."""
        return self.bins.error()

    @property
    def quantile_ece(self) -> float:
        """The mean gap over `quantile_bins`."""
        return self.quantile_bins.error()

    @property
    def debiased_ece(self) -> float:
        """The root mean square gap over `bins`, without what chance adds."""
        return self.bins.error("l2", debiased=True)

    @cached_property
    def smooth_ece(self) -> float:
        """The calibration error without bins."""
        weight, confidence, correct = self._sums.cells[0]
        used = weight > 0
        if not used.any():
            return math.nan
        return smoothed_error(confidence[used] / weight[used], (correct - confidence)[used] / self.weight)

    @property
    def classwise_ece(self) -> float | None:
        """The mean calibration error of the classes; None without `per_class`."""
        return None if self.per_class is None else float(np.mean(self.per_class.ece))

    @cached_property
    def per_class(self) -> ClassRows | None:
        """Numbers for each class; None without `per_class`."""
        classes = self._sums.classes
        return None if classes is None else classes.rows(self.weight)

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """A confidence interval of a mean, for rows that are independent draws.

        Parameters
        ----------
        name : str
            "accuracy", "nll", "perplexity", "bits", "brier", "entropy", "confidence", or "top_5" for a top-k accuracy.
        level : float, default: 0.95
            The probability that the interval contains the true mean.

        Returns
        -------
        tuple of float
            Its ends. Of accuracies the Wilson score interval, of other means the normal one by their standard error.

        Raises
        ------
        ValueError
            If there is no interval of that name, or `level` is not in (0, 1).

        Notes
        -----
        With weights, the number of draws is (Σw)²/Σw². Wilson, J. Amer. Statist. Assoc. 22 (1927).

        Examples
        --------
        >>> import softgrad as sg
        >>> found = sg.evaluate([[1.0, 0.0]] * 100, [0] * 80 + [1] * 20)
        >>> tuple(round(end, 3) for end in found.interval("accuracy"))
        (0.711, 0.867)
        """
        if name in ("perplexity", "bits"):
            low, high = self.interval("nll", level)
            return (_exp(low), _exp(high)) if name == "perplexity" else (low / LN2, high / LN2)
        places = {mean: i for i, mean in enumerate((*MEANS, *(f"top_{k}" for k in self._options.top_k)))}
        if name not in places:
            raise ValueError(f"name must be one of {', '.join(places)}, perplexity or bits; got {name!r}")
        place, weight, squared = places[name], self.weight, float(self._sums.weight[0, 1])
        mean = self._mean(place)
        if place >= MEANS.index("accuracy"):
            return intervals.wilson(mean, weight * weight / squared if squared else 0.0, level)
        if not math.isfinite(mean):
            return math.nan, math.nan
        first, second = self._sums.moments[:, place]
        variance = max(0.0, float(second - 2 * mean * first + mean * mean * squared))
        return intervals.normal(mean, math.sqrt(variance) / weight, level)

    def to_dict(self) -> dict[str, Any]:
        """Everything as numbers, lists and dictionaries that JSON can hold.

        Returns
        -------
        dict
            The attributes by their names; what is None is left out.

        Examples
        --------
        >>> import softgrad as sg
        >>> sg.evaluate([[1.0, 0.0]], [0]).to_dict()["count"]
        1
        """
        found: dict[str, Any] = {name: getattr(self, name) for name in NUMBERS}
        found["top_k_accuracy"] = {str(k): value for k, value in self.top_k_accuracy.items()}
        for name in ("bins", "quantile_bins", "per_class"):
            rows = getattr(self, name)
            found[name] = None if rows is None else {key: part.tolist() for key, part in asdict(rows).items()}
        return {name: value for name, value in found.items() if value is not None}

    def __repr__(self) -> str:
        return table.text({"": self})

    def _repr_html_(self) -> str:
        return table.html({"": self})

    def plot(self, axes: Any = None, *, label: str | None = None, strategy: str = "uniform") -> Any:
        """Draw the reliability diagram: accuracy by confidence, and below it how many rows have that.

        Parameters
        ----------
        axes : pair of matplotlib Axes, optional
            Where to draw the diagram and the counts. Default: a new figure.
        label : str, optional
            The name in the legend.
        strategy : {"uniform", "quantile"}, default: "uniform"
            The bins.

        Returns
        -------
        matplotlib.figure.Figure
            The figure.

        Raises
        ------
        ModuleNotFoundError
            If matplotlib is not installed.

        Examples
        --------
        >>> import softgrad as sg
        >>> figure = sg.evaluate([[1.0, 0.0]], [0]).plot()
        """
        try:
            from softgrad.calibration import figure  # noqa: PLC0415  only this needs matplotlib
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError('plot needs matplotlib: pip install "softgrad[plot]"', name=error.name) from None
        return figure.reliability_diagram(self, axes, label, strategy)


NUMBERS = (
    "count", "accuracy", "nll", "perplexity", "bits", "bits_per_byte", "constant_nll", "brier", "entropy", "confidence",
    "ece", "quantile_ece", "debiased_ece", "smooth_ece", "classwise_ece",
)  # fmt: skip
"""Attributes that are one number."""


def evaluate(
    logits: Any,
    labels: Any,
    /,
    *,
    axis: int = -1,
    temperature: Any = 1.0,
    where: Any = None,
    top_k: int | Sequence[int] = DEFAULT_TOP_K,
    bins: int = 15,
    sample_weight: Any = None,
    ignore_index: int | None = None,
    n_bytes: Any = None,
    per_class: bool = False,
    tensor: str | None = None,
    columns: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> Evaluation:
    """Compare logits with labels: losses, accuracies, calibration, in one pass.

    Parameters
    ----------
    logits : array_like, dask.array.Array, path or sequence of paths
        Logits of any shape, of any array library, or a file or shards of them, as `apply_blocks` reads it. They are
        taken block by block; half precision is computed in float32. With Dask, chunks hold whole slices.
    labels : array_like of int, or path
        The label of every slice, in the shape of the logits without `axis`; an array or a file. The same holds of the
        other operands.
    axis : int, default: -1
        The axis of the classes.
    temperature : float or array_like, default: 1.0
        Divides the logits; one number, or one for each slice. 0 is the limit, as for `softmax`: the largest logits
        share the probability, and one row whose label is not among them makes the losses infinite.
    where : array_like of bool, optional
        Which logits are valid. Slices without any are not counted.
    top_k : int or sequence of int, default: (1, 5)
        For which k, at most the number of classes, the accuracy among the k largest logits is computed. Of fewer than
        5 classes the default is 1.
    bins : int, default: 15
        The number of bins of the errors of calibration.
    sample_weight : array_like, optional
        Weights of the slices, at least 0.
    ignore_index : int, optional
        The label of slices that are not counted.
    n_bytes : int or array_like, optional
        The length of the text that the labels stand for, for `bits_per_byte`: in total, or for each slice.
    per_class : bool, default: False
        Whether there are numbers for each class, too; that takes several times as long.
    tensor, columns
        What to read from a file, as for `apply_blocks`. Default of several arrays: that called ``logits``.
    progress : callable, optional
        Called as ``progress(done, total)`` after each block of a file, in bytes.
    workers : int, optional
        Threads for arrays in memory and files; −1 for one per CPU. Default: by the size.

    Returns
    -------
    Evaluation
        A mergeable summary, which prints as a table.

    Raises
    ------
    IndexError
        If a label is no class; the message names the place.
    TypeError
        If logits are not real, or labels are not integers.
    ValueError
        If shapes do not fit, an option is outside its range, or a slice holds NaN or +inf or nothing but −inf.
    OSError
        If a file cannot be read.

    See Also
    --------
    cross_entropy : the losses themselves.
    fit_temperature : the temperature that makes the loss smallest.

    Notes
    -----
    Every value is that of the logits given, however saturated: losses have their full precision below 10⁻¹⁶, and the
    Brier score where it is nearly 0. Where their definitions agree, numbers are those of scikit-learn's `log_loss`,
    `brier_score_loss`, `accuracy_score` and `calibration_curve`, of torchmetrics' `Perplexity` and of netcal's `ECE`
    and `MCE`. Of equal logits the first counts as larger, as with `numpy.argmax`; in scikit-learn's
    `top_k_accuracy_score` it is the last. scikit-learn halves the Brier score of two classes unless `scale_by_half` is
    False. Bins are (lower, upper]; those of torchmetrics' `CalibrationError` are [lower, upper), and it adds up in
    float32. Its `Accuracy` of several classes is by default the mean of the recalls, which is
    ``per_class.recall.mean()``; ``average="micro"`` is the one here. netcal's `ACE` has bins of as many rows for the
    probability of each class; `quantile_ece` has them for the largest probability.

    Examples
    --------
    >>> import numpy as np
    >>> import softgrad as sg
    >>> rng = np.random.default_rng(0)
    >>> labels = rng.integers(0, 10, 1000)
    >>> logits = rng.normal(size=(1000, 10)) + 2 * np.eye(10)[labels]
    >>> found = sg.evaluate(logits, labels)
    >>> found.count, round(found.accuracy, 3), round(found.nll, 4)
    (1000, 0.659, 1.1483)
    """
    ks = _checked_top_k(top_k)
    check_bin_count(bins)
    total_bytes = 0.0
    if n_bytes is not None and not isinstance(n_bytes, str | os.PathLike) and np.ndim(n_bytes) == 0:
        total_bytes, n_bytes = _checked_bytes(n_bytes), None
    data = data_of(
        logits, labels, axis=axis, temperature=temperature, where=where, sample_weight=sample_weight,
        ignore_index=ignore_index, n_bytes=n_bytes, tensor=tensor, columns=columns, progress=progress, workers=workers,
    )  # fmt: skip
    n = data.reading.n
    if ks != DEFAULT_TOP_K and ks and ks[-1] > max(n, 1):
        raise ValueError(f"top_k must be at most the number of classes, {n}; got {top_k!r}")
    options = Options(n, tuple(k for k in ks if k <= n or k == 1), int(bins), bool(per_class))
    found = data.fold(partial(Sums.of, options), Sums.__add__)
    if total_bytes:
        found = replace(found, bytes=sums.added(found.bytes, np.array([total_bytes, 0.0])))
    return Evaluation(options, found)


def _checked_top_k(top_k: Any) -> tuple[int, ...]:
    ks = (top_k,) if hasattr(top_k, "__index__") else tuple(top_k)
    if not all(hasattr(k, "__index__") and not isinstance(k, bool) and k >= 1 for k in ks):
        raise ValueError(f"top_k must hold integers of at least 1; got {top_k!r}")
    return tuple(sorted({int(k) for k in ks}))


def _checked_bytes(n_bytes: Any) -> float:
    if not 0 < float(n_bytes) < math.inf:
        raise ValueError(f"n_bytes must be positive and finite; got {n_bytes!r}")
    return float(n_bytes)


def _exp(value: float) -> float:
    with np.errstate(over="ignore"):
        return float(np.exp(value))
