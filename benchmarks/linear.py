"""Time and memory of a linear layer with cross-entropy, forward and backward: fused, unfused and PyTorch's, in turns.

python benchmarks/linear.py               about 4 minutes; needs 4 GB of memory
python benchmarks/linear.py --quick       half a minute, on small shapes
python benchmarks/linear.py --threads 2   two threads for every library instead of one
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

import machine
import report
import softgrad
from softgrad._numpy import threads
from timing import Timed, interleaved

Array = np.ndarray[Any, Any]
Arguments = tuple[Array, Array, Array, Array]

SHAPES = ((4096, 512, 50_000), (16_384, 128, 4_000), (1024, 2048, 32_000))
QUICK_SHAPES = ((512, 128, 10_000), (2048, 64, 256))
FUSED = "softgrad, fused"
HOW_TO_READ = (
    "float32, hidden (m, d), weight (K, d), with a bias; the mean loss and its gradients for hidden, weight and bias. "
    "Times are medians of interleaved repeats in one process. Memory is how much the peak memory of a new process "
    "grows over one that has done a small case before, gradients included; logits is what one array of them takes."
)


def fused(hidden: Array, weight: Array, labels: Array, bias: Array) -> Any:
    return softgrad.linear_cross_entropy_grad(hidden, weight, labels, bias, grad_output=1 / len(labels))


def unfused(hidden: Array, weight: Array, labels: Array, bias: Array) -> Any:
    logits = hidden @ weight.T
    logits += bias
    loss, grad = softgrad.cross_entropy_grad(logits, labels, sample_weight=1 / len(labels))
    return loss, grad @ weight, grad.T @ hidden, grad.sum(axis=0)


def with_torch(hidden: Array, weight: Array, labels: Array, bias: Array) -> Any:
    torch = importlib.import_module("torch")
    inputs = [torch.from_numpy(a).requires_grad_() for a in (hidden, weight, bias)]
    logits = torch.nn.functional.linear(*inputs)
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
    loss.backward()
    return loss, *(a.grad for a in inputs)


ENTRIES: dict[str, Callable[..., Any]] = {FUSED: fused, "softgrad, unfused": unfused, "PyTorch": with_torch}


def main() -> None:
    options = parse()
    if options.measure:
        print(json.dumps(measure(options)))
        return
    names = [name for name in ENTRIES if name != "PyTorch" or importlib.util.find_spec("torch")]
    results = {}
    for shape in track(QUICK_SHAPES if options.quick else SHAPES, "Measuring", console=report.console):
        seconds = in_child(options, "time", shape, names)
        memory = {name: in_child(options, "memory", shape, [name]) for name in names}
        results[shape] = {name: {"seconds": seconds[name], "bytes": memory[name]} for name in names}
    libraries = ["numpy"] + ["torch"] * ("PyTorch" in names)
    about = machine.describe({name: version(name) for name in libraries}) | {"threads": options.threads}
    tables = [tabulate(shape, found) for shape, found in results.items()]
    for table in tables:
        report.show(table)
    directory = options.into or machine.results_directory(options.quick)
    data = {"machine": about, "results": [{"shape": shape, **found} for shape, found in results.items()]}
    paragraphs = [machine.summary(about), f"Threads: {options.threads}.", HOW_TO_READ]
    name = "linear" if options.threads == 1 else f"linear-{options.threads}-threads"
    report.write(directory, name, "Linear layer with cross-entropy", paragraphs, tables, data)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small shapes")
    parser.add_argument("--threads", type=int, default=1, help="of every library (default: 1)")
    parser.add_argument("--into", type=Path, metavar="DIR", help="default: results/<date>-<cpu>")
    parser.add_argument("--measure", choices=("time", "memory"), help=argparse.SUPPRESS)
    parser.add_argument("--shape", type=int, nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--entries", nargs="+", help=argparse.SUPPRESS)
    return parser.parse_args()


def in_child(options: argparse.Namespace, what: str, shape: tuple[int, ...], names: list[str]) -> Any:
    """What `measure` finds in a fresh process, in which every library reads how many threads it may use."""
    command = [sys.executable, __file__, "--measure", what, "--threads", str(options.threads)]
    command += ["--shape", *map(str, shape), "--entries", *names] + ["--quick"] * options.quick
    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(options.threads))
    done = subprocess.run(command, env=os.environ | limits, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def measure(options: argparse.Namespace) -> Any:
    """Median seconds of every entry, or the bytes by which the only one makes the process grow."""
    threads.cpu_count = lambda: options.threads
    arguments = problem(*options.shape)
    if options.measure == "memory":
        (name,) = options.entries
        return growth(ENTRIES[name], arguments)
    calls = {name: Timed(lambda name=name: ENTRIES[name](*arguments)) for name in options.entries}
    times = interleaved(calls, seconds=5 if options.quick else 30, least_rounds=5)
    return {name: time.median for name, time in times.items()}


def problem(m: int, d: int, n: int) -> Arguments:
    random = np.random.default_rng(0)
    hidden = random.standard_normal((m, d), dtype=np.float32)
    weight = random.standard_normal((n, d), dtype=np.float32)
    weight *= np.float32(2 / np.sqrt(d))  # logits of about the spread that a trained model has
    return hidden, weight, random.integers(0, n, m), np.zeros(n, np.float32)


def growth(call: Callable[..., Any], arguments: Arguments) -> int | None:
    """By how many bytes the peak memory of this process grows; None where the system does not report it."""
    hidden, weight, labels, bias = arguments
    few = slice(0, 64)
    call(hidden[few], weight[few], labels[few] % 64, bias[few])  # what libraries take for themselves, once
    before = machine.peak_memory()
    call(*arguments)
    after = machine.peak_memory()
    return None if before is None or after is None else after - before


def tabulate(shape: tuple[int, ...], found: dict[str, dict[str, Any]]) -> report.Table:
    m, d, n = shape
    gradients = m * d + n * d + n
    title = f"({m}, {d}) @ ({d}, {n}): logits {4e-6 * m * n:.0f} MB, gradients {4e-6 * gradients:.0f} MB"
    rows = []
    for name, one in found.items():
        memory = "unknown" if one["bytes"] is None else f"{one['bytes'] / 1e6:.0f}"
        relative = report.ratio(one["seconds"] / found[FUSED]["seconds"])
        rows.append([name, report.number(1000 * one["seconds"]), relative, memory])
    return report.Table(title, ["", "ms", "time / fused", "memory, MB"], rows)


if __name__ == "__main__":
    main()
