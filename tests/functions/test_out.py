"""out=: written and returned, in any layout, over its own operand, or refused (docs/edges.md)."""

from math import inf

import numpy as np
import pytest

import softgrad as sg

from ..layouts import LAYOUTS
from ..maps import MAPS, assert_same, directions, every_float, logits, some_valid
from ..rows import LENGTHS

pytestmark = pytest.mark.usefixtures("level")
FORWARD = MAPS[:7]
every_forward = pytest.mark.parametrize("f", FORWARD, ids=lambda f: f.name)


@every_forward
@every_float
def test_out_is_written_and_returned(f, dtype):
    for n in LENGTHS:
        x = logits((5, n), dtype)
        expected = f(x)
        out = np.empty(f.shape(x.shape), dtype)
        assert f(x, out=out) is out
        assert_same(out, expected)
        for make in ("strided", "negative strides", "Fortran", "unaligned"):
            out = LAYOUTS[make](np.full(out.shape, 7, dtype))
            assert f(x, out=out) is out
            assert_same(out, expected)


@every_forward
@every_float
def test_out_along_other_axes(f, dtype):
    x = logits((3, 40, 4), dtype)
    for axis in (0, 1, (0, 2), None):
        expected = f(x, axis=axis)
        for order in "CF":
            out = np.empty(np.shape(expected), dtype, order)
            assert f(x, axis=axis, out=out) is out
            assert_same(out, expected)


@every_forward
def test_out_leaves_its_neighbours_alone(f):
    x = logits((5, 33), np.dtype(np.float32))
    wide = np.full((5, 66), 7, np.float32)
    out = wide[:, ::2] if f.result == "slice" else wide[:, 0]
    f(x, out=out)
    assert (wide[:, 1::2] == 7).all()


@pytest.mark.parametrize("function", [sg.softmax, sg.log_softmax], ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.usefixtures("level")
def test_out_may_be_x_at_any_temperature(function, dtype):
    """Temperatures beyond the vectors' range are computed after the others: from x as it was."""
    for n in (3, 40):
        for axis in (-1, 0):
            for T in (0.0, 1e-300, 1e300, inf, 0.7):
                x = logits((n, n), np.dtype(dtype))
                expected = function(x.copy(), axis=axis, temperature=T)
                function(x, axis=axis, temperature=T, out=x)
                assert_same(x, expected)


@pytest.mark.parametrize("f", MAPS[:2], ids=lambda f: f.name)
@every_float
def test_out_may_be_x_or_overlap_it(f, dtype):
    for n in LENGTHS:
        for axis in (-1, 0):
            x = logits((5, n), dtype)
            for options in ({}, {"where": some_valid(n)}, {"temperature": 0.7}):
                expected = f(x, axis=axis, **options)
                inplace = x.copy()
                assert f(inplace, axis=axis, out=inplace, **options) is inplace
                assert_same(inplace, expected)
                for shift in (1, n, 2 * n):
                    for forward in (True, False):
                        buffer = np.zeros(5 * n + shift, dtype)
                        low, high = (part.reshape(5, n) for part in (buffer[: 5 * n], buffer[shift:]))
                        source, out = (low, high) if forward else (high, low)
                        source[...] = x
                        f(source, axis=axis, out=out, **options)
                        assert_same(out, expected)
                reversed_out = x.copy()
                f(reversed_out, axis=axis, out=reversed_out[:, ::-1], **options)
                assert_same(reversed_out[:, ::-1], expected)


@every_float
def test_out_may_be_an_operand_of_a_derivative(dtype):
    for n in LENGTHS:
        x = logits((5, n), dtype)
        g = directions(x)
        for function, first in (
            (sg.softmax_vjp, sg.softmax(x)),
            (sg.log_softmax_vjp, sg.log_softmax(x)),
            (sg.log_softmax_jvp, sg.log_softmax(x)),
        ):
            expected = function(first, g)
            for place in (0, 1):
                operands = [first.copy(), g.copy()]
                assert function(*operands, out=operands[place]) is operands[place]
                assert_same(operands[place], expected)


def test_logsumexp_out_may_overlap_x():
    for n in LENGTHS:
        x = logits((5, n), np.dtype(np.float32))
        expected = sg.logsumexp(x)
        for column in {0, n - 1}:
            inplace = x.copy()
            sg.logsumexp(inplace, out=inplace[:, column])
            assert_same(inplace[:, column], expected)
        flat = x.copy()
        sg.logsumexp(flat, out=flat.reshape(-1)[:5])
        assert_same(flat.reshape(-1)[:5], expected)


@every_forward
def test_bad_out(f):
    x = logits((5, 33), np.dtype(np.float32))
    shape = f.shape(x.shape)
    readonly = np.full(shape, 7, np.float32)
    readonly.flags.writeable = False
    for error, out in (
        (ValueError, np.full((2, *shape), 7, np.float32)),
        (ValueError, np.full((*shape[:-1], shape[-1] + 1), 7, np.float32)),
        (ValueError, np.full((1, *shape[1:]), 7, np.float32)),
        (TypeError, np.full(shape, 7, np.float64)),
        (TypeError, np.full(shape, 7, np.float16)),
        (TypeError, np.full(shape, 7, np.int32)),
        (ValueError, readonly),
    ):
        with pytest.raises(error, match="out"):
            f(x, out=out)
        assert (out == 7).all()
    with pytest.raises(TypeError, match="out"):
        f(x, out=[[0.0] * 33] * 5)
