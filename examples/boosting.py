"""Gradient boosting on softgrad's objectives, beside the ones that XGBoost, LightGBM and CatBoost have built in.

    pip install "softgrad[boosting,examples]"
    python examples/boosting.py

The same trees come out. Where the objective is one's own, the curvature is a choice: the second table compares four.
"""

from __future__ import annotations

import sys
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
from softgrad._api.losses import CURVATURES
from softgrad.boosting import catboost_objective, lightgbm_objective, xgboost_objective

Array = np.ndarray[Any, Any]

console = Console(soft_wrap=True)

ROUNDS = 20
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
    table = Table("library", "accuracy, softgrad", "accuracy, built in", "largest difference of a probability")
    differences = []
    for name, probabilities in libraries.items():
        own, built_in = probabilities(True), probabilities(False)
        differences.append(float(np.abs(own - built_in).max()))
        table.add_row(name, accuracy(own), accuracy(built_in), f"{differences[-1]:.1e}")
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


def accuracy(p: Array) -> str:
    """The share of the test digits that are read right."""
    return f"{np.mean(p.argmax(axis=1) == test_y):.1%}"


def main() -> int:
    """Run the comparison; 0 if all probabilities agree."""
    difference = compare({"XGBoost": by_xgboost, "LightGBM": by_lightgbm, "CatBoost": by_catboost})
    compare_curvatures()
    agree = difference <= CLOSE
    verdict = f"softgrad's objectives and the built-in ones {'agree' if agree else 'differ'}: {difference:.1e}"
    console.print(f"{verdict} (allowed: {CLOSE:.0e})", style="green" if agree else "red", highlight=False)
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
