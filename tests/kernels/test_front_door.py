"""Random calls, most of them odd, with the front door in C++ and without it: the same bits, or the same error.

`--hypothesis-profile=nightly` draws half a million calls for each level.
"""

import inspect
from collections import defaultdict
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import softgrad as sg
from softgrad._numpy import kernels

NATIVE = [level for level in kernels.LEVELS if level != "generic"]
ONE = ("softmax", "log_softmax", "logsumexp", "sparsemax", "entropy", "entropy_grad")
TWO = ("softmax_vjp", "log_softmax_vjp", "log_softmax_jvp", "kl_divergence", "kl_divergence_grad")
LABELLED = ("cross_entropy", "cross_entropy_grad", "cross_entropy_grad_hess")
LENGTHS = (5, 1, 2, 3, 8, 17, 33, 40, 0, 130)
DTYPES = ("f4", "f8", "f2", ml_dtypes.bfloat16, "int8", "bool", ">f4", ">f8", "longdouble", "uint64", "c8", "O")
ABSENT = object()
TEMPERATURES = (0, 0.0, -1.0, np.nan, np.inf, 1e-320, "a", None, True, 1j, np.float32(0.3), [2.0])
LAYOUTS = ("plain", "reversed", "every other", "transposed", "unaligned", "read-only", "broadcast", "list", "nested")
OUTS = ("wrong dtype", "wrong shape", "read-only", "list", "strided")
LABELS = ("negative", "too large", "bool", "float", "uint8", "wrong shape", "list", "-1")
SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, 5e-324)


OPTIONS = ("axis", "temperature", "where", "out", "workers", "dtype")
ODD = (*OPTIONS, "dtypes", "layouts", "special", "operands", "labels", "unknown")


@st.composite
def calls(draw):
    """What a call is made of, as plain values, at most two of them odd: `built` makes it."""
    name = draw(st.sampled_from(ONE + TWO + LABELLED))
    shape = tuple(draw(st.sampled_from(LENGTHS)) for _ in range(draw(st.sampled_from((2, 1, 2, 1, 3, 0)))))
    odd = [draw(st.sampled_from(ODD)) for _ in range(draw(st.sampled_from((0, 1, 0, 1, 2))))]
    accepted = inspect.signature(getattr(sg, name)).parameters

    def chosen(what, good, bad):
        if what in odd:
            return draw(st.sampled_from(bad))
        return ABSENT if what in OPTIONS and what not in accepted else draw(st.sampled_from(good))

    axes = range(-len(shape), len(shape))
    return SimpleNamespace(
        name=name,
        shape=shape,
        dtypes=[chosen("dtypes", ("float32", "float64"), DTYPES) for _ in range(2)],
        seed=draw(st.integers(0, 2**32 - 1)),
        special=chosen("special", (0.0, 0.02), (0.5,)),
        layouts=[chosen("layouts", ("plain", "plain", *LAYOUTS[1:4]), LAYOUTS) for _ in range(2)],
        operands=chosen("operands", (0,), (-1, 1)),
        axis=chosen("axis", (ABSENT, -1, *axes), (7, -9, None, (0,), (0, -1), True, "x", 1.5, np.int64(0), ())),
        temperature=chosen("temperature", (ABSENT, 1.0, 0.5), TEMPERATURES),
        where=chosen("where", (ABSENT, "full", "row", "column"), ("integers", "long", True, False, None, [True])),
        out=chosen("out", (ABSENT, ABSENT, "new", "x", "overlapping"), OUTS),
        workers=chosen("workers", (ABSENT, ABSENT, 1), (0, -1, None, 2, "x", True, 1.0)),
        dtype=chosen("dtype", (ABSENT,), (None, "float32", np.float64, "int8", object, "x")),
        labels=chosen("labels", ("valid",), LABELS),
        unknown="unknown" in odd,
    )


def laid_out(x, layout):
    """The values of `x` as a layout stores them."""
    if layout == "reversed":
        return np.ascontiguousarray(x[..., ::-1])[..., ::-1] if x.ndim else x
    if layout == "every other" and x.ndim:
        wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
        wide[..., ::2] = x
        return wide[..., ::2]
    if layout == "transposed":
        return np.asfortranarray(x)
    if layout == "unaligned" and x.dtype.kind != "O":
        memory = np.zeros(x.nbytes + 1, np.uint8)
        view = memory[1:].view(x.dtype).reshape(x.shape)
        view[...] = x
        return view
    whole = {"broadcast": np.broadcast_to(x[:1], x.shape) if x.ndim else x, "list": x.tolist(), "nested": [x, x]}
    if layout not in whole:
        x = whole[layout] = x.copy()
        x.flags.writeable = layout != "read-only"
    return whole[layout]


