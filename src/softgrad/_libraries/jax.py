"""JAX: arrays with values go to the kernels, traced ones through the formulas, derivatives through the table.

Under `jit`, `grad`, `vmap` and the like an array has a shape and a dtype but no entries yet. There nothing can be
checked but shapes and dtypes, and what would be an error of values makes the results NaN instead.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from softgrad._dispatch import IN_MEMORY, OPTIONS, Function, refuse
from softgrad._formulas.namespace import Array, is_known
from softgrad._libraries.derivatives import COMPOSED, RULES
from softgrad._libraries.derivatives.rules import Call
from softgrad._libraries.last_axis import as_rows, plain


def call(function: Function, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """`function` of JAX arrays: JAX arrays come back."""
    refuse(options, IN_MEMORY, "NumPy arrays; got an array of JAX")
    arrays = [a for a in (*operands, *options.values()) if isinstance(a, jax.Array)]
    if not function.is_operator and all(is_known(a) and _is_on_cpu(a) for a in arrays):
        return _through_numpy(function, operands, options)
    operands = tuple(map(_as_array, operands))
    options = {k: _as_array(v) if k in OPTIONS and _is_array(v) else v for k, v in options.items()}
    if function.constant:
        return function.plain(*map(jax.lax.stop_gradient, operands), **options)
    if function.is_operator:
        return function.plain(*operands, **options)
    operands, given, restore = as_rows(function, operands, options, jnp)
    if function.name in COMPOSED:
        return restore((COMPOSED[function.name](*operands, **given),))
    names = tuple(k for k, v in given.items() if isinstance(v, jax.Array))
    constant = {k: v for k, v in given.items() if k not in names}
    return restore(_differentiable(function, names, constant)(*operands, *(given[k] for k in names)))


def _is_on_cpu(a: Array) -> bool:
    return a.is_fully_addressable and len(a.devices()) == 1 and next(iter(a.devices())).platform == "cpu"


def _as_array(a: Any) -> Array:
    """An array of JAX as it is; any other copied, since a derivative may read it after its owner has changed it."""
    return a if isinstance(a, jax.Array) else jnp.array(np.asarray(a))


def _from_numpy(result: Any) -> Array:
    return jnp.asarray(np.asarray(result))


def _is_array(value: Any) -> bool:
    """Whether an option that may be an array is one, of whichever library, and no number."""
    return hasattr(value, "shape") or isinstance(value, list | tuple)


def _through_numpy(function: Function, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
    given = {k: plain(v) if k in OPTIONS else v for k, v in options.items()}
    result = function(*map(plain, operands), **given)
    return type(result)(*map(_from_numpy, result)) if isinstance(result, tuple) else _from_numpy(result)


def _differentiable(function: Function, names: tuple[str, ...], constant: dict[str, Any]) -> Callable[..., Any]:
    """The function of rows, as one of arrays alone, with the derivatives of the table."""
    count = len(function.operands)

    def split(arrays: tuple[Array, ...]) -> tuple[tuple[Array, ...], dict[str, Any]]:
        return arrays[:count], {**constant, **dict(zip(names, arrays[count:], strict=True))}

    @jax.custom_jvp  # type: ignore[untyped-decorator]  # JAX has no types here
    def value(*arrays: Array) -> tuple[Array, ...]:
        operands, options = split(arrays)
        result = function(*operands, **options) if all(map(is_known, arrays)) else function.plain(*operands, **options)
        return tuple(result) if isinstance(result, tuple) else (result,)

    def jvp(arrays: tuple[Array, ...], tangents: tuple[Any, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        results = value(*arrays)
        parts = []
        for position, tangent in enumerate(tangents):
            if isinstance(tangent, jax.custom_derivatives.SymbolicZero):
                continue
            key = position if position < count else names[position - count]
            derivative = RULES[function.name].by.get(key) if function.name in RULES else None
            if derivative is None:
                raise TypeError(_no_derivative(function, key))

            def forward(*given: Array, derivative: Any = derivative) -> tuple[Array, ...]:
                *known, v = given
                found = derivative.jvp(
                    Call(function, *split(tuple(known[: len(arrays)])), tuple(known[len(arrays) :])), v
                )
                return tuple(t.astype(r.dtype) for t, r in zip(found, results, strict=True))

            def backward(*given: Array, derivative: Any = derivative, dtype: Any = arrays[position].dtype) -> Any:
                known, cotangents = given[: -len(results)], given[-len(results) :]
                call = Call(function, *split(tuple(known[: len(arrays)])), tuple(known[len(arrays) :]))
                return (derivative.vjp(call, cotangents).astype(dtype),)

            known = (*arrays, *results)
            parts.append(_linear.bind(*known, tangent, forward=forward, backward=backward, known=len(known)))
        if not parts:
            return results, tuple(map(jnp.zeros_like, results))
        return results, tuple(functools.reduce(jnp.add, terms) for terms in zip(*parts, strict=True))

    value.defjvp(jvp, symbolic_zeros=True)
    differentiable: Callable[..., Any] = value
    return differentiable


def _no_derivative(function: Function, key: int | str) -> str:
    if isinstance(key, str):
        return f"{key} is a constant, with respect to which {function.name} is not differentiated"
    return f"{function.name} has no derivative; call it outside of what is differentiated, or on stop_gradient(x)"


# A linear map with its transpose, as a primitive: JAX would transpose the formula of a product itself, step by step,
# and cannot where that looks at what it multiplies. The first `known` operands are what the map depends on.

_linear = Primitive("softgrad_linear")
_linear.multiple_results = True


def _computed(*arrays: Array, forward: Any, backward: Any, known: int) -> list[Array]:
    return list(forward(*arrays))


def _shapes(*arrays: Any, forward: Any, backward: Any, known: int) -> list[Any]:
    shapes = jax.eval_shape(forward, *(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arrays))
    return [jax.core.ShapedArray(s.shape, s.dtype) for s in shapes]


def _transposed(cotangents: Any, *arrays: Any, forward: Any, backward: Any, known: int) -> list[Any]:
    given = map(ad.instantiate_zeros, cotangents)
    found = _linear.bind(*arrays[:known], *given, forward=backward, backward=forward, known=known)
    return [None] * known + list(found)


def _tangents(arrays: Any, tangents: Any, *, forward: Any, backward: Any, known: int) -> tuple[list[Any], list[Any]]:
    results = _linear.bind(*arrays, forward=forward, backward=backward, known=known)
    terms = []
    if any(type(t) is not ad.Zero for t in tangents[known:]):
        linear = map(ad.instantiate_zeros, tangents[known:])
        terms.append(_linear.bind(*arrays[:known], *linear, forward=forward, backward=backward, known=known))
    moving = [i for i, t in enumerate(tangents[:known]) if type(t) is not ad.Zero]
    if moving:

        def of_moving(*moved: Array) -> tuple[Array, ...]:
            given = list(arrays)
            for i, array in zip(moving, moved, strict=True):
                given[i] = array
            found: tuple[Array, ...] = forward(*given)
            return found

        terms.append(jax.jvp(of_moving, [arrays[i] for i in moving], [tangents[i] for i in moving])[1])
    return results, [functools.reduce(jnp.add, parts) for parts in zip(*terms, strict=True)]


def _batched(arrays: Any, axes: Any, *, forward: Any, backward: Any, known: int) -> tuple[list[Array], list[int]]:
    size = next(a.shape[axis] for a, axis in zip(arrays, axes, strict=True) if axis is not None)
    moved, where = [], []
    for i, (array, axis) in enumerate(zip(arrays, axes, strict=True)):
        if axis is not None:
            moved.append(jnp.moveaxis(array, axis, 0))
        else:
            moved.append(array if i < known else jnp.broadcast_to(array, (size, *array.shape)))
        where.append(None if axis is None and i < known else 0)

    def over(function: Any, count: int) -> Any:
        return jax.vmap(function, in_axes=(*where[:known], *(0,) * count))

    each = [jax.ShapeDtypeStruct(a.shape[axis == 0 :], a.dtype) for a, axis in zip(moved, where, strict=True)]
    results = len(jax.eval_shape(forward, *each))
    found = _linear.bind(
        *moved, forward=over(forward, len(arrays) - known), backward=over(backward, results), known=known
    )
    return found, [0] * len(found)


_linear.def_impl(_computed)
_linear.def_abstract_eval(_shapes)
ad.primitive_transposes[_linear] = _transposed
ad.primitive_jvps[_linear] = _tangents
batching.primitive_batchers[_linear] = _batched
mlir.register_lowering(_linear, mlir.lower_fun(_computed, multiple_results=True))
