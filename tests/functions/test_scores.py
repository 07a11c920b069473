"""Scores of rows and the slope of their loss: mpmath's numbers, the same bits in any batch and layout."""

import functools

import array_api_strict
import ml_dtypes
import mpmath as mp
import numpy as np
import pytest

from softgrad._formulas import scores as formulas
from softgrad._numpy.scores import scores, temperature_slope

from .. import error_bounds

DTYPES = (np.float32, np.float64)
TEMPERATURES = (1.0, 0.37, 25.0)
POWERS = (0, 0, 1, 0, 0), (0, 1, 2)
"""By which power of z each result multiplies probabilities."""


def rows(n, dtype):
    """Random, saturated, equal and masked rows, and one with probabilities that are subnormal; a label of each."""
    rng = np.random.default_rng(n)
    x = 3 * rng.normal(size=(9, n))
    x[1, 0] += 40
    x[2, 1] += 90
    x[3] = 1.5
    x[4, ::2] = -np.inf
    x[5, : n // 2] = x[5].max() + 1
    x[6] *= 1e-4
    x[7] = -90 * np.arange(n) / n
    x[8] += 3e4
    labels = rng.integers(0, n // 2, 9) * 2 + 1
    labels[1], labels[2] = 0, 0
    return x.astype(dtype), labels


@functools.cache
def exact(n, dtype, temperature):
    """Every score and slope of some rows, and what their errors are measured by.

    Some losses are 10⁻¹⁰⁶, which takes 1200 bits. Of long rows it is the first only, which takes mpmath a second.
    """
    found = []
    x, labels = rows(n, dtype)
    with mp.workprec(1200 if n < 1000 else 200):
        for row, y in zip(x.tolist(), labels.tolist(), strict=True):
            T, top = mp.mpf(temperature), max(row)
            z = [(mp.mpf(top) - mp.mpf(v)) / T if v > -np.inf else None for v in row]
            e = [mp.mpf(0) if v is None else mp.exp(-v) for v in z]
            total = mp.fsum(e)
            p = [v / total for v in e]
            loss = mp.log(total) + z[y]
            mean = mp.fsum(q * v for q, v in zip(p, z, strict=True) if v is not None)
            square = mp.fsum(q * v * v for q, v in zip(p, z, strict=True) if v is not None)
            brier = mp.fsum((q - (j == y)) ** 2 for j, q in enumerate(p))
            rank = sum(v > row[y] for v in row) + sum(v == row[y] for v in row[:y])
            values = (loss, brier, mp.log(total) + mean, max(p), rank), (loss, z[y] - mean, square - mean**2)
            sizes = (loss, brier if rank == 0 else 1 + brier, values[0][2], 1, 1), (loss, z[y] + mean, square)
            found.append((values, sizes))
            if n > 1000:
                break
    return found


@pytest.mark.parametrize("n", [2, 7, 33, 130, 4500])
def test_mpmaths_numbers(level, n):
    for dtype in DTYPES:
        x, labels = rows(n, dtype)
        for T in TEMPERATURES:
            got = scores(x, labels, T), temperature_slope(x, labels, T)
            for i, (values, sizes) in enumerate(exact(n, dtype, T)):
                for part, value, size, bound, powers in zip(
                    got, values, sizes, error_bounds.SCORES, POWERS, strict=True
                ):
                    for a, b, c, power in zip(part, value, size, powers, strict=True):
                        allowed = bound * error_bounds.scaled(level, np.dtype(dtype)) * np.finfo(dtype).eps * c
                        least = np.finfo(dtype).smallest_subnormal  # softmax has no smaller numbers
                        allowed += float(least) * float(-np.log(least)) ** power
                        assert a.dtype == np.float64
                        assert abs(mp.mpf(float(a[i])) - b) <= allowed, (n, dtype, T, i, power)


def test_a_row_has_the_same_bits_in_any_batch_and_layout(level):
    for n in (2, 5, 40, 300, 5000):
        for dtype in (np.float16, ml_dtypes.bfloat16, *DTYPES):
            x, labels = rows(n, np.float32)
            x = x.astype(dtype)
            for function in (scores, temperature_slope):
                for T in (1.0, 0.7):
                    batch = np.stack(function(x, labels, T))
                    each = np.stack([np.concatenate(function(x[i : i + 1], labels[i : i + 1], T)) for i in range(9)], 1)
                    np.testing.assert_array_equal(batch, each)
                    temperatures = np.full(9, T)
                    temperatures[3] = 2.0  # the others are not changed by one that differs
                    found = np.stack(function(x, labels, temperatures))
                    np.testing.assert_array_equal(np.delete(found, 3, 1), np.delete(batch, 3, 1))
                    if level == "generic":  # NumPy adds in an order that depends on the layout
                        continue
                    for other in (np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], x[:, ::-1].copy()[:, ::-1]):
                        np.testing.assert_array_equal(np.stack(function(other, labels, T)), batch)
    x, labels = np.tile(rows(300, np.float32)[0], (400, 1)), np.tile(rows(300, np.float32)[1], 400)
    for function in (scores, temperature_slope):
        one, two = (np.stack(function(x, labels, workers=workers)) for workers in (1, 2))
        np.testing.assert_array_equal(one, two)


def test_extreme_temperatures_are_limits(level):
    for dtype in DTYPES:
        x, labels = np.array([[1.0, 3.0, 3.0, -2.0], [0.0, 5.0, 1.0, 5.0]], dtype), np.array([1, 0])
        for T in (0.0, 1e-40, 2.0**-55):
            nll, brier, entropy, confidence, rank = scores(x, labels, T)
            assert nll[0] == np.log(2)
            assert nll[1] == pytest.approx(np.inf if T == 0 else 5 / T, rel=1e-15)
            np.testing.assert_allclose(brier, [0.5, 1.5], rtol=1e-15)
            np.testing.assert_allclose(entropy, np.log(2), rtol=1e-15)
            np.testing.assert_array_equal(confidence, 0.5)
            np.testing.assert_array_equal(rank, [0, 3])
        for T in (2.0**55, 1e200, np.inf):
            nll, brier, entropy, confidence, rank = scores(x, labels, T)
            np.testing.assert_allclose([nll, entropy], np.log(4), rtol=1e-15)
            np.testing.assert_allclose([brier, confidence], [[0.75] * 2, [0.25] * 2], rtol=1e-15)
        for near, T in ((2.0**49, 2.0**51), (2.0**-49, 2.0**-51)):  # kernel and formula, of rows of the same z
            for function in (scores, temperature_slope):
                pair = function((x * near).astype(dtype), labels, near), function((x * T).astype(dtype), labels, T)
                np.testing.assert_allclose(*pair, rtol=4 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).eps)


def test_rows_without_a_softmax_are_nan(level):
    for dtype in (np.float16, *DTYPES):
        for bad in ([0, np.nan, 1], [np.inf, 0, 1], [-np.inf] * 3):
            for n in (1, 20):  # a row, and a lane batch
                x = np.zeros((n, 3), dtype)
                x[0] = bad
                for function in (scores, temperature_slope):
                    loss, *_ = function(x, np.full(n, 2))
                    assert np.isnan(loss[0])
                    assert np.isfinite(loss[1:]).all()
    assert scores(np.array([[0.0, -np.inf]]), np.array([1]))[0] == [np.inf]


def test_formulas_of_the_standard():
    x, labels = rows(33, np.float64)
    xp = array_api_strict
    for T in (1.0, np.linspace(0.5, 2, 9)):
        for formula in (formulas.scores, formulas.temperature_slope):
            foreign = formula(xp.asarray(x), xp.asarray(labels), T if isinstance(T, float) else xp.asarray(T))
            for a, b in zip(foreign, formula(x, labels, T), strict=True):
                np.testing.assert_allclose(np.from_dlpack(a), b, rtol=1e-14, atol=1e-14)
