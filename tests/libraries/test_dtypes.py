"""Dtypes of results, which do not depend on whether a derivative is asked for, and derivatives of half precision."""

import itertools

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch

import softgrad as sg

from ..maps import logits
from .libraries import TORCH

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOATS = (np.dtype(np.float16), BFLOAT16, np.dtype(np.float32), np.dtype(np.float64))
X, G = logits((2, 3), np.dtype(np.float32)) / 4, logits((2, 3), np.dtype(np.float32), seed=1) / 4
P = sg.softmax(X)
LABELS, SAMPLE_WEIGHT = np.array([2, 0]), np.array([0.5, 2.0])

# name: the function of one array of logits, or of two arrays, and these
FUNCTIONS = {
    "softmax": (sg.softmax, X),
    "softmax at T": (lambda x: sg.softmax(x, temperature=SAMPLE_WEIGHT), X),
    "log_softmax": (sg.log_softmax, X),
    "logsumexp": (sg.logsumexp, X),
    "logsumexp b": (lambda x: sg.logsumexp(x, b=np.array([1.0, 2.0, 3.0])), X),
    "softmax_vjp": (sg.softmax_vjp, P, G),
    "log_softmax_vjp": (sg.log_softmax_vjp, np.log(P), G),
    "log_softmax_jvp": (sg.log_softmax_jvp, np.log(P), G),
    "softmax_second": (lambda p, u: sg.softmax_second(p, u, u), P, G),
    "cross_entropy": (lambda x: sg.cross_entropy(x, LABELS, sample_weight=SAMPLE_WEIGHT), X),
    "cross_entropy_grad": (lambda x: sg.cross_entropy_grad(x, LABELS, z_loss=0.1).grad, X),
    "soft_cross_entropy": (sg.soft_cross_entropy, X, P),
    "soft_cross_entropy_grad": (lambda x, t: sg.soft_cross_entropy_grad(x, t).grad, X, P),
    "focal_loss": (lambda x: sg.focal_loss(x, LABELS), X),
    "focal_loss_grad": (lambda x: sg.focal_loss_grad(x, LABELS).grad, X),
    "entropy": (sg.entropy, X),
    "entropy_grad": (lambda x: sg.entropy_grad(x).grad, X),
    "kl_divergence": (sg.kl_divergence, X, G),
    "kl_divergence_grad": (lambda p, q: sg.kl_divergence_grad(p, q).grad_p, X, G),
    "selective_log_softmax": (lambda x: sg.selective_log_softmax(x, LABELS), X),
    "sparsemax_vjp": (sg.sparsemax_vjp, P, G),
    "entmax_vjp": (sg.entmax_vjp, P, G),
    "entmax_alpha_vjp": (sg.entmax_alpha_vjp, P, G),
    "soft_entmax_loss": (sg.soft_entmax_loss, X, P),
}
every_function = pytest.mark.parametrize("name", FUNCTIONS)


def _numpy_dtype(dtype):
    return BFLOAT16 if dtype == torch.bfloat16 else np.dtype(str(dtype).removeprefix("torch."))


@every_function
def test_a_tracked_gradient_changes_no_dtype(name):
    function, *arrays = FUNCTIONS[name]
    for dtypes in itertools.product(FLOATS, repeat=len(arrays)):
        plain = [a.astype(dtype) for a, dtype in zip(arrays, dtypes, strict=True)]
        expected = np.asarray(function(*plain)).dtype
        tensors = [TORCH.to(a) for a in plain]
        assert _numpy_dtype(function(*tensors).dtype) == expected, dtypes
        for i in range(len(tensors)):
            tracked = [t.clone().requires_grad_() if i == j else t for j, t in enumerate(tensors)]
            result = function(*tracked)
            assert _numpy_dtype(result.dtype) == expected, (dtypes, i)
            assert torch.autograd.grad(result.sum(), tracked[i])[0].dtype == tracked[i].dtype


