"""The libraries that are measured. To add one, write how it is called and give it an entry in PEERS."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import own_calls
from cases import DTYPES, Array, Call, Case, Inputs
from softgrad._numpy import kernels, threads

# Read by libraries when they are imported, which happens only below, on demand.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ["NPROC"] = "1"  # the size of XLA's own thread pool

Make = Callable[[Case, Inputs, Array], Call | None]


@dataclass(frozen=True)
class Peer:
    """A library in one way of using it."""

    name: str
    library: str
    """The line in the picture; entries that share it are variants, of which the picture shows the fastest."""
    modules: tuple[str, ...]
    """What has to be importable."""
    make: Make
    """From a case, its inputs and a result to write to: a call to time, or None if the library has no such function."""
    before: Callable[[], None] = lambda: None
    """Chooses threads or instruction set before each turn."""
    versus: str = "softgrad"
    """softgrad's entry that is used in the same way: the one to compare with."""
    dtypes: tuple[str, ...] = ("float32", "float64")
    threads: int = 1


def run_softgrad(level: str = kernels.level, cpus: int = 1) -> Callable[[], None]:
    """Make softgrad run as on a machine of this instruction set and so many CPUs."""
    table = kernels.load(level)

    def before() -> None:
        kernels.table, kernels.level = table, level
        threads.cpu_count = lambda: cpus

    return before


def preferring_out(with_out: Make, plain: Make) -> Make:
    return lambda *prepared: with_out(*prepared) or plain(*prepared)


def with_torch(case: Case, inputs: Inputs, out: Array) -> Call | None:
    torch = importlib.import_module("torch")
    x, *others = map(torch.from_numpy, inputs)
    if case.function == "jacobian":

        def jacobian() -> Any:
            p = torch.softmax(x, -1)
            result = -p.unsqueeze(-1) * p.unsqueeze(-2)
            result.diagonal(dim1=-2, dim2=-1).add_(p)
            return result

        return jacobian
    if case.function == "softmax_vjp":  # what its autograd calls
        return lambda: torch._softmax_backward_data(*others, x, case.axis, x.dtype)
    function = getattr(torch, case.function)
    return lambda: function(x, case.axis)


def with_torch_out(case: Case, inputs: Inputs, out: Array) -> Call | None:
    torch = importlib.import_module("torch")
    x, *others = map(torch.from_numpy, inputs)
    result = torch.from_numpy(out)
    if case.function == "softmax_vjp":
        return lambda: torch._softmax_backward_data(*others, x, case.axis, x.dtype, grad_input=result)
    function = getattr(torch, case.function, None)
    return function and (lambda: function(x, case.axis, out=result))


def run_torch(cpus: int) -> Callable[[], None]:
    return lambda: importlib.import_module("torch").set_num_threads(cpus)


@functools.cache
def jitted(function: str, axis: int) -> Callable[..., Any]:
    jax = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", True)

    def softmax_vjp(p: Any, g: Any) -> Any:
        # XLA adds up the products of a row of 2^24 again for many an entry, unless the dot product is spelled out.
        mean = jax.numpy.vecdot(p, g)[..., None] if axis == -1 else (p * g).sum(axis, keepdims=True)
        return p * (g - mean)

    def jacobian(x: Any) -> Any:
        p = jax.nn.softmax(x)
        return p[..., :, None] * (jax.numpy.eye(x.shape[-1], dtype=x.dtype) - p[..., None, :])

    own = {"softmax_vjp": softmax_vjp, "jacobian": jacobian}
    return jax.jit(own.get(function) or functools.partial(getattr(jax.nn, function), axis=axis))


def with_jax(case: Case, inputs: Inputs, out: Array) -> Call:
    function = jitted(case.function, case.axis)
    arrays = [importlib.import_module("jax").device_put(a) for a in inputs]
    return lambda: function(*arrays).block_until_ready()


def with_scipy(case: Case, inputs: Inputs, out: Array) -> Call | None:
    function = getattr(importlib.import_module("scipy.special"), case.function, None)
    return function and (lambda: function(*inputs, axis=case.axis))


def with_sklearn(case: Case, inputs: Inputs, out: Array) -> Call | None:
    if case.function != "softmax" or case.axis != -1:
        return None
    softmax = importlib.import_module("sklearn.utils.extmath").softmax
    x = inputs[0].reshape(-1, case.shape[-1])
    return lambda: softmax(x)


def with_nothing(case: Case, inputs: Inputs, out: Array) -> Call | None:
    """For an entry that only a family's own `MAKES` can call."""
    return None


