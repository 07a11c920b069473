"""Calibration of classifiers by their logits; `TemperatureScaling` and `VectorScaling` need the extra ``sklearn``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from softgrad.calibration.reliability import (
    ReliabilityBins,
    expected_calibration_error,
    reliability_curve,
    smooth_calibration_error,
)
from softgrad.calibration.vector import VectorFit, fit_vector_scaling

if TYPE_CHECKING:
    from softgrad.calibration.scaling import TemperatureScaling, VectorScaling

__all__ = [
    "ReliabilityBins",
    "TemperatureScaling",
    "VectorFit",
    "VectorScaling",
    "expected_calibration_error",
    "fit_vector_scaling",
    "reliability_curve",
    "smooth_calibration_error",
]


def __getattr__(name: str) -> Any:
    """An estimator on its first use, which imports scikit-learn."""
    if name not in ("TemperatureScaling", "VectorScaling"):
        raise AttributeError(f"module 'softgrad.calibration' has no attribute {name!r}")
    return getattr(importlib.import_module("softgrad.calibration.scaling"), name)


def __dir__() -> list[str]:
    return __all__
