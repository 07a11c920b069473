"""logsumexp with factors: exact in rows of any length, and the same bits for a row wherever it stands."""

import mpmath as mp
import numpy as np
import pytest

import softgrad as sg
from softgrad._numpy import softmax

from ..maps import assert_same
from ..reference import numbers

every_dtype = pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64], ids=lambda d: d.__name__)


def rows(shape, dtype, seed=0):
    rng = np.random.default_rng([seed, *shape])
    x = (rng.normal(size=shape) * 5).astype(dtype)
    b = rng.normal(size=shape).astype(dtype)
    b[rng.random(shape) < 0.1] = 0
    x[rng.random(shape) < 0.1] = -np.inf
    return x, b


@every_dtype
@pytest.mark.parametrize("n", [1, 2, 10, 32, 33, 1000])
def test_a_row_has_the_same_bits_in_any_batch(level, dtype, n):
    x, b = rows((37, n), dtype)
    log, sign = softmax.signed_logsumexp(x, None, b)
    for i in range(len(x)):
        one = softmax.signed_logsumexp(x[i], None, b[i])
        assert_same(one[0], log[i])
        assert_same(one[1], sign[i])
    some = softmax.signed_logsumexp(np.asfortranarray(x[::3]), None, b[::3])
    assert_same(some[0], log[::3])
    moved = sg.logsumexp(x.T.copy(), axis=0, b=b.T.copy())
    assert_same(moved, sg.logsumexp(x, b=b))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda d: d.__name__)
def test_rows_of_several_blocks_against_exact_arithmetic(level, dtype):
    n = 10_000
    x, b = rows((3, n), dtype)
    b[0] = np.abs(b[0])
    x[1, n - 1] = 40  # the largest in the last block
    b[2, b[2] > 0] *= dtype(1.5)
    log, sign = softmax.signed_logsumexp(x, None, b)
    for i in range(3):
        terms = [w * mp.exp(t) for w, t in zip(numbers(b[i]), numbers(x[i]), strict=True)]
        total, size = mp.fsum(terms), mp.fsum(map(abs, terms))
        assert sign[i] == mp.sign(total)
        scale = max(abs(mp.log(abs(total))), abs(float(x[i].max())), size / abs(total))
        assert abs(mp.mpf(float(log[i])) - mp.log(abs(total))) <= np.finfo(dtype).eps * scale


def test_terms_whose_factors_are_far_apart(level):
    for x, b in (
        ([0.0, -800.0], [1e-320, 1e300]),
        ([0.0, -1400.0], [1e-310, 1e308]),
        ([0.0, -740.0], [-1e-300, -1e300]),
        ([700.0, 0.0], [1e-310, 1.0]),
        ([0.0, -709.0, 3.0], [1e-300, 1e8, -1e-310]),
        ([0.0, 0.0, -1.0], [1.0, -1.0, 1e-310]),
        ([-1e5, -1e5 - 1], [1e300, 1e307]),
        ([-2.0] + [0.0] * 40, [1e-320] + [1e-290] * 40),
        ([-900.0] + [0.0] * 40, [1e308] + [0.0] * 20 + [1e-90] * 20),
    ):
        total = mp.fsum(w * mp.exp(t) for w, t in zip(numbers(b), numbers(x), strict=True))
        log, sign = softmax.signed_logsumexp(np.array(x), None, np.array(b))
        assert sign == mp.sign(total)
        assert log == pytest.approx(float(mp.log(abs(total))), rel=1e-15)


@pytest.mark.parametrize("n", [3, 40])
def test_float32_terms_whose_factors_are_far_apart(level, n):
    x, b = np.zeros(n, np.float32), np.zeros(n, np.float32)
    for exponents, factors in (([0, -120], [1e-40, 1e38]), ([0, 0], [1e38, -1e38]), ([-60, 20], [3e38, -1e-45])):
        x[:2], b[:2] = exponents, factors
        total = mp.fsum(w * mp.exp(t) for w, t in zip(numbers(b), numbers(x), strict=True))
        log, sign = softmax.signed_logsumexp(x, None, b)
        assert sign == mp.sign(total)
        assert log == pytest.approx(float(mp.log(abs(total))) if total else -np.inf, rel=1e-7)


@pytest.mark.parametrize("n", [20, 50])
def test_only_the_rows_with_infinite_terms_are_infinite(level, n):
    x, b = rows((5, n), np.float64)
    clean, sign = softmax.signed_logsumexp(x, None, b)
    changed, factors = x.copy(), b.copy()
    b_nonzero = np.abs(b).argmax(axis=1)
    changed[1, b_nonzero[1]] = np.nan
    changed[2, b_nonzero[2]] = np.inf
    factors[3, 0], changed[3, 0] = np.inf, 0.0
    log, signs = softmax.signed_logsumexp(changed, None, factors)
    assert np.isnan(log[1])
    assert (log[2], signs[2]) == (np.inf, np.sign(b[2, b_nonzero[2]]))
    assert (log[3], signs[3]) == (np.inf, 1)
    assert_same(log[[0, 4]], clean[[0, 4]])
    assert_same(signs[[0, 4]], sign[[0, 4]])
