"""sparsemax and entmax of rows: a kernel for any α, and faster and finer ones for α = 2 and 1.5."""

from __future__ import annotations

from functools import partial

import numpy as np

from softgrad._formulas import sparse as formulas
from softgrad._formulas.namespace import NDArray as Array
from softgrad._formulas.namespace import is_one
from softgrad._numpy import kernels
from softgrad._numpy.implementation import ENTRIES, Implementation, Outs, write
from softgrad._numpy.softmax import every_entry, softmax


def _solve(name: str, outs: Outs, workers: int, x: Array, where: Array | None, temperature: Array | float) -> None:
    """The kernel called `name`, or that with a mask and a temperature."""
    if where is None and is_one(temperature):
        kernels.run(name, (x,), outs, workers)
    else:
        kernels.run(f"{name}_where", (x, _mask(x, where), temperature), outs, workers)


def _mask(x: Array, where: Array | None) -> Array:
    return every_entry(x) if where is None else where


def _entmax(
    outs: Outs, workers: int, x: Array, alpha: Array | float, where: Array | None, temperature: Array | float
) -> None:
    """Every row as of a call with one α."""
    special = {1.0: softmax, 1.5: entmax15, 2.0: sparsemax}
    if isinstance(alpha, float) and alpha in special:
        return special[alpha].into(outs, workers, x, where, temperature)
    is_special = False if isinstance(alpha, float) else np.isin(alpha, list(special))
    if not np.any(is_special):
        return kernels.run("entmax", (x, _mask(x, where), temperature, alpha), outs, workers)
    results = np.empty(x.shape, x.dtype)
    others = np.where(is_special, np.inf, alpha)  # where a row is done soonest
    kernels.run("entmax", (x, _mask(x, where), temperature, others), (results,), workers)
    for value, function in special.items():
        here = np.broadcast_to(alpha == value, x.shape[:-1])
        if here.any():
            results = np.where(here[..., None], function(x, where, temperature, workers=workers), results)
    write(outs, (results,))


def _formula15(x: Array, where: Array | None, temperature: Array | float) -> Array:
    p: Array = formulas.entmax(x, 1.5, where, temperature)
    return p


sparsemax = Implementation(formulas.sparsemax, (ENTRIES,), partial(_solve, "sparsemax"))
entmax15 = Implementation(_formula15, (ENTRIES,), partial(_solve, "entmax15"))
entmax = Implementation(formulas.entmax, (ENTRIES,), _entmax)
