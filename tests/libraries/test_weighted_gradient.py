"""The gradient of logsumexp with factors b, b e^x / Σ b e^x, against 200 bits."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import torch

import softgrad as sg

SINGLE, DOUBLE = np.float32, np.float64
ROWS = {
    "a small factor at a large exponent": ([0.0, 104.0], [1e30, 1e-30], SINGLE),
    "the same, turned": ([104.0, 0.0, 3.0], [1e-30, 1e30, 1.0], SINGLE),
    "beyond the largest number": ([0.0, 800.0], [1e300, 1e-300], DOUBLE),
    "a factor near the smallest normal number": ([0.0, 700.0], [1.0, 3e-308], DOUBLE),
    "cancelling": ([0.0, 0.0, 0.0], [1.0, 1e-9, -1.0], DOUBLE),
    "cancelling, shifted": ([300.0] * 4, [1.0, 1e-13, -1.0, 3e-15], DOUBLE),
    "cancelling in float32": ([0.0, 0.0, 0.0], [1.0, 1e-6, -1.0], SINGLE),
    "a negative sum": ([0.0, 1.0], [1.0, -2.0], DOUBLE),
    "a factor of 0": ([0.0, np.nan, 2.0], [1.0, 0.0, 3.0], DOUBLE),
}


def _exact(x, b):
    with mpmath.workprec(200):
        pairs = zip(x, b, strict=True)
        terms = [mpmath.mpf(float(w)) * mpmath.exp(mpmath.mpf(float(t))) if w else mpmath.mpf(0) for t, w in pairs]
        total = mpmath.fsum(terms)
        return np.array([float(term / total) for term in terms])


def _ways(dtype):
    def by_torch(function, x):
        x = torch.tensor(x, requires_grad=True)
        function(x).backward()
        return x.grad.numpy()

    yield by_torch
    for transform in (jax.grad, lambda f: jax.jit(jax.grad(f))):
        yield lambda function, x, transform=transform: np.asarray(transform(function)(jnp.asarray(x)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_against_exact_numbers(name):
    x, b, dtype = ROWS[name]
    x, b = np.array(x, dtype), np.array(b, dtype)
    exact = _exact(x, b)
    with jax.enable_x64(dtype is DOUBLE):
        for way in _ways(dtype):
            got = way(functools.partial(sg.logsumexp, b=b), x)
            assert got.dtype == dtype
            np.testing.assert_allclose(got, exact.astype(dtype), rtol=8 * np.finfo(dtype).eps, atol=0)


def test_masked_rows_and_sums_of_zero():
    x = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    b = torch.tensor([[1.0, -1.0], [0.0, 0.0], [1.0, 2.0]], dtype=torch.float64)
    where = torch.tensor([[True, True], [True, True], [False, False]])
    sg.logsumexp(x, b=b, where=where).backward(torch.ones(3, dtype=torch.float64))
    assert (x.grad == 0).all()


def test_the_bound_where_terms_cancel():
    """As the docstring has it: within 1 ulp of max(|result|, |max x|), and 2 ε Σ|b| e^x / |Σ b e^x| besides."""
    rng = np.random.default_rng(0)
    for dtype in (SINGLE, DOUBLE):
        eps = float(np.finfo(dtype).eps)
        for _ in range(200):
            n = int(rng.integers(2, 9))
            x, b = (rng.normal(size=n) * 3).astype(dtype), rng.normal(size=n).astype(dtype)
            b[-1] = -np.sum(b[:-1] * np.exp(x[:-1] - x[-1])) * (1 + 10.0 ** rng.uniform(-5, 0))
            with mpmath.workprec(200):
                terms = [mpmath.mpf(float(w)) * mpmath.exp(mpmath.mpf(float(t))) for t, w in zip(x, b, strict=True)]
                total, size = mpmath.fsum(terms), mpmath.fsum(map(abs, terms))
                if total <= 0:
                    b, total = -b, -total
                exact, condition = float(mpmath.log(total)), float(size / total)
            scale = max(abs(exact), float(np.abs(x.max())))
            assert abs(float(sg.logsumexp(x, b=b)) - exact) <= np.spacing(dtype(scale)) + 2 * eps * condition
