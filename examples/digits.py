"""A two-layer network, written by hand in NumPy on top of softgrad, learns to read handwritten digits.

    python examples/digits.py [--output FOLDER]

1797 digits of 8 × 8 pixels come with scikit-learn; a quarter of them is kept aside for the test.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

try:
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
except ModuleNotFoundError as error:
    sys.exit(f'this example needs {error.name}: pip install "softgrad[examples]"')

import softgrad as sg
from softgrad.testing import check_vjp

Array = np.ndarray[Any, Any]

mpl.use("Agg")  # pictures go to files: no display is needed
console = Console(soft_wrap=True)

HIDDEN, EPOCHS, BATCH = 64, 60, 32
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.05, 0.9, 1e-3
REQUIRED_ACCURACY = 0.97


class Network:
    """logits = relu(x W1 + b1) W2 + b2, and log-probabilities by softgrad's layer on top."""

    def __init__(self, random: np.random.Generator) -> None:
        # He's scale keeps the size of the activations through the relu.
        self.W1, self.b1 = random.normal(0, np.sqrt(2 / 64), (64, HIDDEN)), np.zeros(HIDDEN)
        self.W2, self.b2 = random.normal(0, np.sqrt(1 / HIDDEN), (HIDDEN, 10)), np.zeros(10)
        self.log_softmax = sg.LogSoftmax()

    def logits(self, x: Array) -> Array:
        """Scores of the ten digits; what backward needs is remembered."""
        self.x = x
        self.hidden = np.maximum(x @ self.W1 + self.b1, 0)
        return self.hidden @ self.W2 + self.b2

    def loss(self, x: Array, labels: Array) -> float:
        """Mean cross-entropy: minus the log-probability of the right digit."""
        log_p = self.log_softmax(self.logits(x))
        return float(-log_p[np.arange(len(labels)), labels].mean())

    def backward(self, labels: Array) -> dict[str, Array]:
        """Gradients of the loss, by the chain rule from its end to its beginning."""
        rows = np.arange(len(labels))
        d_log_p = np.zeros_like(self.log_softmax.output)
        d_log_p[rows, labels] = -1 / len(labels)  # the loss reads one entry per row, and takes the mean
        d_logits = self.log_softmax.backward(d_log_p)
        d_hidden = (d_logits @ self.W2.T) * (self.hidden > 0)  # relu passes on what it let through
        return {
            "W1": self.x.T @ d_hidden,
            "b1": d_hidden.sum(axis=0),
            "W2": self.hidden.T @ d_logits,
            "b2": d_logits.sum(axis=0),
        }


def check_gradients(network: Network, x: Array, labels: Array) -> None:
    """Compare every gradient with finite differences before time is spent on training with a wrong one."""
    for name in ("W1", "b1", "W2", "b2"):
        start = getattr(network, name)

        def loss(value: Array, name: str = name) -> float:
            setattr(network, name, value)
            return network.loss(x, labels)

        check_vjp(loss, lambda g, name=name: g * network.backward(labels)[name], start)
        setattr(network, name, start)


def train(network: Network, x: Array, labels: Array, test: tuple[Array, Array], random: np.random.Generator) -> Array:
    """Descend with momentum; one row per epoch: training loss, test loss, test accuracy."""
    velocity = {name: np.zeros_like(getattr(network, name)) for name in ("W1", "b1", "W2", "b2")}
    history = []
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs  loss {task.fields[loss]:.4f}  test accuracy {task.fields[accuracy]:.1%}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=EPOCHS, loss=float("nan"), accuracy=float("nan"))
        for epoch in range(EPOCHS):
            rate = LEARNING_RATE * (1 + np.cos(np.pi * epoch / EPOCHS)) / 2  # large steps first, small ones to settle
            losses = []
            order = random.permutation(len(x))
            for batch in (order[i : i + BATCH] for i in range(0, len(x), BATCH)):
                losses.append(network.loss(x[batch], labels[batch]))
                for name, gradient in network.backward(labels[batch]).items():
                    value = getattr(network, name)
                    velocity[name] = MOMENTUM * velocity[name] - rate * (gradient + WEIGHT_DECAY * value)
                    setattr(network, name, value + velocity[name])
            accuracy = np.mean(network.logits(test[0]).argmax(axis=1) == test[1])
            history.append((np.mean(losses), network.loss(*test), accuracy))
            progress.update(task, advance=1, loss=history[-1][0], accuracy=accuracy)
    return np.array(history)


