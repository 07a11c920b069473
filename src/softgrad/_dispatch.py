"""The table of public functions and their options, and the way of a call: to a kernel, to a library, or straight on.

A function declares with `dispatched` what a slice of each operand and of each result is, in the notation of NumPy's
generalized ufuncs: "(n),()->(),(n)" takes slices of n entries and one number for each, and returns one number and n
entries for each. The tables below say the same of its options. Whatever handles the arrays of another library works
from these declarations, never from a list of its own.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Concatenate, Literal, ParamSpec, TypeGuard, TypeVar, overload

import numpy as np

from softgrad._formulas.namespace import NDArray
from softgrad._numpy import kernels
from softgrad._validation.arrays import LABELLED, as_real
from softgrad._validation.axis import Axis, Rows
from softgrad._validation.mistakes import is_in_a_check, of_signature
from softgrad._validation.signatures import FromOne, FromTwo, OfOne, OfThree, OfTwo, Value

P = ParamSpec("P")
R = TypeVar("R")

SLICE, VALUE, CHOICES, CLASSES, MATRIX = "n", "", "k", "c", "n,n"
"""What belongs to one slice: n entries along `axis`, one number, k chosen entries, n entries that all slices share, a
matrix."""

OPTIONS = {
    "where": SLICE,
    "b": SLICE,
    "temperature": VALUE,
    "alpha": VALUE,
    "k": VALUE,
    "p": VALUE,
    "sample_weight": VALUE,
    "weight": CLASSES,
}
"""Options that may be arrays, and what of them belongs to one slice."""

BUFFERS = ("out", "grad_out", "hess_out", "grad_p_out", "grad_q_out")
"""Options that take a result each."""

IN_MEMORY = (*BUFFERS, "workers")
"""Options of a computation that NumPy's arrays go through at once."""

PLAIN = (np.ndarray, float, int, bool, list, tuple, type(None))
"""Types that no library has to be asked for."""

LIBRARIES = ("dask", "jax", "jaxlib", "pandas", "torch", "xarray")
"""Packages whose arrays a module of softgrad knows, each by its `call(function, operands, options)`."""


