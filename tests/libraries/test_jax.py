"""What is JAX's own: jit, vmap, Hessians, and values that cannot be checked while tracing."""

import functools
from math import inf, nan

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softgrad as sg

from ..maps import assert_close, logits
from .cases import CASES, assert_results_close, rows_of_every_kind
from .libraries import JAX

COMPILED_LONG = {"soft_entmax_loss", "soft_entmax_loss_grad", "entmax_loss_grad"}
"""Several seconds each; `entmax`, `entmax_loss` and those of sparsemax have what they are made of."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.exhaustive if case.name in COMPILED_LONG else ()) for case in CASES],
    ids=lambda case: case.id or case.name,
)
def test_jax_under_jit_at_every_edge(case):
    """Rows of every kind in one call."""
    operands, options = rows_of_every_kind(case)
    expected = case(operands, {**case.options, **options})
    got = jax.jit(lambda operands, options: case(operands, {**case.options, **options}))(operands, options)
    assert_results_close(JAX.result(got), expected)


@pytest.mark.slow
def test_jax_vmap_and_hessian():
    x, labels = jnp.asarray(logits((4, 5), np.dtype(np.float32))), jnp.arange(4)
    loss = sg.cross_entropy_grad(np.asarray(x), np.arange(4))
    assert_close(np.asarray(jax.jit(jax.vmap(jax.grad(sg.cross_entropy)))(x, labels)), loss.grad)
    assert_close(np.asarray(jax.jit(jax.vmap(sg.softmax, in_axes=1, out_axes=1))(x)), sg.softmax(np.asarray(x), axis=0))
    dense = sg.softmax_jacobian(np.asarray(x[0])).toarray()
    assert_close(np.asarray(jax.jit(jax.hessian(sg.cross_entropy))(x[0], labels[0])), dense)
    assert_close(np.asarray(jax.jit(jax.jacrev(sg.softmax))(x[0])), dense)


@pytest.mark.slow
def test_what_jax_cannot_check_yet_is_nan():
    x = np.zeros((3, 4), np.float32)
    loss, grad = jax.jit(sg.cross_entropy_grad)(x, np.array([0, 4, -1]))
    np.testing.assert_array_equal(np.isnan(loss), [False, True, True])
    np.testing.assert_array_equal(np.isnan(grad).all(axis=-1), [False, True, True])
    ignoring = functools.partial(sg.cross_entropy, ignore_index=-1)
    np.testing.assert_array_equal(np.isnan(jax.jit(ignoring)(x, np.array([0, 4, -1]))), [False, True, False])
    np.testing.assert_array_equal(
        np.isnan(jax.jit(sg.selective_log_softmax)(x, np.array([0, 4, 3]))), [False, True, False]
    )
    tempered = jax.jit(lambda x, T: sg.softmax(x, temperature=T))(x, np.array([1.0, -1.0, nan]))
    np.testing.assert_array_equal(np.isnan(tempered).all(axis=-1), [False, True, True])
    weighted = jax.jit(lambda x, s: sg.entropy(x) + sg.cross_entropy(x, np.array([0, 0, 0]), sample_weight=s))
    np.testing.assert_array_equal(np.isnan(weighted(x, np.array([1.0, -1.0, inf]))), [False, True, True])
    with pytest.raises(IndexError, match=r"labels\[1\] is 4"):
        sg.cross_entropy(jnp.asarray(x), np.array([0, 4, -1]))


@pytest.mark.parametrize("f", [sg.softmax, sg.log_softmax], ids=lambda f: f.__name__)
def test_jax_under_jit_is_exact_to_3_ulp(f):
    """XLA keeps the error-free transformations as they are; float64 on the CPU is the reference for float32."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(64, 100)) * np.geomspace(0.1, 30, 64)[:, None]).astype(np.float32)
    exact = f(x.astype(np.float64))
    normal = np.abs(exact) >= np.finfo(np.float32).tiny
    error = np.abs(np.asarray(jax.jit(f)(x)) - exact) / np.spacing(np.abs(exact).astype(np.float32))
    assert error[normal].max() <= 3
