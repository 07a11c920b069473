"""Temperatures: one per slice, 0, infinite, tiny, refused (docs/edges.md)."""

from math import inf, nan

import numpy as np
import pytest

import softgrad as sg

from ..maps import assert_close, assert_same, directions, every_float, logits, maps_with
from ..rows import LENGTHS

pytestmark = pytest.mark.usefixtures("level")


@maps_with("temperature")
@every_float
def test_one_temperature_per_slice(f, dtype):
    x = logits((2, 3, 17), dtype)
    temperatures = np.array([[0.5, 1.0, 2.0], [4.0, 0.75, 3.0]])
    got = f(x, temperature=temperatures)
    assert_same(got, f(x, temperature=temperatures[..., None]))
    g = directions(x)
    for i in np.ndindex(2, 3):
        assert_close(got[i], f(x[i], g[i], temperature=temperatures[i]))
    axis0 = f(np.moveaxis(x, -1, 0), np.moveaxis(g, -1, 0), axis=0, temperature=temperatures)
    assert_same(f.last(axis0, 0, 3), got)
    assert_same(f(x, temperature=[1.5, 1.0, 0.5]), f(x, temperature=[[1.5, 1.0, 0.5]] * 2))


@maps_with("temperature")
@every_float
def test_a_temperature_of_one_changes_nothing(f, dtype):
    x = logits((3, 33), dtype)
    for one in (1, 1.0, np.float32(1), np.ones(3), np.ones((3, 1))):
        assert_close(f(x, temperature=one), f(x))


@every_float
def test_temperature_zero_is_uniform_over_the_largest(dtype):
    for n in LENGTHS[1:]:
        x = logits((3, n), dtype)
        x[1, [0, n - 1]] = 50.0
        x[2, n // 2] = -inf
        expected = (x == x.max(axis=-1, keepdims=True)).astype(np.longdouble)
        expected /= expected.sum(axis=-1, keepdims=True)
        for zero in (0, 0.0, np.zeros(3)):
            assert_same(sg.softmax(x, temperature=zero), expected.astype(dtype))
        with np.errstate(divide="ignore"):
            assert_close(sg.log_softmax(x, temperature=0.0), np.log(expected).astype(dtype))


@every_float
@pytest.mark.parametrize("T", [0.0, 5e-324, 0.5, inf])
def test_positive_infinity_at_any_temperature(dtype, T):
    x = logits((3, 33), dtype)
    x[1, 7] = inf
    for f in (sg.softmax, sg.log_softmax):
        np.testing.assert_array_equal(np.isnan(f(x, temperature=T)).any(axis=-1), [False, True, False])
        assert np.isnan(f(x, temperature=T)[1]).all()


@every_float
def test_temperature_infinity_is_uniform(dtype):
    x = logits((3, 8), dtype)
    for T in (inf, np.full(3, inf)):
        assert_same(sg.softmax(x, temperature=T), np.full((3, 8), 0.125, dtype))
    assert_close(sg.softmax(x, temperature=1e300), np.full((3, 8), 0.125, dtype))


@every_float
def test_a_tiny_temperature_selects_the_largest(dtype):
    x = logits((3, 33), dtype)
    expected = (x == x.max(axis=-1, keepdims=True)).astype(np.longdouble)
    expected /= expected.sum(axis=-1, keepdims=True)
    for T in (1e-300, 5e-324, np.full(3, 1e-300)):
        assert_same(sg.softmax(x, temperature=T), expected.astype(dtype))
        y = sg.log_softmax(x, temperature=T).astype(np.longdouble)
        assert (y[expected == 0] < -1e4).all()


@every_float
def test_temperatures_of_one_batch_do_not_mix(dtype):
    x = logits((4, 33), dtype)
    got = sg.softmax(x, temperature=[0.0, 1.0, inf, 1e-300])
    for row, T in enumerate((0.0, 1.0, inf, 1e-300)):
        assert_close(got[row], sg.softmax(x[row], temperature=T))


@maps_with("temperature")
def test_bad_temperatures(f):
    x = logits((3, 4), np.dtype(np.float64))
    for bad in (-1, -0.5, nan, [1.0, -1.0, 1.0], [1.0, nan, 1.0], np.float32(nan)):
        with pytest.raises(ValueError, match="temperature"):
            f(x, temperature=bad)
    for shape in ((4,), (3, 4), (2, 3)):
        with pytest.raises(ValueError, match="temperature"):
            f(x, temperature=np.ones(shape))


def test_at_temperature_zero_there_is_no_derivative():
    for T in (0.0, [1.0, 0.0]):
        with pytest.raises(ValueError, match="temperature"):
            sg.softmax_jacobian(np.ones((2, 3)), temperature=T)


@maps_with("temperature")
@every_float
def test_edges_at_a_temperature(f, dtype):
    x = logits((4, 33), dtype)
    x[0, 3], x[1, 3], x[2], x[3, 3] = nan, inf, -inf, -inf
    got = f(x, directions(x), temperature=0.7).astype(float)
    assert np.isnan(got[:2]).all()
    np.testing.assert_array_equal(got[2], np.full(got[2].shape, f.neginf))
    np.testing.assert_array_equal(got[3, 3], np.full(got[3, 3].shape, f.masked))
