"""The loss of a boosting objective and its metric: cross-entropy or focal loss, of labels or of distributions.

Its Hessian for a row is r (diag(p) − p pᵀ) with a number r per row: Σ t for cross-entropy with the target t. For the
focal loss f(ℓ), ℓ = −log p at the label, this is f′(ℓ) times the Hessian of ℓ. What is left out, f″(ℓ) ∇ℓ ∇ℓᵀ, may be
negative, and boosting divides by the curvature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

import softgrad as sg
from softgrad._api.losses import CURVATURES
from softgrad._formulas.namespace import Array
from softgrad._validation.arrays import as_real
from softgrad._validation.labels import as_number, as_weight


class LossOptions(TypedDict, total=False):
    """What every objective and metric may be given."""

    weight: Any
    label_smoothing: float
    gamma: float


@dataclass(frozen=True, eq=False)
class Loss:
    """A loss per row, its gradient and its curvature; labels of the shape of the scores are distributions.

    Parameters
    ----------
    n_classes : int or None
        K, at least 2; None where the library does not ask for it.
    weight : array_like, shape (K,), optional
        Factors of the classes.
    label_smoothing : float
        The share of the target that is spread evenly over the classes.
    gamma : float
        γ of the focal loss; 0 is cross-entropy.
    """

    n_classes: int | None
    weight: Any = None
    label_smoothing: float = 0.0
    gamma: float = 0.0

    def __post_init__(self) -> None:
        if self.n_classes is not None:
            if isinstance(self.n_classes, bool) or not isinstance(self.n_classes, int | np.integer):
                raise TypeError(f"n_classes must be an integer; got {self.n_classes!r}")
            if self.n_classes < 2:
                raise ValueError(f"n_classes must be at least 2; got {self.n_classes}")
        if self.weight is not None:
            shape = np.shape(self.weight) if self.n_classes is None else (self.n_classes,)
            object.__setattr__(self, "weight", as_weight(self.weight, shape, np.float64, np, "weight").copy())
        as_number(self.label_smoothing, "label_smoothing", 1)
        as_number(self.gamma, "gamma")
        if self.gamma and self.label_smoothing:
            raise ValueError("gamma is for labels as they are; got label_smoothing as well")

    @property
    def name(self) -> str:
        """What a metric of this loss is called."""
        return "focal_loss" if self.gamma else "cross_entropy"

    def scores(self, scores: Any) -> Array:
        """`scores` as the library passes them, checked."""
        scores = as_real(scores, "scores")
        if scores.ndim != 2 or scores.shape[1] != self.n_classes:
            raise ValueError(
                f"the library's scores must have shape (rows, {self.n_classes}), one column for each of n_classes; got "
                f"{scores.shape}: num_class must be {self.n_classes}, and the classifiers give one score per row where "
                "there are only two classes"
            )
        return scores

    def mean(self, scores: Array, labels: Array, sample_weight: Array | None) -> float:
        """The mean of the losses over the rows, by `sample_weight`."""
        total, count = self.sums(scores, labels, sample_weight)
        return total / count

    def sums(self, scores: Array, labels: Array, sample_weight: Array | None) -> tuple[float, float]:
        """The sum of the weighted losses and that of the weights."""
        losses = self._values(scores, labels)
        factors = np.ones(len(losses)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        return float(np.sum(losses * factors, dtype=np.float64)), float(np.sum(factors))

    def _values(self, scores: Array, labels: Array) -> Array:
        labels = as_classes(labels, scores)
        if labels.ndim == 2:
            self._refuse_gamma()
            return sg.soft_cross_entropy(scores, labels, weight=self.weight, label_smoothing=self.label_smoothing)
        if self.gamma:
            return sg.focal_loss(scores, labels, gamma=self.gamma, weight=self.weight)
        return sg.cross_entropy(scores, labels, weight=self.weight, label_smoothing=self.label_smoothing)

    def derivatives(
        self, scores: Array, labels: Array, sample_weight: Array | None, curvature: str
    ) -> tuple[Array, Array]:
        """The gradient and the curvature of every entry."""
        labels = as_classes(labels, scores)
        if labels.ndim == 1 and not self.gamma:
            _, grad, hess = sg.cross_entropy_grad_hess(
                scores,
                labels,
                weight=self.weight,
                label_smoothing=self.label_smoothing,
                sample_weight=sample_weight,
                curvature=curvature,
            )
            return grad, hess
        grad, factor = self.gradient(scores, labels, sample_weight)
        if curvature == "residual":
            return grad, np.abs(grad)
        zeros = np.zeros(len(scores), dtype=np.int64)  # the diagonal is the same at every label
        return grad, sg.cross_entropy_grad_hess(scores, zeros, sample_weight=factor, curvature=curvature).hess

    def gradient(self, scores: Array, labels: Array, sample_weight: Array | float | None) -> tuple[Array, Array]:
        """The gradient, and the number per row r that the Hessian of a row is r (diag(p) − p pᵀ) with."""
        rows: Any = 1.0 if sample_weight is None else np.asarray(sample_weight, np.float64)
        n = scores.shape[-1]
        weight = np.ones(n) if self.weight is None else self.weight
        if labels.ndim == scores.ndim:
            self._refuse_gamma()
            smoothing = self.label_smoothing
            target = weight * ((1 - smoothing) * np.asarray(labels, np.float64) + smoothing / n)
            _, grad = sg.soft_cross_entropy_grad(
                scores, labels, weight=self.weight, label_smoothing=smoothing, sample_weight=sample_weight
            )
            return grad, rows * target.sum(-1)
        if self.gamma:
            _, grad = sg.focal_loss_grad(
                scores, labels, gamma=self.gamma, weight=self.weight, sample_weight=sample_weight
            )
            return grad, rows * self.label_factor(scores, labels)
        _, grad = sg.cross_entropy_grad(
            scores, labels, weight=self.weight, label_smoothing=self.label_smoothing, sample_weight=sample_weight
        )
        total = (1 - self.label_smoothing) * weight[labels] + self.label_smoothing / n * weight.sum()
        return grad, rows * total

    def label_factor(self, scores: Array, labels: Array) -> Array | float:
        """What the derivatives of −log p at the label are multiplied by, without smoothing."""
        weight = 1.0 if self.weight is None else self.weight[labels]
        return weight * focal_slope(sg.cross_entropy(scores, labels), self.gamma) if self.gamma else weight

    def _refuse_gamma(self) -> None:
        if self.gamma:
            raise ValueError("gamma is for labels; got a distribution for each row")


def focal_slope(loss: Array, gamma: float) -> Array:
    """f′(ℓ) of the focal loss f = (1 − p)^γ ℓ with ℓ = −log p: (1 − p)^γ (1 + γ p ℓ / (1 − p))."""
    loss = np.asarray(loss, np.float64)
    missing = -np.expm1(-loss)
    ratio = np.divide(np.where(np.isinf(loss), 0.0, loss), missing, out=np.ones_like(loss), where=missing > 0)
    return missing**gamma * (1 + gamma * np.exp(-loss) * ratio)


def as_classes(labels: Any, scores: Array) -> Array:
    """Labels, which the libraries hold as float32, as integers; of the shape of the scores as they are."""
    labels = np.asarray(labels)
    if labels.size == scores.size:
        return labels.reshape(scores.shape)
    whole = np.rint(labels) == labels
    if not whole.all():
        first = int(np.argmin(whole))
        raise ValueError(f"labels must be whole numbers; labels[{first}] is {labels[first]}")
    return labels.astype(np.int64)


def check_curvature(curvature: str) -> str:
    """`curvature`, if there is one of that name."""
    if curvature not in CURVATURES:
        raise ValueError(f"curvature must be one of {', '.join(map(repr, CURVATURES))}; got {curvature!r}")
    return curvature


def check_raw(scores: Array, builtin: str) -> Array:
    """`scores`, unless they are probabilities: then the model has an objective of its library's own."""
    sums_to_one = scores.size and (scores >= 0).all() and np.allclose(scores.sum(-1), 1, rtol=0, atol=1e-4)
    if sums_to_one and np.ptp(scores, axis=0).max() > 0:  # a constant start may sum to 1
        raise ValueError(f"the metric is for raw scores; got probabilities, for which {builtin} is right")
    return scores
