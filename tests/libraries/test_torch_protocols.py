"""PyTorch's protocols, one table over every function: each gives the Jacobian that PyTorch finds row by row."""

import functools

import numpy as np
import pytest
import torch
from torch.autograd.functional import hessian, jacobian
from torch.utils.checkpoint import checkpoint

import softgrad as sg

from ..maps import assert_close
from .derivatives import DERIVATIVES, GIVEN
from .libraries import TORCH

ONE_OF_EACH = list({name.partition(" ")[0]: name for name in DERIVATIVES}.values())
"""The last entry of each function: the one with most options."""


def _call(name):
    """A function of the tensors that it is differentiated by, all results in one vector, and these tensors."""
    names, function = DERIVATIVES[name]
    given = GIVEN.of(TORCH)

    def flat(*inputs):
        results = function(given, *inputs)
        results = results if isinstance(results, tuple) else (results,)
        return torch.cat([r.reshape(-1) for r in results])

    return flat, tuple(getattr(given, n) for n in names)


@functools.cache
def _jacobian(name):
    function, inputs = _call(name)
    return jacobian(function, inputs)


def _scalar(function, inputs):
    return torch.sin(function(*inputs)).sum()


def _by_checkpoint(function, inputs):
    inputs = tuple(x.clone().requires_grad_() for x in inputs)
    rows = checkpoint(function, *inputs, use_reentrant=False)
    return tuple(
        torch.stack(parts)
        for parts in zip(*(torch.autograd.grad(r, inputs, retain_graph=True) for r in rows.unbind()), strict=True)
    )


def _by_compiling(function, inputs):
    """The graph is that of torch.compile, forward and backward; only generating code is left out."""
    torch.compiler.reset()
    inputs = tuple(x.clone().requires_grad_() for x in inputs)
    rows = torch.compile(function, backend="aot_eager", fullgraph=True)(*inputs)
    return tuple(
        torch.stack(parts)
        for parts in zip(*(torch.autograd.grad(r, inputs, retain_graph=True) for r in rows.unbind()), strict=True)
    )


def _by_negated_views(function, inputs):
    """Tensors with the negative bit, as z.conj().imag has it."""
    return jacobian(lambda *given: function(*(torch._neg_view(-x) for x in given)), inputs)


every_way = pytest.mark.parametrize(
    "way",
    {
        "checkpoint": _by_checkpoint,
        "vectorized": lambda f, inputs: jacobian(f, inputs, vectorize=True),
        "forward mode": lambda f, inputs: jacobian(f, inputs, vectorize=True, strategy="forward-mode"),
        "torch.func.jacrev": lambda f, inputs: torch.func.jacrev(f, argnums=tuple(range(len(inputs))))(*inputs),
        "torch.func.jacfwd": lambda f, inputs: torch.func.jacfwd(f, argnums=tuple(range(len(inputs))))(*inputs),
        "negative bit": _by_negated_views,
    }.items(),
    ids=lambda item: item[0],
)
no_warnings_of_torch = pytest.mark.filterwarnings("ignore:.*(torch.jit.script|performance drop).*")


@pytest.mark.parametrize("name", DERIVATIVES)
@every_way
@no_warnings_of_torch
def test_every_way_to_a_jacobian(name, way):
    for got, expected in zip(way[1](*_call(name)), _jacobian(name), strict=True):
        assert_close(got.detach().numpy(), expected.numpy(), ulp=64)


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_OF_EACH)
@no_warnings_of_torch
def test_compiling_without_a_graph_break(name):
    function, inputs = _call(name)
    for got, expected in zip(_by_compiling(function, inputs), _jacobian(name), strict=True):
        assert_close(got.detach().numpy(), expected.numpy(), ulp=64)


BUILT = {
    "softmax_jacobian": lambda x: sg.softmax_jacobian(x, temperature=0.5).matvec(x),
    "entmax_loss_hessian": lambda x: sg.entmax_loss_hessian(x).sqrt().matvec(x),
    "several temperatures": lambda x: sg.softmax_jacobian(x, temperature=x[:, 0].detach().exp()).diagonal(),
    "Softmax": lambda x: _both_ways(sg.Softmax(), x),
    "SoftmaxCrossEntropy": lambda x: _both_ways(sg.SoftmaxCrossEntropy(), x, torch.arange(len(x))),
}
"""Operators and layers that a compiled function makes and uses."""


