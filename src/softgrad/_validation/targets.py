"""What a loss compares its rows with, from labels or distributions and their options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from softgrad._formulas.losses import smoothed
from softgrad._formulas.namespace import Array
from softgrad._formulas.precision import value_dtype
from softgrad._formulas.target import Target
from softgrad._validation.labels import as_labels, as_nonnegative, as_number, as_targets, as_weight
from softgrad._validation.logits import Logits


@dataclass(frozen=True, slots=True)
class LossOptions:
    """The options of cross-entropy that make its target, as a user gives them."""

    weight: Any = None
    sample_weight: Any = None
    label_smoothing: Any = 0.0
    ignore_index: Any = None
    z_loss: Any = 0.0

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Those among the options of a call."""
        return cls(**{field.name: options[field.name] for field in fields(cls) if field.name in options})


def label_target(rows: Logits, labels: Any, options: LossOptions) -> Target:
    """The target that labels and their options stand for."""
    xp, n = rows.xp, rows.rows.n
    labels, ignored, outside = as_labels(labels, rows.rows.batch_shape, n, options.ignore_index, xp)
    smoothing, z_loss = _numbers(options)
    scale = _scale(rows, options.sample_weight, ignored)
    if outside is not None:
        scale = xp.where(outside, xp.asarray(xp.nan, dtype=rows.wide), xp.asarray(scale, dtype=rows.wide))
    per_class = None if options.weight is None else as_weight(options.weight, (n,), rows.wide, xp, "weight")
    at_label: Any = 1.0
    if per_class is not None and n:
        at_label = xp.reshape(xp.take(per_class, xp.reshape(labels, (-1,))), labels.shape)
    if smoothing == 0 and z_loss == 0:
        return Target(None, labels, 1.0, scale * at_label)
    base = None
    if smoothing:
        even, dtype = xp.zeros(n, dtype=rows.wide), value_dtype(xp, rows.x.dtype)
        base = rows.zero_masked(
            smoothed(even, 1.0 if per_class is None else per_class, smoothing, rows.valid_count, dtype)
        )
    return Target(base, labels, (1 - smoothing) * at_label, scale, z_loss)


def soft_target(rows: Logits, targets: Any, options: LossOptions) -> Target:
    """The target of distributions and their options."""
    xp, n = rows.xp, rows.rows.n
    dtype = value_dtype(xp, rows.x.dtype)
    base = rows.rows.to_rows(as_targets(targets, rows.rows.shape, dtype, xp), xp)
    smoothing, z_loss = _numbers(options)
    scale = _scale(rows, options.sample_weight, None)
    per_class = 1.0 if options.weight is None else as_weight(options.weight, (n,), rows.wide, xp, "weight")
    base = as_nonnegative(rows.zero_masked(base), "targets", xp)
    if smoothing or options.weight is not None:
        base = rows.zero_masked(smoothed(base, per_class, smoothing, rows.valid_count, dtype))
    return Target(base, None, 0.0, scale, z_loss)


def _numbers(options: LossOptions) -> tuple[float, float]:
    return as_number(options.label_smoothing, "label_smoothing", 1), as_number(options.z_loss, "z_loss")


def _scale(rows: Logits, sample_weight: Any, ignored: Array | None) -> Array | float:
    """What multiplies the loss of each row: 0 where it is ignored or has nothing to read."""
    xp, shape = rows.xp, rows.rows.batch_shape
    scale: Any = 1.0
    if sample_weight is not None:
        scale = as_weight(sample_weight, shape, rows.wide, xp, "sample_weight")
    for unread in (ignored, None if rows.present is None else ~rows.present):
        if unread is not None:
            scale = xp.where(unread, xp.zeros(shape, dtype=rows.wide), xp.asarray(scale, dtype=rows.wide))
    return scale
