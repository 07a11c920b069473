"""Exact softmax, log_softmax and logsumexp of a row, by mpmath at 200 bits, and the distance to them in ulp."""

from __future__ import annotations

from typing import Any, NamedTuple

import mpmath as mp
import numpy as np

Array = np.ndarray[Any, Any]

mp.mp.prec = 200
SHIFT = 200
"""Rests are kept times 2^200, so that those of subnormal numbers do not vanish."""


class Exact(NamedTuple):
    """Numbers as the nearest float64 plus a rest."""

    near: Array
    rest: Array
    """Times 2**SHIFT."""
    size: Array
    """What an ulp is counted of."""


def exact(x: Array) -> dict[str, Exact]:
    """The three functions of one finite row, whose numbers are taken as they are."""
    numbers = [mp.mpf(v) for v in x.tolist()]
    k = int(np.argmax(x))
    shifted = [v - numbers[k] for v in numbers]
    e = [mp.exp(v) if v > -2000 else mp.mpf(0) for v in shifted]  # e^−2000 is nothing, even beside nothing
    others = mp.fsum(v for i, v in enumerate(e) if i != k)
    total, log_total = 1 + others, mp.log1p(others)
    lse = _split([numbers[k] + log_total])
    return {
        "softmax": _split([v / total for v in e]),
        "log_softmax": _split([v - log_total for v in shifted]),
        "logsumexp": lse._replace(size=np.maximum(lse.size, abs(float(numbers[k])))),
    }


def ulps(got: Array, true: Exact) -> Array:
    """|got − true| in ulp of got's dtype; in spacings of its subnormal numbers where they are that small."""
    info = np.finfo(got.dtype)
    exponent = np.frexp(true.size)[1] - 1
    ulp = np.maximum(np.where(true.size == 0, info.minexp, exponent), info.minexp) - info.nmant
    with np.errstate(over="ignore"):
        error = np.ldexp(got.astype(np.float64) - true.near, -ulp) - np.ldexp(true.rest, -SHIFT - ulp)
    return np.where(np.isnan(error), np.inf, np.abs(error))


def _split(numbers: list[Any]) -> Exact:
    near = np.array([float(v) for v in numbers])
    rest = np.array([float(mp.ldexp(v - mp.mpf(f), SHIFT)) for v, f in zip(numbers, near.tolist(), strict=True)])
    return Exact(near, rest, np.abs(near))
