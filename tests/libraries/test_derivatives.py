"""Derivatives by PyTorch and JAX: both orders, both modes, and the small true number where rows saturate."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import softgrad as sg
from softgrad._libraries.derivatives import COMPOSED, RULES

from ..maps import assert_close
from .derivatives import DERIVATIVES, GIVEN, every_derivative, no_jit_warning
from .libraries import JAX, JAX_64, TORCH


def test_every_rule_is_tested():
    names = {name.partition(" ")[0] for name in DERIVATIVES}
    assert names == {name for name in (*RULES, *COMPOSED) if not name.startswith("_")}


def _torch_call(name):
    names, function = DERIVATIVES[name]
    given = GIVEN.of(TORCH)
    return functools.partial(function, given), tuple(getattr(given, n).requires_grad_() for n in names)


@pytest.mark.slow
@every_derivative
@no_jit_warning
def test_torch_derivatives_of_both_orders_and_modes(name):
    function, inputs = _torch_call(name)
    assert torch.autograd.gradcheck(function, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, inputs)


def _scalar(function, inputs):
    """All results in one number, so that its gradient depends on every derivative."""
    results = function(*inputs)
    results = results if isinstance(results, tuple) else (results,)
    return sum((r * (1 + 0.1 * i) * (2.0 + r)).sum() for i, r in enumerate(results))


ONE_OF_EACH = {name.partition(" ")[0]: name for name in DERIVATIVES}
IN_JAX = [name for function, name in ONE_OF_EACH.items() if "sparsemax_loss" not in function]  # entmax_loss at α = 2


@pytest.mark.slow
# One call of each function: PyTorch's checks went through the rules. Not jitted: compiling takes seconds.
@pytest.mark.parametrize("name", IN_JAX)
def test_jax_derivatives_of_both_orders_are_those_of_torch(name):
    function, inputs = _torch_call(name)
    gradients = torch.autograd.grad(_scalar(function, inputs), inputs, create_graph=True)
    along = sum((g * (1 + x)).sum() for g, x in zip(gradients, inputs, strict=True))
    seconds = torch.autograd.grad(along, inputs)
    names, of_given = DERIVATIVES[name]
    with JAX_64.context():
        given = GIVEN.of(JAX_64)
        arrays = tuple(getattr(given, n) for n in names)

        def gradient(*arrays):
            return jax.grad(lambda arrays: _scalar(functools.partial(of_given, given), arrays))(arrays)

        def second(*arrays):  # forward over reverse, along 1 + x
            return jax.jvp(gradient, arrays, tuple(1 + a for a in arrays))

        got = second(*arrays)
        # The direction depends on x in PyTorch's second derivative, and adds the gradient there.
        for mine, theirs in zip(got[0], gradients, strict=True):
            assert_close(JAX_64.back(mine), theirs.detach().numpy(), ulp=64)
        for mine, first, theirs in zip(got[1], got[0], seconds, strict=True):
            assert_close(JAX_64.back(mine + first), theirs.numpy(), ulp=512)


@pytest.mark.parametrize("library", [TORCH, JAX], ids=lambda library: library.name)
def test_a_saturated_gradient_is_the_small_true_number(library):
    x = np.array([30, 0, 0], np.float32)
    if library is TORCH:
        tensor = library.to(x).requires_grad_()
        sg.cross_entropy(tensor, torch.tensor(0)).backward()
        gradients = [tensor.grad]
    else:
        gradient = jax.grad(lambda x: sg.cross_entropy(x, jnp.array(0)))
        gradients = [gradient(x), jax.jit(gradient)(x)]
    for got in map(library.back, gradients):
        assert_close(got, np.array([-1.8715246e-13, 9.357623e-14, 9.357623e-14], np.float32), ulp=2)