def built(call):
    """The operands and the options of a call, in new memory each time."""
    rng = np.random.default_rng(call.seed)
    arrays = []
    for dtype in call.dtypes:
        x = np.asarray(8 * rng.normal(size=call.shape))
        x[rng.random(call.shape) < call.special] = rng.choice(SPECIAL)
        with np.errstate(all="ignore"):
            arrays.append(x.astype(dtype))
    operands = [laid_out(x, layout) for x, layout in zip(arrays, call.layouts, strict=True)]
    if call.name in ONE:
        operands = operands[:1]
    elif call.name in LABELLED:
        operands[1] = labels_of(call, rng)
    operands = operands * 2 if call.operands > 0 else operands[: len(operands) + call.operands]
    options = {name: getattr(call, name) for name in ("axis", "temperature", "workers", "dtype")}
    options = {name: value for name, value in options.items() if value is not ABSENT}
    if call.where is not ABSENT:
        options["where"] = mask_of(call, rng)
    if call.out is not ABSENT:
        operands, options["out"] = with_out(call, operands, arrays[0])
    if call.unknown:
        options["axes"] = 0
    return operands, options


def labels_of(call, rng):
    axis = call.axis if type(call.axis) is int and -len(call.shape) <= call.axis < len(call.shape) else -1
    classes = call.shape[axis] if call.shape else 3
    lead = np.delete(call.shape, axis).astype(int) if call.shape else ()
    labels = rng.integers(0, max(classes, 1), size=lead)
    changed = {
        "negative": labels - 3,
        "too large": labels + classes,
        "bool": labels > 0,
        "float": labels + 0.5,
        "uint8": labels.astype(np.uint8),
        "wrong shape": np.zeros((2, 9), int),
        "list": labels.tolist(),
        "-1": labels * 0 - 1,
    }
    return changed.get(call.labels, labels)


def mask_of(call, rng):
    if not isinstance(call.where, str):
        return call.where
    shapes = {"row": call.shape[-1:], "column": (*call.shape[:-1], 1), "long": (*call.shape, 2)}
    mask = rng.random(shapes.get(call.where, call.shape)) < 0.7
    return mask.astype(int) if call.where == "integers" else mask


def with_out(call, operands, like):
    """The operands, and what `out` is: a result or an operand where that is asked for."""
    x = operands[0] if operands else None
    if call.out == "x" or not isinstance(x, np.ndarray):
        return operands, x
    if call.out == "overlapping":
        memory = np.zeros(2 * x.size, x.dtype)
        shift = call.seed % (x.size + 1)
        moved = memory[: x.size].reshape(x.shape)
        moved[...] = x
        return [moved, *operands[1:]], memory[shift : shift + x.size].reshape(x.shape)
    shape = x.shape[:-1] if call.name in ("logsumexp", "entropy", "kl_divergence", "cross_entropy") else x.shape
    out = np.zeros((*shape, 3) if call.out == "wrong shape" else shape, "i4" if call.out == "wrong dtype" else x.dtype)
    if call.out == "strided":
        out = np.zeros((*shape, 2), x.dtype)[..., 0]
    out.flags.writeable = call.out != "read-only"
    return operands, out.tolist() if call.out == "list" else out


def bits(a):
    """The bytes of an array, without the addresses of objects and the padding of longdouble."""
    a = np.asarray(a)
    return repr(a.tolist()) if a.dtype.char in "gO" else a.tobytes()


def described(result):
    return type(result), np.shape(result), result.dtype, bits(result)


def outcome(call):
    """The bits of all results and of all operands after the call, or the error and its text."""
    operands, options = built(call)
    try:
        results = getattr(sg, call.name)(*operands, **options)
    except Exception as error:  # whatever it is: it has to be the same
        found = (type(error), str(error))
    else:
        found = tuple(described(r) for r in (results if hasattr(results, "_fields") else (results,)))
    return found, [bits(a) for a in (*operands, options.get("out")) if isinstance(a, np.ndarray)]


@pytest.mark.parametrize("level", NATIVE)
@settings(max_examples=5 * settings().max_examples)
@given(call=calls())
def test_the_front_door_changes_nothing(level, call):
    table = kernels.load(level)
    closed = SimpleNamespace(**{**vars(table), "direct": defaultdict(lambda: lambda *_, **__: NotImplemented)})
    before, found = kernels.table, []
    try:
        for kernels.table in (table, closed):
            found.append(outcome(call))
    finally:
        kernels.table = before
    assert found[0] == found[1], vars(call)
