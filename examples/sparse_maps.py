"""Probabilities that are exactly 0: a linear classifier of digits trained with entmax_loss, compared with softmax's.

    python examples/sparse_maps.py [--output FOLDER]

1797 digits of 8 × 8 pixels come with scikit-learn; a quarter of them is kept aside for the test. The picture also
shows where each map takes a grid of logits in the simplex of three classes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
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
except ModuleNotFoundError as error:
    sys.exit(f'this example needs {error.name}: pip install "softgrad[examples]"')

import softgrad as sg

Array = np.ndarray[Any, Any]

mpl.use("Agg")  # pictures go to files: no display is needed
console = Console(soft_wrap=True)

STEPS, RATE, MOMENTUM = 150, 0.5, 0.9
REQUIRED_ACCURACY, ALLOWED_CLASSES = 0.94, 3.0

MAPS: dict[str, tuple[Callable[[Array], Array], Callable[[Array, Array], sg.LossGrad]]] = {
    "softmax": (sg.softmax, sg.cross_entropy_grad),
    "1.5-entmax": (sg.entmax, sg.entmax_loss_grad),
    "sparsemax": (sg.sparsemax, sg.sparsemax_loss_grad),
}
"""Each map, and the loss whose gradient is p − y."""


def train(loss_grad: Callable[[Array, Array], sg.LossGrad], x: Array, labels: Array) -> tuple[Array, list[float]]:
    """The weights of a linear classifier by gradient descent, and the mean loss of each step."""
    W, velocity, losses = np.zeros((x.shape[1], 10)), 0.0, []
    for _ in range(STEPS):
        loss, grad = loss_grad(x @ W, labels)
        velocity = MOMENTUM * velocity - RATE * (x.T @ grad) / len(x)
        W = W + velocity
        losses.append(float(loss.mean()))
    return W, losses


def simplex(p: Array) -> tuple[Array, Array]:
    """The points of a triangle with class 1 on top, 2 on the left and 3 on the right."""
    return p[..., 2] - p[..., 1], p[..., 0] * np.sqrt(3)


def draw_map(axes: Any, name: str, apply: Callable[[Array], Array]) -> None:
    """Where the lines of a grid of logits go."""
    corners = np.eye(3)[[0, 1, 2, 0]]
    axes.plot(*simplex(corners), color="black", linewidth=1)
    along, across = np.linspace(-2, 2, 161), np.linspace(-2, 2, 17)
    a, b = np.meshgrid(along, across)
    for first, second, color in ((a, b, "tab:blue"), (b, a, "tab:orange")):
        lines = np.stack([first, second, np.zeros_like(a)], axis=-1)
        for line in apply(lines):
            axes.plot(*simplex(line), color=color, linewidth=0.8)
    zeros = float((apply(np.stack([a, b, np.zeros_like(a)], axis=-1)) == 0).any(axis=-1).mean())
    axes.text(0, -0.6, f"{name}\n{zeros:.0%} on the border", ha="center", fontsize="large")
    for text, (x, y), place in zip(
        ("class 1", "class 2", "class 3"), zip(*simplex(np.eye(3)), strict=True), ("bottom", "top", "top"), strict=True
    ):
        axes.text(x, y, text, ha="center", va=place)
    axes.set(aspect="equal", xlim=(-1.25, 1.25), ylim=(-0.65, 1.95))
    axes.set_axis_off()


def draw(supports: dict[str, Array], losses: dict[str, list[float]], path: Path) -> None:
    """The three maps, how many classes they leave possible, and how the losses fall."""
    figure = plt.figure(figsize=(10, 7.2), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1))
    top.suptitle("A grid of logits (x₁, x₂, 0) in the simplex: lines of equal x₂ in blue, of equal x₁ in orange")
    for axes, (name, (apply, _)) in zip(top.subplots(1, 3), MAPS.items(), strict=True):
        draw_map(axes, name, apply)
    left, right = bottom.subplots(1, 2)
    counts = np.arange(1, 11)
    for place, (name, support) in enumerate(supports.items()):
        share = (support[:, None] == counts).mean(axis=0)
        left.bar(counts + 0.27 * (place - 1), share, width=0.27, label=name)
    left.set(title="Digits of the test", xlabel="classes of positive probability", ylabel="share", xticks=counts)
    left.legend(frameon=False)
    for name, values in losses.items():
        right.plot(values, label=name)
    right.set(title="Training", xlabel="step", ylabel="mean loss of its own kind", yscale="log")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main() -> int:
    """Train, count, draw; 0 if the sparse classifiers are as good and rule out most classes."""
    parser = argparse.ArgumentParser(description="Train classifiers whose probabilities may be 0.")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "output", help="folder for the picture")
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)

    digits = load_digits()
    x = np.concatenate([digits.data / 16, np.ones((len(digits.data), 1))], axis=1)
    x, x_test, labels, labels_test = train_test_split(x, digits.target, test_size=0.25, random_state=0)
    table = Table("loss of", "accuracy", "possible classes, mean", "only one possible")
    supports, losses, accuracies = {}, {}, []
    for name, (apply, loss_grad) in MAPS.items():
        W, losses[name] = train(loss_grad, x, labels)
        p = apply(x_test @ W)
        supports[name] = (p > 0).sum(axis=-1)
        accuracies.append(float((p.argmax(axis=-1) == labels_test).mean()))
        possible = p[np.arange(len(p)), labels_test] > 0
        mean, alone = supports[name].mean(), (supports[name] == 1).mean()
        table.add_row(name, f"{accuracies[-1]:.3f}", f"{mean:.2f}", f"{alone:.0%}")
        if name != "softmax":
            console.print(f"{name} gives {possible.mean():.1%} of the right digits a chance", highlight=False)
    console.print(table)
    draw(supports, losses, folder / "sparse_maps.png")
    console.print(f"the picture is in {folder}")
    classes = supports["1.5-entmax"].mean()
    console.print(f"accuracy: at least {min(accuracies):.3f} (required: {REQUIRED_ACCURACY})", highlight=False)
    console.print(f"classes that 1.5-entmax leaves possible: {classes:.2f} of 10 (allowed: {ALLOWED_CLASSES})")
    return 0 if min(accuracies) >= REQUIRED_ACCURACY and classes <= ALLOWED_CLASSES else 1


if __name__ == "__main__":
    sys.exit(main())
