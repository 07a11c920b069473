"""Errors in ulp of every library on the same hard inputs, measured by exact arithmetic: tables and JSON.

python benchmarks/accuracy.py           rows of 10, 1000 and 50000 numbers, two minutes
python benchmarks/accuracy.py --quick   rows of 10 and 1000 numbers
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

import machine
import own_calls
import peers
import report
from cases import Array, Case
from exact import exact, ulps
from softgrad._numpy import kernels

FUNCTIONS = ("softmax", "log_softmax", "logsumexp")
DTYPES = ("float32", "float64")
Generator, Limits = np.random.Generator, Any


def just_under(bound: float) -> Callable[[Generator, int, Limits], Array]:
    return lambda rng, n, info: np.nextafter(info.dtype.type(bound), 0) - rng.uniform(0, 60, n)


def saturated(rng: Generator, n: int, info: Limits) -> Array:
    """One probability is 1 but for rounding."""
    x = rng.normal(size=n)
    x[n // 3] += np.log(n / float(info.eps)) + 10
    return x


def subnormal(rng: Generator, n: int, info: Limits) -> Array:
    """One probability is 1, the others are subnormal or nearly so."""
    x = rng.uniform(np.log(float(info.smallest_subnormal)) - 2, np.log(float(info.tiny)) + 2, n)
    x[n // 2] = 0
    return x


INPUTS: dict[str, Callable[[Generator, int, Limits], Array]] = {
    "normal": lambda rng, n, info: rng.normal(size=n),
    "wide": lambda rng, n, info: rng.normal(size=n) * 30,
    "< 256": just_under(256),
    "< 2048": just_under(2048),
    "near 1e6": lambda rng, n, info: 1e6 + rng.normal(size=n) * 3,
    "ties": lambda rng, n, info: rng.integers(0, 3, n).astype(float),
    "satur.": saturated,
    "subn.": subnormal,
}
"""A column of the tables each."""
HOW_TO_READ = (
    "Largest error on each kind of input over all lengths of rows, then over all inputs, and the mean over all entries "
    "of all inputs, in ulp of the exact value, which is computed at 200 bits from the very numbers that the libraries "
    "get; for logsumexp in ulp of max(|result|, |max x|); where the exact value is subnormal, in spacings of subnormal "
    "numbers. A huge error means that nothing of a small number is left. *normal*: N(0, 1). *wide*: N(0, 30²). "
    "*< 256*, *< 2048*: from there down to 60 less. *near 1e6*: 10⁶ + N(0, 3²). *ties*: 0, 1 or 2. *satur.*: one "
    "probability nearly 1. *subn.*: one probability 1, the others around the smallest normal number."
)


def main() -> None:
    options = parse()
    lengths = (10, 1000) if options.quick else (10, 1000, 50_000)
    entries, versions, missing = peers.installed(measured())
    about = machine.describe(versions)
    errors: dict[tuple[str, str, str, str], list[Array]] = {}
    work = [(dtype, n, kind) for dtype in DTYPES for n in lengths for kind in INPUTS]
    for dtype, n, kind in track(work, "Judging", console=report.console):
        x = INPUTS[kind](np.random.default_rng(n), n, np.finfo(dtype)).astype(dtype)
        truth = exact(x)
        for function in FUNCTIONS:
            for peer in entries:
                got = result(peer, Case(function, (1, n), dtype), x[np.newaxis])
                if got is not None:
                    error = ulps(got.reshape(-1), truth[function])
                    errors.setdefault((function, dtype, peer.library, kind), []).append(error)
    found = [figures(errors, function, dtype, entries) for function in FUNCTIONS for dtype in DTYPES]
    tables = [
        report.Table(f"{function}, {dtype}", ["ulp", *INPUTS, "max", "mean"], rows(figures))
        for (function, dtype), figures in zip(((f, d) for f in FUNCTIONS for d in DTYPES), found, strict=True)
    ]
    for table in tables:
        report.show(table)
    notes = [f"Not installed, so not measured: {', '.join(missing)}."] if missing else []
    lengths_text = f"Rows of {', '.join(map(str, lengths))} numbers."
    data = {"machine": about, "lengths": lengths, "ulp": [entry for figures in found for entry in figures]}
    directory = options.into or machine.results_directory(options.quick)
    text = [machine.summary(about), HOW_TO_READ, lengths_text, *notes]
    report.write(directory, "accuracy", "Accuracy", text, tables, data)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="no long rows")
    parser.add_argument("--into", type=Path, metavar="DIR", help="default: results/<date>-<cpu>")
    return parser.parse_args()


def measured() -> list[peers.Peer]:
    """softgrad at every level, and one single-threaded entry of each other library."""
    own = [
        peers.Peer(level, f"softgrad {level}", ("softgrad",), own_calls.plain, peers.run_softgrad(level))
        for level in kernels.LEVELS
    ]
    others = {peer.library: peer for peer in reversed(peers.PEERS) if peer.threads == 1}
    return own + [peer for peer in peers.PEERS if others.get(peer.library) is peer]


def result(peer: peers.Peer, case: Case, x: Array) -> Array | None:
    """What the library computes, or None if it has no such function."""
    out = np.empty(case.shape[:1] if case.function == "logsumexp" else case.shape, case.dtype)
    call = peer.make(case, (x,), out)
    if call is None:
        return None
    peer.before()
    return np.asarray(call())


def figures(
    errors: dict[tuple[str, str, str, str], list[Array]], function: str, dtype: str, entries: list[peers.Peer]
) -> list[dict[str, Any]]:
    """For each library that has the function: the largest error by kind of input and of all, and the mean of all."""
    found = []
    for peer in entries:
        by_kind = {kind: np.concatenate(errors.get((function, dtype, peer.library, kind), [[]])) for kind in INPUTS}
        everything = np.concatenate(list(by_kind.values()))
        if everything.size:
            largest = {kind: float(seen.max()) for kind, seen in by_kind.items()}
            overall = {"max": float(everything.max()), "mean": float(everything.mean())}
            case = {"function": function, "dtype": dtype, "library": peer.library}
            found.append({**case, "by input": largest, **overall})
    return found


def rows(figures: list[dict[str, Any]]) -> list[list[str]]:
    return [[f["library"], *map(ulp, [*f["by input"].values(), f["max"], f["mean"]])] for f in figures]


def ulp(error: float) -> str:
    return f"{error:.2f}" if error < 99.995 else f"{error:.0f}" if error < 99999.5 else f"{error:.0e}"


if __name__ == "__main__":
    main()