def draw_learning_curve(history: Array, path: Path) -> None:
    """Loss and accuracy over the epochs."""
    epochs = np.arange(1, len(history) + 1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.semilogy(epochs, history[:, 0], label="training")
    left.semilogy(epochs, history[:, 1], label="test")
    left.set(title="Loss", xlabel="epoch", ylabel="mean cross-entropy (nats per digit)")
    left.legend()
    right.plot(epochs, 100 * history[:, 2], color="C1")
    right.axhline(100 * REQUIRED_ACCURACY, color="grey", linestyle=":", label=f"required: {REQUIRED_ACCURACY:.0%}")
    right.set(title=f"Test accuracy: {history[-1, 2]:.1%} at the end", xlabel="epoch", ylabel="digits read right (%)")
    right.legend(loc="lower right")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)


def draw_confusion(predicted: Array, labels: Array, path: Path) -> None:
    """Which digit was taken for which."""
    counts = np.zeros((10, 10), dtype=int)
    np.add.at(counts, (labels, predicted), 1)
    figure, axes = plt.subplots(figsize=(6.5, 5.5), layout="constrained")
    # On a linear scale the few mistakes would be as white as none.
    image = axes.imshow(counts, cmap="Blues", norm=mpl.colors.SymLogNorm(linthresh=1, vmin=0, vmax=counts.max()))
    for true, guess in np.argwhere(counts):
        colour = "white" if counts[true, guess] > 10 else "black"
        axes.text(guess, true, counts[true, guess], ha="center", va="center", color=colour)
    mistakes = np.sum(predicted != labels)
    axes.set(title=f"{mistakes} of {len(labels)} test digits misread", xlabel="digit read", ylabel="digit written")
    axes.set(xticks=range(10), yticks=range(10))
    figure.colorbar(image, label="number of digits", ticks=[0, 1, 3, 10, 30], format="%d")
    figure.savefig(path, dpi=150)


def apply_command(logits: Array, folder: Path) -> None:
    """Turn the logits into probabilities once more, with the command that does it for files of any size."""
    source, result = folder / "logits.npy", folder / "probabilities.npy"
    np.save(source, logits)
    command = ["-m", "softgrad.cli", "apply", "softmax", str(source), str(result), "--force"]
    subprocess.run([sys.executable, *command], check=True)
    if not np.array_equal(np.load(result), sg.softmax(logits)):
        raise SystemExit("softgrad apply softmax and sg.softmax gave different probabilities")
    console.print(f"softgrad apply softmax {source.name} {result.name}: equal to sg.softmax(logits)", style="green")


def main() -> int:
    """Run the lesson; 0 if the network learned enough."""
    parser = argparse.ArgumentParser(description="Train a hand-written network on handwritten digits.")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "output", help="folder for the results")
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)

    pixels, labels = load_digits(return_X_y=True)
    x, test_x, y, test_y = train_test_split(pixels / 16, labels, test_size=0.25, stratify=labels, random_state=0)
    random = np.random.default_rng(0)
    network = Network(random)

    check_gradients(network, x[:16], y[:16])
    console.print("gradients of W1, b1, W2, b2: agree with finite differences", style="green")

    history = train(network, x, y, (test_x, test_y), random)
    logits = network.logits(test_x)
    predicted = logits.argmax(axis=1)
    accuracy = np.mean(predicted == test_y)
    draw_learning_curve(history, folder / "learning-curve.png")
    draw_confusion(predicted, test_y, folder / "confusion.png")
    apply_command(logits, folder)
    console.print(f"pictures and logits are in {folder}")
    console.print(f"test accuracy: {accuracy:.4f} (required: {REQUIRED_ACCURACY})", style="bold", highlight=False)
    return 0 if accuracy >= REQUIRED_ACCURACY else 1


if __name__ == "__main__":
    sys.exit(main())
