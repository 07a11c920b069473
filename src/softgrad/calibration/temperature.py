"""The temperature that makes the loss of logits smallest: Newton's method on log T, a few passes over the rows.

With β = 1/T and d_j = x_j − x_y, the loss of a row is log Σ_j e^(β d_j). Its derivatives in β are the mean and the
variance of d under p: it is convex, and its derivative grows with β. So the sign of the derivative brackets the
minimum, and Newton's steps, which leave no bracket, converge from everywhere. The derivatives in log β are the mean of
β d, and its variance plus its mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from softgrad._formulas.namespace import NDArray as Array
from softgrad._formulas.precision import silent
from softgrad._numpy.scores import temperature_slope
from softgrad.calibration import sums
from softgrad.calibration.batches import Batch, Data
from softgrad.calibration.data import data_of

__all__ = ["TemperatureFit", "fit_temperature"]

STEP = 1e-6
"""A step of log T after which the next would be 10⁻¹²: the iteration ends."""

LONGEST_STEP = 2.0
"""Of log T; far from the minimum the second derivative says little."""

MAX_ITER = 100

UNUSABLE = "the logits must not hold NaN or infinities, but −inf of other classes than the label"
"""What is wrong with a row that has no finite loss."""

USUAL = (0.03, 100.0)
"""How large the gaps between logits are where the minimum is near; otherwise the iteration starts at gaps of 1."""


class TemperatureFit(NamedTuple):
    """What `fit_temperature` found.

    Parameters
    ----------
    temperature : float
        The T that makes the mean loss of logits/T smallest.
    loss, loss_before : float
        The mean loss at T and at 1, in nats.
    iterations : int
        The number of passes over the rows.

    Examples
    --------
    >>> import softgrad as sg
    >>> round(sg.fit_temperature([[4.0, 0.0]] * 4, [0, 0, 0, 1]).temperature, 6)  # 4 / log 3
    3.640957
    """

    temperature: float
    loss: float
    loss_before: float
    iterations: int


class NoMinimumError(ValueError):
    """The loss falls for ever, so that there is nothing to find."""


def fit_temperature(
    logits: Any,
    labels: Any,
    /,
    *,
    axis: int = -1,
    where: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = None,
    tensor: str | None = None,
    columns: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> TemperatureFit:
    """Find the temperature T > 0 for which the mean cross-entropy of logits/T is smallest.

    Parameters
    ----------
    logits, labels, axis, where, sample_weight, ignore_index, tensor, columns, progress, workers
        As for `evaluate`: arrays, Dask arrays or files, taken block by block, in every iteration again.

    Returns
    -------
    TemperatureFit
        T and the losses; T is exact to about 10⁻¹⁰ of itself for float64 logits, 10⁻⁷ for narrower ones.

    Raises
    ------
    ValueError
        If the loss has no minimum: where the label always has the largest logit it falls as T goes to 0, and where the
        logits are no better than chance it falls as T grows. And as `evaluate`.
    IndexError, TypeError, OSError
        As `evaluate`.

    See Also
    --------
    evaluate : the calibration before and after, with its `temperature`.

    Notes
    -----
    Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017. Rows are computed in the dtype
    of the logits, half precision in float32; sums are double words and do not depend on how the rows are split.

    Examples
    --------
    >>> import numpy as np
    >>> import softgrad as sg
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(size=(2000, 5))
    >>> labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    >>> found = sg.fit_temperature(3 * logits, labels)
    >>> round(found.temperature, 2)
    3.01
    """
    data = data_of(
        logits, labels, axis=axis, where=where, sample_weight=sample_weight, ignore_index=ignore_index, tensor=tensor,
        columns=columns, progress=progress, workers=workers,
    )  # fmt: skip
    return fit(data)


def fit(data: Data) -> TemperatureFit:
    """The temperature of data that were checked."""
    low, high, log_beta = -math.inf, math.inf, 0.0
    first = Loss.of(data, 1.0, with_gap=True)
    loss = first
    for iteration in range(1, MAX_ITER + 1):
        loss = Loss.of(data, math.exp(-log_beta)) if iteration > 1 else first
        if loss.slope < 0:
            low = log_beta
        else:
            high = log_beta
        if iteration == 1 and not USUAL[0] < first.gap < USUAL[1]:
            log_beta = -math.log(first.gap)
            continue
        step = _step(loss, log_beta, low, high)
        if abs(step) <= STEP:
            least = loss.value + step * (loss.slope + step * loss.curvature / 2)
            return TemperatureFit(math.exp(-log_beta - step), least, first.value, iteration)
        log_beta += step
    raise NoMinimumError(f"no temperature was found in {MAX_ITER} iterations: log T is at {-log_beta:.3g}")


def _step(loss: Loss, log_beta: float, low: float, high: float) -> float:
    """Newton's step of log β, or one into the bracket."""
    if loss.slope == 0:
        return 0.0
    step = -loss.slope / loss.curvature if loss.curvature > 0 else math.copysign(math.inf, -loss.slope)
    step = max(-LONGEST_STEP, min(LONGEST_STEP, step))
    if low < log_beta + step < high or abs(step) <= STEP:
        return step
    return (low + high) / 2 - log_beta


class Loss(NamedTuple):
    """The mean loss at one β, and its derivatives in log β."""

    value: float
    slope: float
    curvature: float
    gap: float
    """By how much the logit of the label is larger than the mean of all, if that was asked for."""

    @classmethod
    def of(cls, data: Data, temperature: float, *, with_gap: bool = False) -> Loss:
        """One pass over the rows; with the gap, NoMinimumError where no β > 0 has the smallest loss."""
        found = data.fold(partial(_of_batch, temperature, with_gap), sums.added)[0]
        weight, loss, slope, variance, *gaps = found.tolist()
        if not weight:
            raise ValueError("there are no rows with a positive weight")
        fall, gap = gaps or (math.nan, math.nan)
        if fall == 0 and gap == 0:
            raise NoMinimumError(
                "all logits of every row are equal: the loss is the same at every temperature, and none is the best"
            )
        if fall == 0:
            raise NoMinimumError(
                "the label of every row has the largest logit: the loss falls as the temperature goes to 0, and no"
                " temperature is the best; use rows that the classifier was not fitted to"
            )
        if gap <= 0:
            raise NoMinimumError(
                "the logits of the labels are on average no larger than the others: the loss falls as the temperature"
                " grows, and no temperature is the best"
            )
        return cls(loss / weight, slope / weight, (variance + slope) / weight, gap / weight)


@silent
def _of_batch(temperature: float, with_gap: bool, batch: Batch) -> Array:
    """Sums of weight, loss, slope and variance; and of max x − x_y, and of x_y less the mean of x."""
    found = np.ones((6 if with_gap else 4, len(batch.rows)))
    if len(batch.rows):
        found[1:4] = temperature_slope(batch.rows, batch.labels, temperature)
    if with_gap:
        x, numbers = batch.rows, np.arange(len(batch.rows))
        at_label = np.asarray(x[numbers, batch.labels], np.float64)
        found[4] = x.max(axis=-1, initial=-np.inf) - at_label
        is_finite = np.isfinite(x)
        total = np.ascontiguousarray(x).sum(axis=-1, dtype=np.float64, where=True if is_finite.all() else is_finite)
        found[5] = at_label - total / is_finite.sum(axis=-1)
    bad = ~np.isfinite(found).all(axis=0)
    if bad.any():
        raise batch.refuse(int(bad.argmax()), UNUSABLE)
    return sums.summed(found if batch.weight is None else found * batch.weight)
