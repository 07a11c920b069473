"""What users pass, checked once: below the public functions every argument is clean."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from softgrad._formulas.namespace import Array, is_known, is_tensor, namespace, widest
from softgrad._validation.axis import Rows
from softgrad._validation.mistakes import names_the_array


def as_real(x: Any, name: str = "x") -> Array:
    """`x` as an array of a floating dtype: lists and scalars by NumPy, integers and bool as float64."""
    if not isinstance(x, np.ndarray):
        if not is_foreign(x):
            try:
                x = np.asarray(x)
            except ValueError as error:
                raise ValueError(f"{name} must be an array of numbers: {error}") from None
        else:
            return _foreign_real(x, name)
    kind = x.dtype.kind
    if kind == "f" or x.dtype.name == "bfloat16":
        return x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))
    if kind in "iub":
        return x.astype(np.float64)  # before any arithmetic: int8 would wrap around in the shift
    came = f"dtype {x.dtype}" if kind != "O" or x.ndim else names_the_array(x.item())
    raise TypeError(f"{name} must hold real numbers; got {came}")


def as_unmasked(x: Any, name: str) -> Array:
    """As `as_real`, for arguments whose masks nothing would heed."""
    return as_real(without_mask(x, name), name)


LABELLED = ("pandas", "xarray")
"""Libraries whose arrays have labels."""


def without_labels(x: Any, name: str) -> Any:
    """`x`; TypeError if it has labels, for functions that would neither compare nor keep them."""
    package = type(x).__module__.partition(".")[0]
    if package in LABELLED:
        raise TypeError(
            f"{name} must be an array without labels, such as its own to_numpy(); got {package}.{type(x).__name__}"
        )
    return x


def without_mask(x: Any, name: str, hint: str = "filled(value) gives them a value") -> Any:
    """`x`; ValueError if entries of it are masked, for arguments whose masks nothing would heed."""
    if isinstance(x, np.ma.MaskedArray) and (masked := int(np.ma.getmaskarray(x).sum())):
        raise ValueError(f"{name} must have no masked entries; got {masked} of {x.size}: {hint}")
    return x


def is_foreign(x: Any) -> bool:
    """Whether `x` is an array of a library other than NumPy."""
    if isinstance(x, (np.ndarray, np.generic, list, tuple, int, float)):
        return False
    if is_tensor(x):
        return True
    import array_api_compat  # noqa: PLC0415  only a foreign array needs it

    return bool(array_api_compat.is_array_api_obj(x))


def _foreign_real(x: Array, name: str) -> Array:
    xp = namespace(x)
    if xp.isdtype(x.dtype, "real floating"):
        return x
    if xp.isdtype(x.dtype, ("integral", "bool")):
        return xp.astype(x, widest(xp))
    raise TypeError(f"{name} must hold real numbers; got dtype {x.dtype}")


def as_floating_dtype(dtype: Any) -> np.dtype[Any]:
    """`dtype` as a NumPy dtype; TypeError if it is not a floating one."""
    try:
        found: np.dtype[Any] = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype must be a floating type; got {dtype!r}") from None
    if found.kind != "f" and found.name != "bfloat16":
        raise TypeError(f"dtype must be a floating type; got {found}")
    return found


def as_mask(where: Any, shape: tuple[int, ...], xp: Any = np) -> Array:
    """`where` as a bool array of `shape`."""
    where = without_mask(where, "where")
    mask = np.asarray(where) if xp is np else xp.asarray(where)
    if mask.dtype != xp.bool:
        raise TypeError(f"where must be of dtype bool; got {mask.dtype}")
    return broadcast_to("where", mask, shape, xp)


def as_temperature(temperature: Any, rows: Rows, xp: Any = np) -> Array | float:
    """`temperature` as a float, or as one number per slice; what cannot be looked at yet is NaN where it is wrong."""
    if type(temperature) is float and temperature >= 0:  # nearly always, and the quickest
        return temperature
    temperature = without_mask(temperature, "temperature")
    if is_known(temperature) and np.ndim(temperature) == 0:
        return _as_number(temperature, "temperature", 0)
    return _as_numbers(temperature, "temperature", 0, rows, xp)


def as_positive_temperature(temperature: Any, rows: Rows, what: str, xp: Any = np) -> Array | float:
    """`temperature` for a derivative of the map called `what`."""
    T = as_temperature(temperature, rows, xp)
    check_positive(T, xp, f": at 0 {what} is a step, which has no derivative")
    return T


def as_alpha(alpha: Any, rows: Rows, xp: Any = np) -> Array | float:
    """`alpha` as a float, or as one number per slice; what cannot be looked at yet is NaN where it is wrong.

    A foreign array without axes stays an array: it may track a gradient.
    """
    alpha = without_mask(alpha, "alpha")
    if isinstance(alpha, int | float) or (np.ndim(alpha) == 0 and not is_foreign(alpha)):
        return _as_number(alpha, "alpha", 1)
    return _as_numbers(alpha, "alpha", 1, rows, xp)


def _as_number(value: Any, name: str, lowest: int) -> float:
    number = as_float(value, f"{name} must be a number or an array of numbers")
    if not number >= lowest:
        raise ValueError(f"{name} must be at least {lowest}; got {number}")
    return number


def as_float(value: Any, requirement: str) -> float:
    """A number as a float; TypeError that says what is required, also for a text that Python would read as a number."""
    try:
        if getattr(getattr(value, "dtype", None), "kind", "f") in "US" or isinstance(value, str | bytes):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{requirement}; got {value!r}") from None


def check_positive(temperature: Array | float, xp: Any, reason: str) -> None:
    """ValueError if a temperature is 0, as far as that is known, for what has no limit there."""
    if not holds(lambda T: T > 0, temperature, xp):
        raise ValueError(f"temperature must be positive{reason}")


def holds(test: Callable[[Any], Any], value: Array | float, xp: Any) -> bool:
    """Whether all numbers pass a test, as far as they are known.

    One number is tested as such: a graph that is being traced has no branches by arrays.
    """
    if isinstance(value, float):
        return bool(test(value))
    return not is_known(value) or bool(xp.all(test(value)))


def _as_numbers(given: Any, name: str, lowest: int, rows: Rows, xp: Any) -> Array:
    if not is_known(given):
        values = xp.astype(given if is_foreign(given) else xp.asarray(given), widest(xp))
        values = xp.where(values >= lowest, values, xp.full_like(values, xp.nan))
    else:
        try:
            # Not asarray of what may track a gradient: PyTorch warns of that.
            is_array = xp is not np and is_foreign(given)
            values = given if is_array else xp.asarray(given)
            if xp is np and values.dtype.kind in "USMmcO":  # NumPy would read texts as numbers, None as NaN
                raise TypeError
            values = values.astype(np.float64) if xp is np else values
        except (TypeError, ValueError):
            raise TypeError(f"{name} must be a number or an array of numbers; got {given!r}") from None
        bad = ~(values >= lowest)
        if xp.any(bad):
            raise ValueError(f"{name} must be at least {lowest} everywhere; got {float(values[bad][0])}")
    if values.ndim == len(rows.shape) and all(values.shape[a] == 1 for a in rows.axes):
        values = xp.squeeze(values, axis=rows.axes)  # given with the slice's axes kept as 1
    return broadcast_to(name, values, rows.batch_shape, xp)


def broadcast_to(name: str, values: Array, shape: tuple[int, ...], xp: Any) -> Array:
    """`values` broadcast to `shape`; ValueError that names the argument if they do not."""
    if tuple(values.shape) == shape:
        return values
    try:
        return xp.broadcast_to(values, shape)
    except (ValueError, RuntimeError):
        raise ValueError(f"{name} must broadcast to shape {shape}; got shape {tuple(values.shape)}") from None


def check_out(out: Any, shape: tuple[int, ...], dtype: Any, name: str = "out") -> None:
    """TypeError or ValueError unless `out` can take a result of `shape` and `dtype` as it is."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array; got {type(out).__name__}")
    if out.dtype != dtype:
        raise TypeError(f"{name} must have dtype {dtype}; got {out.dtype}")
    if out.shape != shape:
        raise ValueError(f"{name} must have shape {shape}; got {out.shape}")
    if not out.flags.writeable:
        raise ValueError(f"{name} must be writeable; got a read-only array")


def broadcast_shapes(**operands: Array) -> tuple[int, ...]:
    """The common shape of named operands; ValueError that names them all if there is none."""
    try:
        return np.broadcast_shapes(*(tuple(a.shape) for a in operands.values()))
    except ValueError:
        shapes = ", ".join(f"{name} of shape {tuple(a.shape)}" for name, a in operands.items())
        raise ValueError(f"shapes must broadcast together; got {shapes}") from None


def in_common(operands: dict[str, Array]) -> list[Array]:
    """Named operands in their common shape and dtype."""
    shape, xp = broadcast_shapes(**operands), namespace(next(iter(operands.values())))
    dtype = functools.reduce(functools.partial(promoted, xp), (a.dtype for a in operands.values()))
    cast = (xp.astype(a, dtype, copy=False) for a in operands.values())
    # Only where it changes something: PyTorch's batches of tangents have no rule for it.
    return [a if tuple(a.shape) == shape else xp.broadcast_to(a, shape) for a in cast]


def promoted(xp: Any, a: Any, b: Any) -> Any:
    """The narrowest dtype that holds both; float32 for float16 and bfloat16, which neither library promotes."""
    try:
        return xp.result_type(a, b)
    except TypeError:
        return xp.float32