def with_onnxruntime(case: Case, inputs: Inputs, out: Array) -> Call | None:
    """A model of one node, its input and output bound to the arrays."""
    operators = {"softmax": "Softmax", "log_softmax": "LogSoftmax", "logsumexp": "ReduceLogSumExp"}
    if case.function not in operators:
        return None
    onnx = importlib.import_module("onnx")
    runtime = importlib.import_module("onnxruntime")
    make, (x,) = onnx.helper, inputs
    dtype = make.np_dtype_to_tensor_dtype(x.dtype)
    source, result = (make.make_tensor_value_info(name, dtype, None) for name in "xy")
    if case.function == "logsumexp":
        node = make.make_node(operators[case.function], ["x", "axes"], ["y"], keepdims=0)
        constants = [make.make_tensor("axes", onnx.TensorProto.INT64, [1], [case.axis])]
    else:
        node, constants = make.make_node(operators[case.function], ["x"], ["y"], axis=case.axis), []
    graph = make.make_graph([node], case.function, [source], [result], constants)
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_cpu_input("x", x)
    binding.bind_output("y", "cpu", 0, out.dtype, out.shape, out.ctypes.data)

    def run() -> Array:
        session.run_with_iobinding(binding)
        return out

    return run


def with_numba(case: Case, inputs: Inputs, out: Array) -> Call | None:
    if case.axis != -1:
        return None
    function = getattr(importlib.import_module("numba_kernels"), case.function)
    rows = [a.reshape(-1, case.shape[-1]) for a in inputs]
    if case.function == "jacobian":
        return lambda: function(*rows)
    result = out.reshape(-1) if case.function == "logsumexp" else out.reshape(rows[0].shape)

    def run() -> Array:
        function(*rows, result)
        return out

    return run


def with_numpy(case: Case, inputs: Inputs, out: Array) -> Call:
    """The usual lines, in place where they can be."""
    axis = case.axis

    def softmax(x: Array) -> Array:
        e = x - x.max(axis, keepdims=True)
        np.exp(e, out=e)
        e /= e.sum(axis, keepdims=True)
        return e

    def log_softmax(x: Array) -> Array:
        shifted = x - x.max(axis, keepdims=True)
        shifted -= np.log(np.exp(shifted).sum(axis, keepdims=True))
        return shifted

    def logsumexp(x: Array) -> Array:
        largest = x.max(axis, keepdims=True)
        return np.log(np.exp(x - largest).sum(axis)) + largest.squeeze(axis)

    def softmax_vjp(p: Array, g: Array) -> Array:
        return p * (g - (p * g).sum(axis, keepdims=True))

    def jacobian(x: Array) -> Array:
        p = softmax(x)
        result = -p[..., :, None] * p[..., None, :]
        np.einsum("...ii->...i", result)[...] += p
        return result

    functions = {f.__name__: f for f in (softmax, log_softmax, logsumexp, softmax_vjp, jacobian)}
    return functools.partial(functions[case.function], *inputs)


OUT, TWO, AVX2 = "softgrad out=", "softgrad 2 threads", "softgrad AVX2"
BEST = preferring_out(own_calls.plain_out, own_calls.plain)
TORCH_BEST = preferring_out(with_torch_out, with_torch)

OWN = [
    Peer(OUT, "softgrad", ("softgrad",), own_calls.plain_out, run_softgrad(), OUT, DTYPES),
    Peer("softgrad", "softgrad", ("softgrad",), own_calls.plain, run_softgrad(), "softgrad", DTYPES),
    Peer(TWO, "softgrad, 2 threads", ("softgrad",), BEST, run_softgrad(cpus=2), TWO, DTYPES, threads=2),
]
if "x86-64-v3" in kernels.LEVELS and kernels.level != "x86-64-v3":
    OWN.insert(2, Peer(AVX2, AVX2, ("softgrad",), BEST, run_softgrad("x86-64-v3"), AVX2, DTYPES))

PEERS = [
    Peer("torch out=", "PyTorch", ("torch",), with_torch_out, run_torch(1), OUT, DTYPES),
    Peer("torch", "PyTorch", ("torch",), with_torch, run_torch(1), "softgrad", DTYPES),
    Peer("torch 2 threads", "PyTorch, 2 threads", ("torch",), TORCH_BEST, run_torch(2), TWO, DTYPES, threads=2),
    Peer("JAX", "JAX", ("jax",), with_jax),
    Peer("SciPy", "SciPy", ("scipy",), with_scipy),
    Peer("scikit-learn out=", "scikit-learn", ("sklearn",), with_nothing, versus=OUT),
    Peer("scikit-learn", "scikit-learn", ("sklearn",), with_sklearn),
    Peer("ONNX Runtime", "ONNX Runtime", ("onnxruntime", "onnx"), with_onnxruntime, versus=OUT),
    Peer("numba", "numba", ("numba",), with_numba, versus=OUT),
    Peer("NumPy", "NumPy formulas", ("numpy",), with_numpy),
]


def installed(entries: list[Peer]) -> tuple[list[Peer], dict[str, str], list[str]]:
    """The entries whose library is there, the version of each library, and the libraries that are missing."""
    versions, missing = {}, []
    for module in dict.fromkeys(module for peer in entries for module in peer.modules):
        try:
            versions[module] = importlib.import_module(module).__version__
        except ImportError:
            missing.append(module)
    return [peer for peer in entries if versions.keys() >= set(peer.modules)], versions, missing
