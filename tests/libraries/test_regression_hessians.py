"""The Hessian of multinomial regression in arrays of other libraries."""

import dask.array as da
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import softgrad as sg

RNG = np.random.default_rng(0)
X, LOGITS, V, S = RNG.normal(size=(9, 3)), RNG.normal(size=(9, 4)), RNG.normal(size=(3, 4)), RNG.uniform(size=9)


@pytest.mark.slow
@pytest.mark.parametrize("to", [torch.tensor, jnp.asarray], ids=["PyTorch", "JAX"])
def test_hessian_and_product(to):
    with jax.enable_x64(True):
        for weight in (None, S):
            given = None if weight is None else to(weight)
            hessian = sg.softmax_regression_hessian(to(X), to(LOGITS), sample_weight=given)
            product = sg.softmax_regression_hvp(to(X), to(LOGITS), to(V), sample_weight=given)
            assert type(hessian) is type(to(X))
            assert type(product) is type(to(X))
            expected = sg.softmax_regression_hessian(X, LOGITS, sample_weight=weight)
            np.testing.assert_allclose(np.asarray(hessian), expected, rtol=1e-13, atol=1e-13)
            expected = sg.softmax_regression_hvp(X, LOGITS, V, sample_weight=weight)
            np.testing.assert_allclose(np.asarray(product), expected, rtol=1e-13, atol=1e-13)


def test_hessian_of_dask_arrays_is_a_clear_error():
    x, logits = da.from_array(X, chunks=4), da.from_array(LOGITS, chunks=4)
    for given, name in (((x, logits), "X"), ((X, logits), "logits")):
        with pytest.raises(TypeError, match=f"^{name} must be in memory.*call compute"):
            sg.softmax_regression_hessian(*given)
    product = sg.softmax_regression_hvp(x, logits, V)
    np.testing.assert_allclose(product.compute(), sg.softmax_regression_hvp(X, LOGITS, V), rtol=1e-13)
