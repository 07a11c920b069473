"""Labels, targets and options that are refused, and labels of every integer type."""

from math import nan

import numpy as np
import pytest

import softgrad as sg


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (IndexError, r"labels must lie in \[0, 3\); labels\[1\] is 17", {"labels": [0, 17, -1]}),
        (IndexError, r"labels must lie in \[0, 3\); labels\[2\] is -1", {"labels": [0, 2, -1]}),
        (IndexError, r"labels\[2\] is -1", {"labels": [0, 5, -1], "ignore_index": 5}),
        (IndexError, r"labels\[0\] is 18446744073709551615", {"labels": np.full(3, 2**64 - 1, np.uint64)}),
        (TypeError, "labels must be integers; got dtype float64", {"labels": [0.0, 1.0, 2.0]}),
        (TypeError, "labels must be integers; got dtype bool", {"labels": [True, True, False]}),
        (TypeError, "labels must be integers; got dtype <U1", {"labels": ["a", "b", "c"]}),
        (ValueError, r"labels must have shape \(3,\), one per slice of the logits; got \(2,\)", {"labels": [0, 1]}),
        (ValueError, r"labels must have shape \(3,\).*got \(3, 1\)", {"labels": [[0], [1], [2]]}),
        (ValueError, "labels must be an array of integers", {"labels": [[0], [1, 2], [2]]}),
        (TypeError, "ignore_index must be an integer or None; got 1.5", {"ignore_index": 1.5}),
        (ValueError, r"weight must be finite and at least 0; weight\[1\] is -1.0", {"weight": [1, -1, 1]}),
        (ValueError, r"weight must broadcast to shape \(3,\); got shape \(2,\)", {"weight": [1, 1]}),
        (ValueError, r"sample_weight\[2\] is nan", {"sample_weight": [1, 1, nan]}),
        (ValueError, r"label_smoothing must lie in \[0, 1\]; got 1.5", {"label_smoothing": 1.5}),
        (TypeError, "label_smoothing must be a number; got 'a'", {"label_smoothing": "a"}),
        (ValueError, r"z_loss must lie in \[0, inf\); got -1.0", {"z_loss": -1}),
        (TypeError, "where must be of dtype bool", {"where": [1, 0, 1]}),
        (ValueError, r"grad_out must have shape \(3, 3\); got \(3,\)", {"grad_out": np.zeros(3)}),
        (TypeError, "grad_out must have dtype float64; got float32", {"grad_out": np.zeros((3, 3), np.float32)}),
        (TypeError, "grad_out must be a NumPy array; got list", {"grad_out": [1]}),
    ],
    ids=lambda value: value.replace("\\", "") if isinstance(value, str) else None,
)
def test_wrong_arguments_write_nothing(error, message, arguments):
    arguments = {"labels": [0, 1, 2], **arguments}
    labels = arguments.pop("labels")
    out, grad_out = np.full(3, 7.0), np.full((3, 3), 7.0)
    with pytest.raises(error, match=message):
        sg.cross_entropy_grad(np.eye(3), labels, out=out, **{"grad_out": grad_out, **arguments})
    assert (out == 7).all()
    assert (grad_out == 7).all()


@pytest.mark.parametrize("code", "bhilqBHILQ")
def test_labels_of_every_integer_type_and_layout(code):
    logits = np.random.default_rng(0).normal(size=(4, 3))
    labels = np.array([2, 0, 1, 2])
    expected = sg.cross_entropy(logits, labels)
    low = np.iinfo(code).min if code.islower() else np.iinfo(code).max
    for bad in (None, 3, low, np.iinfo(code).max):
        given = labels.astype(code)
        if bad is not None:
            given[1] = bad
        for same in (
            given,
            given.astype(given.dtype.newbyteorder()),
            np.repeat(given, 2)[::2],
            given[::-1].copy()[::-1],
        ):
            if bad is None:
                np.testing.assert_array_equal(sg.cross_entropy(logits, same), expected)
            else:
                with pytest.raises(IndexError, match=rf"labels must lie in \[0, 3\); labels\[1\] is {bad}(: .*)?$"):
                    sg.cross_entropy(logits, same)


def test_labels_of_several_axes_and_indices():
    with pytest.raises(IndexError, match=r"labels must lie in \[0, 4\); labels\[1, 2\] is 4"):
        sg.cross_entropy(np.zeros((2, 3, 4)), [[0, 1, 2], [3, 0, 4]])
    with pytest.raises(IndexError, match=r"labels must lie in \[0, 4\); labels is 4"):
        sg.cross_entropy(np.zeros(4), 4)
    with pytest.raises(IndexError, match=r"index must lie in \[0, 4\); index\[1, 0\] is 9"):
        sg.selective_log_softmax(np.zeros((2, 4)), [[0, 1], [9, 3]])
    with pytest.raises(ValueError, match=r"targets must broadcast to shape \(2, 4\); got shape \(3,\)"):
        sg.soft_cross_entropy(np.zeros((2, 4)), np.zeros(3))
    with pytest.raises(ValueError, match=r"gamma must lie in \[0, inf\); got -2.0"):
        sg.focal_loss(np.zeros(4), 1, gamma=-2)
