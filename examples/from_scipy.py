"""A mixture of Gaussians by EM, written for scipy.special, before and after its import line is changed.

    pip install "softgrad[examples]"
    python examples/from_scipy.py

SciPy computes on one thread; softgrad takes all CPUs where arrays are large, and one for the short calls.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

try:
    import scipy.special
    from rich.console import Console
    from rich.table import Table
except ModuleNotFoundError as error:
    sys.exit(f'this example needs {error.name}: pip install "softgrad[examples]"')

from softgrad.compat import scipy as compat

Array = np.ndarray[Any, Any]

console = Console(soft_wrap=True)

POINTS, COMPONENTS, STEPS, REPEATS = 20_000, 12, 20, 5
CLOSE = 1e-10


def fit(special: ModuleType, points: Array, means: Array) -> tuple[Array, float]:
    """The means of components of variance 1, and the mean log-likelihood (nats per point, but for a constant)."""
    log_weights = np.full(len(means), -np.log(len(means)))
    likelihood = -np.inf
    for _ in range(STEPS):
        joint = points @ means.T - (means**2).sum(axis=1) / 2 + log_weights
        likelihood = special.logsumexp(joint, axis=1).mean()
        share = special.softmax(joint, axis=1)
        count = share.sum(axis=0)
        means, log_weights = share.T @ points / count[:, None], np.log(count / len(points))
    return means, float(likelihood)


def times(call: Callable[[ModuleType], Any]) -> tuple[float, float]:
    """The least of several times in seconds, by SciPy and by softgrad in turns, so that both meet the same machine."""
    taken: dict[ModuleType, list[float]] = {scipy.special: [], compat: []}
    for _ in range(REPEATS):
        for special, seconds in taken.items():
            start = time.perf_counter()
            call(special)
            seconds.append(time.perf_counter() - start)
    return min(taken[scipy.special]), min(taken[compat])


def main() -> int:
    """Print the times; 0 if both find the same mixture."""
    random = np.random.default_rng(0)
    centres = 3 * random.normal(size=(COMPONENTS, 2))
    points = centres[random.integers(COMPONENTS, size=POINTS)] + random.normal(size=(POINTS, 2))
    start = random.permutation(points)[:COMPONENTS]
    logits, one = random.normal(size=(1000, 1000)), random.normal(size=10)

    table = Table("what", "SciPy (ms)", "softgrad (ms)", "times as fast")
    for what, call in {
        f"EM, {STEPS} steps": lambda special: fit(special, points, start),
        "softmax, 1000 rows of 1000": lambda special: special.softmax(logits, axis=1),
        "logsumexp, 1000 rows of 1000": lambda special: special.logsumexp(logits, axis=1),
        "logsumexp of 10, 1000 calls": lambda special: [special.logsumexp(one) for _ in range(1000)],
    }.items():
        before, after = times(call)
        table.add_row(what, f"{1000 * before:.1f}", f"{1000 * after:.1f}", f"{before / after:.1f}")
    console.print(table)

    (means, likelihood), (own_means, own_likelihood) = (fit(s, points, start) for s in (scipy.special, compat))
    difference = max(np.abs(means - own_means).max(), abs(likelihood - own_likelihood))
    agree = bool(difference <= CLOSE)
    verdict = f"means and log-likelihood {'agree' if agree else 'differ'}: {difference:.0e} (allowed: {CLOSE:.0e})"
    console.print(verdict, style="green" if agree else "red", highlight=False)
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
