"""softmax, log_softmax and logsumexp: ns per entry of the input, from a row in the cache to arrays beyond it."""

import numpy as np

from cases import DTYPES, Array, Case, Prepared, bits, logits

UNIT = "ns per entry"
FUNCTIONS = ("softmax", "log_softmax", "logsumexp")
SHAPES = (
    ((1000,), -1),
    ((64, 1000), -1),
    ((1000, 10), -1),
    ((100_000, 10), -1),
    ((10_000, 100), -1),
    ((4096, 4096), -1),
    ((64, 131_072), -1),
    ((1, 2**24), -1),
    ((4096, 4096), 0),
)
CASES = [Case(function, shape, dtype, axis) for function in FUNCTIONS for dtype in DTYPES for shape, axis in SHAPES]


def table(case: Case) -> tuple[str, str]:
    """The title of the table that the case belongs to, and its row there."""
    return f"{case.function}, {case.dtype}", case.shape_name


def prepare(case: Case) -> Prepared:
    x = logits(case)
    if case.function == "logsumexp":
        out = np.empty(np.delete(case.shape, case.axis), case.dtype)
        return Prepared((x,), out, lambda: read(x), x.size)
    out = np.empty_like(x)
    return Prepared((x,), out, lambda: np.copyto(out, x), x.size)


def read(x: Array) -> None:
    bits(x).max()
