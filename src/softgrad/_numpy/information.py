"""Entropy, divergence and selected log-probabilities of rows: kernels, and formulas where there is none."""

from __future__ import annotations

import numpy as np

from softgrad._formulas import information as formulas
from softgrad._formulas.namespace import NDArray as Array
from softgrad._formulas.namespace import is_one
from softgrad._formulas.precision import value_dtype
from softgrad._numpy import kernels
from softgrad._numpy.implementation import CHOSEN, ENTRIES, VALUE, Implementation, Outs, in_blocks, tempered, write


def log_sum(x: Array, workers: int = 1) -> tuple[Array, ...]:
    """log Σ e^x of every row in three parts whose sum it is, (max, high, low), in float64."""
    parts = tuple(np.empty(x.shape[:-1], value_dtype(np, x.dtype)) for _ in range(3))
    kernels.run("log_sum", (x,), parts, workers)
    return tuple(part.astype(np.float64, copy=False) for part in parts)


def _log_probabilities(outs: Outs, workers: int, x: Array, index: Array, temperature: Array | float) -> None:
    if is_one(temperature):
        write(outs, (formulas.selected(x, index, log_sum(x, workers)),))
    else:
        in_blocks(formulas.log_probabilities, "(n),(k),()", (x, index, temperature), outs, workers)


entropy = Implementation(formulas.entropy, (VALUE,), tempered("entropy", formulas.entropy, "(n),()"))
entropy_grad = Implementation(
    formulas.entropy_grad, (VALUE, ENTRIES), tempered("entropy_grad", formulas.entropy_grad, "(n),()")
)
kl_divergence = Implementation(
    formulas.kl_divergence, (VALUE,), tempered("kl_divergence", formulas.kl_divergence, "(n),(n),()")
)
kl_divergence_grad = Implementation(
    formulas.kl_divergence_grad,
    (VALUE, ENTRIES, ENTRIES),
    tempered("kl_divergence_grad", formulas.kl_divergence_grad, "(n),(n),()"),
)
log_probabilities = Implementation(formulas.log_probabilities, (CHOSEN,), _log_probabilities)
tsallis_entropy = Implementation(formulas.tsallis_entropy, (VALUE,))
