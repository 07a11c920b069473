"""What a type checker knows of public functions: arrays of NumPy, of another library, and labelled ones.

A function is written once, for any array. From what it declares to belong to a slice follow the types here: its first
arguments by the kind of array, and its options as they are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ParamSpec, Protocol, TypeVar, overload

import numpy as np

from softgrad._formulas.namespace import NDArray

P = ParamSpec("P")
Result_co = TypeVar("Result_co", covariant=True)

Number = float | np.floating[Any] | np.integer[Any] | np.bool | NDArray
Real = Number | Sequence[Number] | Sequence[Sequence[Number]] | Sequence[Sequence[Sequence[Number]]]
"""What becomes an array of NumPy. A text, which is a sequence of texts, is none."""

Names = Sequence[str] | str
"""Labels that name the classes of a labelled array."""

Value = NDArray | np.floating[Any]
"""One number for each slice: a scalar where there is one slice."""


class Foreign(Protocol):
    """An array of another library."""

    @property
    def shape(self) -> Any:
        """Its lengths."""

    @property
    def dtype(self) -> Any:
        """What it holds."""


class Labelled(Protocol):
    """A DataFrame, Series or DataArray, whose axes have names."""

    @property
    def shape(self) -> Any:
        """Its lengths."""

    @property
    def loc(self) -> Any:
        """Its entries by label."""


Operand = Real | Foreign | Labelled
Array = TypeVar("Array", bound=Foreign)


# Overloads overlap: an array of NumPy is one of any library, too, and the first that fits is taken.


class OfOne(Protocol[P, Result_co]):
    """A function of one array whose result is an array of the same library."""

    @overload
    def __call__(self, x: Real, /, *args: P.args, **options: P.kwargs) -> Result_co: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, x: Labelled, /, **options: Any) -> Any: ...
    @overload
    def __call__(self, x: Array, /, *args: P.args, **options: P.kwargs) -> Array: ...


class OfTwo(Protocol[P, Result_co]):
    """A function of two arrays whose result is an array of the same library."""

    @overload
    def __call__(self, x: Real, y: Real, /, *args: P.args, **options: P.kwargs) -> Result_co: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, x: Labelled, y: Operand | Names, /, **options: Any) -> Any: ...
    @overload
    def __call__(self, x: Real, y: Labelled, /, **options: Any) -> Any: ...
    @overload
    def __call__(self, x: Array, y: Operand, /, *args: P.args, **options: P.kwargs) -> Array: ...
    @overload
    def __call__(self, x: Real, y: Array, /, *args: P.args, **options: P.kwargs) -> Array: ...


class OfThree(Protocol[P, Result_co]):
    """A function of three arrays whose result is an array of the same library."""

    @overload
    def __call__(self, x: Real, y: Real, z: Real, /, *args: P.args, **options: P.kwargs) -> Result_co: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, x: Labelled, y: Operand, z: Operand, /, **options: Any) -> Any: ...
    @overload
    def __call__(self, x: Array, y: Operand, z: Operand, /, *args: P.args, **options: P.kwargs) -> Array: ...


class FromOne(Protocol[P, Result_co]):
    """A function of one array whose result is no array: an operator, or several arrays."""

    @overload
    def __call__(self, x: Real | Foreign, /, *args: P.args, **options: P.kwargs) -> Result_co: ...
    @overload
    def __call__(self, x: Labelled, /, **options: Any) -> Result_co: ...


class FromTwo(Protocol[P, Result_co]):
    """A function of two arrays whose result is several arrays."""

    @overload
    def __call__(self, x: Real | Foreign, y: Operand, /, *args: P.args, **options: P.kwargs) -> Result_co: ...
    @overload
    def __call__(self, x: Labelled, y: Operand | Names, /, **options: Any) -> Result_co: ...
