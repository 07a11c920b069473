"""Fenchel–Young losses of rows: no kernel was worth its code yet."""

from __future__ import annotations

from softgrad._formulas import sparse_losses as formulas
from softgrad._numpy.implementation import ENTRIES, VALUE, Implementation

entmax_loss = Implementation(formulas.entmax_loss, (VALUE,))
entmax_loss_grad = Implementation(formulas.entmax_loss_grad, (VALUE, ENTRIES))
