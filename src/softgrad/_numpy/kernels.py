"""The native kernels: what this machine can run, the level in use, and a kernel's call on rows spread over threads.

The kernels know float16, bfloat16, float32 and float64; half precision is computed in float32 and rounded once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from softgrad._formulas.namespace import NDArray as Array
from softgrad._formulas.precision import silent
from softgrad._numpy.threads import AUTOMATIC_FROM, cpu_count, over_rows

__all__ = ["backend"]

try:
    import softgrad._kernels as _kernels  # noqa: PLR0402 (`from` hides which error it was)
except ModuleNotFoundError:  # built without the extension; one that is there and does not load is an error
    _kernels = None  # type: ignore[assignment]


LEVELS: tuple[str, ...] = (*(_kernels.levels() if _kernels else ()), "generic")
"""What this machine can run, best first. `generic` is NumPy's own arithmetic."""


DIRECT_BELOW = AUTOMATIC_FROM if cpu_count() > 1 else 2**23
"""Bytes of the computed type up to which calls go straight to a kernel: more may be worth several threads, or, where
there is one CPU, have a row that goes in blocks (`long_rows`)."""


def load(level: str) -> SimpleNamespace | None:
    if level not in LEVELS:
        raise ValueError(f"SOFTGRAD_ISA must be one of {', '.join(LEVELS)} on this machine; got {level!r}")
    if level == "generic":
        return None
    return SimpleNamespace(**_kernels.ufuncs(level), direct=_kernels.direct(level, DIRECT_BELOW))


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


WIDENED = 2**18
"""Entries of a block that is widened: a megabyte of float32, in the cache from the cast to the kernel."""


@dataclass(frozen=True)
class InSingle:
    """A kernel of float32 for operands of half precision: the kernels' own of those have results of half precision."""

    ufunc: np.ufunc
    half: np.dtype[Any]

    @property
    def signature(self) -> str | None:
        """That of the kernel."""
        return self.ufunc.signature

    @silent  # a cast may underflow or overflow, and that is its result
    def __call__(self, *operands: Array, out: tuple[Array, ...]) -> None:
        """Call the kernel on copies in float32, and round what is of half precision once."""
        given = (a.astype(np.float32) if getattr(a, "dtype", None) == self.half else a for a in operands)
        results = tuple(np.empty(o.shape, np.float32) if o.dtype == self.half else o for o in out)
        self.ufunc(*given, out=results)
        for o, result in zip(out, results, strict=True):
            if result is not o:
                np.copyto(o, result, casting="same_kind")


def has_kernel(x: Array) -> bool:
    """Whether `x` is an array of NumPy of a dtype that the kernels compute."""
    return table is not None and isinstance(x, np.ndarray) and (x.dtype.itemsize <= 4 or x.dtype == np.float64)


def run(name: str, operands: tuple[Any, ...], outs: tuple[Array, ...], workers: int) -> None:
    """The kernel called `name` on rows of the first operand's dtype, spread over threads; it writes to `outs`."""
    ufunc: np.ufunc = getattr(table, name)
    dtype = operands[0].dtype
    if dtype.itemsize == 2 and outs[0].dtype != dtype:
        _run_in_single(name, operands, outs, workers)
        return
    if dtype.kind != "f":
        # bfloat16 is no type that gufuncs know: its bits come as integers, which mean nothing else to a kernel.
        operands, outs = (
            tuple(a.view(np.uint16) if getattr(a, "dtype", None) == dtype else a for a in arrays)
            for arrays in (operands, outs)
        )
    over_rows(ufunc, operands, outs, workers)


def _run_in_single(name: str, operands: tuple[Any, ...], outs: tuple[Array, ...], workers: int) -> None:
    """A kernel of half precision whose values, one per row, are float32: computed from copies, in bounded memory.

    Gradients, with one entry per logit, come from the kernel of half precision itself, which rounds them faster than
    NumPy; but where a target is float32.
    """
    half = operands[0].dtype
    values = tuple(out for out in outs if out.dtype != half)
    entries = outs[len(values) :]
    if any(np.may_share_memory(operands[0], value) for value in values):
        operands = (operands[0].copy(), *operands[1:])
    if entries and any(getattr(a, "dtype", None) == np.float32 for a in operands):
        over_rows(InSingle(getattr(table, name), half), operands, outs, workers, WIDENED)
        return
    ufunc: np.ufunc = getattr(table, name.partition("_grad")[0] if entries else name)
    over_rows(InSingle(ufunc, half), operands[: ufunc.nin], values, workers, WIDENED)
    if entries:
        run(name, operands, (np.empty(values[0].shape, half), *entries), workers)


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
