"""softgrad: softmax and everything that is differentiated through it, exact, at memory speed."""

import importlib
import typing

from softgrad._numpy import kernels

__version__ = "0.1.0"

_HOMES = (
    kernels.__name__,
    "softgrad._numpy.threads",
    "softgrad._api.softmax",
    "softgrad._api.derivatives",
    "softgrad._api.operators",
    "softgrad._api.results",
    "softgrad._api.sparse",
    "softgrad._api.sparse_derivatives",
    "softgrad._api.sparse_losses",
    "softgrad._api.losses",
    "softgrad._api.focal",
    "softgrad._api.information",
    "softgrad._api.linear_losses",
    "softgrad._api.hessians",
    "softgrad._api.layers",
    "softgrad._api.decoding",
    "softgrad._api.sampling",
    "softgrad._api.states",
    "softgrad.files.apply",
    "softgrad.files.read",
    "softgrad.calibration.evaluation",
    "softgrad.calibration.temperature",
)
"""Modules that say in `__all__` which of the public names are theirs. `__init__.pyi` names them for type checkers."""

_MODULES = ("boosting", "calibration", "compat", "files", "regression", "testing")


def __getattr__(name: str) -> typing.Any:
    """A name on its first use: importing softgrad costs little more than importing NumPy."""
    if name == "__all__":
        value = sorted(name for home in _HOMES for name in importlib.import_module(home).__all__)
    elif name in _MODULES:
        return importlib.import_module(f"softgrad.{name}")
    elif name.startswith("_"):
        raise AttributeError(f"module 'softgrad' has no attribute {name!r}")
    else:
        value = _public(name)
    globals()[name] = value
    return value


def _public(name: str) -> typing.Any:
    for home in map(importlib.import_module, _HOMES):
        if name in home.__all__:
            return getattr(home, name)
    raise AttributeError(f"module 'softgrad' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__getattr__("__all__"), *_MODULES, "__version__"]
