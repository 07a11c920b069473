"""Errors of whole batches of rows, in ulp, by the reference of tests/kernels/fuzz: fast enough for a million rows.

Rows are handed over as float64 with the format that the results were rounded to. Each function returns the errors of
each row, as records: the largest where the size that the error is counted in is a normal number, the largest in
subnormal spacings elsewhere, and the entries where they were found.
"""

from __future__ import annotations

import ctypes

import numpy as np

ERROR = np.dtype([("normal", "f8"), ("subnormal", "f8"), ("normal_at", "i8"), ("subnormal_at", "i8")])
FORMATS = {"float16": (11, -14), "bfloat16": (8, -126), "float32": (24, -126), "float64": (53, -1022)}
"""Binary digits, and the exponent of the smallest normal number."""


class FastReference:
    """The functions of the shared library at `path`."""

    def __init__(self, path):
        self._library = ctypes.CDLL(str(path))

    def functions(self, which, x, low):
        """0: 2^500 e^x, 1: e^x − 1, 2: log x, 3: log(1 + x), in two parts."""
        result = np.empty((len(x), 2))
        self._library.reference_functions(which, ctypes.c_int64(len(x)), *map(_pointer, (_wide(x), _wide(low), result)))
        return result

    def softmax(self, got, x, temperature=1.0, where=None):
        return self._of_logits("errors_of_softmax", got, x, temperature, where)

    def log_softmax(self, got, x, temperature=1.0, where=None):
        return self._of_logits("errors_of_log_softmax", got, x, temperature, where)

    def logsumexp(self, got, x, temperature=1.0, where=None):
        return self._of_logits("errors_of_logsumexp", got, x, temperature, where)

    def jacobian(self, got, x, temperature=1.0, where=None):
        return self._of_logits("errors_of_jacobian", got, x, temperature, where)

    def weighted_logsumexp(self, got, x, b):
        return self._call("errors_of_weighted_logsumexp", got, x, (x, b, got), 1)[0]

    def product(self, which, got, output, u, v=None):
        """`which`: 0 softmax_vjp, 1 log_softmax_jvp, 2 log_softmax_vjp, 3 softmax_second."""
        v = u if v is None else v
        return self._call("errors_of_product", got, output, (output, u, v, got), 1, which)[0]

    def cross_entropy(
        self, x, labels=None, targets=None, *, loss=None, grad=None, hess=None, weight=None, smoothing=0.0,
        sample_weight=None, z_loss=0.0, factor=1.0, dtype=None,
    ):  # fmt: skip
        """Errors of the losses, the gradients and the curvatures."""
        labels = None if labels is None else np.ascontiguousarray(labels, np.int64)
        numbers = (
            x,
            labels,
            targets,
            weight,
            float(smoothing),
            sample_weight,
            float(z_loss),
            float(factor),
            loss,
            grad,
            hess,
        )
        return self._call("errors_of_cross_entropy", dtype, x, numbers, 3)

    def focal(self, loss, grad, x, labels, gamma):
        labels = np.ascontiguousarray(labels, np.int64)
        return self._call("errors_of_focal", loss, x, (x, labels, float(gamma), loss, grad), 2)

    def entropy(self, value, grad, x, least_size=0.0):
        return self._call("errors_of_entropy", value, x, (x, float(least_size), value, grad), 2)

    def mean(self, got, x, least_size=0.0):
        return self._call("errors_of_mean", got, x, (x, float(least_size), got), 1)[0]

    def divergence(self, value, grad_p, grad_q, a, b):
        return self._call("errors_of_divergence", value, a, (a, b, value, grad_p, grad_q), 3)

    def entmax(self, got, x, alpha, temperature=1.0, where=None):
        """Errors beyond what the computation in the wide type may add, for α up to 2."""
        return self._of_logits("errors_of_sparse", got, x, temperature, where, ctypes.c_double(alpha))

    def entmax_loss(self, loss, grad, x, alpha, labels=None, targets=None):
        """Errors of the losses and the gradients of entmax for α = 2 or 1.5."""
        labels = None if labels is None else np.ascontiguousarray(labels, np.int64)
        return self._call("errors_of_sparse_loss", loss, x, (x, labels, targets, loss, grad), 2, ctypes.c_double(alpha))

    def _of_logits(self, name, got, x, temperature, where, *first):
        rows = x.size // x.shape[-1]
        t = np.broadcast_to(np.asarray(temperature, np.float64).reshape(-1), rows)
        mask = None if where is None else np.ascontiguousarray(np.broadcast_to(where, x.shape), np.uint8)
        return self._call(name, got, x, (x, mask, t, got), 1, *first)[0]

    def _call(self, name, got, x, arguments, count, *first):
        dtype = got if isinstance(got, np.dtype) else np.asarray(got).dtype
        rows, n = x.size // x.shape[-1], x.shape[-1]
        errors = [np.empty(rows, ERROR) for _ in range(count)]
        # Names keep the arrays alive during the call.
        given = [
            a if a is None or isinstance(a, float) or a.dtype in (np.uint8, np.int64) else _wide(a) for a in arguments
        ]
        numbers = [ctypes.c_double(a) if isinstance(a, float) else _pointer(a) for a in given]
        digits, lowest = FORMATS[dtype.name]
        getattr(self._library, name)(
            *first, digits, lowest, ctypes.c_int64(rows), ctypes.c_int64(n), *numbers, *map(_pointer, errors)
        )
        return [e.reshape(x.shape[:-1]) for e in errors]


def _wide(a):
    return np.ascontiguousarray(a, np.float64)


def _pointer(a):
    return None if a is None else ctypes.c_void_p(a.ctypes.data)
