"""Options and errors: dtype, keepdims, b, normalization, broadcasting, and messages that name the argument."""

import warnings
from math import inf, nan

import mpmath as mp
import numpy as np
import pytest

import softgrad as sg

from .. import error_bounds
from ..maps import FLOATS, MAPS, assert_close, assert_same, directions, every_float, every_map, logits
from ..reference import check, exact_softmax, numbers

pytestmark = pytest.mark.usefixtures("level")
FORWARD = pytest.mark.parametrize("f", [sg.softmax, sg.log_softmax, sg.logsumexp], ids=lambda f: f.__name__)
BACKWARD = pytest.mark.parametrize(
    "f", [sg.softmax_vjp, sg.log_softmax_vjp, sg.log_softmax_jvp], ids=lambda f: f.__name__
)


@FORWARD
@pytest.mark.parametrize("x", [[1, 2, 3], (1.0, 2.0, 3.0), range(1, 4), [np.float64(1), 2, True + 2]], ids=repr)
def test_whatever_numpy_takes(f, x):
    assert_same(f(x), f(np.array([1.0, 2.0, 3.0])))


@every_map
@every_float
def test_inputs_are_never_written(f, dtype):
    x = logits((5, 33), dtype)
    g = directions(x)
    kept = x.copy(), g.copy()
    f(x, g)
    f(x, g, axis=0)
    assert_same(x, kept[0])
    assert_same(g, kept[1])


@FORWARD
def test_options_are_keywords(f):
    with pytest.raises(TypeError, match="positional"):
        f(np.ones(3), 0)
    with pytest.raises(TypeError, match=r"positional-only|missing"):
        f(x=np.ones(3))