def _both_ways(layer, *given):
    return layer(*given).sum() + layer.backward().sum()


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILT)
@no_warnings_of_torch
def test_compiling_what_is_built_on_the_way(name):
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 5))).requires_grad_()
    torch._dynamo.reset()
    compiled = torch.compile(BUILT[name], fullgraph=True, backend="aot_eager")
    for ours, theirs in zip(_value_and_gradient(compiled, x), _value_and_gradient(BUILT[name], x), strict=True):
        assert_close(ours.numpy(), theirs.numpy(), ulp=8)


def _value_and_gradient(function, x):
    result = function(x)
    return result.detach(), torch.autograd.grad(result.square().sum(), x)[0]


@pytest.mark.parametrize("name", ONE_OF_EACH)
@no_warnings_of_torch
def test_every_way_to_a_hessian(name):
    function, inputs = _call(name)
    scalar = lambda *given: _scalar(function, given)  # noqa: E731
    expected = hessian(scalar, inputs)
    for got in (
        hessian(scalar, inputs, vectorize=True),
        hessian(scalar, inputs, vectorize=True, outer_jacobian_strategy="forward-mode"),
        torch.func.hessian(scalar, argnums=tuple(range(len(inputs))))(*inputs),
    ):
        for row, expected_row in zip(got, expected, strict=True):
            for block, expected_block in zip(row, expected_row, strict=True):
                assert_close(block.detach().numpy(), expected_block.numpy(), ulp=512)


OPERATORS = {
    "softmax": (torch.rand(3, 4), {"temperature": torch.rand(3), "where": torch.rand(3, 4) > 0.3}),
    "logsumexp": (torch.rand(3, 4), {"b": torch.rand(3, 4)}),
}


