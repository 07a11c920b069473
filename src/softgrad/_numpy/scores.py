"""Scores of rows and the slope of their loss in log 1/T: a kernel, and the formulas at extreme temperatures."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from softgrad._formulas import scores as formulas
from softgrad._formulas.namespace import NDArray as Array
from softgrad._formulas.namespace import is_one
from softgrad._numpy import kernels
from softgrad._numpy.implementation import VALUE, Implementation, Outs, in_blocks

EXTREME = 2.0**50
"""Below, and above the inverse, no product of the kernels overflows: of float32, of exponentials up to 2⁷⁰, none below
2⁻¹²⁶ counts, and none is above 2¹²⁷."""


def _run(name: str, outs: Outs, workers: int, x: Array, labels: Array, temperature: Array | float = 1.0) -> None:
    """The kernel or the formula called `name`."""
    T = np.asarray(temperature, dtype=np.float64)
    if is_one(temperature) or bool(((T > 1 / EXTREME) & (T < EXTREME)).all()):
        kernels.run(name, (x, labels, T), outs, workers)
    else:
        formula: Any = getattr(formulas, name)
        in_blocks(formula, "(n),(),()", (x, labels, T), outs, workers)


scores = Implementation(formulas.scores, (VALUE,) * 5, partial(_run, "scores"), "float64")
temperature_slope = Implementation(
    formulas.temperature_slope, (VALUE,) * 3, partial(_run, "temperature_slope"), "float64"
)
