"""Relaxed draws as a composition of functions that have derivatives."""

from __future__ import annotations

from typing import Any

from softgrad._api.sampling import hardened, log_probabilities
from softgrad._api.softmax import softmax
from softgrad._dispatch import dispatched
from softgrad._formulas.namespace import Array, namespace
from softgrad._formulas.precision import as_wide, value_dtype
from softgrad._formulas.sampling import gumbel
from softgrad._validation.axis import Rows


def relaxed(logits: Array, uniforms: Array, *, hard: bool = False, **options: Any) -> Array:
    """gumbel_softmax; a hard draw is that of y as a constant, and y − y adds the derivative of y."""
    xp = namespace(logits)
    y = softmax(as_wide(logits) + gumbel(xp, as_wide(uniforms)), **options)
    y = xp.astype(y, logits.dtype, copy=False)
    return _hardened(y) + (y - _constant(y)) if hard else y


def log_prob(logits: Array, index: Array, **options: Any) -> Array:
    """sample_log_prob, of draws with a last axis or without."""
    xp = namespace(logits)
    several = index.ndim == logits.ndim
    found = log_probabilities(logits, index if several else index[..., None], **options)
    found = xp.astype(found, value_dtype(xp, logits.dtype), copy=False)
    return found if several else found[..., 0]


@dispatched("(n)->(n)", constant=True)
def _hardened(y: Array, /, *, axis: int = -1) -> Array:
    return hardened(y, Rows.of(tuple(y.shape), axis))


@dispatched("(n)->(n)", constant=True)
def _constant(y: Array, /, *, axis: int = -1) -> Array:
    return y
