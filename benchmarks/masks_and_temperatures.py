"""What a mask or a temperature costs: the floor is the plain call. ns per entry of the input."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

import forward
import softgrad
from cases import Array, Case, Prepared, logits
from peers import AVX2, OUT, Call, Inputs, Make, jitted, run_softgrad

UNIT = "ns per entry"
MASKED, TEMPERED = "masked ", "tempered "
FUNCTIONS = (
    *(way + function for function in ("softmax", "log_softmax") for way in (MASKED, TEMPERED)),
    MASKED + "logsumexp",
)
SHAPES = ((10,), (64, 1000), (10_000, 100), (4096, 4096))
DTYPES = ("float32", "float64")
CASES = [Case(function, shape, dtype) for function in FUNCTIONS for dtype in DTYPES for shape in SHAPES]
TEMPERATURE = 1.5
table = forward.table


def prepare(case: Case) -> Prepared:
    x = logits(case)
    reads = np.random.default_rng(1).random(x.shape) < 0.9
    plain = getattr(softgrad, _function(case))
    out = np.empty(case.shape[:-1] if case.function.endswith("logsumexp") else case.shape, case.dtype)
    return Prepared((x, reads), out, lambda: plain(x, out=out), x.size, before_floor=run_softgrad())


def _function(case: Case) -> str:
    return case.function.split()[1]


def with_softgrad(case: Case, inputs: Inputs, out: Array) -> Call:
    function, (x, reads) = getattr(softgrad, _function(case)), inputs
    if case.function.startswith(MASKED):
        return lambda: function(x, where=reads)
    return lambda: function(x, temperature=TEMPERATURE)


def with_softgrad_out(case: Case, inputs: Inputs, out: Array) -> Call:
    function, (x, reads) = getattr(softgrad, _function(case)), inputs
    if case.function.startswith(MASKED):
        return lambda: function(x, where=reads, out=out)
    return lambda: function(x, temperature=TEMPERATURE, out=out)


def with_torch(case: Case, inputs: Inputs, out: Array) -> Call:
    torch = importlib.import_module("torch")
    function, (x, reads) = getattr(torch, _function(case)), map(torch.from_numpy, inputs)
    if case.function.startswith(MASKED):
        return lambda: function(x.masked_fill(~reads, -torch.inf), -1)
    return lambda: function(x / TEMPERATURE, -1)


def with_jax(case: Case, inputs: Inputs, out: Array) -> Call:
    jax = importlib.import_module("jax")
    plain, (x, reads) = jitted(_function(case), -1), map(jax.device_put, inputs)

    def masked(x: Any, reads: Any) -> Any:
        return plain(jax.numpy.where(reads, x, -jax.numpy.inf))

    def tempered(x: Any, reads: Any) -> Any:
        return plain(x / TEMPERATURE)

    function = jax.jit(masked if case.function.startswith(MASKED) else tempered)
    return lambda: function(x, reads).block_until_ready()


def with_scipy(case: Case, inputs: Inputs, out: Array) -> Call:
    function, (x, reads) = getattr(importlib.import_module("scipy.special"), _function(case)), inputs
    if case.function.startswith(MASKED):
        return lambda: function(np.where(reads, x, -np.inf), axis=-1)
    return lambda: function(x / TEMPERATURE, axis=-1)


MAKES: dict[str, Make] = {
    OUT: with_softgrad_out,
    "softgrad": with_softgrad,
    AVX2: with_softgrad_out,
    "torch": with_torch,
    "JAX": with_jax,
    "SciPy": with_scipy,
}