@FORWARD
@pytest.mark.parametrize("x_dtype", FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
def test_dtype_is_that_of_the_result_and_never_narrows_the_computation(f, x_dtype, dtype):
    x = logits((3, 33), x_dtype)
    got = f(x, dtype=dtype)
    wide = np.float64 if np.longdouble not in (x_dtype, dtype) else np.longdouble
    assert_close(got, np.asarray(f(x.astype(wide))).astype(dtype), ulp=4)
    out = np.empty(got.shape, dtype)
    assert f(x, dtype=dtype, out=out) is out
    assert_same(out, got)


@FORWARD
def test_dtype_must_be_floating(f):
    for dtype in (np.int32, complex, bool, "U3", object):
        with pytest.raises(TypeError, match="dtype"):
            f(np.ones(3), dtype=dtype)


@FORWARD
def test_dtype_of_integers(f):
    assert f(np.arange(3), dtype=np.float32).dtype == np.float32
    assert_close(f(np.arange(3), dtype="float32"), np.asarray(f(np.arange(3.0))).astype(np.float32), ulp=1)


def test_keepdims():
    x = logits((2, 3, 4), np.dtype(np.float32))
    for axis, shape in ((-1, (2, 3, 1)), (0, (1, 3, 4)), ((0, 2), (1, 3, 1)), (None, (1, 1, 1))):
        kept = sg.logsumexp(x, axis=axis, keepdims=True)
        assert kept.shape == shape
        assert_same(np.squeeze(kept), sg.logsumexp(x, axis=axis))
        out = np.empty(shape, np.float32)
        assert sg.logsumexp(x, axis=axis, keepdims=True, out=out) is out
        assert_same(out, kept)
    assert_close(np.exp(x - sg.logsumexp(x, axis=1, keepdims=True)), sg.softmax(x, axis=1))


# b


def test_b_against_exact_arithmetic(level):
    for dtype in (np.float32, np.float64):
        for seed in range(10):
            x = logits((40,), np.dtype(dtype), seed)
            b = np.abs(logits((40,), np.dtype(dtype), seed + 100))
            value = mp.log(mp.fsum(w * mp.exp(t) for w, t in zip(numbers(b), numbers(x), strict=True)))
            size = max(abs(value), mp.mpf(float(np.abs(x).max())))
            check("logsumexp(b)", level, sg.logsumexp(x, b=b), value, bound=error_bounds.LOGSUMEXP, size=size)


@every_float
def test_b_edges(dtype):
    def lse(x, b, **options):
        return float(sg.logsumexp(np.array(x, dtype), b=np.array(b, dtype), **options))

    assert lse([nan, 2, inf, 3], [0, 1, 0, 0]) == 2
    assert lse([1, 2], [0, 0]) == -inf
    assert lse([1, 1], [1, -1]) == -inf
    assert np.isnan(lse([1, 1], [1, -2]))
    assert np.isnan(lse([1, 1], [1, nan]))
    assert np.isnan(lse([1, nan], [1, 1]))
    assert lse([1, inf], [1, 1]) == inf
    assert np.isnan(lse([1, inf], [1, -1]))
    assert lse([-inf, -inf], [1, 1]) == -inf
    assert lse([-inf, 2], [5, 1]) == 2
    assert lse([nan, 2], [1, 1], where=np.array([False, True])) == 2
    assert lse([1, 2], [nan, 1], where=np.array([False, True])) == 2
    assert lse([1, 2], [1, 1], where=np.array([False, False])) == -inf
    assert lse([], []) == -inf


@every_float
def test_b_of_ones_changes_nothing(dtype):
    for shape in ((3, 33), (2, 7, 5)):
        x = logits(shape, dtype)
        for b in (1, 1.0, np.ones(shape[-1], dtype), np.ones((*shape[:-1], 1)), np.ones(shape, np.int8)):
            assert_close(sg.logsumexp(x, b=b), sg.logsumexp(x))
    x = logits((3, 4, 5), dtype)
    b = np.abs(logits((3, 4, 5), dtype, 1)) + dtype.type(1)
    moved = sg.logsumexp(np.moveaxis(x, 1, -1), b=np.moveaxis(b, 1, -1))
    assert_same(sg.logsumexp(x, axis=1, b=b), moved)
    assert_same(sg.logsumexp(x, axis=(0, 1), b=b), sg.logsumexp(x.reshape(12, 5), axis=0, b=b.reshape(12, 5)))


def test_bad_b():
    with pytest.raises(TypeError, match="b must"):
        sg.logsumexp(np.ones(3), b=1j)
    with pytest.raises(ValueError, match="b must"):
        sg.logsumexp(np.ones(3), b=np.ones(4))


# normalization


@every_float
def test_without_normalization_it_is_the_textbook_formula(dtype):
    x = logits((3, 10), dtype) / dtype.type(4)
    e = np.exp(x)
    assert_close(sg.softmax(x, normalization=False), (e / e.sum(axis=-1, keepdims=True)).astype(dtype), ulp=16)
    assert_close(sg.softmax(x, normalization=False, axis=0), sg.softmax(x, axis=0), ulp=16)
    assert_close(sg.log_softmax(x, normalization=False), sg.log_softmax(x), ulp=16)
    assert_close(sg.softmax(x, normalization=False, temperature=2.0), sg.softmax(x, temperature=2.0), ulp=16)
    mask = np.arange(10) < 6
    assert_close(sg.softmax(x, normalization=False, where=mask), sg.softmax(x, where=mask), ulp=16)
    out = np.empty((3, 10), dtype)
    assert sg.softmax(x, normalization=False, out=out) is out
    assert_same(out, sg.softmax(x, normalization=False))


@pytest.mark.parametrize("f", [sg.softmax, sg.log_softmax, sg.calculate_gradient], ids=lambda f: f.__name__)
def test_without_normalization_it_overflows_where_the_textbook_does(f):
    x = np.array([1000.0, 1.0])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        got = f(x, normalization=False)
    assert any("overflow" in str(w.message) for w in caught)
    assert np.isnan(got).any()


def test_calculate_gradient_is_the_dense_jacobian():
    for shape in ((5,), (3, 5), (2, 3, 5), (0, 5), (3, 0)):
        x = logits(shape, np.dtype(np.float64))
        J = sg.calculate_gradient(x)
        assert J.shape == (*shape, shape[-1])
        assert_same(J, sg.softmax_jacobian(x).toarray())
        assert_close(sg.calculate_gradient(x, False), J, ulp=32)


# broadcasting of directions


@BACKWARD
@every_float
def test_directions_broadcast(f, dtype):
    y = sg.log_softmax(logits((3, 4, 5), dtype)) if "log" in f.__name__ else sg.softmax(logits((3, 4, 5), dtype))
    g = directions(y)
    for part in (g[0], g[0, 0], g[:, :1], g[..., :1], g[0, 0, 0]):
        full = np.ascontiguousarray(np.broadcast_to(part, y.shape))
        assert_same(f(y, part), f(y, full))
        assert_same(f(y, part, axis=1), f(y, full, axis=1))
    assert_same(f(y[0, 0], g), f(np.ascontiguousarray(np.broadcast_to(y[0, 0], y.shape)), g))


@BACKWARD
def test_directions_of_another_dtype(f):
    y = np.log([0.25, 0.75]).astype(np.float32) if "log" in f.__name__ else np.array([0.25, 0.75], np.float32)
    assert f(y, np.array([1.0, 2.0])).dtype == np.float64
    assert f(y, np.array([1, 2], np.float16)).dtype == np.float32
    assert f(y, [1.0, 0.0]).shape == (2,)
    assert_same(f(y.astype(np.float64), np.array([1, 2])), f(y.astype(np.float64), np.array([1.0, 2.0])))


@BACKWARD
def test_shapes_that_do_not_broadcast(f):
    with pytest.raises(ValueError, match=r"\(3,\).*\(4,\)"):
        f(np.ones(3), np.ones(4))


@BACKWARD
def test_directions_that_are_not_real(f):
    for bad in ([1j, 1j], ["a", "b"], [None, None]):
        with pytest.raises(TypeError, match="must hold real numbers"):
            f(np.array([0.5, 0.5]), np.array(bad))


def test_second_derivative():
    p = sg.softmax(logits((3, 4, 5), np.dtype(np.float64)))
    u, v = directions(p), directions(p)[::-1]
    assert_close(sg.softmax_second(p, u, v), sg.softmax_second(p, v, u))
    assert_same(sg.softmax_second(p, u[0], v), sg.softmax_second(p, np.broadcast_to(u[0], p.shape), v))
    h = 1e-5
    x = np.log(p)
    by_difference = (sg.softmax_vjp(sg.softmax(x + h * v), u) - sg.softmax_vjp(sg.softmax(x - h * v), u)) / (2 * h)
    np.testing.assert_allclose(sg.softmax_second(p, u, v), by_difference, atol=1e-8)
    with pytest.raises(ValueError, match=r"u of shape"):
        sg.softmax_second(p, np.ones(3), v)


# errors


@pytest.mark.parametrize("f", MAPS[:3], ids=lambda f: f.name)
def test_bad_arguments_are_named(f):
    x = np.ones((3, 4))
    for error, name, options in (
        (TypeError, "where", {"where": np.ones(4)}),
        (TypeError, "where", {"where": [0, 1, 1, 0]}),
        (ValueError, "where", {"where": np.ones(3, bool)}),
        (ValueError, "where", {"where": np.ones((2, 3, 4), bool)}),
        (TypeError, "axis", {"axis": 0.5}),
        (TypeError, "axis", {"axis": "rows"}),
        (TypeError, "workers", {"workers": 1.5}),
        (TypeError, "workers", {"workers": True}),
        (ValueError, "workers", {"workers": 0}),
        (ValueError, "workers", {"workers": -2}),
    ):
        with pytest.raises(error, match=name):
            f(x, **options)
    with pytest.raises(ValueError, match="x must"):
        f([[1, 2], [3]], np.ones(2))
    with pytest.raises(TypeError, match="x must"):
        f(None, np.ones(3))


def test_temperature_that_is_not_a_number():
    for bad in ("hot", None, 1j, ["a", "b"]):
        with pytest.raises((TypeError, ValueError), match="temperature"):
            sg.softmax(np.ones((2, 3)), temperature=bad)


def test_exact_softmax_agrees_with_a_known_value():
    """The reference itself: e / (1 + e), and the identities between what it computes."""
    exact = exact_softmax(np.array([0.0, 1.0]))
    assert abs(exact.softmax(1) - mp.e / (1 + mp.e)) < mp.mpf(2) ** -190
    assert abs(exact.log_softmax(0) + mp.log(1 + mp.e)) < mp.mpf(2) ** -190
    assert abs(exact.jacobian(0, 0) + exact.jacobian(0, 1)) < mp.mpf(2) ** -190
