"""Newton's method for convex functions of a few variables that are sums over rows: safeguarded, with few passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from softgrad._formulas.namespace import NDArray as Array

ROUNDING = 16 * np.finfo(np.float64).eps
"""The rounding error of a mean loss, relative to its size."""


ENOUGH = 1e-12
"""What a step promises, relative to the value, where it is the last: the error after it is about the square."""


SHORT = 1e-3
"""The largest entry of the last step, relative to 1 and to where it is."""


class Point(NamedTuple):
    """A function at one place: value, gradient and Hessian."""

    value: float
    grad: Array
    hess: Array


class Minimum(NamedTuple):
    """Where the iteration ended, the value there, and the number of Newton steps."""

    z: Array
    value: float
    iterations: int
    converged: bool


def minimize(f: Callable[[Array], Point], z: Array, max_iter: int) -> Minimum:
    """Descend from z until what a step promises is next to nothing, halving steps that do not descend.

    Directions in which the function does not change are left out of a step: the Hessian's least-squares solution. Where
    it falls for ever, steps stay long, or a direction that has bent at first is flat: that is no convergence.
    """
    point = f(z)
    ranks = []
    for iteration in range(1, max_iter + 1):
        step, _, rank, _ = np.linalg.lstsq(point.hess, -point.grad, rcond=1e-14)
        ranks.append(rank)
        if rank < ranks[0]:
            return Minimum(z, point.value, iteration, False)
        slope = float(step @ point.grad)
        is_short = bool((np.abs(step) <= SHORT * (1 + np.abs(z))).all())
        if is_short and -slope <= ENOUGH * max(1.0, abs(point.value)):
            return Minimum(z + step, point.value + slope / 2, iteration, True)
        factor = 1.0
        while True:
            following = f(z + factor * step)
            allowed = point.value + 1e-4 * factor * slope + ROUNDING * max(1.0, abs(point.value))
            if following.value <= allowed or factor < 1e-6:
                break
            factor /= 2
        z, point = z + factor * step, following
    return Minimum(z, point.value, max_iter, False)
