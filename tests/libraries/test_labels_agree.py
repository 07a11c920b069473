"""Every function compares labels or refuses them: none goes by position where labels disagree."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import softgrad as sg
from softgrad.compat import scipy as compat

X = np.random.default_rng(0).normal(size=(4, 3))
ROWS, COLUMNS = ["r", "s", "t", "u"], ["a", "b", "c"]


def frame(values):
    return pd.DataFrame(values, ROWS[: len(values)], COLUMNS[: values.shape[1]])


def array(values):
    return xr.DataArray(values, {"row": ROWS[: len(values)], "class": COLUMNS[: values.shape[1]]}, ("row", "class"))


both = pytest.mark.parametrize("label", [frame, array])

# name: the argument that is refused, and the call with one of its arguments labelled
REFUSED = {
    "hvp X": ("X", lambda label: sg.softmax_regression_hvp(label(X), X, X[:3])),
    "hvp logits": ("logits", lambda label: sg.softmax_regression_hvp(X, label(X), X[:3])),
    "hvp V": ("V", lambda label: sg.softmax_regression_hvp(X, X, label(X[:3]))),
    "hessian X": ("X", lambda label: sg.softmax_regression_hessian(label(X), X)),
    "hessian logits": ("logits", lambda label: sg.softmax_regression_hessian(X, label(X))),
    "linear hidden": ("hidden", lambda label: sg.linear_cross_entropy(label(X), X, [0] * 4)),
    "linear weight": ("weight", lambda label: sg.linear_cross_entropy_grad(X, label(X), [0] * 4)),
    "update": ("x", lambda label: sg.LogSumExpState().update(label(X))),
    "normalize": ("x", lambda label: sg.LogSumExpState().update(X).normalize(label(X))),
}


@both
@pytest.mark.parametrize("name", REFUSED)
def test_functions_without_labels_refuse_them(name, label):
    argument, call = REFUSED[name]
    with pytest.raises(TypeError, match=rf"^{argument} must be an array without labels.*got (pandas|xarray)\."):
        call(label)


@both
def test_labels_of_logsumexp_in_compat(label):
    b = np.exp(X)
    np.testing.assert_array_equal(compat.logsumexp(label(X), b=label(b)), compat.logsumexp(X, b=b))
    np.testing.assert_array_equal(compat.logsumexp(label(X), axis=1, b=b), compat.logsumexp(X, axis=1, b=b))
    for other in (label(b)[::-1], label(b[:, ::-1]).rename(columns={"a": "c", "c": "a"}) if label is frame else None):
        if other is not None:
            with pytest.raises(ValueError, match=r"b must have the (index|columns|coordinates) of a"):
                compat.logsumexp(label(X), b=other)
    series = pd.Series(b[0], COLUMNS)
    np.testing.assert_array_equal(compat.logsumexp(frame(X), b=series), compat.logsumexp(X, b=b[0]))
    with pytest.raises(ValueError, match="b must have the columns of a"):
        compat.logsumexp(frame(X), b=series[::-1])


@both
@pytest.mark.parametrize("name", ["grad_p_out", "grad_q_out", "out"])
def test_every_buffer_is_refused(name, label):
    with pytest.raises(TypeError, match=rf"^{name} is for NumPy arrays; got (pandas|xarray)\."):
        sg.kl_divergence_grad(label(X), label(X), **{name: np.zeros((4, 3) if "grad" in name else 4)})


def test_states_of_other_axes_do_not_merge():
    square = X[:3]
    for one, other in ((0, 1), (-1, 0), (1, 0)):
        a, b = (sg.LogSumExpState(axis=axis).update(square) for axis in (one, other))
        for merge in (a.merge, a.__add__):
            with pytest.raises(ValueError, match=rf"other must have the same slices.*axis={other}.*axis={one}"):
                merge(b)
    cube = np.stack([square] * 3)
    with pytest.raises(ValueError, match="other must have the same slices"):
        sg.LogSumExpState(axis=(0, 1)).update(cube).merge(sg.LogSumExpState(axis=(0, 2)).update(cube))
    same = sg.LogSumExpState(axis=-1).update(square) + sg.LogSumExpState(axis=1).update(square)
    np.testing.assert_array_equal(same.logsumexp(), sg.logsumexp(np.hstack([square, square])))
    all_of_it = sg.LogSumExpState(axis=None).update(square) + sg.LogSumExpState().update(square[0])
    assert all_of_it.logsumexp() == sg.logsumexp(np.concatenate([square.ravel(), square[0]]))
    assert (sg.LogSumExpState(axis=0) + sg.LogSumExpState(axis=0).update(square)).merge(
        sg.LogSumExpState(axis=-2).update(square)
    ).logsumexp().shape == (3,)
