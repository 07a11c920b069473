"""The way into every function of rows and out of it: what a user passes as rows, and results laid out as the user's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVarTuple

import numpy as np

from softgrad._formulas.namespace import Array, namespace
from softgrad._formulas.precision import value_dtype, wide_dtype
from softgrad._formulas.target import Target
from softgrad._numpy import threads
from softgrad._numpy.implementation import VALUE, Implementation, write
from softgrad._validation.arrays import as_floating_dtype, as_mask, as_real, check_out, in_common, promoted
from softgrad._validation.axis import Axis, Rows
from softgrad._validation.masks import unmasked, unmasked_operands

Operands = TypeVarTuple("Operands")
Buffers = dict[str, Array | None]
"""Where a user wants the results, by the names of the arguments; None stands for a new array."""


class Logits(NamedTuple):
    """An array as rows along the last axis, and what of its options belongs to its slices."""

    x: Array
    whole: Array
    """The array as the user's is laid out."""
    rows: Rows
    xp: Any
    dtype: Any
    """Of the results."""
    mask: Array | None
    """Which entries are valid, as rows."""
    masked: Array | None
    """The mask of a MaskedArray, in its own layout."""
    filled: bool = False
    """Whether entries that are masked out are −inf, and results are 0 there and for rows without a valid entry."""
    value_dtype: Any = None
    """Of results with one number per row, if it is not `dtype`."""
    is_discrete: bool = False
    """Whether results are masks: they are computed in `dtype`, not in that of `x`."""

    @classmethod
    def of(cls, x: Any, axis: Axis, where: Any = None, dtype: Any = None, name: str = "x") -> Logits:
        """Check `x`, `axis`, `where` and the dtype of the result; the wider of it and that of `x` is computed in."""
        x, where, masked = unmasked(as_real(x, name), where)
        rows = Rows.of(tuple(x.shape), axis)
        xp = namespace(x)
        if dtype is None:
            dtype = x.dtype
        else:
            dtype = as_floating_dtype(dtype) if xp is np else dtype
            x = xp.astype(x, promoted(xp, x.dtype, dtype), copy=False)
        mask = None if where is None else rows.to_rows(as_mask(where, rows.shape, xp), xp)
        return cls(rows.to_rows(x, xp), x, rows, xp, dtype, mask, masked)

    @classmethod
    def of_loss(cls, logits: Any, axis: Axis, where: Any, dtype: Any = None, name: str = "logits") -> Logits:
        """Check `logits`, `axis` and `where`; entries that are masked out become −inf, which no sum contains.

        Without `dtype` losses of half precision are float32, and their gradients of the dtype of the logits.
        """
        found = cls.of(logits, axis, where, dtype, name)
        xp, x = found.xp, found.x
        if found.mask is not None:
            x = xp.where(found.mask, x, xp.asarray(-xp.inf, dtype=x.dtype))
        return found._replace(x=x).with_values(dtype)

    @classmethod
    def pair(cls, axis: Axis, where: Any, dtype: Any = None, **logits: Any) -> tuple[Logits, ...]:
        """Logits of losses in one shape and dtype, with the masks of all."""
        arrays = {}
        for name, x in logits.items():
            arrays[name], where, _ = unmasked(as_real(x, name), where)
        return tuple(
            cls.of_loss(x, axis, where, dtype, name) for x, name in zip(in_common(arrays), arrays, strict=True)
        )

    @classmethod
    def output(cls, axis: Axis, masked_out: float, **operands: Any) -> tuple[Logits, list[Array]]:
        """The output of a normalization, and the directions beside it as rows of its shape and dtype.

        Where any of them is masked the output becomes `masked_out`, beside which no direction counts.
        """
        masked = None
        if any(isinstance(a, np.ma.MaskedArray) for a in operands.values()):
            operands, masked = unmasked_operands(operands, masked_out)
        first, *others = in_common({name: as_real(a, name) for name, a in operands.items()})
        rows, xp = Rows.of(tuple(first.shape), axis), namespace(first)
        found = cls(rows.to_rows(first, xp), first, rows, xp, first.dtype, None, masked)
        return found, [rows.to_rows(a, xp) for a in others]

    def with_values(self, dtype: Any = None) -> Logits:
        """The rows of a function with one number per row, which is 0 where nothing is valid.

        Without `dtype` such numbers of half precision are float32.
        """
        values = self.dtype if dtype is not None else value_dtype(self.xp, self.dtype)
        return self._replace(filled=True, value_dtype=np.dtype(values) if self.xp is np else values)

    @property
    def wide(self) -> Any:
        """The dtype of numbers of which there is one per row or per class."""
        return wide_dtype(self.xp, self.x.dtype)

    @property
    def present(self) -> Array | None:
        """Which rows have a valid entry; None if all have."""
        if self.rows.n == 0:
            return self.xp.zeros(self.rows.batch_shape, dtype=self.xp.bool)
        return None if self.mask is None else self.xp.any(self.mask, axis=-1)

    @property
    def valid_count(self) -> Array | int:
        """How many entries of each row are valid, at least 1; per row with a last axis of length 1."""
        if self.mask is None:
            return max(self.rows.n, 1)
        found = self.xp.sum(self.xp.astype(self.mask, self.wide), axis=-1, keepdims=True)
        return self.xp.where(found > 0, found, self.xp.ones_like(found))

    def zero_masked(self, values: Array) -> Array:
        """`values`, laid out as rows, with 0 for entries that are masked out."""
        return values if self.mask is None else self.xp.where(self.mask, values, self.xp.zeros_like(values))

    def solve(
        self,
        function: Implementation[*Operands],
        out: Array | None,
        *operands: *Operands,
        workers: int | None = None,
        keepdims: bool = False,
    ) -> Array:
        """The one result of `function` of the rows and operands, laid out as the array that the rows come from.

        `out`, `workers` and `keepdims` are the user's.
        """
        if function.dtype is not None and not self.is_discrete:
            discrete = self._replace(dtype=getattr(self.xp, function.dtype), is_discrete=True)
            return discrete.solve(function, out, *operands, workers=workers, keepdims=keepdims)
        if self.xp is not np:
            return self._solve_foreign(function, {"out": out}, operands, workers, keepdims)[0]
        (result,) = function.results
        whole, rows = self._place(result, "out", out, keepdims)
        self._compute(function, (rows,), operands, workers)
        return self._returned(whole, rows, result, out, keepdims)

    def solve_all(self, function: Implementation[*Operands], buffers: Buffers, *operands: *Operands) -> list[Array]:
        """Several results, for which `buffers` has one item each."""
        if self.xp is not np:
            return self._solve_foreign(function, buffers, operands, None, False)
        cases, outs = [], []
        for result, argument in zip(function.results, buffers, strict=True):
            out = buffers[argument]
            whole, rows = self._place(result, argument, out, False)
            outs.append(rows)
            cases.append((whole, rows, result, out))
        self._compute(function, tuple(outs), operands, None)
        return [self._returned(whole, rows, result, out, False) for whole, rows, result, out in cases]

    def _compute(
        self,
        function: Implementation[*Operands],
        outs: tuple[Array, ...],
        operands: tuple[*Operands],
        workers: int | None,
    ) -> None:
        is_empty = self.filled and self.rows.n == 0
        if not is_empty:
            count = threads.count(workers, self.x.size, self.x.dtype)
            if count > 1 and any(threads.overlap(x, out) for x in (self.x, *_arrays_in(operands)) for out in outs):
                count = 1
            function.into(outs, count, self.x, *operands)
        if self.filled and (is_empty or self.mask is not None):
            for result, out in zip(function.results, outs, strict=True):
                valid: Array = self.present if result == VALUE else self.mask
                np.copyto(out, 0, where=is_empty or ~valid)

    def _shape(self, result: str, keepdims: bool) -> tuple[int, ...]:
        if result != VALUE:
            return self.rows.shape
        return self.rows.kept_shape if keepdims else self.rows.batch_shape

    def _dtype(self, result: str) -> Any:
        return self.value_dtype if result == VALUE and self.value_dtype is not None else self.dtype

    def _place(self, result: str, argument: str, out: Array | None, keepdims: bool) -> tuple[Array | None, Array]:
        """The array that is returned and the rows of it that are written; None and other rows where it has no such."""
        if out is not None:
            check_out(out, self._shape(result, keepdims), self._dtype(result), argument)
        of_row = result == VALUE
        computed = value_dtype(np, self.x.dtype) if of_row and self.filled else self.x.dtype
        computed = self.dtype if self.is_discrete else computed
        if computed != self._dtype(result) or (not of_row and len(self.rows.axes) != 1):
            return None, np.empty(self.rows.batch_shape if of_row else self.x.shape, computed)
        if not of_row:
            whole = np.empty_like(self.whole, computed, subok=False) if out is None else out
            return whole, self.rows.to_rows(whole)
        whole = np.empty(self._shape(result, keepdims), computed) if out is None else out
        return whole, np.reshape(whole, self.rows.batch_shape) if keepdims else whole

    def _returned(self, whole: Array | None, rows: Array, result: str, out: Array | None, keepdims: bool) -> Array:
        """What the user gets: an array, a MaskedArray of slices, or a scalar."""
        if whole is None:
            laid_out = np.reshape(rows, self._shape(result, keepdims)) if result == VALUE else self.rows.from_rows(rows)
            if out is None and rows.dtype == self._dtype(result):
                whole = laid_out
            else:
                whole = np.empty(laid_out.shape, self._dtype(result)) if out is None else out
                write((whole,), (laid_out,))
        if self.masked is not None and result != VALUE:
            return np.ma.MaskedArray(whole, self.masked)
        return whole[()] if out is None and not whole.ndim else whole

    def _solve_foreign(
        self,
        function: Implementation[*Operands],
        buffers: Buffers,
        operands: tuple[*Operands],
        workers: int | None,
        keepdims: bool,
    ) -> list[Array]:
        for argument, given in {**buffers, "workers": workers}.items():
            if given is not None:
                raise TypeError(f"{argument} is for NumPy arrays; got an array of another library")
        shapes = [self._shape(result, keepdims) for result in function.results]
        if self.filled and self.rows.n == 0:
            cases = zip(function.results, shapes, strict=True)
            return [self.xp.zeros(shape, dtype=self._dtype(result)) for result, shape in cases]
        results = function.formula(self.x, *operands)
        results = results if isinstance(results, tuple) else (results,)
        return [self._foreign(*case) for case in zip(function.results, results, shapes, strict=True)]

    def _foreign(self, result: str, found: Array, shape: tuple[int, ...]) -> Array:
        xp = self.xp
        valid = (self.present if result == VALUE else self.mask) if self.filled else None
        if valid is not None:
            found = xp.where(valid, found, xp.zeros_like(found))
        if result != VALUE:
            found = self.rows.from_rows(found, xp)
        elif tuple(found.shape) != shape:
            found = xp.reshape(found, shape)
        return xp.astype(found, self._dtype(result), copy=False)


def _arrays_in(operands: tuple[Any, ...]) -> Iterator[Array]:
    """What else a function reads for every entry: other logits, directions, a mask, or the base of a target."""
    for operand in operands:
        array = operand.soft if isinstance(operand, Target) else operand
        if isinstance(array, np.ndarray):
            yield array
