"""What an evaluation and the fit of a temperature ask of rows and their labels, as array formulas.

With m the largest entry, y the label and z_j = (m − x_j)/T, the loss is log Σ_j e^−z_j + z_y and the entropy
log Σ_j e^−z_j + Σ_j p_j z_j: nothing cancels, and a loss of 10⁻¹⁸ is one. Results have the dtype of computation.
"""

from __future__ import annotations

from softgrad._formulas.namespace import Array, is_one, one_hot, row_sum
from softgrad._formulas.precision import silent
from softgrad._formulas.row import Row


@silent
def scores(x: Array, labels: Array, temperature: Array | float = 1.0) -> tuple[Array, Array, Array, Array, Array]:
    """Loss, Brier score, entropy and confidence of every row, and how many entries are before the one at the label.

    Before it are the larger ones, and of equal ones those of smaller index.
    """
    row = Row.of(x, temperature)
    xp, labels = row.xp, labels[..., None]
    at_label = one_hot(xp, labels, row.p)
    x_label = _at(row, at_label, row.x)
    is_before = (row.x > x_label) | ((row.x == x_label) & (xp.arange(x.shape[-1], dtype=labels.dtype) < labels))
    rank = row_sum(xp.astype(is_before, row.p.dtype))
    # Σ_j (p_j − [j = y])² is d² + Σ_{j≠k} p_j² where the label is the largest entry k, with d = 1 − p_k.
    p_first, d = _at(row, row.is_argmax, row.p), _at(row, row.is_argmax, row.complement)
    others = xp.where(row.is_argmax, row.zeros, row.p)
    at_two = xp.where(rank == 0, d * d, 1 - 2 * _at(row, at_label, row.p) + p_first * p_first)
    brier = at_two + row_sum(others * others)
    found = row.log + _fall(row, x_label), brier, row.log + row_sum(_times_gap(row)), p_first, rank
    nll, brier, entropy, confidence, rank = (score[..., 0] for score in found)
    return nll, brier, entropy, confidence, rank


@silent
def temperature_slope(x: Array, labels: Array, temperature: Array | float = 1.0) -> tuple[Array, Array, Array]:
    """The loss of every row, its derivative z_y − Σ p z with respect to log 1/T, and the variance of z under p."""
    row = Row.of(x, temperature)
    fall = _fall(row, _at(row, one_hot(row.xp, labels[..., None], row.p), row.x))
    mean = row_sum(_times_gap(row))
    deviation = row.xp.where(row.p == 0, row.zeros, row.shifted + mean)
    variance = row_sum(row.p * deviation * deviation)
    return (row.log + fall)[..., 0], (fall - mean)[..., 0], variance[..., 0]


def _at(row: Row, where: Array, values: Array) -> Array:
    """The value of each row at its one place."""
    return row_sum(row.xp.where(where, values, row.zeros))


def _times_gap(row: Row) -> Array:
    """p z, 0 where p is, for there z may be infinite."""
    return row.xp.where(row.p == 0, row.zeros, -row.p * row.shifted)


def _fall(row: Row, x_label: Array) -> Array:
    """z_y."""
    fall = row.m - x_label
    return fall if is_one(row.temperature) else row.xp.where(fall == 0, fall, fall / row.temperature)
