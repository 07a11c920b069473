"""The precision of computation: types narrower than the widest are computed in that, and rounded once."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from softgrad._formulas.namespace import Array, is_compiling, namespace, widest

Operands = ParamSpec("Operands")
Result = TypeVar("Result")


def silent(formula: Callable[Operands, Result]) -> Callable[Operands, Result]:
    """`formula` without warnings: NaN, infinity and underflow are results of the formulas, and documented."""

    @wraps(formula)
    def computed(*operands: Operands.args, **options: Operands.kwargs) -> Result:
        if is_compiling():  # torch.compile does not trace what is NumPy's, and warns of nothing
            return formula(*operands, **options)
        with np.errstate(all="ignore"):
            return formula(*operands, **options)

    return computed


def warning_the_caller(formula: Callable[Operands, Result]) -> Callable[Operands, Result]:
    """`formula`, where what NumPy warns of is said of the first line outside softgrad; errors stay errors."""

    @wraps(formula)
    def computed(*operands: Operands.args, **options: Operands.kwargs) -> Result:
        kinds = {kind: "call" for kind, mode in np.geterr().items() if mode == "warn"}
        with np.errstate(call=_warn, **kinds):  # type: ignore[arg-type]
            return formula(*operands, **options)

    return computed


def _warn(kind: str, flag: int) -> None:
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "softgrad":
        level, frame = level + 1, frame.f_back
    warnings.warn(f"{kind} encountered in softmax without normalization", RuntimeWarning, stacklevel=level)


def wide_dtype(xp: Any, dtype: Any) -> Any:
    """The dtype in which `dtype` is computed: longdouble for itself, else the widest that every library may have."""
    return dtype if dtype == getattr(xp, "longdouble", None) else widest(xp)


def value_dtype(xp: Any, dtype: Any) -> Any:
    """The dtype of losses, entropies and divergences of logits of `dtype`: float32 for float16 and bfloat16.

    Of such numbers there is one per row, and what is done with them is a sum over many rows: in half precision it would
    overflow, or stop growing.
    """
    return xp.float32 if is_half(xp, dtype) else dtype


def is_half(xp: Any, dtype: Any) -> bool:
    """Whether `dtype` is float16 or bfloat16."""
    # Not one test with a default None: to NumPy, float64 equals None.
    own = [getattr(xp, name) for name in ("float16", "bfloat16") if hasattr(xp, name)]
    return dtype in own or getattr(dtype, "name", "") == "bfloat16"


def as_wide(x: Array) -> Array:
    """`x` in the dtype of computation."""
    xp = namespace(x)
    return xp.astype(x, wide_dtype(xp, x.dtype), copy=False)


@silent  # a cast may underflow or overflow, and that is its result
def narrowed(value: Array, dtype: Any) -> Array:
    """`value`, rounded to `dtype`."""
    return namespace(value).astype(value, dtype, copy=False)


def computed_wide(
    formula: Callable[Concatenate[Any, Array, Operands], Result],
) -> Callable[Concatenate[Array, Operands], Result]:
    """`formula(xp, x, …)` as a function of x, …, computed in the wide dtype and rounded once."""

    @wraps(formula)
    @silent
    def computed(x: Array, /, *operands: Any, **options: Any) -> Any:
        xp, narrow = namespace(x), x.dtype
        wide = wide_dtype(xp, narrow)
        if narrow == wide:
            return formula(xp, x, *operands, **options)
        widened = (
            xp.astype(a, wide) if getattr(a, "dtype", None) == narrow else a  # masks and temperatures stay
            for a in operands
        )
        result: Any = formula(xp, xp.astype(x, wide), *widened, **options)
        return tuple(xp.astype(r, narrow) for r in result) if isinstance(result, tuple) else xp.astype(result, narrow)

    return computed
