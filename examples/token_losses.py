"""What each letter of a text costs a language model, from BF16 logits in sharded files that are larger than memory.

    pip install "softgrad[examples,safetensors]"
    python examples/token_losses.py [--output FOLDER] [--tokens N]

The model counts: it knows how often each letter followed the three before it in the first half of Python's manual. Its
logits for the second half go into files as a large model's would, and from there on only the files are read. They may
be of any size: no more of them is in memory than a few blocks.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import tracemalloc
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np

try:
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    import ml_dtypes
    from rich.console import Console
except ModuleNotFoundError as error:
    sys.exit(f'this example needs {error.name}: pip install "softgrad[safetensors,examples]"')

import softgrad as sg

Array = np.ndarray[Any, Any]

mpl.use("Agg")  # pictures go to files: no display is needed
console = Console(soft_wrap=True)

CONTEXT, SHARDS, BLOCK, LETTERS = 3, 4, 2**13, 128
MEMORY = 64 * 2**20  # bytes that arrays may take
LINE, LINES = 64, 12
REQUIRED_BITS = 2.6


def text() -> Array:
    """Python's manual as numbers from 0 to 127."""
    raw = "\n".join(topics[name] for name in sorted(topics)).encode("ascii", "ignore")
    return np.frombuffer(raw, np.uint8).astype(np.int64)


class Model:
    """Letters that followed a context, counted; contexts of any length up to three are mixed."""

    def __init__(self, letters: Array) -> None:
        self.counts = []
        for length in range(CONTEXT + 1):
            keys, places = np.unique(self._keys(letters, length)[:-1], return_inverse=True)
            table = np.bincount(places * LETTERS + letters[CONTEXT:], minlength=len(keys) * LETTERS)
            self.counts.append((keys, table.reshape(-1, LETTERS).astype(np.float32)))

    @staticmethod
    def _keys(letters: Array, length: int) -> Array:
        """The `length` letters before each place from CONTEXT on, as one number."""
        parts = [letters[CONTEXT - i - 1 : len(letters) - i] * LETTERS**i for i in range(length)]
        return sum(parts, np.zeros(len(letters) - CONTEXT + 1, np.int64))

    def logits(self, letters: Array) -> Array:
        """Logarithms of the smoothed shares, for each place from CONTEXT on."""
        p = np.full((len(letters) - CONTEXT, LETTERS), 1 / LETTERS, np.float32)
        for length, (keys, table) in enumerate(self.counts):
            wanted = self._keys(letters, length)[:-1]
            place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            counts = table[place] * (keys[place] == wanted)[:, None]
            p = (counts + 4 * p) / (counts.sum(axis=1, keepdims=True) + 4)
        return np.log(p)


def write_shard(path: Path, model: Model, letters: Array) -> None:
    """The logits of each letter, in BF16, block by block: a header in JSON, and the numbers."""
    rows = len(letters) - CONTEXT
    entry = {"dtype": "BF16", "shape": [rows, LETTERS], "data_offsets": [0, 2 * rows * LETTERS]}
    header = json.dumps({"logits": entry}).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for start in range(0, rows, BLOCK):
            block = model.logits(letters[start : start + BLOCK + CONTEXT])
            file.write(block.astype(ml_dtypes.bfloat16).tobytes())


def read(shard: Path, labels: Array) -> tuple[sg.Evaluation, Array]:
    """What the logits of a shard are worth, and the loss of every letter."""
    losses = shard.with_suffix(".npy")
    sg.apply_blocks(sg.cross_entropy, shard, losses, labels=labels)
    return sg.evaluate(shard, labels, n_bytes=len(labels)), np.load(losses)


def draw(evaluation: sg.Evaluation, losses: Array, letters: Array, path: Path) -> None:
    """Some of the text, each letter on a ground as dark as it is surprising; the losses; the reliability."""
    figure = plt.figure(figsize=(11, 6.5), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.15, 1))
    axes = above.subplots()
    bits = losses[: LINE * LINES].reshape(LINES, LINE) / np.log(2)
    image = axes.imshow(bits, cmap="Oranges", vmin=0, vmax=10, aspect="auto")
    for place, letter in enumerate(letters[: LINE * LINES]):
        character = chr(letter) if 32 < letter < 127 and chr(letter) != "$" else " "
        row, column = divmod(place, LINE)
        color = "white" if bits[row, column] > 6 else "black"
        axes.text(column, row, character, color=color, ha="center", va="center", family="monospace", fontsize=9)
    axes.set(xticks=[], yticks=[], title="What each letter costs")
    above.colorbar(image, label="bits")
    left, right = below.subfigures(1, 2)
    axes = left.subplots()
    axes.hist(losses / np.log(2), bins=60, color="tab:orange")
    axes.axvline(evaluation.bits, color="black", linestyle="--", label=f"mean: {evaluation.bits:.2f} bits")
    axes.set(xlabel="bits", ylabel="letters", title="Losses")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    evaluation.plot(right.subplots(2, 1, height_ratios=(3, 1), sharex=True))
    figure.savefig(path, dpi=110)


def main() -> int:
    """Write the shards, read them, draw; 0 if memory stayed small and the model knows the text."""
    parser = argparse.ArgumentParser(description="Losses of a language model's tokens from files.")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "output", help="folder for the picture")
    parser.add_argument("--tokens", type=int, default=1_000_000, help="letters; repeated where the text ends")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    letters = text()
    middle = len(letters) // 2
    model = Model(letters[:middle])
    tested = np.resize(letters[middle:], arguments.tokens + CONTEXT)
    with tempfile.TemporaryDirectory() as folder:
        names = [Path(folder) / f"logits-{i + 1:05}-of-{SHARDS:05}.safetensors" for i in range(SHARDS)]
        ends = [arguments.tokens * i // SHARDS for i in range(SHARDS + 1)]
        chunks = [tested[start : stop + CONTEXT] for start, stop in itertools.pairwise(ends)]
        for name, chunk in zip(names, chunks, strict=True):
            write_shard(name, model, chunk)
        size = sum(name.stat().st_size for name in names)
        tracemalloc.start()
        found = [read(name, chunk[CONTEXT:]) for name, chunk in zip(names, chunks, strict=True)]
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    evaluation = sum((part for part, _ in found[1:]), found[0][0])
    losses = np.concatenate([part for _, part in found])

    print(evaluation)
    same = abs(losses.mean(dtype=np.float64) - evaluation.nll) < 1e-6
    console.print(f"\nmean of the losses in the files: {losses.mean(dtype=np.float64):.6f} nats")
    draw(evaluation, losses, tested[CONTEXT:], arguments.output / "token_losses.png")
    console.print(f"the picture is {arguments.output / 'token_losses.png'}")
    small = most < MEMORY
    console.print(f"{size / 2**20:.0f} MB of logits, {most / 2**20:.0f} MB of memory (allowed: {MEMORY / 2**20:.0f})")
    fine = same and small and evaluation.bits < REQUIRED_BITS
    verdict = f"{evaluation.bits_per_byte:.3f} bits per byte (required: {REQUIRED_BITS})"
    console.print(verdict, style="green" if fine else "red", highlight=False)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
