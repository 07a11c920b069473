"""Where every loss starts and ends: logits as rows, and results laid out as their caller's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from softgrad._formulas import losses as generic_losses
from softgrad._formulas.namespace import namespace, widest
from softgrad._formulas.target import Target
from softgrad._numpy import losses as numpy_losses
from softgrad._numpy import threads
from softgrad._validation.arrays import as_mask, as_real, check_out
from softgrad._validation.axis import Axis, Rows
from softgrad._validation.masks import unmasked

Array = Any
Buffers = dict[str, Array | None]


@dataclass(frozen=True, slots=True)
class Logits:
    """Logits as rows along the last axis, entries that take no part at −inf."""

    x: Array
    rows: Rows
    mask: Array | None  # as rows: which entries take part
    masked: Array | None  # the mask of a MaskedArray, in its own layout

    @classmethod
    def of(cls, logits: Any, axis: Axis, where: Any, name: str = "logits") -> Logits:
        """Check `logits`, `axis` and `where`."""
        x, where, masked = unmasked(as_real(logits, name), where)
        xp = namespace(x)
        rows = Rows.of(tuple(x.shape), axis)
        x = rows.gather(x, xp)
        if where is None:
            return cls(x, rows, None, None)
        mask = rows.gather(as_mask(where, rows.shape, xp), xp)
        return cls(xp.where(mask, x, xp.asarray(-xp.inf, dtype=x.dtype)), rows, mask, masked)

    @property
    def xp(self) -> Any:
        """The library that the logits belong to."""
        return namespace(self.x)

    @property
    def wide(self) -> Any:
        """The dtype of numbers of which there is one per row or per class."""
        longdouble = getattr(self.xp, "longdouble", None)
        return longdouble if self.x.dtype == longdouble else widest(self.xp)

    @property
    def present(self) -> Array | None:
        """Which rows have an entry that takes part; None if all have."""
        if self.rows.n == 0:
            return self.xp.zeros(self.rows.batch_shape, dtype=self.xp.bool)
        return None if self.mask is None else self.xp.any(self.mask, axis=-1)

    @property
    def count(self) -> Array | int:
        """How many entries of each row take part, at least 1; per row with a last axis of length 1."""
        if self.mask is None:
            return max(self.rows.n, 1)
        found = self.xp.sum(self.xp.astype(self.mask, self.wide), axis=-1, keepdims=True)
        return self.xp.where(found > 0, found, self.xp.ones_like(found))

    def hidden(self, values: Array) -> Array:
        """`values`, laid out as rows, with 0 for the entries that take no part."""
        return values if self.mask is None else self.xp.where(self.mask, values, self.xp.zeros_like(values))

    def check(self, values: Buffers, slices: Buffers) -> None:
        """TypeError or ValueError unless the buffers that are given can take one value per slice, or per entry."""
        for buffers, shape in ((values, self.rows.batch_shape), (slices, self.rows.shape)):
            for argument, out in buffers.items():
                if out is not None and self.xp is not np:
                    raise TypeError(f"{argument} is for NumPy arrays; got an array of another library")
                if out is not None:
                    check_out(out, shape, self.x.dtype, argument)

    def solve(self, name: str, *operands: Any, values: Buffers, slices: Buffers) -> list[Array]:
        """The array function `name` of the logits: results with one value per slice, then results of their shape.

        `values` and `slices` are the caller's buffers under the names of its arguments; None asks for a new array.
        Entries that take no part get 0, and so do the values of slices without any other.
        """
        self.check(values, slices)
        if self.xp is not np:
            return self._solve_foreign(name, operands, len(values), len(slices))
        per_slice = [np.empty(self.rows.batch_shape, self.x.dtype) if out is None else out for out in values.values()]
        per_entry = [np.empty(self.rows.shape, self.x.dtype) if out is None else out for out in slices.values()]
        as_rows = [self.rows.gather(out) for out in per_entry]  # copies where several axes are one slice
        if self.rows.n:
            outs = (*per_slice, *as_rows)
            workers = threads.count(None, self.x.size)
            read = (self.x, *_entries_of(operands))
            if workers > 1 and any(np.may_share_memory(x, out) for x in read for out in outs):
                workers = 1
            getattr(numpy_losses, name)(self.x, *operands, outs=outs, workers=workers)
        self._clear(per_slice, as_rows)
        if len(self.rows.axes) > 1:
            for out, rows in zip(per_entry, as_rows, strict=True):
                np.copyto(out, self.rows.scatter(rows))
        fresh = [out[()] if given is None else out for out, given in zip(per_slice, values.values(), strict=True)]
        return fresh + [out if self.masked is None else np.ma.MaskedArray(out, self.masked) for out in per_entry]

    def _clear(self, per_slice: list[Array], as_rows: list[Array]) -> None:
        """Write 0 where nothing takes part."""
        if self.present is not None:
            for out in per_slice:
                np.copyto(out, 0, where=~self.present)
        if self.mask is not None:
            for out in as_rows:
                np.copyto(out, 0, where=~self.mask)

    @np.errstate(all="ignore")  # some libraries compute by NumPy, whose warnings are no news: NaN and inf are results
    def _solve_foreign(self, name: str, operands: tuple[Any, ...], values: int, slices: int) -> list[Array]:
        xp = self.xp
        if self.rows.n == 0:
            zeros = [xp.zeros(shape, dtype=self.x.dtype) for shape in (self.rows.batch_shape, self.rows.shape)]
            return [zeros[0]] * values + [zeros[1]] * slices
        results = getattr(generic_losses, name)(self.x, *operands)
        results = results if isinstance(results, tuple) else (results,)
        if self.mask is not None:
            parts = [self.present] * values + [self.mask] * slices
            results = tuple(xp.where(part, r, xp.zeros_like(r)) for part, r in zip(parts, results, strict=True))
        return [*results[:values], *(self.rows.scatter(result, xp) for result in results[values:])]


def _entries_of(operands: tuple[Any, ...]) -> Iterator[Array]:
    """What else a loss reads entry by entry: other logits, or the base of a target."""
    for operand in operands:
        entries = operand.base if isinstance(operand, Target) else operand
        if isinstance(entries, np.ndarray):
            yield entries
