"""What notebooks show: a small table in HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np


class _Named(Protocol):
    @property
    def _fields(self) -> tuple[str, ...]: ...

    def __iter__(self) -> Any: ...


def table(title: str, rows: Iterable[tuple[str, Any]]) -> str:
    """Names and what belongs to them, under a title."""
    cells = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>" for name, value in rows)
    return f"<table><caption>{html.escape(title)}</caption><tbody>{cells}</tbody></table>"


def of_results(results: _Named) -> str:
    """A table of several arrays: kind and shape of each, and the range of NumPy's."""
    return table(type(results).__name__, [(k, described(a)) for k, a in zip(results._fields, results, strict=True)])


def described(array: Any) -> str:
    """Type, dtype and shape; of NumPy's arrays a single number, or the range."""
    if not isinstance(array, np.ndarray | np.generic):
        dtype = getattr(array, "dtype", "")
        return f"{type(array).__name__} {dtype} {tuple(array.shape)}" if hasattr(array, "shape") else str(array)
    if array.ndim == 0:
        return f"{float(array):.6g} ({array.dtype})"
    shape = " × ".join(map(str, array.shape))
    if array.size == 0:
        return f"{array.dtype}, {shape}"
    return f"{array.dtype}, {shape}, from {float(array.min()):.4g} to {float(array.max()):.4g}"
