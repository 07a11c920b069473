"""Derivatives of sparsemax and entmax of rows: no kernel was worth its code yet."""

from __future__ import annotations

from softgrad._formulas import sparse_derivatives as formulas
from softgrad._numpy.implementation import ENTRIES, VALUE, Implementation

sparsemax_vjp = Implementation(formulas.sparsemax_vjp, (ENTRIES,))
entmax_vjp = Implementation(formulas.entmax_vjp, (ENTRIES,))
entmax_alpha_vjp = Implementation(formulas.entmax_alpha_vjp, (VALUE,))
