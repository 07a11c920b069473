"""Focal loss of rows: the kernels of cross-entropy, and a power of what they leave."""

from __future__ import annotations

import numpy as np

from softgrad._formulas import focal as formulas
from softgrad._formulas.namespace import NDArray as Array
from softgrad._formulas.target import Target
from softgrad._numpy.implementation import ENTRIES, VALUE, Implementation, Outs, write
from softgrad._numpy.information import log_sum
from softgrad._numpy.losses import cross_entropy_grad


def _loss(outs: Outs, workers: int, x: Array, target: Target, gamma: float) -> None:
    loss, _ = formulas.weighted(x, target, gamma, log_sum(x, workers))
    write(outs, (loss,))


def _loss_grad(outs: Outs, workers: int, x: Array, target: Target, gamma: float) -> None:
    loss, slope = formulas.weighted(x, target, gamma, log_sum(x, workers))
    cross_entropy_grad.into((np.empty_like(outs[0]), outs[1]), workers, x, formulas.slope_target(target, slope))
    write(outs[:1], (loss,))


focal_loss = Implementation(formulas.focal_loss, (VALUE,), _loss)
focal_loss_grad = Implementation(formulas.focal_loss_grad, (VALUE, ENTRIES), _loss_grad)
