"""What the rows of a cross-entropy are compared with, in the one form that every loss here is reduced to."""

from __future__ import annotations

from dataclasses import dataclass

from softgrad._formulas.namespace import Array, namespace, per_entry


@dataclass(frozen=True, slots=True)
class Target:
    """The coefficients t of a row, t_j = soft_j + label_weight·[j = label], and what multiplies and joins its loss.

    The loss of a row of logits x is row_weight·(Σ_j t_j (lse − x_j) + z_loss·lse²) with lse = logsumexp(x). A row whose
    weight is 0 is not read: its loss and its derivatives are 0.
    """

    soft: Array | None  # shape (..., n) or (n,); None: 0
    labels: Array | None  # shape (...), integers in [0, n)
    label_weight: Array | float  # shape (...)
    row_weight: Array | float  # shape (...)
    z_loss: float = 0.0

    def weighted(self, part: Array, *, of_entries: bool) -> Array:
        """`part`, of every row or of its entries, times the weight of the row; 0 where that is 0, whatever it is."""
        xp = namespace(part)
        weight = xp.asarray(self.row_weight, dtype=part.dtype)
        weight = per_entry(weight) if of_entries else weight
        return xp.where(weight == 0, xp.zeros_like(part), part * weight)

    @property
    def is_label(self) -> bool:
        """Whether nothing but the label counts: t is 0 elsewhere and there is no z-loss."""
        return self.soft is None and self.z_loss == 0
