"""What `softgrad sample` draws: entries that pass the filters of the command line."""

from __future__ import annotations

from typing import Any

import softgrad
from softgrad._api.sampling import OF_NUMBERS, sample_from, uniforms_for
from softgrad._dispatch import CHOICES, rows_of


def filtered_from(
    logits: Any,
    uniforms: Any,
    size: int | None = None,
    *,
    axis: int = -1,
    temperature: Any = 1.0,
    where: Any = None,
    replace: bool = True,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> Any:
    """The draws that uniform numbers stand for, of what the filters keep, each of what the one before keeps."""
    if top_k is not None:
        where = softgrad.top_k_mask(logits, top_k, axis=axis, where=where)
    if top_p is not None:
        where = softgrad.top_p_mask(logits, top_p, axis=axis, where=where, temperature=temperature)
    if min_p is not None:
        where = softgrad.min_p_mask(logits, min_p, axis=axis, where=where, temperature=temperature)
    return sample_from(logits, uniforms, size, axis=axis, temperature=temperature, where=where, replace=replace)


def filtered(
    logits: Any, size: int | None = None, *, rng: Any = None, axis: int = -1, replace: bool = True, **options: Any
) -> Any:
    """The same by the numbers of a generator; `apply_blocks` calls `filtered_from` with those of each block."""
    uniforms = uniforms_for(rows_of(logits, axis), CHOICES, rng, size, replace).drawn()
    return filtered_from(logits, uniforms, size, axis=axis, replace=replace, **options)


OF_NUMBERS[filtered] = (filtered_from, CHOICES)
