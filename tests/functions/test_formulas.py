"""The generic formulas on array-api-strict, which knows nothing beyond the standard: options and methods.

`test_libraries.py` takes every function through every edge on such arrays.
"""

import array_api_strict as xp
import mpmath as mp
import numpy as np
import pytest

import softgrad as sg
from softgrad._formulas import compensated, decoding, derivatives, information, sampling, sparse, sparse_derivatives
from softgrad._formulas import softmax as normalizations

from ..maps import assert_close, assert_same, directions, logits

DTYPES = ("float32", "float64")
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def strict(a):
    return xp.asarray(np.ascontiguousarray(a))


def plain(a):
    """An array of array-api-strict, as NumPy's; anything else is a failure."""
    assert isinstance(a, type(xp.asarray(0.0)))
    return np.from_dlpack(a).copy()


def both(function, *arrays, **options):
    """The result for arrays of array-api-strict, and NumPy's."""
    foreign = {k: strict(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    return plain(function(*(strict(a) for a in arrays), **foreign)), function(*arrays, **options)


@every_dtype
@pytest.mark.parametrize("f", [sg.softmax, sg.log_softmax, sg.logsumexp], ids=lambda f: f.__name__)
def test_masks(f, dtype):
    x = logits((3, 33), np.dtype(dtype))
    mask = np.random.default_rng(0).random((3, 33)) < 0.6
    mask[1] = False
    x[~mask] = np.nan
    assert_close(*both(f, x, where=mask, axis=0))
    assert_close(*both(f, x[:1], where=mask[0]))


@every_dtype
@pytest.mark.parametrize("f", [sg.softmax, sg.log_softmax], ids=lambda f: f.__name__)
def test_temperatures(f, dtype):
    x = logits((3, 33), np.dtype(dtype))
    for T in (2, np.inf, 1e-300):
        assert_close(*both(f, x, temperature=T))
    for T in (np.array([0.5, 1.0, 2.0]), np.array([[0.5], [0.0], [np.inf]])):
        assert_close(*both(f, x, temperature=T))
        assert_close(*both(f, x, temperature=T.astype(dtype)))
    for bad in (-1.0, np.array([1.0, -1.0, 1.0]), np.array([np.nan, 1.0, 1.0])):
        with pytest.raises(ValueError, match="temperature"):
            f(strict(x), temperature=strict(bad) if isinstance(bad, np.ndarray) else bad)


@every_dtype
def test_logsumexp_options(dtype):
    x = logits((3, 33), np.dtype(dtype))
    b = logits((3, 33), np.dtype(dtype), 1)
    assert_close(*both(sg.logsumexp, x, b=np.abs(b)))
    assert_close(*both(sg.logsumexp, x, b=np.abs(b)[0], axis=-1))
    assert_close(*both(sg.logsumexp, x, b=b, where=b > 0))


@every_dtype
def test_normalization(dtype):
    x = logits((3, 10), np.dtype(dtype))
    assert_close(*both(sg.softmax, x, normalization=False))
    assert_close(*both(sg.log_softmax, x, normalization=False))


@every_dtype
def test_derivatives_in_one_direction_for_all_slices(dtype):
    x = logits((3, 33), np.dtype(dtype))
    x[0, 4], x[1, 7] = -np.inf, 80
    g = directions(x)[0]
    p, y = sg.softmax(x), sg.log_softmax(x)
    for f, first in ((sg.softmax_vjp, p), (sg.log_softmax_vjp, y), (sg.log_softmax_jvp, y)):
        assert_close(*both(f, first, g))


@every_dtype
def test_jacobians(dtype):
    x = logits((3, 10), np.dtype(dtype))
    assert_close(*both(sg.calculate_gradient, x))
    for T in (1.0, 0.5, np.array([0.5, 1.0, 2.0])):
        J = sg.softmax_jacobian(x, temperature=T)
        S = sg.softmax_jacobian(strict(x), temperature=strict(T) if isinstance(T, np.ndarray) else T)
        assert S.shape == J.shape
        assert S.ndim == J.ndim
        v, V = directions(x), directions(x).T.copy()
        assert_close(plain(S.toarray()), J.toarray())
        assert_close(plain(S.diagonal()), J.diagonal())
        assert_close(plain(S.trace()), J.trace())
        assert_close(plain(S.matvec(strict(v))), J.matvec(v))
        assert_close(plain(S @ strict(V)), J @ V)
        assert_close(plain(S.quadratic(strict(v))), J.quadratic(v))
        assert_close(plain(S.sqrt() @ strict(V)), J.sqrt() @ V)
        assert_close(plain(S.sqrt().T @ strict(V)), J.sqrt().T @ V)
        assert_close(plain(S.pinv() @ strict(V)), J.pinv() @ V, ulp=64)
        assert_close(plain(S.solve(strict(v), damping=0.5)), J.solve(v, damping=0.5), ulp=64)
        assert_close(plain(S.logpdet()), J.logpdet(), ulp=16)
        assert_close(plain(S.eigvalsh()), J.eigvalsh(), ulp=64)


def test_integers_become_float64():
    for x in (np.array([-128, 127], np.int8), np.array([True, False]), np.array([1, 2, 3])):
        for f in (sg.softmax, sg.log_softmax, sg.logsumexp):
            got, expected = both(f, x)
            assert got.dtype == np.float64
            assert_close(got, expected)


def test_dtype():
    x = logits((3, 10), np.dtype(np.float32))
    for f in (sg.softmax, sg.log_softmax, sg.logsumexp):
        got = plain(f(strict(x), dtype=xp.float64))
        assert_close(got, f(x, dtype=np.float64))


def test_errors():
    x = strict(np.ones((3, 4)))
    with pytest.raises(TypeError, match="complex128"):
        sg.softmax(xp.asarray([1j]))
    with pytest.raises(TypeError, match="out"):
        sg.softmax(x, out=x)
    with pytest.raises(TypeError, match="workers"):
        sg.softmax(x, workers=2)
    with pytest.raises(TypeError, match="where"):
        sg.softmax(x, where=strict(np.ones(4)))
    with pytest.raises(ValueError, match="where"):
        sg.softmax(x, where=strict(np.ones(3, bool)))
    with pytest.raises(np.exceptions.AxisError):
        sg.softmax(x, axis=2)


@every_dtype
def test_the_formulas_know_only_the_standard(dtype):
    """Every function of the generic module itself, on strict arrays, agrees with itself on NumPy's."""
    x = logits((3, 33), np.dtype(dtype))
    g, mask = directions(x), x > -4
    p, y = sg.softmax(x), sg.log_softmax(x)
    T, u = np.array([0.5, 1.0, 2.0]), np.random.default_rng(0).random((3, 4))
    noise, ranks = np.random.default_rng(0).random(x.shape), np.broadcast_to(np.arange(33), x.shape)
    for function, operands in (
        (normalizations.softmax, (x, mask, T)),
        (normalizations.log_softmax, (x, mask, T)),
        (normalizations.logsumexp, (x, mask, np.abs(g))),
        (normalizations.textbook_softmax, (x, mask, 0.5)),
        (derivatives.softmax_vjp, (p, g)),
        (derivatives.log_softmax_vjp, (y, g)),
        (derivatives.log_softmax_jvp, (y, g)),
        (derivatives.softmax_second, (p, g, g)),
        (derivatives.jacobian, (p, 0.5)),
        (sparse.sparsemax, (x, mask, T)),
        (sparse.entmax, (x, 1.25, mask, T)),
        (sparse.entmax, (x, 1 + T, None, 0.5)),
        (sparse_derivatives.sparsemax_vjp, (p, g)),
        (sparse_derivatives.entmax_vjp, (p, g, 1.25)),
        (sparse_derivatives.entmax_alpha_vjp, (p, g, 1 + T)),
        (information.tsallis_entropy, (p, 1 + T)),
        (decoding.top_k_mask, (x, mask, np.array([1, 5, 40]))),
        (decoding.top_p_mask, (x, mask, T / 2, T)),
        (decoding.min_p_mask, (x, mask, T / 2, T)),
        (sampling.draws, (x, u, mask, T)),
        (sampling.draws_without_replacement, (x, ranks, noise, mask, T)),
    ):
        with np.errstate(all="ignore"):  # the caller's part
            foreign = function(*(strict(a) if isinstance(a, np.ndarray) else a for a in operands))
            expected = np.asarray(function(*operands))
            if expected.dtype == x.dtype:
                assert_close(plain(foreign), expected, ulp=4)
            else:
                assert_same(plain(foreign), expected)


@pytest.mark.parametrize("log1p", [compensated.log1p_in_parts, compensated.log1p_by_series], ids=lambda f: f.__name__)
def test_logarithms_in_parts(log1p):
    rng = np.random.default_rng(19)
    a = np.concatenate([np.exp(rng.uniform(-745, 40, 500)), rng.uniform(-1, 3, 500), [5e-324, 2.0**-60, 2.0**24]])
    low = a * rng.uniform(-1, 1, a.size) * 2.0**-54
    with np.errstate(all="ignore"):
        found = log1p(np, a, low)
    for log, lost, x, rest in zip(*found, a, low, strict=True):
        exact = mp.log1p(mp.mpf(float(x)) + mp.mpf(float(rest)))
        assert abs(mp.mpf(float(log)) + mp.mpf(float(lost)) - exact) <= abs(exact) * mp.mpf(2) ** -57 + 5e-324, (
            x,
            rest,
        )
    with np.errstate(all="ignore"):
        special = log1p(np, np.array([np.inf, np.nan, 0.0]), np.zeros(3))
    np.testing.assert_array_equal(special, [[np.inf, np.nan, 0.0], np.zeros(3)])


@pytest.mark.parametrize("wider", [True, False])
def test_exponentials_in_parts(monkeypatch, wider):
    if not wider:
        monkeypatch.setattr(compensated, "log1p_in_parts", compensated.log1p_by_series)
    rng = np.random.default_rng(19)
    a = np.concatenate([np.exp(rng.uniform(-40, 7, 500)), [36.5, 37.5, 745.0]])
    low = a * rng.uniform(-1, 1, a.size) * 2.0**-54
    for c, lost, x, rest in zip(*compensated.one_minus_exp(np, a, low), a, low, strict=True):
        exact = -mp.expm1(-(mp.mpf(float(x)) + mp.mpf(float(rest))))
        assert abs(mp.mpf(float(c)) + mp.mpf(float(lost)) - exact) <= exact * mp.mpf(2) ** -56, (x, rest)
