"""How XGBoost and LightGBM call objectives and metrics, which is nearly the same."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from softgrad._formulas.namespace import Array
from softgrad.boosting.loss import Loss, check_raw

Factory = TypeVar("Factory", bound=Callable[..., Any])


@dataclass(frozen=True, eq=False)
class Objective:
    """Gradient and curvature of a loss, called as XGBoost's and LightGBM's two interfaces call objectives.

    ``train`` calls ``objective(scores, data)`` and the classifiers call ``objective(labels, scores, sample_weight)``.
    Both libraries look at the names and the number of the parameters to decide whether weights are passed.

    Parameters
    ----------
    loss : Loss
        What is differentiated.
    curvature : {"diagonal", "upper", "friedman", "residual"}
        As in `cross_entropy_grad_hess`.
    least_hessian : float
        Smaller curvatures are raised to this.
    targets : ndarray, shape (N, K), optional
        Distributions, to which the labels are row numbers.
    """

    loss: Loss
    curvature: str
    least_hessian: float
    targets: Array | None = None

    def __call__(self, first: Any, second: Any, sample_weight: Any = None) -> tuple[Array, Array]:
        """Gradient and Hessian, of the shape of the scores, (rows, K)."""
        scores, labels, sample_weight = arguments(first, second, sample_weight)
        scores = self.loss.scores(scores)
        labels = chosen(self.targets, labels)
        grad, hess = self.loss.derivatives(scores, labels, sample_weight, self.curvature)
        return grad, np.maximum(hess, self.least_hessian, out=hess)


@dataclass(frozen=True, eq=False)
class Metric:
    """The mean of a loss over the rows, called as XGBoost's and LightGBM's two interfaces call metrics.

    Parameters
    ----------
    loss : Loss
        What is evaluated.
    result : callable
        Takes the name, the mean and whether it was called with a data set, and returns what the library wants.
    builtin : str
        The library's metric of probabilities, for the error message.
    targets : ndarray, shape (N, K), optional
        As in `Objective`.
    """

    loss: Loss
    result: Callable[[str, float, bool], Any]
    builtin: str
    targets: Array | None = None

    @property
    def __name__(self) -> str:
        """What the libraries print beside the value."""
        return self.loss.name

    def __call__(self, first: Any, second: Any, sample_weight: Any = None) -> Any:
        """The mean, as the library wants it."""
        scores, labels, sample_weight = arguments(first, second, sample_weight)
        scores = check_raw(self.loss.scores(scores), self.builtin)
        mean = self.loss.mean(scores, chosen(self.targets, labels), sample_weight)
        return self.result(self.loss.name, mean, hasattr(second, "get_label"))


def arguments(first: Any, second: Any, sample_weight: Any) -> tuple[Any, Any, Any]:
    """Scores, labels and weights of a call of either interface."""
    if not hasattr(second, "get_label"):
        return second, first, sample_weight
    weight = second.get_weight()
    if weight is not None and len(weight) == 0:  # XGBoost's "no weights"
        weight = None
    return first, second.get_label(), weight


def chosen(targets: Array | None, labels: Any) -> Any:
    """The distributions of rows whose labels are row numbers; without `targets` the labels themselves."""
    if targets is None:
        return labels
    numbers = np.asarray(labels)
    wrong = (np.rint(numbers) != numbers) | ~((numbers >= 0) & (numbers < len(targets)))
    if wrong.any():
        raise ValueError(
            f"labels must be row numbers of targets, in [0, {len(targets)}); labels[{int(np.argmax(wrong))}] is "
            f"{numbers[np.argmax(wrong)]}"
        )
    return targets[numbers.astype(np.int64)]


def made_by_call(role: str, example: str, methods: tuple[str, ...] = ()) -> Callable[[Factory], Factory]:
    """A function that makes objectives or metrics; a library that takes it for one, or calls `methods`, is refused."""

    def decorate(factory: Factory) -> Factory:
        most = 1 if "n_classes" in inspect.signature(factory).parameters else 0

        def refuse(*_: Any, **__: Any) -> Any:
            name = factory.__name__
            raise TypeError(f"{name} makes {role} and is none itself: give {example}, not {name}")

        @functools.wraps(factory)
        def made(*given: Any, **options: Any) -> Any:
            return refuse() if len(given) > most else factory(*given, **options)

        for method in methods:
            setattr(made, method, refuse)
        return made  # type: ignore[return-value]

    return decorate
