"""Losses of NumPy arrays: the functions of `generic_losses`, on the native kernels where they apply.

Every function takes rows along the last axis, and optionally the arrays to write to, of the results' shapes and dtype.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from softgrad.arrays import generic_losses
from softgrad.arrays.targets import Target

Array = np.ndarray[Any, Any]
Outs = tuple[Array, ...]


def cross_entropy(x: Array, target: Target, outs: Outs, workers: int = 1) -> None:
    """The loss of every row."""
    _formula("cross_entropy", (x, target), outs)


def cross_entropy_grad(x: Array, target: Target, outs: Outs, workers: int = 1) -> None:
    """The loss of every row and its gradient."""
    _formula("cross_entropy_grad", (x, target), outs)


def cross_entropy_grad_hess(
    x: Array, target: Target, factor: Array | float | None, outs: Outs, workers: int = 1
) -> None:
    """The loss of every row, its gradient and `factor` times the diagonal of its Hessian."""
    _formula("cross_entropy_grad_hess", (x, target, factor), outs)


def log_probabilities(x: Array, index: Array) -> Array:
    """log p at the entries `index`, shape (..., k), of every row."""
    with np.errstate(all="ignore"):
        return np.asarray(generic_losses.log_probabilities(x, index))


def focal(x: Array, labels: Array, gamma: float) -> tuple[Array, Array]:
    """(1 − p)^γ ℓ at the label, ℓ = −log p, and its derivative with respect to ℓ, in float64 or wider."""
    with np.errstate(all="ignore"):
        return generic_losses.focal(x, labels, gamma)


def entropy(x: Array, outs: Outs, workers: int = 1) -> None:
    """−Σ p log p of every row."""
    _formula("entropy", (x,), outs)


def entropy_grad(x: Array, outs: Outs, workers: int = 1) -> None:
    """The entropy of every row and its gradient."""
    _formula("entropy_grad", (x,), outs)


def kl_divergence(a: Array, b: Array, outs: Outs, workers: int = 1) -> None:
    """Σ p (log p − log q) of every row."""
    _formula("kl_divergence", (a, b), outs)


def kl_divergence_grad(a: Array, b: Array, outs: Outs, workers: int = 1) -> None:
    """The divergence of every row and its gradients with respect to both logits."""
    _formula("kl_divergence_grad", (a, b), outs)


def _formula(name: str, operands: tuple[Any, ...], outs: Outs) -> None:
    with np.errstate(all="ignore"):  # NaN, inf and underflow are results here, never news
        results = getattr(generic_losses, name)(*operands)
        for out, result in zip(outs, results if isinstance(results, tuple) else (results,), strict=True):
            np.copyto(out, result, casting="same_kind")
