"""JAX: any of the arrays of a call may be traced, or all, or none: one table over the functions and their options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softgrad as sg

from ..maps import assert_close

X = np.array([[0.5, -1.0, 2.0, 0.0], [1.0, 0.0, -2.0, 4.0], [0.25, 0.75, 0.0, -0.5]], np.float32)
LABELS = np.array([2, 0, 3], np.int32)
ARRAYS = {
    "temperature": np.array([0.5, 1.0, 2.0], np.float32),
    "where": np.array([[True, False, True, True], [True] * 4, [True, True, False, True]]),
    "b": np.array([[1.0, 2.0, 0.5, 0.0]] * 3, np.float32),
    "sample_weight": np.array([1.0, 0.0, 2.0], np.float32),
    "weight": np.array([1.0, 2.0, 0.5, 1.5], np.float32),
}
# name: the function of logits, labels and one option, and the option
CALLS = {
    "softmax temperature": (lambda x, y, o: sg.softmax(x, temperature=o), "temperature"),
    "log_softmax temperature": (lambda x, y, o: sg.log_softmax(x, temperature=o), "temperature"),
    "softmax where": (lambda x, y, o: sg.softmax(x, where=o), "where"),
    "logsumexp b": (lambda x, y, o: sg.logsumexp(x, b=o), "b"),
    "logsumexp where": (lambda x, y, o: sg.logsumexp(x, where=o), "where"),
    "cross_entropy sample_weight": (lambda x, y, o: sg.cross_entropy(x, y, sample_weight=o), "sample_weight"),
    "cross_entropy weight": (lambda x, y, o: sg.cross_entropy(x, y, weight=o, label_smoothing=0.1), "weight"),
    "cross_entropy_grad where": (lambda x, y, o: sg.cross_entropy_grad(x, y, where=o, z_loss=0.1).grad, "where"),
    "focal_loss weight": (lambda x, y, o: sg.focal_loss(x, y, weight=o), "weight"),
    "entropy where": (lambda x, y, o: sg.entropy(x, where=o), "where"),
    "selective_log_softmax where": (lambda x, y, o: sg.selective_log_softmax(x, y, where=o), "where"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_any_of_the_arrays_may_be_traced(name):
    function, option = CALLS[name]
    arrays = (X, LABELS, ARRAYS[option])
    expected = function(*arrays)
    for traced in ((0,), (1,), (2,), (0, 1), (0, 1, 2)):

        def some(*given, traced=traced):
            every = list(arrays)
            for i, array in zip(traced, given, strict=True):
                every[i] = array
            return function(*every)

        assert_close(np.asarray(jax.jit(some)(*(arrays[i] for i in traced))), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_a_gradient_takes_options_that_are_traced_or_not(name):
    function, option = CALLS[name]
    scale = 1 + np.arange(np.size(function(X, LABELS, ARRAYS[option])), dtype=np.float32)

    def scalar(x, y, o):
        return (function(x, y, o).reshape(-1) * scale).sum()

    known = jax.grad(lambda x: scalar(x, LABELS, ARRAYS[option]))(jnp.asarray(X))
    traced = jax.jit(jax.grad(scalar))(X, LABELS, ARRAYS[option])
    assert_close(np.asarray(traced), np.asarray(known))


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_vmap_over_every_array(name):
    function, option = CALLS[name]
    value = ARRAYS[option]
    values = np.stack([value, value[::-1]])
    got = jax.vmap(function)(np.stack([X, X[::-1]]), np.stack([LABELS, LABELS[::-1]]), values)
    assert_close(np.asarray(got), np.stack([function(X, LABELS, value), function(X[::-1], LABELS[::-1], value[::-1])]))
    alone = jax.vmap(lambda o: function(X, LABELS, o))(values)
    assert_close(np.asarray(alone), np.stack([function(X, LABELS, o) for o in values]))
