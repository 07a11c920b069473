"""How much of a distribution is kept: a number of entries or a probability, for all slices or for each."""

from __future__ import annotations

from typing import Any

import numpy as np

from softgrad._formulas.namespace import Array, is_known, widest
from softgrad._validation.arrays import broadcast_to, without_mask
from softgrad._validation.axis import Rows


def as_count(k: Any, rows: Rows, xp: Any = np) -> Array | int:
    """`k` as an integer of at least 1, or as one per slice; what cannot be looked at yet is checked by nobody."""
    k = without_mask(k, "k")
    if not is_known(k):
        return _per_slice("k", xp.asarray(k), rows, xp)
    if np.ndim(k) == 0:
        try:
            count = int(k.__index__())
        except (AttributeError, TypeError):
            raise TypeError(f"k must be an integer or an array of integers; got {k!r}") from None
        if isinstance(k, bool | np.bool):
            raise TypeError(f"k must be an integer or an array of integers; got {k!r}")
        if count < 1:
            raise ValueError(f"k must be at least 1; got {k}")
        return min(count, np.iinfo(np.int32).max)
    values = np.asarray(k) if xp is np else xp.asarray(k)
    if not (values.dtype.kind in "iu" if xp is np else xp.isdtype(values.dtype, "integral")):
        raise TypeError(f"k must be an integer or an array of integers; got dtype {values.dtype}")
    if xp.any(values < 1):
        raise ValueError(f"k must be at least 1 everywhere; got {int(xp.min(values))}")
    return _per_slice("k", values, rows, xp)


def as_share(p: Any, rows: Rows, xp: Any = np) -> Array | float:
    """`p` as a number in [0, 1], or as one per slice; what cannot be looked at yet is checked by nobody."""
    p = without_mask(p, "p")
    if not is_known(p):
        return _per_slice("p", xp.astype(xp.asarray(p), widest(xp)), rows, xp)
    try:
        share = float(p) if np.ndim(p) == 0 else None
        values = np.asarray(p, dtype=np.float64) if xp is np else xp.asarray(p)
    except (TypeError, ValueError):
        raise TypeError(f"p must be a number or an array of numbers; got {p!r}") from None
    if share is not None:
        if not 0 <= share <= 1:
            raise ValueError(f"p must lie in [0, 1]; got {share}")
        return share
    bad = ~((values >= 0) & (values <= 1))
    if xp.any(bad):
        raise ValueError(f"p must lie in [0, 1]; got {float(values[bad][0])}")
    return _per_slice("p", values, rows, xp)


def _per_slice(name: str, values: Array, rows: Rows, xp: Any) -> Array:
    if values.ndim == len(rows.shape) and all(values.shape[a] == 1 for a in rows.axes):
        values = xp.squeeze(values, axis=rows.axes)  # given with the slice's axes kept as 1
    return broadcast_to(name, values, rows.batch_shape, xp)
