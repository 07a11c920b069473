"""What a mask or a temperature costs: the baseline is the plain call. ns per entry of the input."""

from __future__ import annotations

import numpy as np

import forward
import softgrad
from cases import Case, Prepared, logits

UNIT = "ns per entry"
MASKED, TEMPERED = "masked ", "tempered "
FUNCTIONS = (
    *(way + function for function in ("softmax", "log_softmax") for way in (MASKED, TEMPERED)),
    MASKED + "logsumexp",
)
SHAPES = ((10,), (64, 1000), (10_000, 100), (4096, 4096))
DTYPES = ("float32", "float64")
CASES = [Case(function, shape, dtype) for function in FUNCTIONS for dtype in DTYPES for shape in SHAPES]
TEMPERATURE = 1.5
table = forward.table


def prepare(case: Case) -> Prepared:
    x = logits(case)
    reads = np.random.default_rng(1).random(x.shape) < 0.9
    plain = getattr(softgrad, case.function.split()[1])
    out = np.empty(case.shape[:-1] if case.function.endswith("logsumexp") else case.shape, case.dtype)
    return Prepared((x, reads), out, lambda: plain(x, out=out), x.size)
