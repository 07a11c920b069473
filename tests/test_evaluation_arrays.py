"""evaluate, fit_temperature and errors of calibration of arrays with labels, masks and missing values."""

import copy
import json
import pickle

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import softgrad as sg
from softgrad.calibration import expected_calibration_error, reliability_curve, smooth_calibration_error

ROWS, CLASSES = list("abcd"), list("xyz")
X = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0], [5.0, 1.0, 1.0], [1.0, 1.0, 2.0]])
LABELS = np.array([2, 0, 0, 1])
NAMES = np.array(["z", "x", "x", "y"])
WEIGHT = np.array([1.0, 2.0, 0.5, 1.0])
WHERE = X > 0
FRAME = pd.DataFrame(X, ROWS, CLASSES)
ARRAY = xr.DataArray(X, dims=("row", "class"), coords={"row": ROWS, "class": CLASSES})
BOTH = pytest.mark.parametrize("function", [sg.evaluate, sg.fit_temperature], ids=lambda f: f.__name__)


def series(values, index=ROWS):
    return pd.Series(values, index=index)


def along_rows(values, index=ROWS):
    return xr.DataArray(values, dims="row", coords={"row": index})


def numbers(found):
    if isinstance(found, sg.Evaluation):
        return {name: value for name, value in found.to_dict().items() if isinstance(value, int | float)}
    return found._asdict()


@BOTH
def test_labels_that_disagree_are_an_error(function):
    """Rows in another order were counted by position, without a word."""
    moved = list("bacd")
    for logits, one in ((FRAME, series), (ARRAY, along_rows)):
        for labels, options, name in (
            (one(LABELS, moved), {}, "labels"),
            (LABELS, {"sample_weight": one(WEIGHT, moved)}, "sample_weight"),
            (LABELS, {"where": (logits > 0)[:, [1, 0, 2]]} if logits is ARRAY else {}, "where"),
            (LABELS, {"where": (FRAME > 0)[["y", "x", "z"]]} if logits is FRAME else {}, "where"),
        ):
            if name == "where" and not options:
                continue
            with pytest.raises(ValueError, match=f"^{name} must have the "):
                function(logits, labels, **options)
    with pytest.raises(TypeError, match="labels must be an array without labels or one of pandas"):
        function(FRAME, along_rows(LABELS))


@BOTH
def test_labels_that_agree_change_nothing(function):
    expected = numbers(function(X, LABELS, sample_weight=WEIGHT))
    lazy = xr.DataArray(da.from_array(X, chunks=(2, 3)), dims=("row", "class"))
    for logits, labels, weight, axis in (
        (FRAME, series(LABELS), series(WEIGHT), -1),
        (FRAME, NAMES, WEIGHT, "columns"),
        (FRAME, series(NAMES), WEIGHT, 1),
        (FRAME.T, series(LABELS), series(WEIGHT), "index"),
        (FRAME.astype("Float64"), series(LABELS).astype("Int64"), WEIGHT, -1),
        (FRAME.astype("float64[pyarrow]"), list(NAMES), WEIGHT, -1),
        (ARRAY, along_rows(LABELS), along_rows(WEIGHT), "class"),
        (ARRAY.T, along_rows(NAMES), WEIGHT, "class"),
        (lazy, LABELS, WEIGHT, "class"),
        (X, series(LABELS), along_rows(WEIGHT), -1),  # by position beside logits without labels
    ):
        assert numbers(function(logits, labels, sample_weight=weight, axis=axis)) == pytest.approx(expected, rel=1e-14)


@BOTH
def test_what_is_no_array_of_numbers(function):
    for logits, came in ((None, "None"), ({}, "a dict"), ("abc", None), ([["a"]], "dtype <U1"), (X * 1j, "complex128")):
        with pytest.raises((TypeError, ValueError) if came is None else TypeError, match=came or "suffix"):
            function(logits, LABELS)
    with pytest.raises(TypeError, match="column 'x' has dtype Float64 and missing values"):
        function(FRAME.astype("Float64").where(WHERE), LABELS)
    with pytest.raises(
        ValueError, match=r"got \(4, 3\): a target for every class, such as one-hot labels, is for soft"
    ):
        function(X, np.eye(3, dtype=int)[LABELS])
    with pytest.raises(ValueError, match=r"got \(4, 1\): squeeze\(\) removes the axis"):
        function(X, LABELS[:, None])


@BOTH
def test_masked_labels_and_weights_are_no_numbers(function):
    masked = np.ma.masked_array(LABELS, [0, 1, 0, 0])
    with pytest.raises(ValueError, match="labels must have no masked entries; got 1 of 4: filled"):
        function(X, masked)
    filled = numbers(function(X, masked.filled(-1), ignore_index=-1))
    assert filled == numbers(function(X[[0, 2, 3]], LABELS[[0, 2, 3]]))
    with pytest.raises(ValueError, match="sample_weight must have no masked entries"):
        function(X, LABELS, sample_weight=np.ma.masked_array(WEIGHT, [0, 1, 0, 0]))


def test_what_was_found_cannot_be_written():
    """Writing into the bins, as of a plot, changed the errors, and writing into the classes what is merged later."""
    found = sg.evaluate(X, LABELS, per_class=True)
    before = json.dumps(found.to_dict())
    for record in (found.bins, found.quantile_bins, found.per_class):
        for name in record.__slots__:
            with pytest.raises(ValueError, match="read-only"):
                getattr(record, name)[...] = 0
    assert json.dumps(found.to_dict()) == before
    again = pickle.loads(pickle.dumps(found))
    assert again == found
    other = copy.copy(found).update(X, LABELS)
    assert (found.count, other.count) == (4, 8)


def test_errors_of_calibration_compare_labels():
    confidence, correct = np.array([0.9, 0.8, 0.3, 0.5]), np.array([True, False, True, True])
    for function in (expected_calibration_error, smooth_calibration_error):
        expected = function(confidence, correct)
        assert function(series(confidence), series(correct)) == expected
        assert function(along_rows(confidence), correct) == expected
        for others, options in (
            ((series(correct, list("bacd")),), {}),
            ((series(correct),), {"sample_weight": series(WEIGHT, list("bacd"))}),
        ):
            with pytest.raises(ValueError, match="must have the index of confidence"):
                function(series(confidence), *others, **options)
    for wrong in ("a", None, ["a", "b"], confidence * 1j):
        with pytest.raises(TypeError, match="confidence must hold real numbers; got"):
            reliability_curve(wrong, correct)
    with pytest.raises(ValueError, match="correct must have no masked entries; got 1 of 4"):
        reliability_curve(confidence, np.ma.masked_array(correct, [0, 0, 1, 0]))
