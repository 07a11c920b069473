"""The losses of a row in exact arithmetic, and the rows and options that the tests of this folder share."""

from functools import lru_cache

import mpmath as mp
import numpy as np
import pytest

from .. import rows
from ..reference import ExactSoftmax, exact_softmax, numbers
from ..reference_cache import stored

DTYPES = (np.float32, np.float64)
LENGTHS = (1, 2, 3, 10, 32, 33, 65)
SMOOTHED = {"label_smoothing": 0.1, "z_loss": 1e-3}
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
every_kind = pytest.mark.parametrize("kind", rows.KINDS)


class Exact:
    """A row of logits in exact arithmetic: p, 1 − p and −log p of every entry."""

    def __init__(self, x, row=None):
        row = exact_softmax(x) if row is None else row
        self.n, self.k = len(x), row.k
        total = 1 + row.rest
        self.p = [row.softmax(i) for i in range(self.n)]
        self.others = [(row.rest if i == row.k else total - row.weight(i)) / total for i in range(self.n)]
        self.losses = [-row.log_softmax(i) for i in range(self.n)]
        self.lse, self.log_total = row.logsumexp(), row.log_total
        x = numbers(x)
        self.depths = [x[row.k] - v for v in x]

    def loss(self, t, z=0):
        return mp.fsum(c * v for c, v in zip(t, self.losses, strict=True) if c) + z * self.lse**2

    def gradient(self, t, i, z=0):
        """The derivative of the loss by entry i, and the size of its terms."""
        rest = mp.fsum(c for j, c in enumerate(t) if j != i)
        pull, push, joint = self.p[i] * rest, t[i] * self.others[i], 2 * z * self.lse * self.p[i]
        size = pull + push if i == self.k else self.p[i] * (rest + t[i]) + t[i]
        return pull - push + joint, size + abs(joint)

    def curvature(self, t, i, z):
        """The second derivative of the loss by entry i, and the size of its terms."""
        variance, square = self.p[i] * self.others[i], 2 * z * self.p[i] ** 2
        plain, joint = mp.fsum(t) * variance, 2 * z * self.lse * variance
        return plain + joint + square, plain + abs(joint) + square


def label_cases(x, exact):
    return sorted({0, exact.k, len(x) - 1})


def one_hot(n, label):
    return [mp.mpf(i == label) for i in range(n)]


class ExactDivergence:
    """The divergence of two rows and its gradients, each with the size of its terms."""

    def __init__(self, a, b):
        with mp.workprec(1200):  # on saturated rows it is the square of nearly nothing
            p, q = (Exact(x, ExactSoftmax(x)) for x in (a, b))
            ratios = [v - u if w else mp.mpf(0) for w, u, v in zip(p.p, p.losses, q.losses, strict=True)]
            alike = all(bool(u) == bool(v) and abs(r) <= 1 for u, v, r in zip(p.p, q.p, ratios, strict=True))
            sizes = map(abs, ratios) if alike else map(sum, zip(p.losses, q.losses, strict=True))
            self.loss = self._mean(p, ratios), self._mean(p, sizes)
            d = [u - v if w else mp.mpf(0) for w, u, v in zip(p.p, numbers(a), numbers(b), strict=True)]
            d = [v - d[p.k] for v in d]
            mean, spread = self._mean(p, d), self._mean(p, map(abs, d))
            self.grad_p = [
                (w * (v - mean if mp.isfinite(mean) else mp.nan), w * (abs(v) + spread)) if w else (w, w)
                for w, v in zip(p.p, d, strict=True)
            ]
            self.grad_q = [(v - u, v + u) for u, v in zip(p.p, q.p, strict=True)]
            if alike and max(abs(v) for w, v in zip(p.p, d, strict=True) if w) <= 0.125:  # q − p without cancellation
                self.grad_q = [(v - u, u * (abs(t) + spread)) for u, v, t in zip(p.p, q.p, d, strict=True)]
            elif p.k == q.k and p.others[p.k] + q.others[p.k] < 1:
                self.grad_q[p.k] = p.others[p.k] - q.others[p.k], p.others[p.k] + q.others[p.k]

    @staticmethod
    def _mean(p, values):
        return mp.fsum(w * v for w, v in zip(p.p, values, strict=True) if w)


@lru_cache(maxsize=4096)
def exact_divergence(a, b, dtype):
    return stored(
        lambda: ExactDivergence(np.frombuffer(a, dtype), np.frombuffer(b, dtype)), "divergence", a, b, dtype.str
    )
