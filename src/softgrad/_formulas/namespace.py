"""Which array library an array belongs to, and what the array API standard has no function for.

A namespace whose arrays hold only some entries of their slices may offer one function beyond the standard,
`compensated_sum(x)`, which `compensated.py` describes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

Array = Any
"""An array of any library of the array API standard."""

NDArray = np.ndarray[Any, Any]


def namespace(x: Any) -> Any:
    """The array API namespace of `x`: NumPy itself, or array-api-compat's view of the library that `x` comes from."""
    if isinstance(x, (np.ndarray, np.generic)):
        return np
    if is_tensor(x):
        import array_api_compat.torch  # noqa: PLC0415  only a tensor needs it

        return array_api_compat.torch
    import array_api_compat  # noqa: PLC0415  only a foreign array needs it

    return array_api_compat.array_namespace(x)


def widest(xp: Any, *, integral: bool = False) -> Any:
    """float64 (or int64) where the library has it, else float32 (int32), as in JAX by default."""
    if xp is np:
        return np.int64 if integral else np.float64
    wide, narrow = ("int64", "int32") if integral else ("float64", "float32")
    known = xp.__array_namespace_info__().dtypes(kind="signed integer" if integral else "real floating")
    return getattr(xp, wide if wide in known else narrow)


def is_tensor(x: Any) -> bool:
    """Whether `x` is PyTorch's, asked without array-api-compat's caches, of which torch.compile warns."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def is_compiling() -> bool:
    """Whether torch.compile traces the call."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.compiler.is_compiling())


def is_known(x: Any) -> bool:
    """Whether the entries of `x` can be read now: JAX and PyTorch trace a function on arrays that have none yet."""
    if is_tensor(x):
        torch = sys.modules["torch"]
        return bool(
            not is_compiling()
            and type(x).__torch_dispatch__ is torch._C._disabled_torch_dispatch_impl
            and x.device.type != "meta"
            and not torch._C._functorch.is_functorch_wrapped_tensor(x)
            and not torch._C._functorch.is_legacy_batchedtensor(x)
        )
    jax = sys.modules.get("jax")
    if jax is None or not isinstance(x, jax.Array):
        return True
    return not isinstance(jax.numpy.ravel(x), jax.core.Tracer)  # under jit this has no entries even where x has


def repeated(
    step: Callable[[tuple[Array, ...]], tuple[Array, ...]], state: tuple[Array, ...], most: int
) -> tuple[Array, ...]:
    """The state after `step` was applied until the last array of it is true everywhere, at most so many times."""
    if not is_known(state[-1]) and (jax := sys.modules.get("jax")) is not None and isinstance(state[-1], jax.Array):
        # One step is compiled, not all of them.
        (found, _) = jax.lax.while_loop(
            lambda pair: (pair[1] < most) & ~jax.numpy.all(pair[0][-1]),
            lambda pair: (step(pair[0]), pair[1] + 1),
            (state, 0),
        )
        return tuple(found)
    for _ in range(most):
        state = step(state)
        if is_known(state[-1]) and namespace(state[-1]).all(state[-1]):
            break
    return state


def infinity(xp: Any, like: Array) -> Array:
    """Infinity in the dtype of `like`."""
    return xp.asarray(xp.inf, dtype=like.dtype)


def one_hot(xp: Any, index: Array, x: Array) -> Array:
    """Whether an entry of a row of `x` is that at `index`, which has a last axis of 1."""
    return xp.arange(x.shape[-1], dtype=index.dtype) == index


def row_sum(x: Array) -> Array:
    """Σ x over the last axis, which stays with length 1."""
    return namespace(x).sum(x, axis=-1, keepdims=True)


def per_entry(value: Array | float) -> Array:
    """One number per row, with a last axis of 1 to multiply the entries of rows; a number for all rows as it is."""
    array: Array = value
    return array[..., None] if getattr(value, "ndim", 0) else array


def as_column(xp: Any, like: Array, value: Array | float) -> Array:
    """One number per row, as by `per_entry`, or one for all rows, as an array of the dtype of `like`."""
    return xp.asarray(value, dtype=like.dtype) if isinstance(value, float) else per_entry(xp.astype(value, like.dtype))


def is_one(temperature: Array | float) -> bool:
    """Whether the temperature is the number 1, by which nothing is divided."""
    return isinstance(temperature, float) and temperature == 1.0
