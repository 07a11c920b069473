"""States of NumPy arrays: the functions of `states`, on the native kernels where they apply.

The kernels are for T = 1 and know every type but longdouble. Unlike the formulas they return rows in the dtype of `x`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from softgrad.arrays import numpy as native
from softgrad.arrays import states, threads
from softgrad.arrays.states import State

Array = np.ndarray[Any, Any]


def state(x: Array, where: Array | None = None, temperature: Array | float = 1.0) -> State:
    """The state of every row."""
    if not _has_kernel(x, temperature):
        found: State = states.state(x, where, temperature)
        return found
    if where is not None:
        x = np.where(where, x, x.dtype.type(-np.inf))
    parts = tuple(np.empty(x.shape[:-1]) for _ in State._fields)
    native.run_kernel("state", (x,), parts, threads.count(None, x.size))
    if where is not None:
        present = np.any(where, axis=-1)
        for part in parts[1:]:
            np.copyto(part, 0.0, where=~present)
    return State(*parts)


def softmax(x: Array, s: State, where: Array | None = None, temperature: Array | float = 1.0) -> Array:
    """e^(x/T) / Σ e^(x/T) of rows that are pieces of the slices of the state."""
    return _of_state("softmax", x, s, where, temperature, nothing=0.0)


def log_softmax(x: Array, s: State, where: Array | None = None, temperature: Array | float = 1.0) -> Array:
    """x/T − log Σ e^(x/T) of rows that are pieces of the slices of the state."""
    return _of_state("log_softmax", x, s, where, temperature, nothing=-np.inf)


def _of_state(name: str, x: Array, s: State, where: Array | None, temperature: Array | float, nothing: float) -> Array:
    if not _has_kernel(x, temperature) or s.max.dtype != np.float64:
        return np.asarray(getattr(states, name)(x, s, where, temperature))
    y = np.empty_like(x, subok=False)
    of_slice = tuple(np.asarray(part) for part in (s.max, s.rest, s.rest_low))
    native.run_kernel(f"{name}_of_state", (x, *of_slice), (y,), threads.count(None, x.size))
    if where is not None:
        np.copyto(y, y.dtype.type(nothing), where=~where)
    return y


def _has_kernel(x: Array, temperature: Array | float) -> bool:
    plain = isinstance(temperature, float) and temperature == 1.0
    return plain and x.shape[-1] > 0 and native.has_kernel(x)
