"""A byte model of this repository's own text writes on, with and without filters on what it may choose.

    python examples/decoding.py [--steps N] [--length N] [--output FOLDER]

The logits of the next byte are a sum of one vector for each of the last 1, 2, … 6 bytes, found by a hash. They are
trained by softgrad's cross-entropy in some seconds, on README, guide and docstrings. Then 64 texts at a time are
written by `sample`, at several temperatures, with the masks of top-k, top-p and min-p.
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
except ModuleNotFoundError as error:
    sys.exit(f'this example needs {error.name}: pip install "softgrad[examples]"')

import softgrad as sg

Array = np.ndarray[Any, Any]

mpl.use("Agg")  # pictures go to files: no display is needed
console = Console(soft_wrap=True)

ROOT = Path(__file__).resolve().parents[1]
BYTES, CONTEXT, SLOTS = 256, 6, 2**13
STEPS, BATCH, RATE = 1500, 200, 0.8
TEXTS, LENGTH, WINDOW = 64, 120, 6
TEMPERATURES = (0.4, 0.7, 1.0, 1.3)
REQUIRED_BITS = 2.5

FILTERS: dict[str, Callable[[Array, float], Array | None]] = {
    "no filter": lambda logits, T: None,
    "top-k, k = 10": lambda logits, T: sg.top_k_mask(logits, 10),
    "top-p, p = 0.9": lambda logits, T: sg.top_p_mask(logits, 0.9, temperature=T),
    "min-p, p = 0.1": lambda logits, T: sg.min_p_mask(logits, 0.1, temperature=T),
}


class Model:
    """logits = Σ over m of the vector in slot hash(last m bytes), m = 1 … CONTEXT."""

    def __init__(self) -> None:
        self.W = np.zeros((CONTEXT * SLOTS, BYTES), np.float32)

    def slots(self, contexts: Array) -> Array:
        """The rows of W for contexts of shape (…, CONTEXT): one for each length m."""
        found, mixed = [], np.zeros(contexts.shape[:-1], np.uint64)
        for m in range(CONTEXT):
            mixed = (mixed + contexts[..., -1 - m] + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
            found.append((mixed >> np.uint64(40)) % np.uint64(SLOTS) + np.uint64(m * SLOTS))
        return np.stack(found, axis=-1).astype(np.int64)

    def logits(self, contexts: Array) -> Array:
        """Logits of the byte that follows each context."""
        return self.W[self.slots(contexts)].sum(axis=-2)

    def learn(self, contexts: Array, labels: Array, rate: float) -> float:
        """One step of gradient descent; returns the mean loss in nats."""
        slots = self.slots(contexts)
        loss, grad = sg.cross_entropy_grad(self.W[slots].sum(axis=-2), labels)
        for m in range(CONTEXT):
            order = np.argsort(slots[:, m])
            slot, first = np.unique(slots[order, m], return_index=True)
            self.W[slot] -= rate * np.add.reduceat(grad[order], first)
        return float(loss.mean())


def read_text() -> bytes:
    """The repository's own text: pages and docstrings."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md")), *sorted((ROOT / "examples").glob("*.py"))]
    return b"\n".join(path.read_bytes() for path in paths)


def windows(text: bytes) -> tuple[Array, Array]:
    """Every context in the text and the byte that follows."""
    rows = np.lib.stride_tricks.sliding_window_view(np.frombuffer(text, np.uint8), CONTEXT + 1)
    return rows[:, :-1].astype(np.uint64), rows[:, -1].astype(np.int64)


def train(text: bytes, test: bytes, steps: int, random: np.random.Generator) -> tuple[Model, float]:
    """A model, and its loss on the test text in bits per byte."""
    model, (contexts, labels) = Model(), windows(text)
    for step in range(steps):
        batch = random.integers(0, len(labels), BATCH)
        model.learn(contexts[batch], labels[batch], RATE * (1 - step / steps))
    contexts, labels = windows(test)
    return model, float(sg.cross_entropy(model.logits(contexts), labels).mean(dtype=np.float64) / np.log(2))