@pytest.mark.slow
@every_function
def test_tracing_changes_no_dtype(name):
    function, *arrays = FUNCTIONS[name]
    for dtypes in itertools.product((BFLOAT16, np.dtype(np.float32)), repeat=len(arrays)):
        given = [jnp.asarray(a.astype(dtype)) for a, dtype in zip(arrays, dtypes, strict=True)]
        expected = function(*given).dtype
        assert jax.eval_shape(function, *given).dtype == expected, dtypes
        assert jax.eval_shape(lambda *given: jax.vjp(function, *given)[0], *given).dtype == expected, dtypes
    with jax.enable_x64(True):
        given = [jnp.asarray(a.astype(np.float64)) for a in arrays]
        given[0] = given[0].astype(np.float32)
        assert jax.eval_shape(function, *given).dtype == function(*given).dtype


def _relative(got, exact, dtype):
    """Errors in ulp of the exact numbers."""
    info = ml_dtypes.finfo(dtype)
    spacing = 2.0 ** np.floor(np.log2(np.maximum(np.abs(exact), float(info.tiny)))) * float(info.eps)
    return np.abs(got.astype(np.float64) - exact) / spacing


def _gradients(function, arrays, weights):
    """The gradient of Σ weights·function with respect to the first array, by PyTorch and by JAX."""
    x, *others = (TORCH.to(a) for a in arrays)
    x.requires_grad_()
    result = function(x, *others)
    result.backward(TORCH.to(weights).to(result.dtype))
    yield TORCH.back(x.grad)

    def scalar(x):
        result = function(x, *map(jnp.asarray, arrays[1:]))
        return (result.astype(jnp.float32) * weights.astype(np.float32)).sum()

    yield np.asarray(jax.grad(scalar)(jnp.asarray(arrays[0])))


SATURATED = np.array([[5.03, -20.1, -3.0], [0.25, 9.5, -1.0]], np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.dtype(np.float16), BFLOAT16], ids=str)
@pytest.mark.parametrize("name", [name for name, (_, *arrays) in FUNCTIONS.items() if arrays[0] is X])
def test_a_gradient_of_half_precision_is_rounded_once(name, dtype):
    """As exact as its value: that of float64 at the same logits, rounded. Weights of cotangents are powers of 2."""
    function, _, *others = FUNCTIONS[name]
    arrays = [SATURATED.astype(dtype), *(a.astype(dtype) for a in others)]
    wide = [a.astype(np.float64) for a in arrays]
    shape = np.shape(function(*wide))
    weights = 2.0 ** (np.arange(np.prod(shape, dtype=int)) % 3).reshape(shape)
    exact = next(_gradients(function, wide, weights))
    for got in _gradients(function, arrays, weights.astype(dtype)):
        assert got.dtype == dtype
        assert _relative(got, exact, dtype).max() <= 0.55


def test_the_gradient_of_log_softmax_in_bfloat16():
    x = torch.tensor([5.03, -20.1], dtype=torch.bfloat16, requires_grad=True)
    for function in (lambda x: sg.log_softmax(x)[0], lambda x: sg.selective_log_softmax(x, torch.tensor(0))):
        (got,) = torch.autograd.grad(function(x), x)
        p = 1 / (1 + np.exp(x[0].double().item() - x[1].double().item()))
        assert got.tolist() == torch.tensor([p, -p], dtype=torch.float64).bfloat16().tolist()


def test_a_result_that_is_rounded_by_dtype():
    """The derivative is that of the computation, and not of the rounded result."""
    x = torch.tensor([9.0, -9.0, 1.0], dtype=torch.float64, requires_grad=True)
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        (got,) = torch.autograd.grad(sg.log_softmax(x, dtype=dtype)[0], x)
        (expected,) = torch.autograd.grad(sg.log_softmax(x)[0], x)
        torch.testing.assert_close(got, expected, rtol=1e-14, atol=0)
