"""Which array library an array belongs to."""

from __future__ import annotations

from typing import Any

import numpy as np


def namespace(x: Any) -> Any:
    """The array API namespace of `x`: NumPy itself, or array-api-compat's view of the library that `x` comes from."""
    if isinstance(x, (np.ndarray, np.generic)):
        return np
    import array_api_compat  # noqa: PLC0415  only a foreign array needs it

    return array_api_compat.array_namespace(x)
