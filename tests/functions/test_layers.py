"""Softmax and LogSoftmax as layers: forward, output, backward dense and by a product."""

import warnings

import numpy as np
import pytest

import softgrad as sg

X = np.array([[[1.0, 2.0, 3.0, 4.0], [0.5, 0.0, -0.5, 9.0], [0.0, 40.0, 0.0, 0.0]], [[7.0, 7.0, 7.0, 7.0]] * 3])
G = np.linspace(-1.0, 2.0, X.size).reshape(X.shape)
LAYERS = {sg.Softmax: sg.softmax, sg.LogSoftmax: sg.log_softmax}
AXES = [-1, 0, 1, (0, 2), (1, 2), None]


def dense_as_full(dense, shape, axis):
    """One matrix per slice as the Jacobian of the whole array, by entries: shape (size, size)."""
    axes = tuple(range(len(shape))) if axis is None else axis if isinstance(axis, tuple) else (axis % len(shape),)
    batch = [a for a in range(len(shape)) if a not in axes]
    numbers = np.arange(np.prod(shape)).reshape(shape).transpose([*batch, *axes])
    numbers = numbers.reshape(*(shape[a] for a in batch), -1)
    full = np.zeros((X.size, X.size))
    for index in np.ndindex(numbers.shape[:-1]):
        full[np.ix_(numbers[index], numbers[index])] = dense[index]
    return full


@pytest.mark.parametrize("layer_type", LAYERS)
@pytest.mark.parametrize("axis", AXES)
def test_call_returns_the_output_and_keeps_it(layer_type, axis):
    layer = layer_type(axis=axis)
    y = layer(X)
    np.testing.assert_array_equal(y, LAYERS[layer_type](X, axis=axis))
    assert layer.output is y


@pytest.mark.parametrize("layer_type", LAYERS)
@pytest.mark.parametrize("axis", AXES)
def test_dense_backward_is_one_jacobian_per_slice(layer_type, axis):
    layer = layer_type(axis=axis)
    y = layer(X)
    p = sg.softmax(X, axis=axis)
    axes = tuple(range(X.ndim)) if axis is None else axis
    full = dense_as_full(layer.backward(), X.shape, axis)
    for i in range(X.size):
        unit = np.zeros(X.size)
        unit[i] = 1.0
        unit = unit.reshape(X.shape)
        # The column by the definition: p∘(e − Σ p e), or e − Σ p e within the slice of entry i.
        inside = np.sum(unit, axis=axes, keepdims=True)
        relative = unit - np.sum(p * unit, axis=axes, keepdims=True)
        column = p * relative if layer_type is sg.Softmax else relative * inside
        np.testing.assert_allclose(full[:, i].reshape(X.shape), column, rtol=1e-13, atol=1e-15)
    assert y is layer.output


@pytest.mark.parametrize("layer_type", LAYERS)
@pytest.mark.parametrize("axis", AXES)
def test_backward_is_the_product_with_the_transposed_jacobian(layer_type, axis):
    layer = layer_type(axis=axis)
    layer(X)
    full = dense_as_full(layer.backward(), X.shape, axis)
    expected = (full.T @ G.ravel()).reshape(X.shape)
    np.testing.assert_allclose(layer.backward(G), expected, rtol=1e-12, atol=1e-14)


def test_shape_of_dense_backward():
    layer = sg.Softmax()
    layer(X)
    assert layer.backward().shape == (2, 3, 4, 4)
    layer = sg.LogSoftmax(axis=1)
    layer(X)
    assert layer.backward().shape == (2, 4, 3, 3)
    layer = sg.Softmax(axis=None)
    layer(X)
    assert layer.backward().shape == (24, 24)
    layer = sg.Softmax()
    layer(X[0, 0])
    assert layer.backward().shape == (4, 4)


@pytest.mark.parametrize("layer_type", LAYERS)
def test_backward_follows_the_last_call(layer_type):
    layer = layer_type()
    layer(X)
    layer(-X[0])
    alone = layer_type()
    alone(-X[0])
    np.testing.assert_array_equal(layer.backward(G[0]), alone.backward(G[0]))


@pytest.mark.parametrize("layer_type", LAYERS)
def test_backward_before_forward_says_what_to_do(layer_type):
    layer = layer_type()
    message = f"{layer_type.__name__} has no output yet: call the layer before"
    with pytest.raises(RuntimeError, match=message):
        layer.backward()
    with pytest.raises(RuntimeError, match=message):
        layer.backward(G)
    with pytest.raises(RuntimeError, match=message):
        layer.output  # noqa: B018


@pytest.mark.parametrize("layer_type", LAYERS)
def test_failed_call_leaves_the_last_output(layer_type):
    layer = layer_type(axis=2)
    y = layer(X)
    with pytest.raises(np.exceptions.AxisError):
        layer(X[0])
    assert layer.output is y


@pytest.mark.parametrize("layer_type", LAYERS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtype_is_kept(layer_type, dtype):
    layer = layer_type()
    assert layer(X.astype(dtype)).dtype == dtype
    assert layer.backward().dtype == dtype
    assert layer.backward(G.astype(dtype)).dtype == dtype


def test_saturated_row_keeps_its_derivative():
    """1 − p is 4e-18 here: subtracted, it would be 0."""
    p = np.exp(-40.0)
    layer = sg.Softmax()
    layer([[40.0, 0.0]])
    np.testing.assert_allclose(layer.backward(), [[[p, -p], [-p, p]]], rtol=1e-15)
    np.testing.assert_allclose(layer.backward([[1.0, 0.0]]), [[p, -p]], rtol=1e-15)
    layer = sg.LogSoftmax()
    layer([[40.0, 0.0]])
    np.testing.assert_allclose(layer.backward([[1.0, 0.0]]), [[p, -p]], rtol=1e-15)


@pytest.mark.parametrize("layer_type", LAYERS)
def test_without_normalization_small_logits_give_the_same(layer_type):
    layer = layer_type()
    shifted = layer(X)
    np.testing.assert_allclose(layer(X, normalization=False), shifted, rtol=1e-14, atol=1e-15)


def test_without_normalization_large_logits_overflow_with_numpys_warnings():
    layer = sg.Softmax()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        y = layer([[1000.0, 0.0]], normalization=False)
    np.testing.assert_array_equal(y, [[np.nan, 0.0]])
    messages = [str(w.message) for w in caught]
    assert all(w.category is RuntimeWarning for w in caught)
    assert any("overflow encountered in softmax without normalization" in m for m in messages)
    assert any("invalid value encountered in" in m for m in messages)
    np.testing.assert_array_equal(layer([[1000.0, 0.0]]), [[1.0, 0.0]])  # shifted, and silent


def test_repr_names_the_axis():
    assert repr(sg.Softmax()) == "Softmax(axis=-1)"
    assert repr(sg.LogSoftmax(axis=(0, 1))) == "LogSoftmax(axis=(0, 1))"
