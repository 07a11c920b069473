"""Evaluation and calibration of classifiers by their logits."""

from softgrad.calibration.reliability import (
    ReliabilityBins,
    expected_calibration_error,
    reliability_curve,
    smooth_calibration_error,
)

__all__ = ["ReliabilityBins", "expected_calibration_error", "reliability_curve", "smooth_calibration_error"]
