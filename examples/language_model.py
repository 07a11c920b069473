"""A small language model, written by hand in NumPy on top of softgrad, learns to write like Python's manual.

    python examples/language_model.py [--output FOLDER]

The text is the one that help() shows on its topics, half a megabyte that comes with Python. The model reads the last
eight bytes and says how likely each of the 256 values of the next one is.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np

try:
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
except ModuleNotFoundError as error:
    sys.exit(f'this example needs {error.name}: pip install "softgrad[examples]"')

import softgrad as sg
from softgrad.testing import check_vjp

Array = np.ndarray[Any, Any]

mpl.use("Agg")  # pictures go to files: no display is needed
console = Console(soft_wrap=True)

BYTES = 256
CONTEXT, EMBEDDING, HIDDEN = 8, 16, 320
STEPS, BATCH, MEASURE_EVERY = 2500, 256, 50
LEARNING_RATE, FORGET_MEAN, FORGET_SQUARE = 8e-3, 0.9, 0.99
NAMES = ("E", "W", "b", "V", "c")
REQUIRED_BITS = 2.8


class Model:
    """hidden = tanh(E[context] W + b); the logits hidden Vᵀ + c are never written down."""

    def __init__(self, random: np.random.Generator, dtype: type = np.float32) -> None:
        def normal(scale: float, *shape: int) -> Array:
            return random.normal(0, scale, shape).astype(dtype)

        self.E = normal(1, BYTES, EMBEDDING)  # one vector per byte
        self.W, self.b = normal(1 / np.sqrt(CONTEXT * EMBEDDING), CONTEXT * EMBEDDING, HIDDEN), np.zeros(HIDDEN, dtype)
        self.V, self.c = normal(0.1 / np.sqrt(HIDDEN), BYTES, HIDDEN), np.zeros(BYTES, dtype)

    def hidden(self, context: Array) -> Array:
        """What the model makes of each context, shape (m, CONTEXT); what backward needs is remembered."""
        self.context = context
        self.x = self.E[context].reshape(len(context), -1)
        self.h = np.tanh(self.x @ self.W + self.b)
        return self.h

    def loss(self, context: Array, labels: Array) -> float:
        """Mean cross-entropy, in nats per byte."""
        return float(sg.linear_cross_entropy(self.hidden(context), self.V, labels, self.c).mean())

    def loss_and_gradients(self, context: Array, labels: Array) -> tuple[float, dict[str, Array]]:
        """The mean loss, and its gradients by the chain rule from its end to its beginning."""
        h = self.hidden(context)
        # The derivative of the mean with respect to each loss is 1/m; with it come the gradients of the mean.
        loss, d_h, d_V, d_c = sg.linear_cross_entropy_grad(h, self.V, labels, self.c, grad_output=1 / len(labels))
        d_z = d_h * (1 - h**2)  # tanh' = 1 − tanh²
        d_x = d_z @ self.W.T
        d_E = np.zeros_like(self.E)
        np.add.at(d_E, self.context, d_x.reshape(*self.context.shape, EMBEDDING))  # a byte may stand there twice
        return float(loss.mean()), {"E": d_E, "W": self.x.T @ d_z, "b": d_z.sum(axis=0), "V": d_V, "c": d_c}


class Adam:
    """Steps along the mean gradient, entry by entry in units of its size (Kingma and Ba, 2015, algorithm 1)."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.mean = {name: np.zeros_like(getattr(model, name)) for name in NAMES}
        self.square = {name: np.zeros_like(getattr(model, name)) for name in NAMES}
        self.steps = 0

    def step(self, gradients: dict[str, Array], rate: float) -> None:
        """Move every parameter a little."""
        self.steps += 1
        rate *= np.sqrt(1 - FORGET_SQUARE**self.steps) / (1 - FORGET_MEAN**self.steps)  # both averages began at 0
        for name, gradient in gradients.items():
            mean, square, value = self.mean[name], self.square[name], getattr(self.model, name)
            mean += (1 - FORGET_MEAN) * (gradient - mean)
            square += (1 - FORGET_SQUARE) * (gradient**2 - square)
            value -= rate * mean / (np.sqrt(square) + 1e-8)


def read_text() -> tuple[bytes, bytes]:
    """Topics to learn from, and every tenth one to test with."""
    texts = [topics[name].encode() for name in sorted(topics)]
    test = texts[::10]
    del texts[::10]
    return b"\n".join(texts), b"\n".join(test)


