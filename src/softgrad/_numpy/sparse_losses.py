"""Fenchel–Young losses of rows: their formula, with the probabilities of the kernels."""

from __future__ import annotations

from softgrad._formulas import sparse_losses as formulas
from softgrad._formulas.namespace import NDArray as Array
from softgrad._formulas.precision import as_wide
from softgrad._formulas.target import Target
from softgrad._numpy.implementation import ENTRIES, VALUE, Implementation, Outs, write
from softgrad._numpy.sparse import entmax


def _solve(
    outs: Outs, workers: int, x: Array, target: Target, alpha: Array | float, temperature: Array | float
) -> None:
    p = entmax(as_wide(x), alpha, None, temperature, workers=workers)
    write(outs, formulas.loss_grad(x, target, alpha, temperature, p)[: len(outs)])


entmax_loss = Implementation(formulas.entmax_loss, (VALUE,), _solve)
entmax_loss_grad = Implementation(formulas.entmax_loss_grad, (VALUE, ENTRIES), _solve)
