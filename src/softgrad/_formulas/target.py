"""What the rows of a cross-entropy are compared with, in the one form that every loss here is reduced to."""

from __future__ import annotations

from dataclasses import dataclass

from softgrad._formulas.namespace import Array


@dataclass(frozen=True, slots=True)
class Target:
    """The coefficients t of a row, t_j = base_j + label_weight·[j = label], and what multiplies and joins its loss.

    The loss of a row of logits x is scale·(Σ_j t_j (lse − x_j) + z_loss·lse²) with lse = logsumexp(x). A row whose
    scale is 0 is not read: its loss and its derivatives are 0.
    """

    base: Array | None  # shape (..., n) or (n,); None: 0
    labels: Array | None  # shape (...), integers in [0, n)
    label_weight: Array | float  # shape (...)
    scale: Array | float  # shape (...)
    z_loss: float = 0.0

    @property
    def is_label(self) -> bool:
        """Whether nothing but the label counts: t is 0 elsewhere and there is no z-loss."""
        return self.base is None and self.z_loss == 0