def windows(text: bytes) -> tuple[Array, Array]:
    """Every context in the text, a view of it, and the byte that follows."""
    rows = np.lib.stride_tricks.sliding_window_view(np.frombuffer(text, np.uint8), CONTEXT + 1)
    return rows[:, :-1], rows[:, -1]


def check_gradients(contexts: Array, labels: Array) -> None:
    """Compare every gradient with finite differences before time is spent on training with a wrong one."""
    model = Model(np.random.default_rng(0), np.float64)
    for name in NAMES:
        start = getattr(model, name)

        def loss(value: Array, name: str = name) -> float:
            setattr(model, name, value)
            return model.loss(contexts, labels)

        check_vjp(loss, lambda g, name=name: g * model.loss_and_gradients(contexts, labels)[1][name], start)
        setattr(model, name, start)


def train(model: Model, text: bytes, test: bytes, random: np.random.Generator, steps: int) -> Array:
    """One row per measurement: steps done, mean training loss since the last one, test loss, in bits per byte."""
    (contexts, labels), (test_contexts, test_labels) = windows(text), windows(test)
    some = random.choice(len(test_labels), 8192)
    adam, history, losses = Adam(model), [], []
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps  {task.fields[bits]:.3f} bits per byte of the test text"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=steps, bits=float("nan"))
        for step in range(1, steps + 1):
            batch = random.integers(0, len(labels), BATCH)
            loss, gradients = model.loss_and_gradients(contexts[batch], labels[batch])
            adam.step(gradients, LEARNING_RATE * (1 + np.cos(np.pi * step / steps)) / 2)  # large steps first
            losses.append(loss)
            if step % MEASURE_EVERY == 0:
                nats = np.array([np.mean(losses), model.loss(test_contexts[some], test_labels[some])])
                history.append((step, *nats / np.log(2)))
                losses.clear()
                progress.update(task, bits=history[-1][2])
            progress.update(task, advance=1)
    return np.array(history)


def write(model: Model, start: str, length: int, random: np.random.Generator) -> str:
    """Continue a text, byte after byte, somewhat more cautiously than the model would."""
    text = bytearray(start.encode().rjust(CONTEXT))
    for _ in range(length):
        hidden = model.hidden(np.frombuffer(bytes(text[-CONTEXT:]), np.uint8)[np.newaxis])
        p = sg.softmax((hidden @ model.V.T + model.c)[0], temperature=0.6, dtype=np.float64)
        text.append(random.choice(BYTES, p=p))
    return text.decode(errors="replace").lstrip()


def draw(history: Array, text: bytes, path: Path) -> None:
    """The losses over the steps, beside that of a model which knows how frequent each byte is and nothing more."""
    p = np.bincount(np.frombuffer(text, np.uint8), minlength=BYTES) / len(text)
    entropy = -np.sum(p[p > 0] * np.log2(p[p > 0]))
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    axes.axhline(entropy, color="grey", linestyle=":", label=f"frequencies of bytes alone: {entropy:.2f}")
    axes.plot(history[:, 0], history[:, 1], label=f"training: {history[-1, 1]:.2f} at the end")
    axes.plot(history[:, 0], history[:, 2], label=f"test: {history[-1, 2]:.2f} at the end")
    axes.set(title="A language model of Python's manual", xlabel="steps", ylabel="mean cross-entropy (bits per byte)")
    axes.set(ylim=(0, None), xlim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)


def main() -> int:
    """Run the lesson; 0 if the model learned enough."""
    parser = argparse.ArgumentParser(description="Train a hand-written language model on Python's manual.")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "output", help="folder for the picture")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"steps of training (default: {STEPS})")
    options = parser.parse_args()
    folder, steps = options.output, options.steps
    folder.mkdir(parents=True, exist_ok=True)

    text, test = read_text()
    contexts, labels = windows(text)
    check_gradients(contexts[:500:50], labels[:500:50])
    console.print(f"gradients of {', '.join(NAMES)}: agree with finite differences", style="green")

    random = np.random.default_rng(0)
    model = Model(random)
    history = train(model, text, test, random, steps)
    console.print(write(model, "The ", 400, random), style="italic", highlight=False, markup=False)
    draw(history, test, folder / "language-model.png")
    console.print(f"the picture is in {folder}")
    bits = history[-1, 2]
    console.print(f"test loss: {bits:.3f} bits per byte (required: {REQUIRED_BITS})", style="bold", highlight=False)
    return 0 if bits <= REQUIRED_BITS or steps < STEPS else 1


if __name__ == "__main__":
    sys.exit(main())
