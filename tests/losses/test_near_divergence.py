"""The gradient q − p of a divergence between rows that nearly agree, which no subtraction has left."""

import mpmath
import numpy as np
import pytest

import softgrad as sg
from softgrad._formulas import information

every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def _exact(a, b):
    with mpmath.workprec(1500):
        p, q = ([mpmath.exp(mpmath.mpf(float(t))) for t in row] for row in (a, b))
        p, q = ([t / mpmath.fsum(row) for t in row] for row in (p, q))
        return np.array([float(t - s) for s, t in zip(p, q, strict=True)])


def _rows(dtype):
    rng = np.random.default_rng(0)
    tiny = 1e-20 if dtype == np.float32 else 1e-200
    yield np.array([0.0, 1e-9], dtype), np.zeros(2, dtype)
    yield np.array([30.0, 0.0, 1e-7], dtype), np.array([30.0, 0.0, 0.0], dtype)
    yield np.array([0.0, tiny], dtype), np.zeros(2, dtype)
    yield np.array([0.0, 0.0, -np.inf, 1e-9], dtype), np.array([0.0, 0.0, -np.inf, 0.0], dtype)
    yield np.where(np.arange(300) == 7, tiny, 0).astype(dtype), np.zeros(300, dtype)
    for n in (7, 33, 100):
        for scale in (1e-12, 1e-6, 1e-3, 0.3):
            a = (rng.normal(size=n) * 4).astype(dtype)
            yield a, (a + scale * rng.normal(size=n)).astype(dtype)


def _check(grad_q, a, b):
    exact = _exact(a, b)
    eps = 8 * np.finfo(a.dtype).eps
    np.testing.assert_allclose(grad_q, exact, rtol=eps, atol=eps * np.abs(exact).max())


@every_dtype
def test_the_formula(dtype):
    for a, b in _rows(dtype):
        _check(information.kl_divergence_grad(a, b)[2], a, b)


@every_dtype
def test_every_level(level, dtype):
    for a, b in _rows(dtype):
        _check(sg.kl_divergence_grad(a, b).grad_q, a, b)


@every_dtype
def test_near_rows_among_others(level, dtype):
    """One per lane, and one after the other, among rows that are far from each other and one with NaN."""
    rng = np.random.default_rng(1)
    for n in (2, 5, 40):
        a = rng.normal(size=(21, n)).astype(dtype)
        b = (a + np.where(np.arange(21)[:, np.newaxis] % 3, 1e-6, 3.0) * rng.normal(size=a.shape)).astype(dtype)
        a[4, 0] = np.nan
        for i, grad_q in enumerate(sg.kl_divergence_grad(a, b).grad_q):
            if i == 4:
                assert np.isnan(grad_q).all()
            else:
                _check(grad_q, a[i], b[i])
