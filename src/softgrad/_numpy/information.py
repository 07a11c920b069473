"""Entropy, divergence and selected log-probabilities of rows: kernels, and formulas where there is none."""

from __future__ import annotations

import numpy as np

from softgrad._formulas import information as formulas
from softgrad._formulas.namespace import NDArray as Array
from softgrad._formulas.precision import value_dtype
from softgrad._numpy import kernels
from softgrad._numpy.implementation import CHOSEN, ENTRIES, VALUE, Implementation, Outs, one_kernel, write


def log_sum(x: Array, workers: int = 1) -> tuple[Array, ...]:
    """log Σ e^x of every row in three parts whose sum it is, (max, high, low), in float64."""
    parts = tuple(np.empty(x.shape[:-1], value_dtype(np, x.dtype)) for _ in range(3))
    kernels.run("log_sum", (x,), parts, workers)
    return tuple(part.astype(np.float64, copy=False) for part in parts)


def _log_probabilities(outs: Outs, workers: int, x: Array, index: Array) -> None:
    write(outs, (formulas.selected(x, index, log_sum(x, workers)),))


entropy = Implementation(formulas.entropy, (VALUE,), one_kernel("entropy"))
entropy_grad = Implementation(formulas.entropy_grad, (VALUE, ENTRIES), one_kernel("entropy_grad"))
kl_divergence = Implementation(formulas.kl_divergence, (VALUE,), one_kernel("kl_divergence"))
kl_divergence_grad = Implementation(
    formulas.kl_divergence_grad, (VALUE, ENTRIES, ENTRIES), one_kernel("kl_divergence_grad")
)
log_probabilities = Implementation(formulas.log_probabilities, (CHOSEN,), _log_probabilities)
tsallis_entropy = Implementation(formulas.tsallis_entropy, (VALUE,))
