"""How each library computes a cross-entropy, its gradient and its curvature, by the name of its entry in `peers`."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np

import own_calls
from cases import Array, Call, Case, Inputs
from peers import OUT, TWO, Make

Outs = tuple[Array, ...]


def with_torch(case: Case, inputs: Inputs, outs: Outs) -> Call | None:
    torch = importlib.import_module("torch")
    x, labels = map(torch.from_numpy, inputs)
    loss = functools.partial(torch.nn.functional.cross_entropy, target=labels, reduction="none")
    if case.function == "cross_entropy":
        return lambda: loss(x)
    if case.function == "cross_entropy_grad_hess":
        return None
    x, ones = x.requires_grad_(), torch.ones(len(labels), dtype=x.dtype)

    def forward_backward() -> Any:
        x.grad = None
        losses = loss(x)
        losses.backward(ones)
        return losses, x.grad

    return forward_backward


@functools.cache
def jitted(function: str) -> Any:
    jax = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", True)

    def losses(x: Any, labels: Any) -> Any:
        return -jax.numpy.take_along_axis(jax.nn.log_softmax(x), labels[:, None], axis=-1)[:, 0]

    def total(x: Any, labels: Any) -> Any:
        each = losses(x, labels)
        return each.sum(), each

    return jax.jit(losses if function == "cross_entropy" else jax.value_and_grad(total, has_aux=True))


def with_jax(case: Case, inputs: Inputs, outs: Outs) -> Call | None:
    if case.function == "cross_entropy_grad_hess":
        return None
    jax, function = importlib.import_module("jax"), jitted(case.function)
    x, labels = map(jax.device_put, inputs)
    return lambda: jax.block_until_ready(function(x, labels))


def with_scipy(case: Case, inputs: Inputs, outs: Outs) -> Call:
    return _from_log_softmax(case, inputs, importlib.import_module("scipy.special").log_softmax)


def with_numpy(case: Case, inputs: Inputs, outs: Outs) -> Call:
    def log_softmax(x: Array, axis: int) -> Array:
        shifted = x - x.max(axis, keepdims=True)
        shifted -= np.log(np.exp(shifted).sum(axis, keepdims=True))
        return shifted

    return _from_log_softmax(case, inputs, log_softmax)


def _from_log_softmax(case: Case, inputs: Inputs, log_softmax: Any) -> Call:
    """The usual lines, in place where they can be."""
    x, labels = inputs
    rows = np.arange(len(x))

    def run() -> Any:
        log_p = log_softmax(x, axis=-1)
        losses = -log_p[rows, labels]
        if case.function == "cross_entropy":
            return losses
        p = np.exp(log_p, out=log_p)
        hess = p * (1 - p) if case.function == "cross_entropy_grad_hess" else None
        p[rows, labels] -= 1
        return losses, p, hess

    return run


def with_sklearn(case: Case, inputs: Inputs, outs: Outs) -> Call:
    return _sklearn(case, inputs, {})


def with_sklearn_out(case: Case, inputs: Inputs, outs: Outs) -> Call | None:
    if case.function == "cross_entropy":
        return None
    loss, grad, *hess = outs
    buffers = {"gradient_out": grad, "hessian_out": hess[0]} if hess else {"loss_out": loss, "gradient_out": grad}
    return _sklearn(case, inputs, buffers)


def _sklearn(case: Case, inputs: Inputs, buffers: dict[str, Array]) -> Call:
    """Its labels are of the type of the logits; its gradients and Hessians come without the losses."""
    x, labels = inputs
    loss = importlib.import_module("sklearn._loss").HalfMultinomialLoss(n_classes=x.shape[-1])
    suffix = case.function.removeprefix("cross_entropy")
    name = {"": "loss", "_grad": "loss_gradient", "_grad_hess": "gradient_hessian"}[suffix]
    function, y = getattr(loss, name), labels.astype(x.dtype)
    return lambda: function(y, x, **buffers)


def _preferring_out(case: Case, inputs: Inputs, outs: Outs) -> Call:
    return own_calls.loss_out(case, inputs, outs) or own_calls.loss(case, inputs, outs)


MAKES: dict[str, Make] = {
    OUT: own_calls.loss_out,
    "softgrad": own_calls.loss,
    "softgrad AVX2": _preferring_out,
    TWO: _preferring_out,
    "torch": with_torch,
    "torch 2 threads": with_torch,
    "JAX": with_jax,
    "SciPy": with_scipy,
    "scikit-learn out=": with_sklearn_out,
    "scikit-learn": with_sklearn,
    "NumPy": with_numpy,
}
