"""Other libraries' functions under their own names and signatures, computed by softgrad."""

import importlib
from typing import Any

__all__ = ["scipy"]


def __getattr__(name: str) -> Any:
    """A module on its first use."""
    if name not in __all__:
        raise AttributeError(f"module 'softgrad.compat' has no attribute {name!r}")
    return importlib.import_module(f"softgrad.compat.{name}")


def __dir__() -> list[str]:
    return __all__
