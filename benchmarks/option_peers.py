"""How each library computes a masked or tempered call, by the name of its entry in `peers`."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

import own_calls
from cases import Array, Call, Case, Inputs
from masks_and_temperatures import MASKED, TEMPERATURE
from peers import AVX2, OUT, Make, jitted


def with_torch(case: Case, inputs: Inputs, out: Array) -> Call:
    torch = importlib.import_module("torch")
    function, (x, reads) = getattr(torch, case.function.split()[1]), map(torch.from_numpy, inputs)
    if case.function.startswith(MASKED):
        return lambda: function(x.masked_fill(~reads, -torch.inf), -1)
    return lambda: function(x / TEMPERATURE, -1)


def with_jax(case: Case, inputs: Inputs, out: Array) -> Call:
    jax = importlib.import_module("jax")
    plain, (x, reads) = jitted(case.function.split()[1], -1), map(jax.device_put, inputs)

    def masked(x: Any, reads: Any) -> Any:
        return plain(jax.numpy.where(reads, x, -jax.numpy.inf))

    def tempered(x: Any, reads: Any) -> Any:
        return plain(x / TEMPERATURE)

    function = jax.jit(masked if case.function.startswith(MASKED) else tempered)
    return lambda: function(x, reads).block_until_ready()


def with_scipy(case: Case, inputs: Inputs, out: Array) -> Call:
    function, (x, reads) = getattr(importlib.import_module("scipy.special"), case.function.split()[1]), inputs
    if case.function.startswith(MASKED):
        return lambda: function(np.where(reads, x, -np.inf), axis=-1)
    return lambda: function(x / TEMPERATURE, axis=-1)


MAKES: dict[str, Make] = {
    OUT: own_calls.with_option_out,
    "softgrad": own_calls.with_option,
    AVX2: own_calls.with_option_out,
    "torch": with_torch,
    "JAX": with_jax,
    "SciPy": with_scipy,
}
