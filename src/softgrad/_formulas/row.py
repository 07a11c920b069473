"""What losses, entropies and divergences are computed from: the exponentials of rows, their sums and their errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from softgrad._formulas.compensated import compensated_sum, log1p_in_parts, two_product, two_sum
from softgrad._formulas.namespace import Array, infinity, is_one, namespace, one_hot, per_entry
from softgrad._formulas.precision import as_wide, value_dtype
from softgrad._formulas.softmax import by_logits, exponentials, sum_without_argmax
from softgrad._formulas.target import Target


@dataclass(frozen=True, slots=True)
class Row:
    """What softmax of x/T knows of every row; with k the largest entry, p and 1 − p are exact to a few ulp everywhere.

    A loss is a function of x/T, and what is derived from it here belongs to that; `by_logits` makes it a derivative
    with respect to x.
    """

    xp: Any
    dtype: Any  # of the operands; everything here has float64 or wider
    x: Array
    temperature: Array | float  # 1.0, or one number for each row with a last axis of 1, or for all rows
    m: Array
    shifted: Array  # (x − m)/T, and its rounding error
    error: Array
    log: Array  # log Σ e^((x − m)/T), and what its rounding left
    log_low: Array
    p: Array
    complement: Array  # 1 − p
    is_argmax: Array

    @classmethod
    def of(cls, x: Array, temperature: Array | float = 1.0) -> Row:
        xp, dtype = namespace(x), x.dtype
        x = as_wide(x)
        if not is_one(temperature):
            temperature = xp.astype(xp.asarray(per_entry(temperature)), x.dtype)
        m, shifted, error, e = exponentials(xp, x, None, temperature)
        others, others_low = sum_without_argmax(xp, e)
        log = log1p_in_parts(xp, others, others_low)
        total, low = compensated_sum(xp, e)
        p = e / total
        p = p - p * (low / total)
        is_argmax = one_hot(xp, xp.argmax(e, axis=-1, keepdims=True), e)
        complement = xp.where(is_argmax, (others + others_low) / total, 1 - p)
        return cls(xp, dtype, x, temperature, m, shifted, error, *log, p, complement, is_argmax)

    @property
    def zeros(self) -> Array:
        return self.xp.zeros_like(self.p)

    @property
    def lse(self) -> Array:
        """The logsumexp of x/T."""
        xp, m, T = self.xp, self.m, self.temperature
        if is_one(T):
            return m + self.log
        quotient = xp.where(m == 0, m, m / T)
        product, low = two_product(quotient, xp.broadcast_to(T, m.shape))
        total, lost = two_sum(quotient, self.log)
        tail = lost + ((m - product) - low) / T + self.log_low
        return total + xp.where(xp.isfinite(tail), tail, xp.zeros_like(tail))

    @property
    def impossible(self) -> Array:
        """Where p is 0, and not merely too small for a number."""
        minus_infinity = -infinity(self.xp, self.x)
        found = self.x == minus_infinity
        return (
            found if is_one(self.temperature) else found | ((self.temperature == 0) & (self.shifted == minus_infinity))
        )

    def by_logits(self, part: Array) -> Array:
        """A derivative with respect to x/T as one with respect to x."""
        return by_logits(part, self.temperature)

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
