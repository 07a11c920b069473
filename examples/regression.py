"""Multinomial logistic regression on handwritten digits, by Newton's method, beside scikit-learn's.

pip install "softgrad[examples]"
python examples/regression.py [--output FOLDER]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

try:
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    from rich.console import Console
    from rich.table import Table
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from threadpoolctl import threadpool_limits
except ModuleNotFoundError as error:
    sys.exit(f'this example needs {error.name}: pip install "softgrad[examples]"')

import softgrad as sg
from softgrad.regression import SoftmaxRegression

Array = np.ndarray[Any, Any]

mpl.use("Agg")  # pictures go to files: no display is needed
console = Console(soft_wrap=True)

C, TOLERANCE = 0.1, 1e-7
CLOSE = 1e-4


def gradient(model: Any, x: Array, y: Array) -> float:
    """The largest entry of the gradient of mean loss and penalty: 0 at the optimum."""
    error = sg.softmax(x @ model.coef_.T + model.intercept_)
    error[np.arange(len(y)), y] -= 1
    return float(np.abs(error.T @ x + model.coef_ / model.C).max() / len(y))


def draw_coefficients(model: SoftmaxRegression, accuracy: float, path: Path) -> None:
    """What each class looks for: a picture per digit."""
    figure, grid = plt.subplots(2, 5, figsize=(10, 4.6), layout="constrained")
    largest = np.abs(model.coef_).max()
    for digit, (axes, coefficients) in enumerate(zip(grid.flat, model.coef_, strict=True)):
        image = axes.imshow(coefficients.reshape(8, 8), cmap="RdBu_r", vmin=-largest, vmax=largest)
        axes.set(title=f"digit {digit}", xticks=[], yticks=[])
    figure.colorbar(image, ax=grid, label="logit per unit of ink (nats)")
    figure.suptitle(f"Coefficients of SoftmaxRegression(C={C}): {accuracy:.1%} of the test digits read right")
    figure.savefig(path, dpi=150)


def main() -> int:
    """Run the comparison; 0 if both find the same coefficients."""
    parser = argparse.ArgumentParser(description="Fit a linear classifier to handwritten digits.")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "output", help="folder for the picture")
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)

    pixels, labels = load_digits(return_X_y=True)
    x, test_x, y, test_y = train_test_split(pixels / 16, labels, test_size=0.25, stratify=labels, random_state=0)

    own = SoftmaxRegression(C=C, tol=TOLERANCE)
    reference = LogisticRegression(C=C, tol=TOLERANCE, max_iter=10_000)
    table = Table("library", "time (ms)", "iterations", "largest gradient", "test accuracy")
    for name, model in {"softgrad": own, "scikit-learn": reference}.items():
        with threadpool_limits(1):  # the products are too small for two threads
            start = time.perf_counter()
            model.fit(x, y)
            taken = time.perf_counter() - start
        score = model.score(test_x, test_y)
        row = (f"{1000 * taken:.0f}", str(model.n_iter_[0]), f"{gradient(model, x, y):.1e}", f"{score:.4f}")
        table.add_row(name, *row)
    console.print(table)

    draw_coefficients(own, own.score(test_x, test_y), folder / "coefficients.png")
    console.print(f"the picture is {folder / 'coefficients.png'}")
    difference = np.abs(own.coef_ - reference.coef_).max()
    agree = difference <= CLOSE
    verdict = f"the coefficients {'agree' if agree else 'differ'}: {difference:.1e}"
    console.print(f"{verdict} (allowed: {CLOSE:.0e})", style="green" if agree else "red", highlight=False)
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
