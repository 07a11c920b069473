"""Cross-entropy of integer labels: alone, with its gradient, with gradient and curvature. ns per entry of the logits.

Loss and gradient are per row. Frameworks differentiate the sum of the losses, whose gradient is the same.
"""

import numpy as np

import forward
from cases import Case, Prepared, logits

UNIT = "ns per entry"
FUNCTIONS = ("cross_entropy", "cross_entropy_grad", "cross_entropy_grad_hess")
SHAPES = ((64, 1000), (100_000, 10), (10_000, 100), (4096, 4096))
DTYPES = ("float32", "float64")
CASES = [Case(function, shape, dtype) for function in FUNCTIONS for dtype in DTYPES for shape in SHAPES]
table = forward.table
BUFFERS = ("out", "grad_out", "hess_out")


def prepare(case: Case) -> Prepared:
    x = logits(case)
    labels = np.random.default_rng(1).integers(0, case.shape[-1], case.shape[0])
    results = FUNCTIONS.index(case.function)
    outs = tuple(np.empty_like(x) for _ in range(results))

    def baseline() -> None:
        for out in outs:
            np.copyto(out, x)
        if not outs:
            forward.read(x)

    return Prepared((x, labels), (np.empty(case.shape[:-1], case.dtype), *outs), baseline, x.size)
