"""A layer's backward pass is that of its own output: its caller may write into the array that he was given."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import softgrad as sg

X, G = np.random.default_rng(0).normal(size=(2, 3, 4))
LIBRARIES = {
    "NumPy": (np.array, lambda a: a.__setitem__(..., 7)),
    "masked": (lambda a: np.ma.MaskedArray(a.copy(), a > 1), lambda a: a.__setitem__(..., 7)),
    "PyTorch": (torch.tensor, lambda a: a.fill_(7)),
    "pandas": (pd.DataFrame, lambda a: a.__setitem__(slice(None), 7)),
    "xarray": (xr.DataArray, lambda a: a.__setitem__(..., 7)),
}


@pytest.mark.parametrize(("to", "write"), LIBRARIES.values(), ids=LIBRARIES)
@pytest.mark.parametrize("layer", [sg.Softmax(), sg.LogSoftmax()], ids=repr)
def test_writing_into_the_output(layer, to, write):
    layer(to(X))
    expected = [layer.backward(to(G)), layer.backward()]
    write(layer(to(X)))
    for got, wanted in zip([layer.backward(to(G)), layer.backward()], expected, strict=True):
        np.testing.assert_array_equal(np.asarray(got), np.asarray(wanted))


@pytest.mark.parametrize(("to", "write"), LIBRARIES.values(), ids=LIBRARIES)
def test_writing_into_the_losses_and_their_gradient(to, write):
    layer, labels = sg.SoftmaxCrossEntropy(), np.array([0, 3, 1])
    layer(to(X), labels)
    expected = [np.asarray(layer.backward()).copy(), np.asarray(layer.backward(np.array([1.0, 2.0, 3.0])))]
    write(layer.backward())
    np.testing.assert_array_equal(np.asarray(layer.backward()), expected[0])
    np.testing.assert_array_equal(np.asarray(layer.backward(np.array([1.0, 2.0, 3.0]))), expected[1])


def test_the_output_is_the_array_that_was_returned():
    layer = sg.Softmax()
    p = layer(X)
    p -= 1
    assert layer.output is p
