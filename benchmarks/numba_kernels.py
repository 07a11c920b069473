"""What a good user of numba would write: rows in loops, fastmath, results into a given array."""

import numba
import numpy as np


@numba.njit(fastmath=True)
def softmax(x, out):
    for i in range(x.shape[0]):
        largest = x[i].max()
        total = x.dtype.type(0)
        for j in range(x.shape[1]):
            out[i, j] = np.exp(x[i, j] - largest)
            total += out[i, j]
        scale = 1 / total
        for j in range(x.shape[1]):
            out[i, j] *= scale


@numba.njit(fastmath=True)
def log_softmax(x, out):
    for i in range(x.shape[0]):
        largest, log_total = _largest_and_log_total(x[i])
        for j in range(x.shape[1]):
            out[i, j] = x[i, j] - largest - log_total


@numba.njit(fastmath=True)
def logsumexp(x, out):
    for i in range(x.shape[0]):
        largest, log_total = _largest_and_log_total(x[i])
        out[i] = largest + log_total


@numba.njit(fastmath=True)
def _largest_and_log_total(row):
    largest = row.max()
    total = row.dtype.type(0)
    for j in range(row.shape[0]):
        total += np.exp(row[j] - largest)
    return largest, np.log(total)


@numba.njit(fastmath=True)
def softmax_vjp(p, g, out):
    for i in range(p.shape[0]):
        mean = p.dtype.type(0)
        for j in range(p.shape[1]):
            mean += p[i, j] * g[i, j]
        for j in range(p.shape[1]):
            out[i, j] = p[i, j] * (g[i, j] - mean)


@numba.njit(fastmath=True)
def jacobian(x):
    p = np.empty_like(x)
    softmax(x, p)
    rows, n = x.shape
    result = np.empty((rows, n, n), x.dtype)
    for i in range(rows):
        for j in range(n):
            for k in range(n):
                result[i, j, k] = -p[i, j] * p[i, k]
            result[i, j, j] += p[i, j]
    return result