def write(model: Model, start: bytes, length: int, name: str, temperature: float, rng: np.random.Generator) -> Array:
    """TEXTS continuations, byte after byte for all of them together."""
    texts = np.zeros((TEXTS, CONTEXT + length), np.uint64)
    texts[:, :CONTEXT] = np.frombuffer(start[-CONTEXT:], np.uint8)
    for i in range(CONTEXT, CONTEXT + length):
        logits = model.logits(texts[:, i - CONTEXT : i])
        where = FILTERS[name](logits, temperature)
        texts[:, i] = sg.sample(logits, rng=rng, temperature=temperature, where=where)
    return texts[:, CONTEXT:].astype(np.uint8)


def quality(texts: Array, known: set[bytes]) -> tuple[float, float]:
    """The shares of windows of the texts that occur in what was learned from, and that are distinct."""
    found = [row[i : i + WINDOW].tobytes() for row in texts for i in range(len(row) - WINDOW + 1)]
    return sum(window in known for window in found) / len(found), len(set(found)) / len(found)


def draw(model: Model, results: dict[str, list[tuple[float, float]]], path: Path) -> None:
    """What each filter keeps of one distribution, and what the texts are like."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    logits = model.logits(np.frombuffer(b"the so", np.uint8).astype(np.uint64)[np.newaxis])[0]
    order, T = np.argsort(-logits)[:30], 1.3
    left.bar(range(30), sg.softmax(logits, temperature=T)[order], color="lightgrey", label="probability")
    for place, (name, mask) in enumerate(list(FILTERS.items())[1:]):
        kept = np.flatnonzero(mask(logits, T)[order])
        height, color = 10 ** (-3.4 - 0.25 * place), f"C{place + 1}"
        left.plot(kept, np.full(len(kept), height), "s", color=color, markersize=5, label=f"kept by {name}")
    left.set_xticks(range(30), [repr(chr(byte))[1:-1] for byte in order], fontsize=7, family="monospace")
    left.set(yscale="log", ylim=(7e-5, 1), title='The byte after "the so", T = 1.3', xlabel="byte, most probable first")
    left.set_ylabel("probability")
    left.legend(frameon=False)
    for name, points in results.items():
        known, distinct = np.array(points).T
        right.plot(distinct, known, marker="o", label=name)
        right.annotate(f"T = {TEMPERATURES[-1]}", (distinct[-1], known[-1]), fontsize=7)
    right.set(title="64 texts for each temperature", xlabel="distinct windows, share", xlim=(None, 1.06))
    right.set_ylabel(f"windows of {WINDOW} bytes that occur in the text, share")
    right.grid(alpha=0.3)
    right.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> int:
    """Train, write, compare; 0 if the filters do what they are for."""
    parser = argparse.ArgumentParser(description="Decode a byte model with temperatures and filters.")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "output", help="folder for the picture")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of gradient descent (default: {STEPS})")
    parser.add_argument("--length", type=int, default=LENGTH, help=f"of each text, in bytes (default: {LENGTH})")
    options = parser.parse_args()
    folder = options.output
    folder.mkdir(parents=True, exist_ok=True)

    text, random = read_text(), np.random.default_rng(0)
    cut = len(text) * 9 // 10
    model, bits = train(text[:cut], text[cut:], options.steps, random)
    console.print(f"trained on {cut / 1000:.0f} kB", highlight=False)
    known = {text[i : i + WINDOW] for i in range(cut - WINDOW + 1)}
    results: dict[str, list[tuple[float, float]]] = {}
    for name in FILTERS:
        results[name] = []
        for temperature in TEMPERATURES:
            texts = write(model, b" The softmax", options.length, name, temperature, random)
            results[name].append(quality(texts, known))
            if temperature == 1:
                console.print(f"{name}:", style="bold", highlight=False)
                sample = " ".join(texts[0].tobytes().decode(errors="replace").split())
                console.print(
                    "".join(c if c.isprintable() else "?" for c in sample)[:76], highlight=False, markup=False
                )
    draw(model, results, folder / "decoding.png")
    plain, *filtered = (points[TEMPERATURES.index(1.0)][0] for points in results.values())
    console.print(
        f"known windows at T = 1: {plain:.2f} without a filter, with one {min(filtered):.2f} to {max(filtered):.2f}"
    )
    console.print(f"the picture is in {folder}")
    console.print(f"test loss: {bits:.2f} bits per byte (required: {REQUIRED_BITS})", style="bold", highlight=False)
    return 0 if bits <= REQUIRED_BITS and min(filtered) > plain else 1


if __name__ == "__main__":
    sys.exit(main())
