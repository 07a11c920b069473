"""Derivatives of softmax and log_softmax of rows: kernels, and formulas where there is none."""

from __future__ import annotations

from softgrad._formulas import derivatives as formulas
from softgrad._formulas.namespace import NDArray as Array
from softgrad._numpy import kernels, long_rows
from softgrad._numpy.implementation import ENTRIES, MATRIX, Implementation, Outs, one_kernel


def _softmax_vjp(outs: Outs, workers: int, p: Array, g: Array) -> None:
    if p.shape[-1] >= long_rows.LONG_ROW:
        long_rows.softmax_vjp(p, g, outs[0], workers)
    else:
        kernels.run("softmax_vjp", (p, g), outs, workers)


softmax_vjp = Implementation(formulas.softmax_vjp, (ENTRIES,), _softmax_vjp)
log_softmax_vjp = Implementation(formulas.log_softmax_vjp, (ENTRIES,), one_kernel("log_softmax_vjp"))
log_softmax_jvp = Implementation(formulas.log_softmax_jvp, (ENTRIES,), one_kernel("log_softmax_jvp"))
softmax_second = Implementation(formulas.softmax_second, (ENTRIES,))  # no kernel was worth its code
jacobian = Implementation(formulas.jacobian, (MATRIX,), one_kernel("jacobian"))
