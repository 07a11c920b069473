"""Losses of NumPy arrays: the functions of `generic_losses`, on the native kernels where they apply.

Every function takes rows along the last axis, and the arrays to write to, of the results' shapes and dtype. The kernels
know every type but longdouble; half precision is computed in float32 and rounded once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from softgrad._formulas import losses as generic_losses
from softgrad._formulas.target import Target
from softgrad._numpy import kernels

Array = np.ndarray[Any, Any]
Outs = tuple[Array, ...]


def cross_entropy(x: Array, target: Target, outs: Outs, workers: int = 1) -> None:
    """The loss of every row."""
    if not kernels.has_kernel(x):
        _formula("cross_entropy", (x, target), outs)
    elif target.is_label:
        kernels.run("cross_entropy", (x, target.labels, _label_scale(target)), outs, workers)
    else:
        kernels.run("target_cross_entropy", _operands(x, target), outs, workers)


def cross_entropy_grad(x: Array, target: Target, outs: Outs, workers: int = 1) -> None:
    """The loss of every row and its gradient."""
    if not kernels.has_kernel(x):
        _formula("cross_entropy_grad", (x, target), outs)
    elif target.is_label:
        kernels.run("cross_entropy_grad", (x, target.labels, _label_scale(target)), outs, workers)
    else:
        kernels.run("target_cross_entropy_grad", _operands(x, target), outs, workers)


def cross_entropy_grad_hess(
    x: Array, target: Target, factor: Array | float | None, outs: Outs, workers: int = 1
) -> None:
    """The loss of every row, its gradient and `factor` times its Hessian's diagonal (None: the gradient's size)."""
    if factor is None:
        cross_entropy_grad(x, target, outs[:2], workers)
        np.abs(outs[1], out=outs[2])
    elif not kernels.has_kernel(x):
        _formula("cross_entropy_grad_hess", (x, target, factor), outs)
    elif target.is_label:
        kernels.run("cross_entropy_grad_hess", (x, target.labels, _label_scale(target), factor), outs, workers)
    else:
        kernels.run("target_cross_entropy_grad_hess", (*_operands(x, target), factor), outs, workers)


def log_probabilities(x: Array, index: Array, workers: int = 1) -> Array:
    """log p at the entries `index`, shape (..., k), of every row."""
    with np.errstate(all="ignore"):
        return np.asarray(generic_losses.selected(x, index, _log_sum(x, workers)), dtype=x.dtype)


def focal(x: Array, labels: Array, gamma: float, workers: int = 1) -> tuple[Array, Array]:
    """(1 − p)^γ ℓ at the label, ℓ = −log p, and its derivative with respect to ℓ, in float64 or wider."""
    with np.errstate(all="ignore"):
        at_label = generic_losses.selected(x, labels[..., np.newaxis], _log_sum(x, workers))
        return generic_losses.focused(-at_label[..., 0], gamma)


def entropy(x: Array, outs: Outs, workers: int = 1) -> None:
    """−Σ p log p of every row."""
    if kernels.has_kernel(x):
        kernels.run("entropy", (x,), outs, workers)
    else:
        _formula("entropy", (x,), outs)


def entropy_grad(x: Array, outs: Outs, workers: int = 1) -> None:
    """The entropy of every row and its gradient."""
    if kernels.has_kernel(x):
        kernels.run("entropy_grad", (x,), outs, workers)
    else:
        _formula("entropy_grad", (x,), outs)


def kl_divergence(a: Array, b: Array, outs: Outs, workers: int = 1) -> None:
    """Σ p (log p − log q) of every row."""
    if kernels.has_kernel(a):
        kernels.run("kl_divergence", (a, b), outs, workers)
    else:
        _formula("kl_divergence", (a, b), outs)


def kl_divergence_grad(a: Array, b: Array, outs: Outs, workers: int = 1) -> None:
    """The divergence of every row and its gradients with respect to both logits."""
    if kernels.has_kernel(a):
        kernels.run("kl_divergence_grad", (a, b), outs, workers)
    else:
        _formula("kl_divergence_grad", (a, b), outs)


def _log_sum(x: Array, workers: int) -> tuple[Array, ...]:
    if not kernels.has_kernel(x):  # a power multiplies what errors there are
        return tuple(part.astype(np.longdouble) for part in generic_losses.log_sum(x))
    x = x.astype(np.float32, copy=False) if x.dtype.itemsize < 4 else x
    parts = tuple(np.empty(x.shape[:-1], x.dtype) for _ in range(3))
    kernels.run("log_sum", (x,), parts, workers)
    return tuple(part.astype(np.float64, copy=False) for part in parts)


def _label_scale(target: Target) -> Array:
    return np.asarray(target.scale * target.label_weight, dtype=np.float64)


def _operands(x: Array, target: Target) -> tuple[Any, ...]:
    base = np.zeros(x.shape[-1], x.dtype) if target.base is None else target.base
    labels = np.int64(0) if target.labels is None else target.labels
    return x, base, labels, target.label_weight, target.scale, target.z_loss


def _formula(name: str, operands: tuple[Any, ...], outs: Outs) -> None:
    with np.errstate(all="ignore"):  # NaN, inf and underflow are results here, never news
        results = getattr(generic_losses, name)(*operands)
        for out, result in zip(outs, results if isinstance(results, tuple) else (results,), strict=True):
            np.copyto(out, result, casting="same_kind")
