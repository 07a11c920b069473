"""Newton's method for smooth convex functions, in a trust region, with conjugate gradients inside.

Steihaug, "The conjugate gradient method and trust regions in large scale optimization", SIAM J. Numer. Anal. 20 (1983);
Conn, Gould, Toint, "Trust-region methods", SIAM 2000, algorithms 6.1.1 and 7.5.1.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from softgrad._formulas.namespace import Array

ROUNDING = 10 * np.finfo(np.float64).eps
"""The rounding error of a value of the function, relative to its size."""


class Problem(Protocol):
    """What is minimized, over vectors z."""

    def value_grad(self, z: Array) -> tuple[float, Array]:
        """The value at z, and the gradient."""

    def curvature(self, z: Array) -> Curvature:
        """The Hessian at z, as its product with vectors."""

    def size(self, grad: Array) -> float:
        """What has to become small in a gradient."""


class Curvature(Protocol):
    """A symmetric matrix without negative eigenvalues, as its product with vectors."""

    def __call__(self, v: Array, /) -> Array:
        """The product."""


class Minimum(NamedTuple):
    """Where the iteration ended, the size of the gradient there, and the number of Newton steps tried."""

    z: Array
    size: float
    steps: int


def minimize(problem: Problem, z: Array, tol: float, max_steps: int) -> Minimum:
    """Descend from z until the size of the gradient is at most `tol`, or for `max_steps` steps."""
    value, grad = problem.value_grad(z)
    radius = 1.0
    steps = 0
    curvature = None
    while problem.size(grad) > tol and steps < max_steps:
        curvature = curvature or problem.curvature(z)
        step, predicted = _newton_step(problem, curvature, grad, radius, tol)
        new_value, new_grad = problem.value_grad(z + step)
        noise = ROUNDING * max(
            1.0, abs(value)
        )  # near the minimum the decrease is smaller than it: then the model is trusted
        ratio = (value - new_value + noise) / (predicted + noise)
        length = float(np.linalg.norm(step))
        if not ratio >= 0.25:
            radius = 0.25 * length
        elif ratio > 0.75 and length > 0.99 * radius:
            radius *= 2
        if ratio > 0.1:
            z, value, grad, curvature = z + step, new_value, new_grad, None
        steps += 1
    return Minimum(z, problem.size(grad), steps)


def _newton_step(problem: Problem, curvature: Curvature, grad: Array, radius: float, tol: float) -> tuple[Array, float]:
    """A step to about the minimum of the quadratic model within the radius, and the decrease that the model promises.

    The accuracy grows with the iteration, so that it converges superlinearly, but never beyond what `tol` asks for: on
    the digits that saves nearly half of the products with the Hessian.
    """
    size = np.linalg.norm(grad)
    enough = min(0.5, np.sqrt(size)) * size
    step, curved = np.zeros_like(grad), np.zeros_like(grad)
    residual = -grad
    direction, squared = residual, residual @ residual
    while True:
        product = curvature(direction)
        quadratic = direction @ product
        length = squared / quadratic if quadratic > 0 else np.inf
        if not np.linalg.norm(step + length * direction) < radius:
            length = _length_to_boundary(step, direction, radius)
            step, curved = step + length * direction, curved + length * product
            break
        step, curved = step + length * direction, curved + length * product
        residual = residual - length * product
        before, squared = squared, residual @ residual
        if np.sqrt(squared) <= enough or problem.size(residual) <= tol / 2:
            break
        direction = residual + squared / before * direction
    return step, float(-(grad @ step + step @ curved / 2))


def _length_to_boundary(step: Array, direction: Array, radius: float) -> float:
    """The t > 0 for which step + t direction has the length `radius`."""
    a, b, c = direction @ direction, step @ direction, step @ step - radius**2
    return float(-c / (b + np.sqrt(b * b - a * c)))  # of the two forms of the root the one without cancellation
