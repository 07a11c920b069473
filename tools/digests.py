"""Results of any kind as a list of arrays, and the bits of those that mean something."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def evaluate(call: Callable[[], Any]) -> list[Array]:
    """The arrays that the call returns; or, as one string, the type of the error that it raises."""
    try:
        return list(_arrays(call()))
    except Exception as error:  # whatever it is, the other build is to raise it too
        return [np.asarray(f"raises {type(error).__name__}")]


def _arrays(result: Any) -> Iterator[Array]:
    if isinstance(result, tuple | list):
        for member in result:
            yield from _arrays(member)
    elif isinstance(result, np.ma.MaskedArray):
        yield from (result.data, np.ma.getmaskarray(result))
    elif result is not None:
        yield np.asarray(result)


def significant(array: Array) -> Array:
    """The bytes of the entries, a row for each; without the padding of an 80-bit longdouble, and with one kind of NaN.

    The sign of a NaN depends on the alignment of the arrays in NumPy's own loops, so it differs from call to call.
    """
    if array.dtype.kind in "fcV":
        array = np.array(array)
        array[np.isnan(array)] = np.nan
    rows = np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(array.size, array.itemsize)
    padded = array.dtype == np.longdouble and np.finfo(np.longdouble).nmant == 63
    return rows[:, :10] if padded else rows


def digest(found: list[Array]) -> str:
    """A hash of dtypes, shapes and bits; of an error its type."""
    if found and found[0].dtype.kind == "U":
        return str(found[0])
    total = hashlib.blake2b(digest_size=12)
    for array in found:
        total.update(f"{array.dtype} {array.shape}".encode())
        total.update(np.ascontiguousarray(significant(array)))
    return total.hexdigest()
