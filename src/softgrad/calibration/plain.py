"""Arrays of any library as NumPy's own, for numbers that are computed of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from softgrad._dispatch import has_labels, library_of
from softgrad._validation.arrays import as_real, is_foreign


def plain(x: Any, name: str) -> Any:
    """An array of another library as NumPy's, but for Dask's."""
    library = library_of(type(x))
    if has_labels(library):
        x = library.array(x, name)
    elif type(x).__module__.partition(".")[0] == "torch":
        x = x.detach().cpu()
        x = (x.float() if str(x.dtype) == "torch.bfloat16" else x).numpy()
    return x if isinstance(x, np.ndarray) or row_blocks(x) is not None else np.asarray(x)


def numbers(x: Any, name: str) -> Any:
    """As `plain`; TypeError or ValueError for what is no array of numbers."""
    is_array = isinstance(x, np.ndarray) or library_of(type(x)) is not None or is_foreign(x)
    return plain(x, name) if is_array else as_real(x, name)


def row_blocks(x: Any) -> Any:
    """The module for rows in blocks of arrays of x's library, as Dask has one."""
    return getattr(library_of(type(x)), "row_blocks", None)


def without_labels(x: Any, name: str, axis: Any, others: dict[str, tuple[Any, str]]) -> tuple[Any, Any, dict[str, Any]]:
    """`x`, its axis by number, and `others`, each with what of it belongs to a slice, without the labels of `x`.

    Where `x` has labels, ValueError if those of the others differ.
    """
    library = library_of(type(x))
    if not has_labels(library):
        return x, axis, {key: value for key, (value, _) in others.items()}
    found: tuple[Any, Any, dict[str, Any]] = library.without_labels(x, name, axis, others)
    return found
