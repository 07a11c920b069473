"""Exact values by mpmath at 200 bits, and errors measured in ulp: the reference for every value and derivative.

Inputs are taken as the binary numbers that they are. Where a formula has several forms that agree only if Σ p = 1, the
form is that of docs/accuracy.md: relative to entry k, the (first) largest of p.
"""

import math
from functools import cached_property, lru_cache

import mpmath as mp
import numpy as np

from .reference_cache import stored

mp.mp.prec = 200

worst = {}
"""(what, level, dtype) → the largest error seen in this run, in ulp of what its bound counts in."""


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


KEPT = 5000
"""The longest rows whose weights are kept."""


class ExactSoftmax:
    """softmax of one row of logits: −inf is an impossible entry, the largest one is finite.

    `rest` is the sum of the weights but the largest. Of rows longer than KEPT only that is remembered, and an entry is
    computed when it is asked for.
    """

    def __init__(self, x, temperature=1.0, rest=None):
        self.x, self.T = x, number(temperature)
        self.k = int(np.argmax(x))
        self.weights = [self._weight(i) for i in range(len(x))] if len(x) <= KEPT else None
        self.rest = self._rest() if rest is None else rest
        self.log_total = mp.log1p(self.rest)

    def _rest(self):
        return mp.fsum(self.weight(i) for i in range(len(self.x)) if i != self.k)

    def relative(self, i):
        """(x_i − x_k)/T."""
        return (number(self.x[i]) - number(self.x[self.k])) / self.T

    def weight(self, i):
        """e^((x_i − x_k)/T)."""
        return self._weight(i) if self.weights is None else self.weights[i]

    def _weight(self, i):
        """e^−20000 underflows in every format, and compared with the smallest number of any."""
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

    @cached_property
    def mean_gap(self):
        """Σ p (max x − x)/T, over the entries that are possible."""
        possible = [i for i in range(len(self.x)) if self.x[i] > -np.inf]
        return mp.fsum(self.weight(i) * -self.relative(i) for i in possible) / (1 + self.rest)

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


class ExactEntmax:
    """entmax of one row of logits for 1 < α < ∞: p_j = (σ − s d_j)_+^(1/s) with s = α − 1 and Σ p = 1.

    σ = u_k + π^s, where k is the smallest positive entry and π its value; that they are right is shown by Σ p = 1.
    """

    def __init__(self, x, alpha, temperature=1.0):
        self.s = number(alpha) - 1
        x = [number(v) / number(temperature) for v in x]
        largest = max(x)
        self.u = [self.s * (largest - v) for v in x]
        kinks = sorted({u for u in self.u if u < 1})
        inside, outside = 0, len(kinks)
        while outside - inside > 1:
            middle = (inside + outside) // 2
            is_inside = mp.fsum(self._powers(kinks[middle])) < 1
            inside, outside = (middle, outside) if is_inside else (inside, middle)
        self.p = self._normalized(kinks[inside])
        self.shares = [p ** (1 - self.s) if p else mp.mpf(0) for p in self.p]
        total = mp.fsum(self.shares)
        self.shares = [share / total for share in self.shares]
        self.entropy = mp.fsum(-p * mp.log(p) for p in self.p if p)

    def _powers(self, sigma):
        return [(sigma - u) ** (1 / self.s) if u < sigma else mp.mpf(0) for u in self.u]

    def _normalized(self, kink):
        low, high = mp.mpf(0), mp.mpf(1)
        pi = high / 2
        for _ in range(2000):
            p = [pi if u == kink else q for u, q in zip(self.u, self._powers(kink + pi**self.s), strict=True)]
            excess = mp.fsum(p) - 1
            if abs(excess) < mp.mpf(2) ** -180:
                return p
            low, high = (low, pi) if excess > 0 else (pi, high)
            slope = mp.fsum((pi / q) ** (self.s - 1) for q in p if q)
            pi -= excess / slope
            pi = pi if low < pi < high else (low + high) / 2
        raise AssertionError("no solution found")


@lru_cache(maxsize=2048)
def exact_entmax(data, dtype, alpha, temperature=1.0):
    """ExactEntmax of the row with the bytes `data`, remembered."""
    return ExactEntmax(np.frombuffer(data, dtype=dtype), alpha, temperature)


@lru_cache(maxsize=2048)
def _remembered(data, dtype, temperature):
    x = np.frombuffer(data, dtype=dtype)
    if len(x) <= KEPT:
        return ExactSoftmax(x, temperature)
    rest = stored(lambda: ExactSoftmax(x, temperature).rest, "rest", data, dtype.str, temperature)
    return ExactSoftmax(x, temperature, rest)


def exact_softmax(x, temperature=1.0):
    """ExactSoftmax of a row, remembered: every level is compared on the same rows."""
    x = np.ascontiguousarray(x)
    return _remembered(x.tobytes(), x.dtype, temperature)


@lru_cache
def _format(dtype):
    """Digits after the leading one, the lowest exponent of a normal number, and the exponent that overflows."""
    info = np_finfo(dtype)
    return int(info.nmant), int(info.minexp), int(info.maxexp)


def _whole(value):
    """An mpf as a whole number times a power of 2 (mpmath's own man_exp has no sign)."""
    mantissa, exponent = value.man_exp
    return -mantissa if value < 0 else mantissa, exponent


def _exponent(size, lowest):
    """The exponent of the leading digit of an mpf, but no less than that of the normal numbers."""
    mantissa, exponent = size.man_exp
    return max(exponent + mantissa.bit_length() - 1, lowest) if mantissa else lowest


def spacing(size, dtype):
    """The distance between neighbouring numbers of `dtype` at `size`; below the normal range, the subnormal one."""
    digits, lowest, _ = _format(dtype)
    return mp.ldexp(1, _exponent(mp.mpf(size), lowest) - digits)


def ulp_error(got, exact, dtype, size=None):
    """|got − exact| in ulp of `size` (default: of `exact`). 0 where both are NaN, or the same infinity."""
    digits, lowest, overflow = _format(dtype)
    got, exact = number(got), mp.mpf(exact)
    if mp.isnan(got) or mp.isnan(exact):
        return 0.0 if mp.isnan(got) and mp.isnan(exact) else math.inf
    if mp.isfinite(exact) and _exponent(exact, lowest) >= overflow:
        exact = mp.sign(exact) * mp.inf
    if mp.isinf(got) or mp.isinf(exact):
        return 0.0 if got == exact else math.inf
    size = exact if size is None else mp.mpf(size)
    if not mp.isfinite(size):
        raise ValueError(f"size must be finite; got {size}")
    unit = _exponent(size, lowest) - digits
    # In whole numbers of the smaller exponent: far cheaper than mpmath's subtraction and division.
    (a, p), (b, q) = _whole(got), _whole(exact)
    common = min(p, q)
    difference = abs((a << (p - common)) - (b << (q - common)))
    dropped = max(difference.bit_length() - 64, 0)
    try:
        return math.ldexp(difference >> dropped, common + dropped - unit)
    except OverflowError:
        return math.inf


def is_subnormal(size, dtype):
    _, lowest, _ = _format(dtype)
    return abs(size) < mp.ldexp(1, lowest)


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
