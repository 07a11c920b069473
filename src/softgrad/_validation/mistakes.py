"""What to write instead: the ends of error messages, for mistakes that are made often."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any

CHECKS = ("softgrad._validation", "softgrad._api", "softgrad._numpy.threads")
"""Modules that look at arguments: what they raise is a mistake in the call."""

NAMES = {
    "dim": "axis",
    "keepdim": "keepdims",
    "mask": "where",
    "T": "temperature",
    "tau": "temperature",
    "smoothing": "label_smoothing",
    "class_weight": "weight",
    "sample_weights": "sample_weight",
    "n_jobs": "workers",
}
"""What other libraries call an option."""


def names_the_array(x: Any) -> str:
    """What came instead of an array of numbers, and how it becomes one."""
    package, name = type(x).__module__.partition(".")[0], type(x).__name__
    if package == "scipy":
        return f"a sparse {name} of SciPy: toarray() makes it dense"
    if isinstance(x, dict):
        return "a dict: list(x.values()) has its numbers"
    if isinstance(x, Iterable) and not isinstance(x, Sequence):
        return f"a {name}: list(x) makes it an array"
    return f"{'None' if x is None else f'a {name}'}"


def of_signature(error: TypeError, operands: tuple[str, ...], options: Iterable[str], given: Iterable[str]) -> str:
    """Python's own message about arguments that do not fit a signature, and what to write.

    `operands` and `options` are what the function calls its arguments, `given` the names in the call.
    """
    function, options = str(error).partition("(")[0], list(options)
    call = f"{function}({', '.join(operands)}"
    unknown = [name for name in given if name not in options]
    if any(name in operands for name in unknown):
        return f"{error}: arrays go first, without a name, as in {call})"
    if unknown:
        name = unknown[0]
        if name in ("reduction", "size_average"):
            return f"{error}: there is one loss per row; .mean() or .sum() reduces them"
        near = [NAMES[name]] if name in NAMES else difflib.get_close_matches(name, options, 1)
        return f"{error}: did you mean {near[0]}?" if near and near[0] in options else str(error)
    if "positional argument" in str(error) and "given" in str(error) and options:
        option = "normalization=False" if "normalization" in options else f"{options[0]}=..."
        return f"{error}: options are given by name, as in {call}, {option})"
    return str(error)


def is_in_a_check(traceback: TracebackType | None) -> bool:
    """Whether an error arose where arguments are checked, so that the way there says nothing to the caller."""
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is not None and traceback.tb_frame.f_globals.get("__name__", "").startswith(CHECKS)
