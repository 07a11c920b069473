"""softmax, log_softmax and logsumexp of rows: kernels, threads, and long rows in chunks."""

from __future__ import annotations

from functools import partial

import numpy as np

from softgrad._formulas import softmax as formulas
from softgrad._formulas.namespace import NDArray as Array
from softgrad._formulas.namespace import is_one
from softgrad._formulas.precision import silent
from softgrad._numpy import kernels, long_rows
from softgrad._numpy.implementation import ENTRIES, VALUE, Implementation, Outs, write


def every_entry(x: Array) -> Array:
    """One True as the mask of all entries, made four times as quickly as by np.broadcast_to."""
    return np.ndarray(x.shape, np.bool, b"\1", strides=(0,) * x.ndim)


def _normalize(name: str, outs: Outs, workers: int, x: Array, where: Array | None, temperature: Array | float) -> None:
    """softmax or log_softmax."""
    if where is not None or not is_one(temperature):
        kernels.run(f"{name}_where", (x, every_entry(x) if where is None else where, temperature), outs, workers)
    elif x.shape[-1] >= long_rows.LONG_ROW:
        long_rows.normalize(name, x, outs[0], workers)
    else:
        kernels.run(name, (x,), outs, workers)


@silent
def _logsumexp(outs: Outs, workers: int, x: Array, where: Array | None, b: Array | None) -> None:
    if b is not None:
        log, sign = signed_logsumexp(x, where, b, workers=workers)
        write(outs, (np.where(sign < 0, log.dtype.type(np.nan), log),))
    elif where is not None:
        kernels.run("logsumexp_where", (x, where), outs, workers)
    elif x.shape[-1] >= long_rows.LONG_ROW:
        write(outs, (long_rows.logsumexp(x, workers),))
    else:
        kernels.run("logsumexp", (x,), outs, workers)


def _signed_logsumexp(outs: Outs, workers: int, x: Array, where: Array | None, b: Array) -> None:
    if where is not None:
        b = np.where(where, b, b.dtype.type(0))
    kernels.run("signed_logsumexp", (x, b), outs, workers)


softmax = Implementation(formulas.softmax, (ENTRIES,), partial(_normalize, "softmax"))
log_softmax = Implementation(formulas.log_softmax, (ENTRIES,), partial(_normalize, "log_softmax"))
textbook_softmax = Implementation(formulas.textbook_softmax, (ENTRIES,))
textbook_log_softmax = Implementation(formulas.textbook_log_softmax, (ENTRIES,))
logsumexp = Implementation(formulas.logsumexp, (VALUE,), _logsumexp)
signed_logsumexp = Implementation(formulas.signed_logsumexp, (VALUE, VALUE), _signed_logsumexp)
