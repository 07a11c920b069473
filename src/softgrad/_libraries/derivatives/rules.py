"""What a derivative is: a call that was made, and the Jacobian of its results as a linear map with its transpose."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from softgrad._dispatch import SLICE, Function
from softgrad._formulas.namespace import Array, namespace
from softgrad._libraries.derivatives.products import dot
from softgrad._validation.arrays import promoted

Results = tuple[Array, ...]


class Call:
    """A call that was made, as rows: what a derivative is computed from.

    Where a result was rounded to fewer digits than it was computed with, as every result of half precision is, operands
    and results here are those of the same call in the wider dtype: so a derivative is rounded once, at its end. If the
    call names a wider dtype, the operands have it.
    """

    def __init__(self, function: Function, operands: tuple[Array, ...], options: dict[str, Any], results: Results):
        self.dtypes = tuple(r.dtype for r in results)
        """Of the results that the caller sees."""
        xp = namespace(operands[0])
        wide = promoted(xp, operands[0].dtype, xp.float32)
        self._function = function
        # The loss of half-precision logits is float32 already; its gradient is not.
        self._rounded = any(promoted(xp, dtype, wide) != dtype for dtype in (operands[0].dtype, *self.dtypes))
        self._given = results
        if self._rounded or "dtype" in options:
            dtype = xp.float32 if self._rounded else options["dtype"]
            operands = tuple(
                xp.astype(a, promoted(xp, a.dtype, dtype), copy=False) if core == SLICE else a
                for a, core in zip(operands, function.operands, strict=True)
            )
            options = {name: value for name, value in options.items() if name != "dtype"}
        self.operands, self.options = operands, options

    @functools.cached_property
    def results(self) -> Results:
        """The results, in float32 or wider."""
        if not self._rounded:
            return self._given
        results = self._function(*self.operands, **self.options)
        return tuple(results) if isinstance(results, tuple) else (results,)


@dataclass(frozen=True)
class Derivative:
    """The Jacobian of all results with respect to one operand, as a linear map, and its transpose."""

    jvp: Callable[[Call, Array], Results]
    vjp: Callable[[Call, Results], Array]
    """Takes one cotangent per result; None stands for 0."""


@dataclass(frozen=True)
class Rule:
    """The derivatives of a function with respect to its operands, by position, and to its options, by name."""

    by: dict[int | str, Derivative]


def of_one_result(jvp: Callable[[Call, Array], Array], vjp: Callable[[Call, Array], Array]) -> Derivative:
    """The derivative of a function with one result."""
    return Derivative(lambda call, v: (jvp(call, v),), lambda call, cotangents: vjp(call, cotangents[0]))


def of_loss(function: Callable[..., Results], operand: int) -> Derivative:
    """The derivative of a loss with respect to an operand; `function` returns the loss and its gradients."""

    def gradient(call: Call) -> Array:
        return function(*call.operands, **call.options)[1 + operand]

    return of_one_result(
        lambda call, v: dot(gradient(call), v),
        lambda call, g: g[..., None] * gradient(call),
    )


def of_loss_and_gradients(operand: int, *hessian: Callable[[Call, Array], Array]) -> Derivative:
    """The derivative of (loss, gradients) with respect to an operand; `hessian` has a product for every gradient.

    Each is the product with the block of the Hessian that belongs to the operand and to that gradient. The transposed
    block is equal: a block of one operand with itself is symmetric, and so are the mixed blocks here.
    """

    def jvp(call: Call, v: Array) -> Results:
        return (dot(call.results[1 + operand], v), *(product(call, v) for product in hessian))

    def vjp(call: Call, cotangents: Results) -> Array:
        of_value, *of_gradients = cotangents
        terms = [] if of_value is None else [of_value[..., None] * call.results[1 + operand]]
        terms += [product(call, g) for product, g in zip(hessian, of_gradients, strict=True) if g is not None]
        return sum(terms[1:], terms[0])

    return Derivative(jvp, vjp)