@dataclass(eq=False)
class Function:
    """A public function of arrays, as the table has it."""

    name: str
    plain: Callable[..., Any]
    """The function itself, for NumPy's arrays and for those that the generic formulas take."""
    operands: tuple[str, ...]
    results: tuple[str, ...]
    whole: bool = False
    """Whether it needs all entries of a slice at once."""
    constant: bool = False
    """Whether results are masks or indices, which have no derivative and need none."""
    public: Callable[..., Any] = field(init=False)
    """What users call."""
    kind: Any = field(init=False)
    """The NamedTuple of several results."""

    def __call__(self, *operands: Any, **options: Any) -> Any:
        """The public function: dispatched again on the operands that it is given here."""
        return self.public(*operands, **options)

    def __reduce__(self) -> tuple[Callable[..., Function], tuple[str, str]]:
        return _declared, (self.plain.__module__, self.name)

    @property
    def is_operator(self) -> bool:
        """Whether a result has a matrix for each slice."""
        return MATRIX in self.results

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """What the function calls its operands."""
        return tuple(inspect.signature(self.plain).parameters)[: len(self.operands)]

    def by_name(self, given: tuple[Any, ...], options: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Operands and options of a call, with options by name that came by position; as they are where they clash."""
        count = len(self.operands)
        if len(given) <= count:
            return given, options
        parameters = tuple(inspect.signature(self.plain).parameters.values())[count : len(given)]
        names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        if len(names) < len(given) - count or any(name in options for name in names):
            return given, options
        return given[:count], {**dict(zip(names, given[count:], strict=True)), **options}

    def packed(self, results: tuple[Any, ...]) -> Any:
        """Results as the function returns them: the only one as it is, several as its own NamedTuple."""
        return results[0] if len(results) == 1 else self.kind(*results)


FUNCTIONS: dict[str, Function] = {}
"""Every function declared so far; a module that was not imported yet has not declared its own."""


def _declared(module: str, name: str) -> Function:
    """The function of that name, which the module declares: how it arrives in another process."""
    importlib.import_module(module)
    return FUNCTIONS[name]


# What type checkers know of a function follows from its signature.


@overload
def dispatched(
    signature: Literal["(n)->(n)", "(n)->(m)"],
    *,
    kernel: bool = ...,
    half: bool = ...,
    whole: bool = ...,
    constant: bool = ...,
) -> Callable[[Callable[Concatenate[Any, P], Any]], OfOne[P, NDArray]]: ...
@overload
def dispatched(
    signature: Literal["(n)->()"], *, kernel: bool = ..., half: bool = ..., whole: bool = ..., constant: bool = ...
) -> Callable[[Callable[Concatenate[Any, P], Any]], OfOne[P, Value]]: ...
@overload
def dispatched(
    signature: Literal["(n),(n)->(n)", "(n),()->(n)"],
    *,
    kernel: bool = ...,
    half: bool = ...,
    whole: bool = ...,
    constant: bool = ...,
) -> Callable[[Callable[Concatenate[Any, Any, P], Any]], OfTwo[P, NDArray]]: ...
@overload
def dispatched(
    signature: Literal["(n),()->()", "(n),(n)->()", "(n),(k)->(k)"],
    *,
    kernel: bool = ...,
    half: bool = ...,
    whole: bool = ...,
    constant: bool = ...,
) -> Callable[[Callable[Concatenate[Any, Any, P], Any]], OfTwo[P, Value]]: ...
@overload
def dispatched(
    signature: Literal["(n),(n),(n)->(n)"],
    *,
    kernel: bool = ...,
    half: bool = ...,
    whole: bool = ...,
    constant: bool = ...,
) -> Callable[[Callable[Concatenate[Any, Any, Any, P], Any]], OfThree[P, NDArray]]: ...
@overload
def dispatched(
    signature: Literal["(n),(n),(k)->(k)"],
    *,
    kernel: bool = ...,
    half: bool = ...,
    whole: bool = ...,
    constant: bool = ...,
) -> Callable[[Callable[Concatenate[Any, Any, Any, P], Any]], OfThree[P, Value]]: ...
@overload
def dispatched(
    signature: Literal["(n)->(),(n)", "(n)->(n,n)"],
    *,
    kernel: bool = ...,
    half: bool = ...,
    whole: bool = ...,
    constant: bool = ...,
) -> Callable[[Callable[Concatenate[Any, P], R]], FromOne[P, R]]: ...
@overload
def dispatched(
    signature: Literal["(n),()->(),(n)", "(n),(n)->(),(n)", "(n),()->(),(n),(n)", "(n),(n)->(),(n),(n)"],
    *,
    kernel: bool = ...,
    half: bool = ...,
    whole: bool = ...,
    constant: bool = ...,
) -> Callable[[Callable[Concatenate[Any, Any, P], R]], FromTwo[P, R]]: ...


def dispatched(
    signature: str, *, kernel: bool = False, half: bool = True, whole: bool = False, constant: bool = False
) -> Callable[..., Any]:
    """Declare a public function; `kernel` if a kernel of its name computes the call without most of its options.

    Without `half` that kernel is not for float16 and bfloat16, whose result is float32. `whole` and `constant` are
    described at `Function`.
    """
    operands, results = (tuple(re.findall(r"\(([^)]*)\)", side)) for side in signature.split("->"))

    def declare(plain: Callable[..., Any]) -> Callable[..., Any]:
        function = FUNCTIONS[plain.__name__] = Function(plain.__name__, plain, operands, results, whole, constant)
        name, ndarray, packed = function.name, np.ndarray, None
        takes_out = "out" in (plain.__kwdefaults__ or ())

        @functools.wraps(plain)
        def call(*given: Any, **options: Any) -> Any:
            # A call on ten numbers is to cost little more than its arithmetic: this is its whole way.
            # The type comes first because torch.compile, which traces this, warns of calls to C++.
            if kernel and given and (table := kernels.table) is not None:
                x = given[0]
                if type(x) is list:
                    x = _of_list(x)
                    given = (x, *given[1:])
                if type(x) is ndarray and (half or x.dtype.itemsize > 2) and (takes_out or "out" not in options):
                    result = table.direct[name](*given, **options)
                    if result is not NotImplemented:
                        return result if packed is None else packed(result)
            return _call(function, given, options)

        function.public = call
        function.kind = plain.__globals__.get(plain.__annotations__["return"])
        packed = None if len(results) == 1 else function.kind._make
        return call

    return declare


def _of_list(x: list[Any]) -> Any:
    """A list of numbers as the array that it stands for; any other is left as it is, for its error to be named."""
    try:
        array = np.asarray(x)
    except ValueError:  # of several lengths
        return x
    return array.astype(np.float64) if array.dtype.kind in "iu" else array if array.dtype == np.float64 else x


def _call(function: Function, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
    found = None
    operands, options = function.by_name(operands, options)
    if len(operands) == len(function.operands):  # otherwise the call ends in Python's own TypeError
        for array in operands if not options else (*operands, *(options[name] for name in OPTIONS if name in options)):
            if type(array) not in PLAIN and (library := library_of(type(array))) is not None:
                if has_labels(library):  # labels are removed before anything else
                    return library.call(function, operands, options)
                found = found or library
                if found is not library and getattr(array, "requires_grad", False):
                    named = {**dict(zip(function.names, operands, strict=True)), **options}
                    name = next(name for name, given in named.items() if given is array)
                    library_name = found.__name__.rpartition(".")[2]
                    raise TypeError(f"{name} tracks a gradient, which arrays of {library_name} cannot; detach() it")
    return _plain(function, operands, options) if found is None else found.call(function, operands, options)


def _plain(function: Function, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """The function itself; an error about arguments comes without the lines that lead to the check."""
    try:
        return function.plain(*operands, **options)
    except (TypeError, ValueError, IndexError) as error:
        found = error.__traceback__
        if (
            isinstance(error, TypeError) and found is not None and found.tb_next is None
        ):  # Python's, about the signature
            message = of_signature(error, function.names, function.plain.__kwdefaults__ or (), options)
            raise TypeError(message) from None
        if is_in_a_check(found):
            raise error.with_traceback(None) from error.__cause__
        raise


def library_of(kind: type) -> ModuleType | None:
    """The module of softgrad for arrays of the type `kind`; None for NumPy's, for lists and for scalars."""
    for base in kind.__mro__:
        package = base.__module__.partition(".")[0]
        if package in LIBRARIES:
            return _imported(package)
    return None


def _imported(package: str) -> ModuleType:
    """The module for arrays of `package`, by a statement: torch.compile cannot trace an import by name."""
    if package == "dask":
        from softgrad._libraries import dask  # noqa: PLC0415

        return dask
    if package in ("jax", "jaxlib"):
        from softgrad._libraries import jax  # noqa: PLC0415

        return jax
    if package == "pandas":
        from softgrad._libraries import pandas  # noqa: PLC0415

        return pandas
    if package == "torch":
        from softgrad._libraries import torch  # noqa: PLC0415

        return torch
    from softgrad._libraries import xarray  # noqa: PLC0415

    return xarray


def has_labels(library: ModuleType | None) -> TypeGuard[ModuleType]:
    """Whether `library_of` found a library of arrays with labels."""
    return library is not None and library.__name__.rpartition(".")[2] in LABELLED


def rows_of(x: Any, axis: Axis, name: str = "logits") -> Rows:
    """The slices of an array of any library; ValueError where it has no such axis."""
    library = library_of(type(x))
    if has_labels(library):
        axis = library.positions(axis, x)
    return Rows.of(tuple(x.shape if hasattr(x, "shape") else as_real(x, name).shape), axis)


def is_lazy(x: Any) -> bool:
    """Whether `x` is an array of Dask, or one with labels that holds such an array."""
    held = getattr(x, "variable", x)
    return any(type(a).__module__.partition(".")[0] == "dask" for a in (x, getattr(held, "_data", None)))


def refuse(options: dict[str, Any], names: tuple[str, ...], reason: str) -> None:
    """TypeError with a `reason` if one of the options `names` is given."""
    for name in names:
        if options.get(name) is not None:
            raise TypeError(f"{name} is for {reason}")


def axis_of(options: dict[str, Any]) -> Axis:
    """The axis that a call names."""
    axis: Axis = options.get("axis", -1)
    return axis
