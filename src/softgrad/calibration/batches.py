"""Logits and labels in batches of rows: a function of every batch, merged from the first to the last.

What is computed of a batch depends on its rows alone, so that splits differ only in how results are merged.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from softgrad._formulas.namespace import NDArray as Array
from softgrad._formulas.precision import silent
from softgrad._validation.arrays import as_mask, as_real, as_temperature
from softgrad._validation.axis import Rows
from softgrad._validation.labels import as_labels, as_weight

Found = TypeVar("Found")


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Rows of logits with what belongs to them; rows that are ignored are left out."""

    rows: Array
    """Of a floating dtype, shape (R, n); −inf where masked out."""
    labels: Array
    temperature: Any
    """One number, or one for each row."""
    weight: Array | None
    n_bytes: Array | None
    index: Array | None
    """The number of each row in the block, where some are left out."""
    start: tuple[int, ...]
    shape: tuple[int, ...]
    """Of the slices of the block, and where they begin in the source."""
    reading: Reading

    def refuse(self, row: int, reason: str) -> ValueError:
        """The error of one row, with its place."""
        flat = row if self.index is None else int(self.index[row])
        place = [int(i) + first for i, first in zip(np.unravel_index(flat, self.shape), self.start, strict=True)]
        source, reading = self.reading.source, self.reading
        if reading.axis > 0 and (found := reading.located(place[0])):
            source, place[0] = found
        where = f"[{', '.join(map(str, place))}]" if place else ""
        return ValueError(f"{source}{where if source == 'logits' else f', slice {where}'}: {reason}")


def nowhere(row: int) -> None:
    """What knows the shard of a row where there are none."""


@dataclass(frozen=True)
class Reading:
    """How a block becomes a batch."""

    axis: int
    n: int
    temperature: float = 1.0
    ignore_index: int | None = None
    source: str = "logits"
    files: tuple[tuple[str, str], ...] = ()
    """The file that an operand comes from, by its name."""
    located: Callable[[int], tuple[str, int] | None] = nowhere
    """The shard of a row along the first axis, and which row of that it is."""

    @silent
    def batch(self, block: Any, given: dict[str, Any], start: tuple[int, ...]) -> Batch:
        """Check a block; `start` is the position of its first slice."""
        mask = given.get("where")
        if isinstance(block, np.ma.MaskedArray):
            hidden = np.ma.getmaskarray(block)
            block, mask = block.data, ~hidden if mask is None else ~hidden & mask
        x = as_real(block, "logits")
        layout = Rows(x.shape, (self.axis,))
        shape = layout.batch_shape
        labels = self._located(
            "labels", lambda: as_labels(given["labels"], shape, self.n, self.ignore_index, start=start)
        )
        keep = None if labels.ignored is None else ~labels.ignored.reshape(-1)
        x = layout.to_rows(x).reshape(math.prod(shape), self.n)
        if mask is not None:
            valid = layout.to_rows(as_mask(mask, layout.shape)).reshape(math.prod(shape), self.n)
            x = np.where(valid, x, x.dtype.type(-np.inf))
            present = valid.any(axis=-1)
            keep = present if keep is None else keep & present
        columns = {"labels": labels.index.reshape(-1)}
        for name in ("sample_weight", "n_bytes"):
            if (values := given.get(name)) is not None:
                values = (
                    np.reshape(values, shape) if np.size(values) == math.prod(shape) else values
                )  # a table's column
                check = partial(as_weight, values, shape, np.float64, np, name, start)
                columns[name] = self._located(name, check).reshape(-1)
        temperature: Any = self.temperature
        if "temperature" in given:
            check = partial(as_temperature, given["temperature"], layout)
            temperature = np.asarray(self._located("temperature", check)).reshape(-1)
        if (weight := columns.get("sample_weight")) is not None and not weight.all():
            keep = weight > 0 if keep is None else keep & (weight > 0)
        index = None
        if keep is not None and not keep.all():
            index = np.flatnonzero(keep)
            x, columns = x[index], {name: values[index] for name, values in columns.items()}
            temperature = temperature[index] if np.ndim(temperature) else temperature
        return Batch(
            x,
            columns["labels"],
            temperature,
            columns.get("sample_weight"),
            columns.get("n_bytes"),
            index,
            start,
            shape,
            self,
        )

    def _located(self, name: str, check: Callable[[], Found]) -> Found:
        try:
            return check()
        except (IndexError, ValueError) as error:
            where = dict(self.files).get(name)
            if where is None:
                raise
            raise type(error)(f"{where}: {error}") from None


@dataclass(frozen=True)
class Data:
    """Where logits and labels are."""

    reading: Reading

    def fold(self, f: Callable[[Batch], Found], add: Callable[[Found, Found], Found]) -> Found:
        """`f` of every batch, merged by `add` from the first to the last."""
        raise NotImplementedError
