"""The gradient q − p of a divergence between rows that nearly agree, which no subtraction has left."""

import mpmath
import numpy as np
import pytest

from softgrad._formulas import information


def _exact(a, b):
    with mpmath.workprec(1500):
        p, q = ([mpmath.exp(mpmath.mpf(float(t))) for t in row] for row in (a, b))
        p, q = ([t / mpmath.fsum(row) for t in row] for row in (p, q))
        return np.array([float(t - s) for s, t in zip(p, q, strict=True)])


def _rows(dtype):
    rng = np.random.default_rng(0)
    yield np.array([0.0, 1e-9], dtype), np.zeros(2, dtype)
    yield np.array([30.0, 0.0, 1e-7], dtype), np.array([30.0, 0.0, 0.0], dtype)
    yield np.array([0.0, 1e-20 if dtype == np.float32 else 1e-200], dtype), np.zeros(2, dtype)
    for scale in (1e-12, 1e-6, 1e-3, 0.3):
        a = (rng.normal(size=7) * 4).astype(dtype)
        yield a, (a + scale * rng.normal(size=7)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_formula(dtype):
    for a, b in _rows(dtype):
        _, _, grad_q = information.kl_divergence_grad(a, b)
        exact = _exact(a, b)
        largest = np.abs(exact).max()
        np.testing.assert_allclose(grad_q, exact, rtol=8 * np.finfo(dtype).eps, atol=8 * np.finfo(dtype).eps * largest)
