"""Memory of the caller: what he writes into it after a call changes no derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import softgrad as sg

LOGITS = np.array([[0.5, -1.0, 2.0], [1.0, 0.0, -2.0], [0.25, 0.75, 0.0]])

# name: the function of logits and a buffer, the buffer's values, what is written into it after the call
BUFFERS = {
    "labels": (sg.cross_entropy, np.array([0, 1, 2]), 2),
    "labels of focal_loss": (sg.focal_loss, np.array([0, 1, 2]), 2),
    "index": (sg.selective_log_softmax, np.array([[0, 1]] * 3), 2),
    "targets": (sg.soft_cross_entropy, np.full((3, 3), 1 / 3), 1.0),
    "other logits": (sg.kl_divergence, np.zeros((3, 3)), np.arange(3.0)),
    "direction": (sg.softmax_vjp, np.eye(3), 5.0),
    "where": (lambda x, b: sg.logsumexp(x, where=b), np.ones((3, 3), bool), [False, True, True]),
    "b": (lambda x, b: sg.logsumexp(x, b=b), np.ones((3, 3)), [1.0, 2.0, 3.0]),
    "temperature": (lambda x, b: sg.softmax(x, temperature=b), np.array([0.5, 1.0, 2.0]), 3.0),
    "sample_weight": (lambda x, b: sg.cross_entropy(x, np.arange(3), sample_weight=b), np.ones(3), 7.0),
    "weight": (lambda x, b: sg.cross_entropy(x, np.arange(3), weight=b), np.ones(3), 7.0),
}
every_buffer = pytest.mark.parametrize("name", BUFFERS)


def _torch_gradient(function, buffer, later):
    buffer = buffer.copy()
    x = torch.tensor(LOGITS, requires_grad=True)
    result = function(x, buffer)
    if later is not None:
        buffer[...] = later
    (result * torch.arange(1.0, 1 + result.numel()).reshape(result.shape)).sum().backward()
    return x.grad.numpy()


def _jax_gradient(function, buffer, later):
    buffer = buffer.copy()
    result, backward = jax.vjp(lambda x: function(x, buffer), jnp.asarray(LOGITS))
    if later is not None:
        buffer[...] = later
    return np.asarray(backward(jnp.arange(1.0, 1 + result.size).reshape(result.shape))[0])


@every_buffer
def test_a_numpy_buffer_is_copied(name):
    for gradient in (_torch_gradient, _jax_gradient):
        function, buffer, later = BUFFERS[name]
        np.testing.assert_array_equal(gradient(function, buffer, later), gradient(function, buffer, None))


def test_a_read_only_buffer_is_taken():
    labels = np.array([0, 1, 2])
    labels.flags.writeable = False
    x = torch.tensor(LOGITS, requires_grad=True)
    assert sg.cross_entropy(x, labels).shape == (3,)


def test_buffers_in_any_layout_and_byte_order():
    x, g = torch.tensor(LOGITS, requires_grad=True), LOGITS[::-1, ::-1]
    expected = sg.softmax_vjp(LOGITS, g)
    for given in (g, g.astype(">f8"), np.asfortranarray(g), np.broadcast_to(g, (1, 3, 3))[0]):
        np.testing.assert_array_equal(sg.softmax_vjp(x, given).detach().numpy(), expected)