@pytest.mark.parametrize("name", [name for name in ONE_OF_EACH if "grad" not in name and "second" not in name])
@no_warnings_of_torch
def test_opcheck(name):
    """PyTorch's own test of operators: schema, autograd, fake tensors, and tracing with shapes that may change."""
    function, inputs = _call(name)
    taken = []
    operator = torch.ops.softgrad.function.default

    class Recorder(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func.namespace == "softgrad":
                taken.append((func, args))
            return func(*args, **(kwargs or {}))

    with Recorder():
        function(*inputs)
    assert taken
    for func, args in taken:
        torch.library.opcheck(func, args)
    x = inputs[0].clone().requires_grad_()
    torch.library.opcheck(operator, ("softmax", [x], [], "{}"))


# vmap


def _stacked(function, *batches):
    return np.stack([function(*example).numpy() for example in zip(*batches, strict=True)])


VMAPPED = {
    "temperature": lambda x, T, w, s, m: sg.softmax(x, temperature=T),
    "temperature of log_softmax": lambda x, T, w, s, m: sg.log_softmax(x, temperature=T),
    "temperature of the gradient": lambda x, T, w, s, m: torch.func.grad(lambda x: sg.softmax(x, temperature=T)[0])(x),
    "weight": lambda x, T, w, s, m: sg.cross_entropy(x, torch.tensor(1), weight=w),
    "weight of the gradient": lambda x, T, w, s, m: torch.func.grad(
        lambda x: sg.soft_cross_entropy(x, torch.full((4,), 0.25), weight=w)
    )(x),
    "weight of both": lambda x, T, w, s, m: sg.cross_entropy_grad(x, torch.tensor(1), weight=w).grad,
    "curvature": lambda x, T, w, s, m: sg.cross_entropy_grad_hess(x, torch.tensor(1), temperature=T).hess,
    "alpha": lambda x, T, w, s, m: sg.entmax(x, 1 + T, temperature=s),
    "a mask of the largest": lambda x, T, w, s, m: sg.softmax(x, where=sg.top_p_mask(x, 0.7, temperature=T)),
    "sample_weight": lambda x, T, w, s, m: sg.focal_loss(x, torch.tensor(2), sample_weight=s),
    "where": lambda x, T, w, s, m: sg.logsumexp(x, where=m),
    "b": lambda x, T, w, s, m: sg.logsumexp(x, b=w),
    "everything": lambda x, T, w, s, m: sg.cross_entropy(
        x, torch.tensor(0), weight=w, sample_weight=s, where=m, label_smoothing=0.1, z_loss=0.01
    ),
}


@pytest.mark.parametrize("name", VMAPPED)
def test_vmap_over_options(name):
    rng = np.random.default_rng(0)
    x, T, w, s = (torch.tensor(rng.uniform(0.5, 2, shape)) for shape in ((3, 4), (3,), (3, 4), (3,)))
    m = torch.tensor([[True, True, False, True], [True] * 4, [True, False, False, True]])
    function = VMAPPED[name]
    assert_close(torch.func.vmap(function)(x, T, w, s, m).numpy(), _stacked(function, x, T, w, s, m))
    alone = torch.func.vmap(lambda T, w, s, m: function(x[0], T, w, s, m))(T, w, s, m)
    assert_close(alone.numpy(), _stacked(function, x[:1].expand(3, 4), T, w, s, m))
    nested = torch.func.vmap(lambda T, w, s, m: torch.func.vmap(lambda x: function(x, T, w, s, m))(x))(T, w, s, m)
    assert_close(nested[1].numpy(), _stacked(function, x, *(a[1].expand(3, *a.shape[1:]) for a in (T, w, s, m))))


@no_warnings_of_torch
def test_no_derivative_in_a_batch_either():
    x, labels = torch.rand(2, 3, dtype=torch.float64), torch.tensor([0, 2])
    curvatures = lambda x: torch.func.vmap(lambda x, y: sg.cross_entropy_grad_hess(x, y).hess)(x, labels)  # noqa: E731
    for derivative in (torch.func.jacrev, torch.func.jacfwd, lambda f: lambda x: jacobian(f, x)):
        with pytest.raises(TypeError, match="cross_entropy_grad_hess has no derivative"):
            derivative(curvatures)(x)


def test_vmap_still_checks_values():
    x = torch.rand(2, 3, dtype=torch.float64)
    with pytest.raises(IndexError, match=r"labels must lie in \[0, 3\)"):
        torch.func.vmap(sg.cross_entropy)(x, torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="temperature must be at least 0"):
        torch.func.vmap(lambda x, T: sg.softmax(x, temperature=T))(x, torch.tensor([1.0, -1.0]))


# Tensors without values, or without memory of their own


def test_fake_tensors_and_export():
    with torch._subclasses.FakeTensorMode():
        x = torch.empty(3, 4, dtype=torch.bfloat16)
        loss, grad = sg.cross_entropy_grad(x, torch.zeros(3, dtype=torch.int64))
    assert (loss.shape, grad.shape, grad.dtype) == ((3,), (3, 4), torch.bfloat16)

    class Module(torch.nn.Module):
        def forward(self, x, labels):
            return sg.cross_entropy(x, labels, label_smoothing=0.1), sg.log_softmax(x, axis=0)

    x, labels = torch.rand(3, 4), torch.tensor([0, 1, 2])
    exported = torch.export.export(Module(), (x, labels)).module()(x, labels)
    for got, expected in zip(exported, Module()(x, labels), strict=True):
        assert_close(got.numpy(), expected.numpy())


def test_tensors_without_memory_of_their_own():
    z = torch.randn(2, 3, dtype=torch.complex64)
    for x in (z.conj().imag, torch._efficientzerotensor((2, 3)), z.conj().real, torch._neg_view(z.real)):
        expected = sg.softmax(x.resolve_neg().clone().numpy())
        np.testing.assert_array_equal(sg.softmax(x).numpy(), expected)
    with pytest.raises(ValueError, match="out must store its entries as they are; got a lazily negated tensor"):
        sg.softmax(torch.rand(2, 3), out=z.conj().imag)


@pytest.mark.parametrize("shape", [(1, 3), (2, 1), (1, 1)])
def test_a_buffer_that_overlaps_itself_is_refused(shape):
    for name, function in {
        "out": lambda b: sg.softmax(torch.rand(2, 3), out=b),
        "grad_out": lambda b: sg.cross_entropy_grad(torch.rand(2, 3), torch.tensor([0, 1]), grad_out=b),
        "grad_q_out": lambda b: sg.kl_divergence_grad(torch.rand(2, 3), torch.rand(2, 3), grad_q_out=b),
    }.items():
        buffer = torch.zeros(shape).expand(2, 3)
        with pytest.raises(ValueError, match=f"^{name} must not overlap itself"):
            function(buffer)
        assert not buffer.any()
    windows = torch.zeros(4).as_strided((2, 3), (1, 1))
    with pytest.raises(ValueError, match=r"^out must not overlap itself"):
        sg.softmax(torch.rand(2, 3), out=windows)
