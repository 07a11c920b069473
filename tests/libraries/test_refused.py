"""Calls that a library refuses, and what the error says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import softgrad as sg


def _requiring(x):
    return torch.tensor(x, requires_grad=True)


LABEL = np.array(0)


REFUSED = {
    "out": (lambda: sg.softmax(_requiring([1.0]), out=torch.empty(1)), "out is for tensors without a gradient"),
    "temperature": (lambda: sg.softmax(torch.ones(3), temperature=_requiring([1.0])), "temperature is a constant"),
    "hessian": (
        lambda: sg.cross_entropy_grad_hess(_requiring([1.0]), LABEL),
        "cross_entropy_grad_hess has no derivative",
    ),
    "sparse": (
        lambda: sg.softmax(torch.ones(3).to_sparse()),
        "softmax takes dense tensors; got layout torch.sparse_coo",
    ),
    "complex": (lambda: sg.softmax(torch.ones(3) * 1j), "x must hold real numbers; got dtype complex64"),
    "dtype of out": (lambda: sg.softmax(torch.ones(3), out=torch.ones(3).double()), "out must have dtype float32"),
    "linear": (lambda: sg.linear_cross_entropy(torch.ones(1, 3), np.ones((2, 3)), [0]), "hidden must be a plain NumPy"),
    "jax out": (lambda: sg.softmax(jnp.ones(3), out=np.ones(3)), "out is for NumPy arrays; got an array of JAX"),
    "jax workers": (lambda: sg.softmax(jnp.ones(3), workers=2), "workers is for NumPy arrays; got an array of JAX"),
    "jax temperature": (
        lambda: jax.grad(lambda T: sg.softmax(jnp.ones(3), temperature=T)[0])(1.0),
        "temperature is a constant",
    ),
    "jax hessian": (
        lambda: jax.grad(lambda x: sg.cross_entropy_grad_hess(x, LABEL).loss)(jnp.ones(3)),
        "cross_entropy_grad_hess has no derivative",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused(what):
    call, message = REFUSED[what]
    with pytest.raises(TypeError, match=message):
        call()
