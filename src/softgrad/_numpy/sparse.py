"""sparsemax and entmax of rows."""

from __future__ import annotations

import numpy as np

from softgrad._formulas import sparse as formulas
from softgrad._formulas.namespace import NDArray as Array
from softgrad._numpy.implementation import ENTRIES, Implementation, Outs, write
from softgrad._numpy.softmax import softmax


def _entmax(
    outs: Outs, workers: int, x: Array, alpha: Array | float, where: Array | None, temperature: Array | float
) -> None:
    """Every row as of a call with one α; the formula is that of rows, and softmax has a kernel."""
    write(outs, (formulas.entmax(x, alpha, where, temperature),))
    ones = np.broadcast_to(np.asarray(alpha == 1), x.shape[:-1])
    if ones.any():
        write(outs, (np.where(ones[..., None], softmax(x, where, temperature, workers=workers), outs[0]),))


sparsemax = Implementation(formulas.sparsemax, (ENTRIES,))
entmax = Implementation(formulas.entmax, (ENTRIES,), _entmax)
