"""Names and operands of the kernels that are called as plain functions."""

import numpy as np
import pytest

import softgrad as sg
from softgrad._numpy import kernels

NATIVE = [level for level in kernels.LEVELS if level != "generic"]
ONE = ("softmax", "log_softmax", "sparsemax", "logsumexp", "entropy")
TWO = ("softmax_vjp", "log_softmax_vjp", "log_softmax_jvp", "kl_divergence")
NAMES = ONE + TWO
GRADIENTS = ("entropy_grad", "kl_divergence_grad")  # several results
LABELLED = ("cross_entropy", "cross_entropy_grad", "cross_entropy_grad_hess")
REDUCTIONS = ("logsumexp", "entropy", "kl_divergence")
TEMPERED = ("softmax", "log_softmax", "sparsemax")
MASKED = (*TEMPERED, "logsumexp")
LIMIT = 3000  # entries of float64
DTYPES = (np.float16, np.float32, np.float64)

every_dtype = pytest.mark.parametrize("dtype", DTYPES)


class Subclass(np.ndarray):
    pass


def operands(name, shape, dtype):
    random = np.random.default_rng(sum(shape))
    x = (8 * random.normal(size=shape)).astype(dtype)
    if x.size > 3:
        x.flat[1] = -np.inf
    if name in (*ONE, "entropy_grad"):
        return (x,)
    forward = {"softmax_vjp": sg.softmax, "log_softmax_vjp": sg.log_softmax, "log_softmax_jvp": sg.log_softmax}
    return forward.get(name, np.copy)(x), random.normal(size=shape).astype(dtype)


def same(a, b):
    """Whether type, shape, dtype and every bit agree."""
    return type(a) is type(b) and a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def results(found):
    return found if isinstance(found, tuple) else (found,)
