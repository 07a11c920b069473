"""Two classifiers of handwritten digits, one of them overconfident: reliability before and after one number.

    pip install "softgrad[examples]"
    python examples/calibration.py [--output FOLDER]

Both read digits with a lot of noise on them. The penalty of the first keeps its logits small. The second has next to
none, like a network that trains until its loss on the training data is nearly 0: it is sure of its mistakes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

try:
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    from rich.console import Console
    from rich.table import Table
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from threadpoolctl import threadpool_limits
except ModuleNotFoundError as error:
    sys.exit(f'this example needs {error.name}: pip install "softgrad[examples]"')

import softgrad as sg
from softgrad.regression import SoftmaxRegression

Array = np.ndarray[Any, Any]

mpl.use("Agg")  # pictures go to files: no display is needed
console = Console(soft_wrap=True)

NOISE = 0.4  # pixels are from 0 to 1
CLASSIFIERS = {"with a penalty": SoftmaxRegression(C=0.5), "next to none": SoftmaxRegression(C=100)}
SMALLER = 3


def digits() -> list[Array]:
    """Noisy pixels and labels: to fit the classifiers, to calibrate them, and to test them."""
    pixels, labels = load_digits(return_X_y=True)
    pixels = pixels / 16 + np.random.default_rng(0).normal(scale=NOISE, size=pixels.shape)
    fit_x, other_x, fit_y, other_y = train_test_split(pixels, labels, train_size=600, stratify=labels, random_state=0)
    halves = train_test_split(other_x, other_y, train_size=0.5, stratify=other_y, random_state=0)
    return [fit_x, fit_y, halves[0], halves[2], halves[1], halves[3]]


def draw(evaluations: dict[str, sg.Evaluation], path: Path) -> None:
    """A reliability diagram of each evaluation, with the number of rows in each bin."""
    columns = len(evaluations)
    figure, axes = plt.subplots(
        2, columns, figsize=(3.4 * columns, 5), height_ratios=(3, 1), sharex=True, layout="constrained"
    )
    for column, (name, evaluation) in zip(axes.T, evaluations.items(), strict=True):
        evaluation.plot(column)
        column[0].set_title(name, fontsize=10)
    figure.savefig(path, dpi=110)


def main() -> int:
    """Fit, calibrate and compare; 0 if the overconfident classifier becomes much better calibrated."""
    parser = argparse.ArgumentParser(description="Calibrate two classifiers of handwritten digits.")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "output", help="folder for the picture")
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)

    fit_x, fit_y, calibration_x, calibration_y, test_x, test_y = digits()
    table = Table("classifier", "T", "accuracy", "loss (nats)", "confidence", "smooth error")
    evaluations = {}
    for name, classifier in CLASSIFIERS.items():
        with threadpool_limits(1):  # the products are too small for two threads
            classifier.fit(fit_x, fit_y)
        found = sg.fit_temperature(classifier.decision_function(calibration_x), calibration_y)
        logits = classifier.decision_function(test_x)
        for temperature in (1.0, found.temperature):
            evaluation = sg.evaluate(logits, test_y, temperature=temperature, bins=10)
            evaluations[f"{name}, T = {temperature:.2f}"] = evaluation
            numbers = (evaluation.accuracy, evaluation.nll, evaluation.confidence, evaluation.smooth_ece)
            table.add_row(name, f"{temperature:.2f}", *(f"{number:.3f}" for number in numbers))
    console.print(table)
    console.print("\nThe second classifier, calibrated:\n")
    before, after = list(evaluations.values())[2:]
    print(after)

    draw(evaluations, folder / "calibration.png")
    console.print(f"\nthe picture is {folder / 'calibration.png'}")
    better = SMALLER * after.smooth_ece < before.smooth_ece and after.nll < before.nll
    verdict = f"the smooth calibration error fell from {before.smooth_ece:.3f} to {after.smooth_ece:.3f}"
    console.print(f"{verdict} (required: to a third)", style="green" if better else "red", highlight=False)
    return 0 if better else 1


if __name__ == "__main__":
    sys.exit(main())
