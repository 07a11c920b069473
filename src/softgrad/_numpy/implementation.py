"""A function of rows in its two forms, a formula for every array library and kernels for NumPy's arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVarTuple

import numpy as np

from softgrad._formulas.namespace import Array, namespace
from softgrad._formulas.precision import silent
from softgrad._numpy import kernels

Operands = TypeVarTuple("Operands")
Outs = tuple[Array, ...]

ENTRIES: Literal["n"] = "n"
VALUE: Literal[""] = ""
MATRIX: Literal["n,n"] = "n,n"
CHOSEN: Literal["k"] = "k"
"""What a result has for each row: its entries, one number, a matrix, or as many numbers as the first operand."""


@dataclass(frozen=True, slots=True)
class Implementation(Generic[*Operands]):
    """A function of rows along the last axis of `x`, and of operands that belong to the rows."""

    formula: Callable[[Array, *Operands], Any]
    results: tuple[str, ...]
    kernel: Callable[[Outs, int, Array, *Operands], None] | None = None
    """Writes the results, with so many threads, from rows of a dtype that the kernels know."""
    dtype: Literal["bool", "int64"] | None = None
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


@silent  # a cast may underflow or overflow, and that is its result
def write(outs: Outs, results: tuple[Array, ...]) -> None:
    """Copy results, rounded to the dtypes of `outs`."""
    for out, result in zip(outs, results, strict=True):
        np.copyto(out, result, casting="same_kind")
