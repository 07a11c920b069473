"""How softgrad is called on each case, by its public functions alone, so that any build of it can be."""

from __future__ import annotations

from typing import Any

import softgrad
from cases import Array, Call, Case, Inputs
from losses import BUFFERS
from masks_and_temperatures import MASKED, TEMPERATURE


def plain(case: Case, inputs: Inputs, out: Array) -> Call:
    if case.function == "jacobian":
        return lambda: softgrad.calculate_gradient(*inputs)
    function, axis = getattr(softgrad, case.function), case.axis
    if len(inputs) == 1:  # spelled out, as a user would: unpacking would cost a tenth of the smallest calls
        (x,) = inputs
        return lambda: function(x, axis=axis)
    p, g = inputs
    return lambda: function(p, g, axis=axis)


def plain_out(case: Case, inputs: Inputs, out: Array) -> Call | None:
    if case.function == "jacobian":
        return None
    function = getattr(softgrad, case.function)
    return lambda: function(*inputs, axis=case.axis, out=out)


def loss(case: Case, inputs: Inputs, outs: Any) -> Call:
    function, (x, labels) = getattr(softgrad, case.function), inputs
    return lambda: function(x, labels)


def loss_out(case: Case, inputs: Inputs, outs: Any) -> Call | None:
    if case.function == "cross_entropy":
        return None  # a number per row: it takes no buffer
    function, (x, labels) = getattr(softgrad, case.function), inputs
    buffers = dict(zip(BUFFERS, outs, strict=False))
    return lambda: function(x, labels, **buffers)


def with_option(case: Case, inputs: Inputs, out: Array) -> Call:
    function, (x, reads) = getattr(softgrad, case.function.split()[1]), inputs
    if case.function.startswith(MASKED):
        return lambda: function(x, where=reads)
    return lambda: function(x, temperature=TEMPERATURE)


def with_option_out(case: Case, inputs: Inputs, out: Array) -> Call:
    function, (x, reads) = getattr(softgrad, case.function.split()[1]), inputs
    if case.function.startswith(MASKED):
        return lambda: function(x, where=reads, out=out)
    return lambda: function(x, temperature=TEMPERATURE, out=out)
