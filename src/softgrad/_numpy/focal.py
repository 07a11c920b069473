"""Focal loss of rows: a kernel for the loss and its slope, and that of cross-entropy for the gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from softgrad._formulas import focal as formulas
from softgrad._formulas.namespace import NDArray as Array
from softgrad._formulas.namespace import is_one
from softgrad._formulas.target import Target
from softgrad._numpy import kernels
from softgrad._numpy.implementation import ENTRIES, VALUE, Implementation, Outs, write
from softgrad._numpy.losses import compare_in_blocks, cross_entropy_grad


def _loss(outs: Outs, workers: int, x: Array, target: Target, gamma: float, temperature: Array | float) -> None:
    if is_one(temperature):
        loss, _ = _weighted(x, target, gamma, workers)
        write(outs, (loss,))
    else:
        compare_in_blocks(partial(_focal, formulas.focal_loss, gamma), outs, workers, x, target, temperature)


def _loss_grad(outs: Outs, workers: int, x: Array, target: Target, gamma: float, temperature: Array | float) -> None:
    if is_one(temperature):
        loss, slope = _weighted(x, target, gamma, workers)
        compared = formulas.slope_target(target, slope)
        cross_entropy_grad.into((np.empty_like(outs[0]), outs[1]), workers, x, compared, temperature)
        write(outs[:1], (loss,))
    else:
        compare_in_blocks(partial(_focal, formulas.focal_loss_grad, gamma), outs, workers, x, target, temperature)


def _focal(formula: Callable[..., Any], gamma: float, x: Array, target: Target, temperature: Array) -> Any:
    return formula(x, target, gamma, temperature)


def _weighted(x: Array, target: Target, gamma: float, workers: int) -> tuple[Array, Array]:
    """The loss of every row and its derivative with respect to the cross-entropy, times the row's weight."""
    parts = np.empty(x.shape[:-1]), np.empty(x.shape[:-1])
    kernels.run("focal_loss", (x, target.labels, np.float64(gamma)), parts, workers)
    return formulas.times_weight(target, *parts)


focal_loss = Implementation(formulas.focal_loss, (VALUE,), _loss)
focal_loss_grad = Implementation(formulas.focal_loss_grad, (VALUE, ENTRIES), _loss_grad)
