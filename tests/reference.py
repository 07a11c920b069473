"""Exact values by mpmath at 200 bits, and errors measured in ulp: the judge of every value and derivative.

Inputs are taken as the binary numbers that they are. Where a formula has several forms that agree only if Σ p = 1, the
form is the design's: relative to entry k, the (first) largest of p.
"""

from functools import lru_cache

import mpmath as mp
import numpy as np

mp.mp.prec = 200

worst = {}
"""(what, level, dtype) → the largest error seen in this run, in ulp of what the contract counts in."""


def number(value):
    """A float of any width as an mpf, exactly."""
    if isinstance(value, np.longdouble):
        if not np.isfinite(value):
            return mp.mpf(float(value))
        mantissa, exponent = np.frexp(value)
        high = np.floor(np.ldexp(mantissa, 32))
        low = np.ldexp(mantissa, 32) - high
        return mp.ldexp(mp.mpf(int(high)) + mp.ldexp(int(np.ldexp(low, 96)), -96), int(exponent) - 32)
    return mp.mpf(float(value))


def numbers(values):
    """A row of floats as mpfs."""
    values = np.asarray(values)
    return [number(v) for v in values] if values.dtype == np.longdouble else [mp.mpf(v) for v in values.tolist()]


class ExactSoftmax:
    """softmax of one row of logits: −inf is an impossible entry, the largest one is finite.

    Only the sum is kept; an entry is computed when it is asked for, so that long rows can be remembered.
    """

    def __init__(self, x, temperature=1.0):
        self.x, self.T = x, number(temperature)
        self.k = int(np.argmax(x))
        self.rest = mp.fsum(self.weight(i) for i in range(len(x)) if i != self.k)
        self.log_total = mp.log1p(self.rest)

    def relative(self, i):
        """(x_i − x_k)/T."""
        return (number(self.x[i]) - number(self.x[self.k])) / self.T

    def weight(self, i):
        """e^((x_i − x_k)/T); e^−20000 is nothing in any format, even beside nothing."""
        relative = self.relative(i)
        return mp.exp(relative) if relative > -20000 else mp.mpf(0)

    def softmax(self, i):
        return self.weight(i) / (1 + self.rest)

    def log_softmax(self, i):
        return self.relative(i) - self.log_total

    def largest(self):
        return number(self.x[self.k]) / self.T

    def logsumexp(self):
        return self.largest() + self.log_total

    def jacobian(self, i, j):
        if i != j:
            return -self.softmax(i) * self.softmax(j)
        others = self.rest if i == self.k else 1 + self.rest - self.weight(i)
        return self.softmax(i) * others / (1 + self.rest)


class ExactProducts:
    """Derivatives applied to directions, from a given output, each with the size that its error is counted in."""

    def __init__(self, p):
        self.p = p
        self.k = max(range(len(p)), key=p.__getitem__)

    def _centred(self, g):
        """g − ḡ and |g_i−g_k| + Σ p_j|g_j−g_k|, entry by entry."""
        relative = [v - g[self.k] if p else mp.mpf(0) for v, p in zip(g, self.p, strict=True)]
        mean = mp.fsum(p * r for p, r in zip(self.p, relative, strict=True))
        spread = mp.fsum(p * abs(r) for p, r in zip(self.p, relative, strict=True))
        return [r - mean for r in relative], [abs(r) + spread for r in relative]

    def softmax_vjp(self, g):
        return tuple([p * c for p, c in zip(self.p, a, strict=True)] for a in self._centred(g))

    def log_softmax_jvp(self, v):
        return tuple([c if p else mp.mpf(0) for p, c in zip(self.p, a, strict=True)] for a in self._centred(v))

    def log_softmax_vjp(self, g):
        """g_i − e^y_i Σ g; at k its terms are (1 − e^y_k) g_k and e^y_k Σ_{j≠k} g_j."""
        g = [v if p else mp.mpf(0) for p, v in zip(self.p, g, strict=True)]
        total, size = mp.fsum(g), mp.fsum(abs(v) for v in g)
        values = [v - p * total for p, v in zip(self.p, g, strict=True)]
        sizes = [abs(v) + p * size for p, v in zip(self.p, g, strict=True)]
        k = self.k
        sizes[k] = abs((1 - self.p[k]) * g[k]) + self.p[k] * (size - abs(g[k]))
        return values, sizes

    def softmax_second(self, u, v):
        (a, size_a), (b, size_b) = self._centred(u), self._centred(v)
        covariance = mp.fsum(p * s * t for p, s, t in zip(self.p, a, b, strict=True))
        size = mp.fsum(p * s * t for p, s, t in zip(self.p, size_a, size_b, strict=True))
        values = [p * (s * t - covariance) for p, s, t in zip(self.p, a, b, strict=True)]
        return values, [p * (s * t + size) for p, s, t in zip(self.p, size_a, size_b, strict=True)]


@lru_cache(maxsize=2048)
def _cached(data, dtype, temperature):
    return ExactSoftmax(np.frombuffer(data, dtype=dtype), temperature)


def exact_softmax(x, temperature=1.0):
    """ExactSoftmax of a row, remembered: every level is judged on the same rows."""
    x = np.ascontiguousarray(x)
    return _cached(x.tobytes(), x.dtype, temperature)


def spacing(size, dtype):
    """The distance between neighbouring numbers of `dtype` at `size`; below the normal range, the subnormal one."""
    info = np_finfo(dtype)
    lowest = int(info.minexp)
    exponent = mp.frexp(size)[1] - 1 if size else lowest
    return mp.ldexp(1, max(exponent, lowest) - int(info.nmant))


def ulp_error(got, exact, dtype, size=None):
    """|got − exact| in ulp of `size` (default: of `exact`). 0 where both are NaN, or the same infinity."""
    got, exact = number(got), mp.mpf(exact)
    if mp.isnan(got) or mp.isnan(exact):
        return 0.0 if mp.isnan(got) and mp.isnan(exact) else float("inf")
    if abs(exact) >= mp.ldexp(1, int(np_finfo(dtype).maxexp)):
        exact = mp.sign(exact) * mp.inf
    if mp.isinf(got) or mp.isinf(exact):
        return 0.0 if got == exact else float("inf")
    return float(abs(got - exact) / spacing(abs(exact if size is None else size), dtype))


def is_subnormal(size, dtype):
    return abs(size) < mp.ldexp(1, int(np_finfo(dtype).minexp))


def np_finfo(dtype):
    import ml_dtypes  # noqa: PLC0415  knows bfloat16 besides NumPy's own types

    return np.finfo(dtype) if np.dtype(dtype).kind == "f" else ml_dtypes.finfo(dtype)


def check(what, level, got, exact, *, bound, size=None, subnormal=None, note=""):
    """Assert that one entry lies within `bound` ulp of its exact value; remember the largest error.

    `subnormal` is the bound, in subnormal spacings, where `size` (or the value) is subnormal; default: `bound` again.
    """
    dtype = np.asarray(got).dtype
    error = ulp_error(got, exact, dtype, size)
    key = (what, level, dtype.name)
    small = is_subnormal(exact if size is None else size, dtype)
    if not small:
        worst[key] = max(worst.get(key, 0.0), error)
    allowed = subnormal if small and subnormal is not None else bound
    assert error <= allowed, (
        f"{what} on {level}, {dtype}: {error:.4g} ulp, at most {allowed:g} allowed; "
        f"got {got!r}, exact {mp.nstr(exact, 25)} {note}"
    )
