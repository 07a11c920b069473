"""Time SoftmaxRegression beside LogisticRegression's solvers, to the same gradient: a table and JSON.

python benchmarks/regression.py           a minute or two
python benchmarks/regression.py --quick   a few seconds, the digits only
"""

from __future__ import annotations

import argparse
import importlib.metadata
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

import machine
import report
from softgrad import softmax
from softgrad.regression import SoftmaxRegression
from timing import Timed, interleaved

DATA: dict[str, tuple[Callable[..., Any], float]] = {
    "digits, pixels 0 to 16": (load_digits, 1),
    "digits, pixels 0 to 1": (load_digits, 16),
    "iris": (load_iris, 1),
    "wine, as measured": (load_wine, 1),
    "breast cancer, as measured": (load_breast_cancer, 1),
}
TOLERANCES = (1e-4, 1e-6)
MODELS: dict[str, Callable[..., Any]] = {
    "softgrad": partial(SoftmaxRegression, max_iter=1000),
    "lbfgs": partial(LogisticRegression, solver="lbfgs", max_iter=20_000),
    "newton-cg": partial(LogisticRegression, solver="newton-cg", max_iter=1000),
    "newton-cholesky": partial(LogisticRegression, solver="newton-cholesky", max_iter=1000),
}
HOW_TO_READ = (
    "Medians of interleaved fits on one thread, C = 1, both kinds of estimator with the same `tol`: the largest entry "
    "of the gradient, of the objective over C·n, at which they stop. The columns of LogisticRegression's solvers show "
    "how many times as long as softgrad they take; in parentheses is the gradient where each stopped, by one formula "
    "for all. A solver that ended above `tol` is marked with *: it gave up, or it stopped by another rule."
)


def main() -> None:
    options = parse()
    names = list(DATA)[:2] if options.quick else list(DATA)
    work = [(name, tol) for name in names for tol in TOLERANCES]
    rows, records = [], []
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # shown by the gradient
        for name, tol in track(work, "Fitting", console=report.console):
            record = measure(name, tol, 2.0 if options.quick else 12.0)
            records.append(record)
            rows.append(row(record))
    headings = ["data, tol", *("softgrad (ms)" if model == "softgrad" else model for model in MODELS)]
    table = report.Table("time to the same gradient", headings, rows)
    report.show(table)
    about = machine.describe({name: importlib.metadata.version(name) for name in ("numpy", "scipy", "scikit-learn")})
    directory = options.into or machine.results_directory(options.quick)
    data = {"machine": about, "results": records}
    report.write(directory, "regression", "Regression", [machine.summary(about), HOW_TO_READ], [table], data)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the digits only, few repeats")
    parser.add_argument("--into", type=Path, metavar="DIR", help="default: results/<date>-<cpu>")
    return parser.parse_args()


def measure(name: str, tol: float, seconds: float) -> dict[str, Any]:
    """Seconds, iterations and final gradient of every model."""
    load, divisor = DATA[name]
    x, y = load(return_X_y=True)
    x = x / divisor
    fits = {model: partial(make(tol=tol).fit, x, y) for model, make in MODELS.items()}
    fitted = {model: fit() for model, fit in fits.items()}
    times = interleaved({model: Timed(fit) for model, fit in fits.items()}, seconds, least_rounds=5)
    return {
        "data": name,
        "tol": tol,
        "seconds": {model: time._asdict() for model, time in times.items()},
        "iterations": {model: int(done.n_iter_[0]) for model, done in fitted.items()},
        "gradient": {model: gradient(done, x, y) for model, done in fitted.items()},
    }


def gradient(model: Any, x: Any, y: Any) -> float:
    """The largest entry of the gradient of the objective over C·n, of the features as they came."""
    logits = x @ model.coef_.T + model.intercept_
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    error = (softmax(logits) - (y[:, None] == model.classes_)) / len(y)
    error = error[:, -len(model.coef_) :]  # of two classes the second alone has coefficients
    coef = error.T @ x + model.coef_ / (model.C * len(y))
    return float(max(np.abs(coef).max(), np.abs(error.sum(axis=0)).max()))


def row(record: dict[str, Any]) -> list[str]:
    """softgrad's milliseconds, how many times as long the others take, and where each stopped."""
    own = record["seconds"]["softgrad"]["median"]
    cells = [f"{record['data']}, {record['tol']:.0e}"]
    for model in MODELS:
        taken, size = record["seconds"][model]["median"], record["gradient"][model]
        time = report.number(1000 * taken) if model == "softgrad" else report.ratio(taken / own)
        cells.append(f"{time} ({size:.0e}){'' if size <= 1.01 * record['tol'] else '*'}")
    return cells


if __name__ == "__main__":
    main()
