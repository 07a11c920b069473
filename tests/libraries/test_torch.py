"""What is PyTorch's own: tensors by the formulas, torch.func, torch.compile, buffers."""

import numpy as np
import pytest
import torch

import softgrad as sg
from softgrad import _dispatch as dispatch

from ..maps import assert_close, logits
from .cases import assert_results_close, every_case, rows_of_every_kind
from .derivatives import GIVEN, no_jit_warning
from .libraries import TORCH


@every_case
def test_the_formulas_on_tensors(case):
    """What runs on a GPU, here on the CPU."""
    operands, options = rows_of_every_kind(case)
    expected = case(operands, {**case.options, **options})
    given = {k: TORCH.given(v) for k, v in {**case.options, **options}.items()}
    got = dispatch.FUNCTIONS[case.name].plain(*map(TORCH.to, operands), **given)
    assert_results_close(TORCH.result(got), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@every_case
def test_tensors_on_a_gpu(case):
    operands, options = rows_of_every_kind(case)
    expected = case(operands, {**case.options, **options})
    given = {k: TORCH.to(v).cuda() if isinstance(v, np.ndarray) else v for k, v in {**case.options, **options}.items()}
    got = case(tuple(TORCH.to(a).cuda() for a in operands), given)
    on_cpu = [r.cpu() for r in (got if isinstance(got, tuple) else (got,))]
    assert all(r.is_cuda for r in (got if isinstance(got, tuple) else (got,)))
    assert_results_close(TORCH.result(type(got)(*on_cpu) if isinstance(got, tuple) else on_cpu[0]), expected)


@no_jit_warning
def test_torch_func():
    x, labels = torch.tensor(logits((4, 5), np.dtype(np.float32))), torch.arange(4)
    loss = sg.cross_entropy_grad(x.numpy(), np.arange(4))
    assert_close(torch.func.vmap(torch.func.grad(sg.cross_entropy))(x, labels).numpy(), loss.grad)
    assert_close(torch.func.vmap(sg.softmax, in_dims=1, out_dims=1)(x).numpy(), sg.softmax(x.numpy(), axis=0))
    dense = sg.softmax_jacobian(x[0].numpy()).toarray()
    assert_close(torch.func.hessian(sg.cross_entropy)(x[0], labels[0]).numpy(), dense)
    assert_close(torch.func.jacfwd(sg.softmax)(x[0]).numpy(), dense)
    assert_close(torch.func.jacrev(sg.softmax)(x[0]).numpy(), dense)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # torch's own
def test_torch_compile_falls_back_to_the_same_numbers():
    given = GIVEN.of(TORCH)
    x = given.x.requires_grad_()

    def loss(x):
        return sg.cross_entropy(2 * x, given.labels).sum() + sg.softmax(x).std()

    compiled = torch.compile(loss, backend="eager")
    (expected,) = torch.autograd.grad(loss(x), x)
    for _ in range(2):
        (got,) = torch.autograd.grad(compiled(x), x)
        assert torch.equal(got, expected)
    with torch.no_grad():
        assert torch.equal(compiled(x), loss(x))


def test_torch_buffers():
    x = logits((3, 5), np.dtype(np.float32))
    for tensor in (TORCH.to(x), TORCH.to(x).to(torch.bfloat16), TORCH.to(x.T.copy()).T):
        out = torch.empty_like(tensor)
        assert sg.softmax(tensor, out=out, workers=2) is out
        assert torch.equal(out, sg.softmax(tensor))
    loss, grad = torch.empty(3), torch.empty(3, 5)
    sg.cross_entropy_grad(TORCH.to(x), torch.arange(3), out=loss, grad_out=grad)
    assert_close(grad.numpy(), sg.cross_entropy_grad(x, np.arange(3)).grad)
    assert sg.softmax(TORCH.to(x), dtype=torch.float64).dtype == torch.float64
