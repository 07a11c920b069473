"""Losses of rows, with gradients and curvature: kernels for labels alone, and others for every target."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from softgrad._formulas import losses as formulas
from softgrad._formulas.namespace import NDArray as Array
from softgrad._formulas.namespace import is_one
from softgrad._formulas.target import Target
from softgrad._numpy import kernels
from softgrad._numpy.implementation import ENTRIES, VALUE, Implementation, Outs, in_blocks


def _compare(name: str, outs: Outs, workers: int, x: Array, target: Target, *others: Array | float) -> None:
    """The loss called `name` of rows that are compared with `target`; the last of the others is a temperature."""
    operands: tuple[Any, ...]
    *factor, temperature = others
    if not is_one(temperature):
        compare_in_blocks(getattr(formulas, name), outs, workers, x, target, *others)
        return
    if target.is_label:
        operands = target.labels, np.asarray(target.row_weight * target.label_weight, dtype=np.float64)
    else:
        name = f"target_{name}"
        operands = *_parts(x, target), target.z_loss
    kernels.run(name, (x, *operands, *factor), outs, workers)


def compare_in_blocks(
    formula: Callable[..., Any], outs: Outs, workers: int, x: Array, target: Target, *others: Array | float
) -> None:
    """`formula` of rows that are compared with `target`, in blocks."""
    signature = "(n),(n),(),(),()" + ",()" * len(others)
    in_blocks(partial(_of_parts, formula, target.z_loss), signature, (x, *_parts(x, target), *others), outs, workers)


def _parts(x: Array, target: Target) -> tuple[Any, ...]:
    """What a target has for each row."""
    soft = np.zeros(x.shape[-1], x.dtype) if target.soft is None else target.soft
    labels = np.int64(0) if target.labels is None else target.labels
    return soft, labels, target.label_weight, target.row_weight


def _of_parts(
    formula: Callable[..., Any], z_loss: float, x: Array, soft: Array, labels: Array, *weights_and_others: Array
) -> Any:
    label_weight, row_weight, *others = weights_and_others
    return formula(x, Target(soft, labels, label_weight, row_weight, z_loss), *others)


def _grad_hess(
    outs: Outs, workers: int, x: Array, target: Target, factor: Array | float | None, temperature: Array | float
) -> None:
    if factor is None:
        cross_entropy_grad.into(outs[:2], workers, x, target, temperature)
        np.abs(outs[1], out=outs[2])
    else:
        _compare("cross_entropy_grad_hess", outs, workers, x, target, factor, temperature)


cross_entropy = Implementation(formulas.cross_entropy, (VALUE,), partial(_compare, "cross_entropy"))
cross_entropy_grad = Implementation(
    formulas.cross_entropy_grad, (VALUE, ENTRIES), partial(_compare, "cross_entropy_grad")
)
cross_entropy_grad_hess = Implementation(formulas.cross_entropy_grad_hess, (VALUE, ENTRIES, ENTRIES), _grad_hess)
