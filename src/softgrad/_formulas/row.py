"""What losses, entropies and divergences are computed from: the exponentials of rows, their sums and their errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from softgrad._formulas.compensated import compensated_sum, log1p_in_parts
from softgrad._formulas.namespace import Array, infinity, namespace, one_hot, per_entry
from softgrad._formulas.precision import as_wide, value_dtype
from softgrad._formulas.softmax import exponentials, sum_without_argmax
from softgrad._formulas.target import Target


@dataclass(frozen=True, slots=True)
class Row:
    """What softmax knows of every row; with k the largest entry, p and 1 − p are exact to a few ulp everywhere."""

    xp: Any
    dtype: Any  # of the operands; everything here has float64 or wider
    x: Array
    m: Array
    shifted: Array  # x − m, and its rounding error
    error: Array
    log: Array  # log Σ e^(x − m), and what its rounding left
    log_low: Array
    p: Array
    complement: Array  # 1 − p
    is_argmax: Array

    @classmethod
    def of(cls, x: Array) -> Row:
        xp, dtype = namespace(x), x.dtype
        x = as_wide(x)
        m, shifted, error, e = exponentials(xp, x, None, 1.0)
        others, others_low = sum_without_argmax(xp, e)
        log = log1p_in_parts(xp, others, others_low)
        total, low = compensated_sum(xp, e)
        p = e / total
        p = p - p * (low / total)
        is_argmax = one_hot(xp, xp.argmax(e, axis=-1, keepdims=True), e)
        complement = xp.where(is_argmax, (others + others_low) / total, 1 - p)
        return cls(xp, dtype, x, m, shifted, error, *log, p, complement, is_argmax)

    @property
    def zeros(self) -> Array:
        return self.xp.zeros_like(self.p)

    @property
    def lse(self) -> Array:
        return self.m + self.log

    @property
    def impossible(self) -> Array:
        """Where p is 0, and not merely too small for a number."""
        return self.x == -infinity(self.xp, self.x)

    def scaled(self, part: Array, target: Target) -> Array:
        """`part` times the weight of its row."""
        return target.weighted(part, of_entries=part.ndim == self.p.ndim)

    def narrowed(self, result: Array) -> Array:
        """`result` rounded once, to the dtype of the operands; one number per row to no less than float32."""
        of_entries = result.ndim == self.p.ndim
        dtype = self.dtype if of_entries else value_dtype(self.xp, self.dtype)
        return self.xp.astype(result, dtype, copy=False)

    def coefficients(self, target: Target) -> Array:
        """The coefficients t."""
        xp, t = self.xp, self.zeros
        if target.soft is not None:
            t = t + xp.astype(target.soft, t.dtype, copy=False)
        if target.labels is not None:
            at_label = one_hot(xp, target.labels[..., None], t)
            t = xp.where(at_label, t + per_entry(xp.asarray(target.label_weight, dtype=t.dtype)), t)
        return t
