"""Derivatives of softmax and log_softmax of rows: kernels, and formulas where there is none."""

from __future__ import annotations

from softgrad._formulas import derivatives as formulas
from softgrad._numpy.implementation import ENTRIES, MATRIX, Implementation, one_kernel

softmax_vjp = Implementation(formulas.softmax_vjp, (ENTRIES,), one_kernel("softmax_vjp"))
log_softmax_vjp = Implementation(formulas.log_softmax_vjp, (ENTRIES,), one_kernel("log_softmax_vjp"))
log_softmax_jvp = Implementation(formulas.log_softmax_jvp, (ENTRIES,), one_kernel("log_softmax_jvp"))
softmax_second = Implementation(formulas.softmax_second, (ENTRIES,))  # no kernel was worth its code
jacobian = Implementation(formulas.jacobian, (MATRIX,), one_kernel("jacobian"))
