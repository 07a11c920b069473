"""The layer SoftmaxCrossEntropy."""

import numpy as np
import pytest

import softgrad as sg

from ..maps import assert_same, logits


def test_layer(level):
    x, labels = logits((4, 5), np.dtype(np.float64)), np.array([0, 1, -1, 4])
    layer = sg.SoftmaxCrossEntropy(label_smoothing=0.1, ignore_index=-1)
    with pytest.raises(RuntimeError, match="SoftmaxCrossEntropy has no output yet"):
        layer.backward()
    losses = layer(x, labels)
    expected = sg.cross_entropy_grad(x, labels, label_smoothing=0.1, ignore_index=-1)
    assert layer.output is losses
    assert_same(losses, expected.loss)
    assert_same(layer.backward(), expected.grad)
    np.testing.assert_array_equal(layer.backward(0.25), expected.grad / 4)
    np.testing.assert_array_equal(layer.backward([1, 2, 3, 4]), expected.grad * np.array([[1], [2], [3], [4]]))
    first = sg.SoftmaxCrossEntropy(axis=0)
    first(x, np.arange(5) % 4)
    np.testing.assert_array_equal(first.backward(np.arange(5)), first.backward() * np.arange(5))
    warm = sg.SoftmaxCrossEntropy(temperature=[1, 2, 3, 4], dtype=np.float32)
    expected = sg.cross_entropy_grad(x, labels % 5, temperature=[1, 2, 3, 4], dtype=np.float32)
    assert_same(warm(x, labels % 5), expected.loss)
    assert_same(warm.backward(), expected.grad)
    with pytest.raises(ValueError, match="grad_output must broadcast"):
        layer.backward([1, 2, 3])
