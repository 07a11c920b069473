"""Time evaluate compared with cross_entropy and other metrics, and fit_temperature compared with other fits.

python benchmarks/evaluation.py           a few minutes
python benchmarks/evaluation.py --quick   some seconds, a tenth of the rows
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

import machine
import report
import softgrad as sg
from timing import Time, Timed, interleaved

ROWS, CLASSES = 1_000_000, 100
HOW_TO_READ = (
    "Medians of calls that take turns, two threads each, labels that are the largest logit in about 60 % of the rows. "
    "The last column says how many times as long a call takes as softgrad's first of the same table."
)


def main() -> None:
    options = parse()
    rows = ROWS // 10 if options.quick else ROWS
    seconds = 3.0 if options.quick else 40.0
    logits, labels = problem(rows)
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "logits.npy"
        np.save(path, logits)
        groups = {
            f"evaluate, {rows} × {CLASSES} float32": evaluations(logits, labels),
            "evaluate of a file": files(path, labels),
            "fit a temperature": fits(logits[: rows // 10], labels[: rows // 10]),
        }
        tables, records = [], []
        for title, calls in groups.items():
            times = interleaved({name: Timed(call) for name, call in calls.items()}, seconds)
            tables.append(report.Table(title, ["call", "seconds", "× the first"], cells(times)))
            records.extend({"case": title, "call": name, **time._asdict()} for name, time in times.items())
            report.show(tables[-1])
    versions = {name: importlib.metadata.version(name) for name in ("numpy", "scikit-learn", "torch")}
    about = machine.describe(versions)
    directory = options.into or machine.results_directory(options.quick)
    data = {"machine": about, "results": records}
    report.write(directory, "evaluation", "Evaluation", [machine.summary(about), HOW_TO_READ], tables, data)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, few repeats")
    parser.add_argument("--into", type=Path, metavar="DIR", help="default: results/<date>-<cpu>")
    return parser.parse_args()


def problem(rows: int) -> tuple[Any, Any]:
    """Logits of a classifier that is right in about 60 % of the rows."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, rows)
    logits = 2 * rng.standard_normal((rows, CLASSES), dtype=np.float32)
    logits[np.arange(rows), labels] += 6
    return logits, labels


def evaluations(logits: Any, labels: Any) -> dict[str, Callable[[], Any]]:
    """evaluate, what it would be compared with, and torchmetrics where it is installed."""
    found: dict[str, Callable[[], Any]] = {
        "cross_entropy": lambda: sg.cross_entropy(logits, labels),
        "evaluate": lambda: sg.evaluate(logits, labels),
    }
    if importlib.util.find_spec("torchmetrics"):
        from torchmetrics.classification import (  # noqa: PLC0415  may be absent
            MulticlassAccuracy,
            MulticlassCalibrationError,
        )
        from torchmetrics.text import Perplexity  # noqa: PLC0415

        x, y = torch.from_numpy(logits), torch.from_numpy(labels)
        metrics = (MulticlassAccuracy(CLASSES), MulticlassCalibrationError(CLASSES))

        def three() -> None:
            Perplexity()(x[None], y[None])
            p = x.softmax(-1)
            for metric in metrics:
                metric.reset()
                metric(p, y)

        found["torchmetrics: accuracy, perplexity, calibration"] = three
    return found


def files(path: Path, labels: Any) -> dict[str, Callable[[], Any]]:
    """evaluate from a file, and reading the file."""
    buffer = bytearray(2**21)

    def read() -> None:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass

    return {"read": read, "evaluate": lambda: sg.evaluate(path, labels)}


def fits(logits: Any, labels: Any) -> dict[str, Callable[[], Any]]:
    """fit_temperature, the recipe with LBFGS of PyTorch, and scikit-learn's."""

    def by_torch() -> float:
        x, y = torch.from_numpy(logits), torch.from_numpy(labels)
        temperature = torch.ones(1, requires_grad=True)
        optimizer = torch.optim.LBFGS([temperature], lr=0.01, max_iter=50)

        def closure() -> Any:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(x / temperature, y)
            loss.backward()
            return loss

        optimizer.step(closure)
        return temperature.item()

    class Given(LogisticRegression):
        def decision_function(self, X: Any) -> Any:
            return X

    given = Given()
    given.classes_, given.coef_, given.intercept_ = np.arange(CLASSES), np.eye(CLASSES), np.zeros(CLASSES)
    given.n_features_in_ = CLASSES

    def by_scikit_learn() -> Any:
        return CalibratedClassifierCV(FrozenEstimator(given), method="temperature").fit(logits, labels)

    return {
        "fit_temperature": lambda: sg.fit_temperature(logits, labels),
        "PyTorch, LBFGS": by_torch,
        "scikit-learn": by_scikit_learn,
    }


def cells(times: dict[str, Time]) -> list[list[str]]:
    """Seconds, and the ratio to the first call."""
    first = next(iter(times.values())).median
    return [[name, report.number(time.median), report.ratio(time.median / first)] for name, time in times.items()]


if __name__ == "__main__":
    main()
