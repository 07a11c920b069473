"""Vector scaling: a factor and a bias for every class that make the loss smallest, by Newton's method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from softgrad._formulas.namespace import NDArray as Array
from softgrad._formulas.precision import silent
from softgrad._numpy import softmax as maps
from softgrad._numpy import states
from softgrad.calibration.batches import Batch, Data
from softgrad.calibration.data import data_of
from softgrad.calibration.newton import Point, minimize
from softgrad.calibration.temperature import UNUSABLE, NoMinimumError

__all__ = ["VectorFit", "fit_vector_scaling"]

MAX_ITER = 50


class VectorFit(NamedTuple):
    """What `fit_vector_scaling` found: logits become ``scale * logits + bias``.

    Parameters
    ----------
    scale, bias : ndarray, shape (n,)
        One number for each class; the biases sum to 0.
    loss, loss_before : float
        The mean loss with them and without, in nats.
    iterations : int
        The number of Newton steps.

    Examples
    --------
    >>> from softgrad.calibration import fit_vector_scaling
    >>> found = fit_vector_scaling([[1.0, 0.0], [0.0, 1.0]] * 3, [0, 1, 0, 1, 1, 0], scale=False)
    >>> found.loss <= found.loss_before
    True
    """

    scale: Array
    bias: Array
    loss: float
    loss_before: float
    iterations: int


def fit_vector_scaling(
    logits: Any,
    labels: Any,
    /,
    *,
    scale: bool = True,
    bias: bool = True,
    axis: int = -1,
    where: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = None,
    tensor: str | None = None,
    columns: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> VectorFit:
    """Find a factor and a bias for each class for which the mean cross-entropy is smallest.

    Parameters
    ----------
    scale, bias : bool, default: True
        Whether there are factors, and whether there are biases; the others stay 1 and 0.
    logits, labels, axis, where, sample_weight, ignore_index, tensor, columns, progress, workers
        As for `softgrad.evaluate`.

    Returns
    -------
    VectorFit
        Factors, biases and losses.

    Raises
    ------
    ValueError
        If the loss has no minimum: where some factors and biases give every label the largest logit, or a class has no
        label and is given a bias. And as `evaluate`.
    IndexError, TypeError, OSError
        As `evaluate`.

    See Also
    --------
    softgrad.fit_temperature : one factor for all classes.

    Notes
    -----
    Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017, section 4.2. The Hessian has
    (2n)² entries: n is some hundreds at most.

    Examples
    --------
    >>> import numpy as np
    >>> from softgrad.calibration import fit_vector_scaling
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(size=(5000, 3))
    >>> labels = (logits * [2, 1, 1] + [0, 0.5, -0.5] + rng.gumbel(size=logits.shape)).argmax(axis=1)
    >>> found = fit_vector_scaling(logits, labels)
    >>> found.scale.round(1), found.bias.round(1)
    (array([2.1, 1. , 1. ]), array([-0. ,  0.5, -0.5]))
    """
    data = data_of(
        logits, labels, axis=axis, where=where, sample_weight=sample_weight, ignore_index=ignore_index, tensor=tensor,
        columns=columns, progress=progress, workers=workers,
    )  # fmt: skip
    return fit(data, scale=scale, bias=bias)


def fit(data: Data, *, scale: bool = True, bias: bool = True) -> VectorFit:
    """The factors and biases of data that were checked."""
    if not (scale or bias):
        raise ValueError("scale or bias must be True, or there is nothing to find")
    n = data.reading.n
    free = np.repeat([scale, bias], n)
    start = np.repeat([1.0, 0.0], n)

    def full(z: Array) -> Array:
        whole = start.copy()
        whole[free] = z
        return whole

    def mean(z: Array) -> Point:
        found = data.fold(partial(Totals.of, full(z)), Totals.plus)
        found.check(bias)
        return Point(
            found.loss / found.weight, found.grad[free] / found.weight, found.hess[np.ix_(free, free)] / found.weight
        )

    before: list[float] = []

    def noted(z: Array) -> Point:
        point = mean(z)
        before.append(point.value)
        return point

    found = minimize(noted, start[free], MAX_ITER)
    if not found.converged:
        raise NoMinimumError(
            f"the loss still falls after {found.iterations} steps, to {found.value:.3g}: some factors and biases grow"
            " for ever, and none are the best; use more rows, or leave out the factors or the biases"
        )
    whole = full(found.z)
    return VectorFit(whole[:n], whole[n:], found.value, before[0], found.iterations)


class Totals(NamedTuple):
    """Sums over rows, for factors and biases one after the other."""

    weight: float
    loss: float
    grad: Array
    hess: Array
    by_class: Array
    """Σ w of the rows of each label."""
    behind: float
    """Σ w of the rows whose label has not the largest logit alone."""

    @classmethod
    @silent
    def of(cls, z: Array, batch: Batch) -> Totals:
        """The sums of a batch at the factors and biases z."""
        x, labels = batch.rows.astype(np.float64), batch.labels
        n = x.shape[-1]
        rows = np.arange(len(x))
        weight = np.ones(len(x)) if batch.weight is None else batch.weight
        hidden = x == -np.inf
        bad = ~(np.isfinite(x) | hidden).all(axis=-1) | hidden[rows, labels]
        if bad.any():
            raise batch.refuse(int(bad.argmax()), UNUSABLE)
        x = np.where(hidden, 0.0, x)
        y = np.where(hidden, -np.inf, x * z[:n] + z[n:])
        at_label = y[rows, labels]
        state = states.state(y)
        others = state.others + state.others_low
        loss = np.log1p(others) + (state.max - at_label)
        p = maps.softmax(y, None, 1.0)
        parts = np.concatenate([p * x, p], axis=1)
        outer = parts.T @ (weight[:, None] * parts)
        diagonal = [weight @ (p * x * x), weight @ (p * x), weight @ p]
        i = np.arange(n)
        hess = -outer
        hess[i, i] += diagonal[0]
        hess[i, n + i] += diagonal[1]
        hess[n + i, i] += diagonal[1]
        hess[n + i, n + i] += diagonal[2]
        p[rows, labels] -= 1
        grad = np.concatenate([weight @ (p * x), weight @ p])
        is_alone = (at_label == state.max) & (others < 1)
        by_class = np.bincount(labels, weight, n)
        return cls(float(weight.sum()), float(weight @ loss), grad, hess, by_class, float(weight @ ~is_alone))

    def plus(self, other: Totals) -> Totals:
        """The sums of both."""
        a, b = self, other
        return Totals(
            a.weight + b.weight, a.loss + b.loss, a.grad + b.grad, a.hess + b.hess, a.by_class + b.by_class,
            a.behind + b.behind,
        )  # fmt: skip

    def check(self, bias: bool) -> None:
        """NoMinimumError where the loss falls for ever."""
        if not self.weight:
            raise ValueError("there are no rows with a positive weight")
        if bias and not self.by_class.all():
            missing = int((self.by_class == 0).argmax())
            raise NoMinimumError(
                f"no row has the label {missing}: its bias would fall for ever; leave the class out, or the biases"
            )
        if self.behind == 0:
            raise NoMinimumError(
                "some factors and biases give every label the largest logit: the loss falls as they grow, and none are"
                " the best; use rows that the classifier was not fitted to"
            )
