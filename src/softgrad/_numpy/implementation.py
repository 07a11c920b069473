"""A function of rows in its two forms, a formula for every array library and kernels for NumPy's arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVarTuple

import numpy as np

from softgrad._formulas.namespace import Array, is_one, namespace
from softgrad._formulas.precision import silent
from softgrad._numpy import kernels
from softgrad._numpy.threads import over_rows, overlap

Operands = TypeVarTuple("Operands")
Outs = tuple[Array, ...]

ENTRIES: Literal["n"] = "n"
VALUE: Literal[""] = ""
MATRIX: Literal["n,n"] = "n,n"
CHOSEN: Literal["k"] = "k"
"""What a result has for each row: its entries, one number, a matrix, or as many numbers as the first operand."""


FORMULA_ENTRIES = 2**17
"""Entries of a block for a formula, whose arrays of float64 then fit into the cache."""


@dataclass(frozen=True, slots=True)
class Implementation(Generic[*Operands]):
    """A function of rows along the last axis of `x`, and of operands that belong to the rows."""

    formula: Callable[[Array, *Operands], Any]
    results: tuple[str, ...]
    kernel: Callable[[Outs, int, Array, *Operands], None] | None = None
    """Writes the results, with so many threads, from rows of a dtype that the kernels know."""
    dtype: Literal["bool", "float64", "int64"] | None = None
    """The dtype of the results, by its name, if it is not that of `x`."""

    def __call__(self, x: Array, *operands: *Operands, workers: int = 1) -> Any:
        """The results of rows of any library, as a tuple if there are several."""
        if namespace(x) is not np:
            return self.formula(x, *operands)
        outs = tuple(np.empty(self._shape(result, x, operands), self.dtype or x.dtype) for result in self.results)
        self.into(outs, workers, x, *operands)
        return outs if len(outs) > 1 else outs[0]

    def into(self, outs: Outs, workers: int, x: Array, *operands: *Operands) -> None:
        """Write the results of rows of NumPy."""
        if self.kernel is not None and kernels.has_kernel(x):
            self.kernel(outs, workers, x, *operands)
        else:
            results = self.formula(x, *operands)
            write(outs, results if len(outs) > 1 else (results,))

    def _shape(self, result: str, x: Array, operands: tuple[Any, ...]) -> tuple[int, ...]:
        shape = operands[0].shape if result == CHOSEN else x.shape[:-1] if result == VALUE else x.shape
        return (*shape, shape[-1]) if result == MATRIX else tuple(shape)


def one_kernel(name: str) -> Callable[..., None]:
    """The kernel called `name`, of operands as they are."""

    def kernel(outs: Outs, workers: int, *operands: Any) -> None:
        kernels.run(name, operands, outs, workers)

    return kernel


def tempered(name: str, formula: Callable[..., Any], signature: str) -> Callable[..., None]:
    """The kernel called `name` where the last operand, a temperature, is 1; elsewhere `formula` in blocks."""

    def solve(outs: Outs, workers: int, *operands: Any) -> None:
        if is_one(operands[-1]):
            kernels.run(name, operands[:-1], outs, workers)
        else:
            in_blocks(formula, signature, operands, outs, workers)

    return solve


@dataclass(frozen=True, slots=True)
class _OfRows:
    """A formula as `over_rows` calls it, on blocks of one layout: NumPy adds in an order that depends on the layout."""

    formula: Callable[..., Any]
    signature: str | None

    def __call__(self, *operands: Any, out: Outs) -> None:
        results = self.formula(*(np.asarray(a, order="C") for a in operands))
        write(out, results if len(out) > 1 else (results,))


def in_blocks(formula: Callable[..., Any], signature: str, operands: tuple[Any, ...], outs: Outs, workers: int) -> None:
    """`formula` of blocks of rows, in bounded memory; `signature` says what of each operand belongs to a row."""
    operands = tuple(a.copy() if any(overlap(a, out) for out in outs) else a for a in operands)
    over_rows(_OfRows(formula, signature), operands, outs, workers, FORMULA_ENTRIES)


@silent  # a cast may underflow or overflow, and that is its result
def write(outs: Outs, results: tuple[Array, ...]) -> None:
    """Copy results, rounded to the dtypes of `outs`."""
    for out, result in zip(outs, results, strict=True):
        np.copyto(out, result, casting="same_kind")
