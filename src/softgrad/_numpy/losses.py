"""Losses of rows, with gradients and curvature: kernels for labels alone, and others for every target."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from softgrad._formulas import losses as formulas
from softgrad._formulas.namespace import NDArray as Array
from softgrad._formulas.target import Target
from softgrad._numpy import kernels
from softgrad._numpy.implementation import ENTRIES, VALUE, Implementation, Outs


def _compare(name: str, outs: Outs, workers: int, x: Array, target: Target, *factor: Array | float) -> None:
    """The loss called `name` of rows that are compared with `target`."""
    operands: tuple[Any, ...]
    if target.is_label:
        operands = target.labels, np.asarray(target.row_weight * target.label_weight, dtype=np.float64)
    else:
        name = f"target_{name}"
        base = np.zeros(x.shape[-1], x.dtype) if target.soft is None else target.soft
        labels = np.int64(0) if target.labels is None else target.labels
        operands = base, labels, target.label_weight, target.row_weight, target.z_loss
    kernels.run(name, (x, *operands, *factor), outs, workers)


def _grad_hess(outs: Outs, workers: int, x: Array, target: Target, factor: Array | float | None) -> None:
    if factor is None:
        cross_entropy_grad.into(outs[:2], workers, x, target)
        np.abs(outs[1], out=outs[2])
    else:
        _compare("cross_entropy_grad_hess", outs, workers, x, target, factor)


cross_entropy = Implementation(formulas.cross_entropy, (VALUE,), partial(_compare, "cross_entropy"))
cross_entropy_grad = Implementation(
    formulas.cross_entropy_grad, (VALUE, ENTRIES), partial(_compare, "cross_entropy_grad")
)
cross_entropy_grad_hess = Implementation(formulas.cross_entropy_grad_hess, (VALUE, ENTRIES, ENTRIES), _grad_hess)
