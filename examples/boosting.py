"""Gradient boosting on softgrad's objectives and metrics, and on those that XGBoost, LightGBM and CatBoost have.

    pip install "softgrad[boosting,examples]"
    python examples/boosting.py

The same trees come out; CatBoost, which calls Python for every row, takes much longer for them. Where the objective is
one's own, the curvature is a choice: the second table compares four. So is the loss: the third table stops each model
early by the metric of its own loss.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

try:
    import catboost
    import lightgbm
    import xgboost
    from rich.console import Console
    from rich.table import Table
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
except ModuleNotFoundError as error:
    sys.exit(f'this example needs {error.name}: pip install "softgrad[boosting,examples]"')

import softgrad as sg
from softgrad.boosting import catboost_objective, lightgbm_metric, lightgbm_objective, xgboost_objective

Array = np.ndarray[Any, Any]

console = Console(soft_wrap=True)

ROUNDS = 20
CURVATURES = ("diagonal", "upper", "friedman", "residual")
CLOSE = 1e-5

pixels, digits = load_digits(return_X_y=True)
x, test_x, y, test_y = train_test_split(pixels, digits, test_size=0.25, stratify=digits, random_state=0)


def by_xgboost(own: bool, curvature: str = "upper") -> Array:
    """Probabilities of the test digits; both models start from zero margins."""
    parameters = {"objective": "multi:softprob", "num_class": 10, "base_score": 0.0, "max_depth": 4, "nthread": 1}
    objective = xgboost_objective(10, curvature=curvature) if own else None
    model = xgboost.train(parameters, xgboost.DMatrix(x, y, nthread=1), ROUNDS, obj=objective)
    return model.predict(xgboost.DMatrix(test_x, nthread=1))


def by_lightgbm(own: bool) -> Array:
    """Probabilities of the test digits; with an objective of one's own LightGBM predicts the scores before softmax."""
    parameters = {"num_class": 10, "boost_from_average": False, "num_leaves": 15, "verbosity": -1, "num_threads": 1}
    parameters["objective"] = lightgbm_objective(10) if own else "multiclass"
    predicted = lightgbm.train(parameters, lightgbm.Dataset(x, y), ROUNDS).predict(test_x)
    return sg.softmax(predicted) if own else predicted


def by_catboost(own: bool) -> Array:
    """Probabilities of the test digits; the two parameters named have other defaults for objectives of one's own."""
    parameters = {"learning_rate": 0.3, "bootstrap_type": "Bayesian", "depth": 4, "thread_count": 1}
    objective = catboost_objective() if own else "MultiClass"
    model = catboost.CatBoostClassifier(
        iterations=ROUNDS, loss_function=objective, eval_metric="MultiClass", allow_writing_files=False, **parameters
    )
    return model.fit(x, y, verbose=False).predict_proba(test_x)


def compare(libraries: dict[str, Callable[[bool], Array]]) -> float:
    """Print how well the objectives agree; the largest difference of two probabilities."""
    table = Table(
        "library", "accuracy, softgrad", "accuracy, built in", "largest difference of a probability", "time ÷ built in"
    )
    differences = []
    for name, probabilities in libraries.items():
        start = time.perf_counter()
        own = probabilities(True)
        between = time.perf_counter()
        built_in = probabilities(False)
        ratio = (between - start) / (time.perf_counter() - between)
        differences.append(float(np.abs(own - built_in).max()))
        table.add_row(name, accuracy(own), accuracy(built_in), f"{differences[-1]:.1e}", f"{ratio:.2g}")
    console.print(table)
    return max(differences)


def compare_curvatures() -> None:
    """Print what XGBoost learns in the same number of rounds with each curvature."""
    table = Table("curvature", "accuracy", "cross-entropy (nats per digit)")
    for curvature in CURVATURES:
        p = by_xgboost(True, curvature)
        loss = -np.log(p[np.arange(len(test_y)), test_y]).mean()
        table.add_row(curvature, accuracy(p), f"{loss:.3f}")
    console.print(table)


def compare_losses() -> None:
    """Print what LightGBM learns from each loss until its own metric stops falling on held-out digits."""
    table = Table("loss", "rounds", "metric", "accuracy")
    parameters = {"num_class": 10, "num_leaves": 15, "verbosity": -1, "num_threads": 1, "metric": "None"}
    fit_x, valid_x, fit_y, valid_y = train_test_split(x, y, test_size=0.25, stratify=y, random_state=0)
    for options in ({}, {"label_smoothing": 0.1}, {"gamma": 2.0}):
        model = lightgbm.train(
            parameters | {"objective": lightgbm_objective(10, **options)},
            lightgbm.Dataset(fit_x, fit_y),
            100,
            valid_sets=[lightgbm.Dataset(valid_x, valid_y)],
            feval=lightgbm_metric(10, **options),
            callbacks=[lightgbm.early_stopping(5, verbose=False)],
        )
        [(metric, value)] = model.best_score["valid_0"].items()
        loss = ", ".join(f"{name} = {option}" for name, option in options.items()) or "cross-entropy"
        p = sg.softmax(model.predict(test_x))
        table.add_row(loss, str(model.best_iteration), f"{metric} {value:.3f}", accuracy(p))
    console.print(table)


def accuracy(p: Array) -> str:
    """The share of the test digits that are read right."""
    return f"{np.mean(p.argmax(axis=1) == test_y):.1%}"


def main() -> int:
    """Run the comparison; 0 if all probabilities agree."""
    difference = compare({"XGBoost": by_xgboost, "LightGBM": by_lightgbm, "CatBoost": by_catboost})
    compare_curvatures()
    compare_losses()
    agree = difference <= CLOSE
    verdict = f"softgrad's objectives and the built-in ones {'agree' if agree else 'differ'}: {difference:.1e}"
    console.print(f"{verdict} (allowed: {CLOSE:.0e})", style="green" if agree else "red", highlight=False)
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
