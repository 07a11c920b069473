"""Rows of logits that are hard to get right, by name. Every one is finite at its largest entry."""

import numpy as np

LENGTHS = (1, 2, 3, 7, 10, 31, 33, 64, 65, 100, 257, 1000)
"""Odd and even, below and above the widths at which kernels change their way of working."""


def _around(magnitude):
    return lambda rng, n, info: magnitude + rng.uniform(-1, 1, n)


def _saturated(rng, n, info):
    x = rng.normal(size=n)
    x[rng.integers(n)] += -np.log(info.eps) * 1.5
    return x


def _subnormal_tail(rng, n, info):
    smallest = float(np.log(info.smallest_subnormal))
    x = rng.uniform(smallest - 3, float(np.log(info.tiny)) + 3, n)
    x[rng.integers(n)] = 0
    return x


def _impossible(rng, n, info):
    x = rng.normal(size=n) * 10
    x[rng.random(n) < 0.5] = -np.inf
    x[rng.integers(n)] = 3
    return x


def _nearly_sorted(rng, n, info):
    x = np.linspace(-30, 30, n)
    swapped = rng.integers(n, size=2)
    x[swapped] = x[swapped[::-1]]
    return x


def _extreme(rng, n, info):
    return rng.choice(np.array([-1, -0.5, 0, 0.25, 1]), n) * float(info.max)


KINDS = {
    "normal": lambda rng, n, info: rng.normal(size=n),
    "wide": lambda rng, n, info: rng.normal(size=n) * 50,
    "wider": lambda rng, n, info: rng.normal(size=n) * 1000,
    "offset_1e6": lambda rng, n, info: 1e6 + rng.normal(size=n) * 3,
    "offset_1e30": lambda rng, n, info: 1e30 * (1 + rng.integers(-2, 3, n) * float(info.eps)),
    "near_256": _around(256),
    "near_-256": _around(-256),
    "under_256": lambda rng, n, info: np.nextafter(info.dtype.type(256), 0) - rng.uniform(0, 200, n),
    "near_2048": _around(2048),
    "under_2048": lambda rng, n, info: np.nextafter(info.dtype.type(2048), 0) - rng.uniform(0, 100, n),
    "near_-2048": _around(-2048),
    "saturated": _saturated,
    "ties": lambda rng, n, info: rng.integers(0, 3, n).astype(float),
    "constant": lambda rng, n, info: np.full(n, rng.normal()),
    "subnormal_tail": _subnormal_tail,
    "impossible": _impossible,
    "alternating": lambda rng, n, info: np.where(np.arange(n) % 2, 300.0, -300.0) + rng.normal(size=n),
    "nearly_sorted": _nearly_sorted,
    "growing": lambda rng, n, info: np.linspace(-700, 700, n),
    "falling": lambda rng, n, info: np.linspace(80, -20, n),
    "tiny": lambda rng, n, info: rng.normal(size=n) * float(info.tiny),
    "extreme": _extreme,
}


def row(kind, n, dtype, seed=0):
    """The row called `kind`, of `n` entries."""
    info = np.finfo(dtype)
    return KINDS[kind](np.random.default_rng([seed, n]), n, info).astype(dtype)


def sample(got, reference, rng_seed=0, count=24):
    """The entries of a long row to compare: its ends, extremes, some at random, and the worst by a rough reference."""
    n = len(got)
    if n <= 3 * count:
        return list(range(n))
    with np.errstate(all="ignore"):
        rough = np.abs(got - reference) / np.maximum(np.abs(reference), np.finfo(got.dtype).tiny)
    rough[~np.isfinite(rough)] = 0
    chosen = {0, n - 1, int(np.argmax(reference)), int(np.argmin(reference))}
    chosen.update(np.argsort(rough)[-count:].tolist())
    chosen.update(np.random.default_rng(rng_seed).integers(n, size=count).tolist())
    return sorted(chosen)


def rough_log_softmax(x, temperature=1.0):
    """log_softmax in longdouble: only good enough to find the entries worth judging."""
    with np.errstate(all="ignore"):
        z = x.astype(np.longdouble) / np.longdouble(temperature)
        z = z - z.max()
        return z - np.log(np.exp(z).sum())
