"""The native kernels: what this machine can run, the level in use, and a kernel's call on rows spread over threads.

The kernels know float16, bfloat16, float32 and float64; half precision is computed in float32 and rounded once.
"""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import numpy as np

from softgrad._formulas.namespace import NDArray as Array
from softgrad._numpy.threads import AUTOMATIC_FROM, over_rows

__all__ = ["backend"]

try:
    from softgrad import _kernels
except ImportError:  # built without the extension
    _kernels = None  # type: ignore[assignment]


LEVELS: tuple[str, ...] = (*(_kernels.levels() if _kernels else ()), "generic")
"""What this machine can run, best first. `generic` is NumPy's own arithmetic."""


def load(level: str) -> SimpleNamespace | None:
    if level not in LEVELS:
        raise ValueError(f"SOFTGRAD_ISA must be one of {', '.join(LEVELS)} on this machine; got {level!r}")
    if level == "generic":
        return None
    return SimpleNamespace(**_kernels.ufuncs(level), direct=_kernels.direct(level, AUTOMATIC_FROM))


class UnknownLevel(SimpleNamespace):
    """The kernels of a level that this machine does not have: to use one raises the ValueError that says so.

    An error of the import itself would be a traceback of `python -m softgrad`, before the command can report it.
    """

    def __getattr__(self, name: str) -> Any:
        load(level)
        raise AttributeError(name)  # never reached: the level is not one of LEVELS


level: str = os.environ.get("SOFTGRAD_ISA") or LEVELS[0]
table: SimpleNamespace | None = load(level) if level in LEVELS else UnknownLevel()
"""The kernels as generalized ufuncs; and in `direct`, by name, as functions of plain arrays that one thread computes,
which answer NotImplemented to any other call."""


def has_kernel(x: Array) -> bool:
    """Whether `x` is an array of NumPy of a dtype that the kernels compute."""
    return table is not None and isinstance(x, np.ndarray) and (x.dtype.itemsize <= 4 or x.dtype == np.float64)


def run(name: str, operands: tuple[Any, ...], outs: tuple[Array, ...], workers: int) -> None:
    """The kernel called `name` on rows of the first operand's dtype, spread over threads; it writes to `outs`."""
    ufunc: np.ufunc = getattr(table, name)
    dtype = operands[0].dtype
    if dtype.kind != "f":
        # bfloat16 is no type that gufuncs know: its bits come as integers, which mean nothing else to a kernel.
        operands, outs = (
            tuple(a.view(np.uint16) if getattr(a, "dtype", None) == dtype else a for a in arrays)
            for arrays in (operands, outs)
        )
    over_rows(ufunc, operands, outs, workers)


def backend() -> str:
    """The instruction-set level that the NumPy functions run on.

    Returns
    -------
    str
        ``"x86-64-v4"`` (AVX-512), ``"x86-64-v3"`` (AVX2), ``"x86-64-v2"`` or ``"neon"`` for the native kernels, and
        ``"generic"`` for NumPy's own arithmetic. The environment variable ``SOFTGRAD_ISA``, read when softgrad is
        imported, chooses another level that the machine has.

    Raises
    ------
    ValueError
        If ``SOFTGRAD_ISA`` names a level that the machine does not have; every function raises it, too.

    Examples
    --------
    >>> import softgrad as sg
    >>> sg.backend() in ("x86-64-v4", "x86-64-v3", "x86-64-v2", "neon", "generic")
    True
    """
    if level not in LEVELS:
        load(level)
    return level
