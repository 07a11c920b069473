"""The product with the Jacobian of softmax (VJP), and the dense Jacobian: ns per entry of the result."""

import numpy as np

import forward
from cases import DTYPES, Case, Prepared, bits, logits

UNIT = "ns per entry"
FUNCTIONS = ("softmax_vjp", "jacobian")
JACOBIAN_SHAPES = ((1000,), (64, 1000), (1000, 10), (100_000, 10))  # 10000×100 would be a result of 800 MB in float64
CASES = [
    *(Case("softmax_vjp", shape, dtype, axis) for dtype in DTYPES for shape, axis in forward.SHAPES),
    *(Case("jacobian", shape, dtype) for dtype in DTYPES for shape in JACOBIAN_SHAPES),
]
table = forward.table


def prepare(case: Case) -> Prepared:
    x = logits(case)
    if case.function == "jacobian":
        shape = (*case.shape, case.shape[-1])
        out = np.empty(0, case.dtype)  # no library writes a Jacobian into an array that it is given
        return Prepared((x,), out, lambda: np.full(shape, 0.5, case.dtype), x.size * case.shape[-1])
    p = np.exp(x.astype(np.float64))
    p = (p / p.sum(axis=case.axis, keepdims=True)).astype(case.dtype)
    out = np.empty_like(x)
    return Prepared((p, x), out, lambda: np.add(bits(p), bits(x), out=bits(out)), x.size)
