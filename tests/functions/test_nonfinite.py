"""NaN and infinities, and that they cause no warning (docs/edges.md)."""

from math import inf, nan

import ml_dtypes
import numpy as np
import pytest

import softgrad as sg

from ..maps import BFLOAT16, assert_close, assert_same, directions, every_float, every_map, lengths, logits, some_valid

pytestmark = pytest.mark.usefixtures("level")


@every_map
@every_float
def test_nan_stays_in_its_slice(f, dtype):
    for n in lengths(f):
        x = logits((3, n), dtype)
        clean = f(x)
        for place in {0, n // 2, n - 1}:
            changed = x.copy()
            changed[1, place] = nan
            got = f(changed, directions(x))
            assert np.isnan(got[1]).all()
            assert_same(got[[0, 2]], clean[[0, 2]])


@every_map
@every_float
def test_positive_infinity(f, dtype):
    for n in lengths(f):
        x = logits((3, n), dtype)
        clean = f(x)
        for places in ([0], [n - 1], [0, n - 1]):
            changed = x.copy()
            changed[1, places] = inf
            got = f(changed, directions(x))
            np.testing.assert_array_equal(got[1].astype(float), np.full(f.shape(x.shape)[1:], f.posinf))
            assert_same(got[[0, 2]], clean[[0, 2]])


@every_map
@every_float
def test_nothing_but_negative_infinity(f, dtype):
    for n in lengths(f):
        x = logits((3, n), dtype)
        clean = f(x)
        x[1] = -inf
        got = f(x, directions(x))
        np.testing.assert_array_equal(got[1].astype(float), np.full(f.shape(x.shape)[1:], f.neginf))
        assert_same(got[[0, 2]], clean[[0, 2]])


@every_map
@every_float
def test_negative_infinity_is_as_good_as_absent(f, dtype):
    for n in lengths(f):
        x, read = logits((n,), dtype), some_valid(n)
        g = directions(x)
        expected = f.expand(f(x[read], g[read]), read, n)
        x[~read] = -inf
        assert_close(f(x, g), expected)


@every_map
@every_float
def test_no_floating_point_error_reaches_the_caller(f, dtype):
    """Not even one who asked NumPy to raise them all: underflow, inf and NaN are expected, so no warning."""
    largest = float(ml_dtypes.finfo(dtype).max if dtype == BFLOAT16 else np.finfo(dtype).max)
    hard = (
        [1, -inf, 2],
        [nan, 1, 2],
        [inf, 1, -inf],
        [-inf] * 3,
        [0, -20, -800],
        [largest, -largest, 0],
        [-1e-4, 0, 1],
    )
    x = np.array(hard, np.longdouble).astype(dtype)
    g = directions(x)
    masks = (
        ({}, {"where": np.array([True, False, True])}, {"where": np.zeros(3, np.bool)})
        if "where" in f.options
        else ({},)
    )
    for options in (*masks, *({"temperature": T} for T in (0.7, 1e-300, 1e300, inf) if "temperature" in f.options)):
        with np.errstate(all="raise"):
            f(x, g, **options)


@pytest.mark.usefixtures("level")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_slice_of_one_entry_is_1(dtype):
    """Exactly: there is nothing to round."""
    x = (30 * np.random.default_rng(0).normal(size=(1000, 1))).astype(dtype)
    x[:3, 0] = np.nan, np.inf, -np.inf
    expected = np.where(np.isfinite(x), 1, np.nan)
    for options in ({}, {"temperature": 0.7}, {"where": True}, {"temperature": np.linspace(0.1, 3, 1000)}):
        np.testing.assert_array_equal(sg.softmax(x, **options), expected)
        np.testing.assert_array_equal(sg.log_softmax(x, **options), np.log(expected))
        np.testing.assert_array_equal(sg.softmax(x.T.copy(), axis=0, **options), expected.T)
    hidden = np.arange(1000)[:, None] % 2 == 0
    np.testing.assert_array_equal(sg.softmax(x, where=hidden), np.where(hidden, expected, 0))
    np.testing.assert_array_equal(sg.log_softmax(x, where=hidden), np.where(hidden, np.log(expected), -np.inf))
