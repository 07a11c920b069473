"""Options and operands of one library beside logits of another: by position, and never a call that ends in itself."""

import functools
import inspect

import dask.array as da
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import softgrad as sg
from softgrad import _dispatch as dispatch

M, N = 2, 3
LOGITS = np.array([[0.5, -1.0, 2.0], [1.0, 0.0, -2.0]], np.float32)

LIBRARIES = {
    "list": np.ndarray.tolist,
    "NumPy": np.asarray,
    "PyTorch": torch.tensor,
    "PyTorch with gradient": functools.partial(torch.tensor, requires_grad=True),
    "JAX": jnp.asarray,
    "Dask": functools.partial(da.from_array, chunks=-1),
    "Dask, several blocks": functools.partial(da.from_array, chunks=2),
}
LABELLED = {
    "pandas": lambda a: pd.Series(a, ["s", "r"]) if a.ndim == 1 else pd.DataFrame(a, ["s", "r"]),
    "xarray": lambda a: xr.DataArray(a, dims=["row", "class"][: a.ndim], coords={"row": ["s", "r"]}),
}
OPTIONS = {
    "where": np.array([[True, False, True], [True, True, True]]),
    "b": np.array([[1.0, 2.0, 3.0], [0.5, 1.0, 0.0]], np.float32),
    "temperature": np.array([0.5, 2.0], np.float32),
    "sample_weight": np.array([1.0, 3.0], np.float32),
}
FUNCTIONS = {"where": sg.log_softmax, "b": sg.logsumexp, "temperature": sg.softmax}


def _call(logits, option, value):
    if option == "sample_weight":
        return sg.cross_entropy(logits, np.array([2, 1]), sample_weight=value)
    return FUNCTIONS[option](logits, **{option: value})


def _numbers(result):
    return result.detach().numpy() if isinstance(result, torch.Tensor) else np.asarray(result)


@pytest.mark.parametrize("label", LABELLED.values(), ids=LABELLED)
@pytest.mark.parametrize("option", OPTIONS)
def test_labelled_options_go_by_position_beside_logits_without_labels(label, option):
    value = OPTIONS[option]
    for name, to in LIBRARIES.items():
        logits = to(LOGITS)
        got = _call(logits, option, label(value))
        expected = _call(logits, option, value)
        assert type(got) is type(expected), name
        np.testing.assert_array_equal(_numbers(got), _numbers(expected), err_msg=name)
    traced = jax.jit(lambda x: _call(x, option, label(value)))(LOGITS)
    np.testing.assert_allclose(traced, _call(LOGITS, option, value), rtol=1e-6)


@pytest.mark.parametrize("label", LABELLED.values(), ids=LABELLED)
def test_labels_of_two_libraries_go_by_position_beside_logits_without_labels(label):
    other = LABELLED["xarray" if label is LABELLED["pandas"] else "pandas"]
    got = sg.cross_entropy(LOGITS, label(np.array([2, 1])), sample_weight=other(OPTIONS["sample_weight"]))
    np.testing.assert_array_equal(got, _call(LOGITS, "sample_weight", OPTIONS["sample_weight"]))


@pytest.mark.parametrize("option", OPTIONS)
def test_options_of_any_library_beside_logits_of_any_other(option):
    value, expected = OPTIONS[option], _call(LOGITS, option, OPTIONS[option])
    for name, to in LIBRARIES.items():
        for other, option_to in LIBRARIES.items():
            if name != other and "gradient" not in other:
                got = _call(to(LOGITS), option, option_to(value))
                np.testing.assert_allclose(_numbers(got), expected, rtol=1e-6, err_msg=f"{name} with {other}")


def test_weights_of_classes_of_any_library_beside_logits_of_any_other():
    """A Dask array of them was a call that ended in itself."""
    weight, labels = np.array([1.0, 2.0, 3.0], np.float32), np.array([2, 1])
    expected = sg.cross_entropy(LOGITS, labels, weight=weight)
    for name, to in LIBRARIES.items():
        for other, option_to in LIBRARIES.items():
            if "gradient" not in other:
                got = sg.cross_entropy(to(LOGITS), labels, weight=option_to(weight))
                np.testing.assert_allclose(_numbers(got), expected, rtol=1e-6, err_msg=f"{name} with {other}")


@pytest.mark.parametrize("frame", [True, False], ids=["frame", "series"])
def test_labels_and_options_of_other_libraries_beside_labelled_logits(frame):
    logits = pd.DataFrame(LOGITS, ["r", "s"]) if frame else pd.Series(LOGITS[0], ["a", "b", "c"])
    labels = np.array([2, 1]) if frame else np.array(2)
    for to in (torch.tensor, jnp.asarray):
        got = sg.cross_entropy_grad(logits, to(labels))
        expected = sg.cross_entropy_grad(logits, labels)
        kind = pd.testing.assert_frame_equal if frame else pd.testing.assert_series_equal
        kind(got.grad, expected.grad)
        if frame:
            pd.testing.assert_series_equal(got.loss, expected.loss)


for _name in sg.__all__:
    getattr(sg, _name)  # functions are declared when their module is imported

EVERY = [f for name, f in dispatch.FUNCTIONS.items() if hasattr(sg, name)]


@pytest.mark.parametrize("function", EVERY, ids=lambda f: f.name)
def test_another_number_of_operands_is_pythons_own_type_error(function):
    public = getattr(sg, function.name)
    count = len(function.operands)
    parameters = inspect.signature(function.plain).parameters.values()
    by_position = [1.5 for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]  # alpha, k, p
    for to in (np.asarray, torch.tensor, jnp.asarray, pd.DataFrame):
        operands = [to(LOGITS)] * count
        for surplus in (pd.Series([1.0]), xr.DataArray([1.0]), torch.ones(1), False):
            most = count + len(by_position)
            with pytest.raises(TypeError, match=rf"takes (from \d to )?{most} positional argument"):
                public(*operands, *by_position, surplus)
        with pytest.raises(TypeError, match=r"missing [12] required positional argument"):
            public(*operands[1:])


def test_unknown_options_are_type_errors():
    for to in (np.asarray, torch.tensor, jnp.asarray, pd.DataFrame):
        with pytest.raises(TypeError, match="temprature"):
            sg.softmax(to(LOGITS), temprature=2.0)
