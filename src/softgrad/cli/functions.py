"""The functions that `softgrad apply` knows, and which options of the command line each of them takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import softgrad

KNOWN = (
    "softmax", "log_softmax", "logsumexp", "sparsemax", "entmax", "entropy", "tsallis_entropy", "cross_entropy",
    "soft_cross_entropy", "focal_loss", "sparsemax_loss", "entmax_loss", "soft_sparsemax_loss", "soft_entmax_loss",
    "selective_log_softmax", "kl_divergence", "top_k_mask", "top_p_mask", "min_p_mask", "cross_entropy_grad",
    "soft_cross_entropy_grad", "focal_loss_grad", "entropy_grad",
)  # fmt: skip
"""Functions of logits whose results files can hold, most used first."""

FUNCTIONS = tuple(name.replace("_", "-") for name in KNOWN if hasattr(softgrad, name))
"""As the command line spells them."""

DTYPES = ("float16", "bfloat16", "float32", "float64", "longdouble")
"""The floating types that a file can hold."""

PARAMETERS = {"labels": ("labels", "index"), "targets": ("targets", "logits_q")}
"""What functions call an option, where it is not its own name."""


class OptionError(ValueError):
    """An option that the function does not take, or one that it needs."""


def bound(name: str, options: dict[str, Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The function called `name`, and what `apply_blocks` takes along of the options that were given."""
    function = getattr(softgrad, name.replace("-", "_"))
    parameters = inspect.signature(function).parameters
    arrays: dict[str, Any] = {}
    for option, value in options.items():
        if value is None:
            continue
        parameter = _parameter(option, parameters)
        if parameter is None:
            raise OptionError(f"--{option.replace('_', '-')} is for {_takers(option)}; {name} has none")
        arrays[parameter] = value
    for operand in [p for p in parameters.values() if p.kind is not p.KEYWORD_ONLY and p.default is p.empty][1:]:
        if operand.name not in arrays:
            kind = "FILE" if operand.kind is operand.POSITIONAL_ONLY else operand.name.upper()
            raise OptionError(f"{name} needs --{_option(operand.name)} {kind}")
    return function, arrays


def _parameter(option: str, parameters: Any) -> str | None:
    return next((name for name in PARAMETERS.get(option, (option,)) if name in parameters), None)


def _option(parameter: str) -> str:
    return next((option for option, names in PARAMETERS.items() if parameter in names), parameter)


def _takers(option: str) -> str:
    """The functions that take an option, the first two by name."""
    functions = [(name, getattr(softgrad, name.replace("-", "_"))) for name in FUNCTIONS]
    names = [name for name, f in functions if _parameter(option, inspect.signature(f).parameters) is not None]
    return " and ".join(names[:2]) + (" among others" if len(names) > 2 else "")
