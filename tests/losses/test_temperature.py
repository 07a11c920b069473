"""Temperatures and dtypes of losses, entropies and divergences: exact, at the limits, in every layout."""

from math import inf, nan

import mpmath as mp
import numpy as np
import pytest

import softgrad as sg

from .. import error_bounds
from ..maps import BFLOAT16, assert_close, assert_same, logits
from ..reference import check, numbers

FUNCTIONS = {
    "cross_entropy": lambda x, **o: (sg.cross_entropy(x, np.ones(x.shape[:-1], int), **o),),
    "options": lambda x, **o: sg.cross_entropy_grad_hess(
        x, np.ones(x.shape[:-1], int), label_smoothing=0.1, z_loss=0.01, curvature="upper", **o
    ),
    "residual": lambda x, **o: sg.cross_entropy_grad_hess(x, np.ones(x.shape[:-1], int), curvature="residual", **o),
    "soft_cross_entropy": lambda x, **o: sg.soft_cross_entropy_grad(x, np.full(x.shape[-1], 0.25), **o),
    "focal_loss": lambda x, **o: sg.focal_loss_grad(x, np.ones(x.shape[:-1], int), **o),
    "entropy": sg.entropy_grad,
    "kl_divergence": lambda x, **o: sg.kl_divergence_grad(x, x[..., ::-1], **o),
    "selective_log_softmax": lambda x, **o: (sg.selective_log_softmax(x, np.ones(x.shape[:-1], int), **o),),
}
every_function = pytest.mark.parametrize("name", FUNCTIONS)


class Tempered:
    """A row of logits over a temperature in exact arithmetic."""

    def __init__(self, x, T):
        x = [v / mp.mpf(T) for v in numbers(x)]
        e = [mp.exp(v) for v in x]
        self.lse = mp.log(mp.fsum(e))
        self.p = [v / mp.fsum(e) for v in e]
        self.log_p = [v - self.lse for v in x]
        self.others = [(mp.fsum(e) - v) / mp.fsum(e) for v in e]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("T", [1e-3, 0.3, 7.0, 1e3])
def test_exact(level, dtype, T):
    rng = np.random.default_rng(0)
    for n in (2, 9, 33):
        x, z = (rng.normal(size=(2, n)) * min(max(T, 1), 100) * 5).astype(dtype)
        y = int(rng.integers(n))
        exact, other = Tempered(x, T), Tempered(z, T)
        t, note = [mp.mpf(i == y) for i in range(n)], f"n={n} T={T}"
        loss, grad, hess = sg.cross_entropy_grad_hess(x, y, temperature=T)
        assert loss == sg.cross_entropy(x, y, temperature=T)
        check("cross_entropy at T", level, loss, -exact.log_p[y], bound=error_bounds.LOSS, note=note)
        value = sg.selective_log_softmax(x, y, temperature=T)
        check("selective at T", level, value, exact.log_p[y], bound=error_bounds.LOG_SOFTMAX, note=note)
        value = sg.focal_loss(x, y, temperature=T)
        check("focal at T", level, value, -exact.log_p[y] * exact.others[y] ** 2, bound=error_bounds.LOSS + 2)
        value = sg.cross_entropy(x, y, temperature=T, z_loss=0.125)
        check("z-loss at T", level, value, exact.lse**2 / 8 - exact.log_p[y], bound=error_bounds.LOSS, note=note)
        value = -mp.fsum(p * v for p, v in zip(exact.p, exact.log_p, strict=True))
        check("entropy at T", level, sg.entropy(x, temperature=T), value, bound=error_bounds.LOSS, note=note)
        ratios = [a - b for a, b in zip(exact.log_p, other.log_p, strict=True)]
        value = mp.fsum(p * r for p, r in zip(exact.p, ratios, strict=True))
        size = -mp.fsum(p * (a + b) for p, a, b in zip(exact.p, exact.log_p, other.log_p, strict=True))
        check(
            "kl_divergence at T",
            level,
            sg.kl_divergence(x, z, temperature=T),
            value,
            size=size,
            bound=error_bounds.LOSS,
            note=note,
        )
        for i in range(n):
            value, size = (exact.p[i] - t[i]) / T, (exact.others[i] if i == y else exact.p[i]) / T
            check("gradient at T", level, grad[i], value, size=size, bound=error_bounds.LOSS_GRADIENT, note=note)
            value = exact.p[i] * exact.others[i] / mp.mpf(T) ** 2
            check("curvature at T", level, hess[i], value, bound=error_bounds.LOSS_HESSIAN, note=note)


@every_function
def test_a_power_of_two_is_the_quotient(level, name):
    """Where x/T is exact, so is what is known of it without a temperature."""
    x = logits((5, 9), np.dtype(np.float64)).astype(np.float32).astype(np.float64)
    for T in (0.5, 4.0):
        plain = FUNCTIONS[name](x / T)
        order = (0, 1, 1) if name == "kl_divergence" else (0, 1, 1 if name == "residual" else 2)
        for got, expected, k in zip(FUNCTIONS[name](x, temperature=T), plain, order, strict=False):
            np.testing.assert_allclose(got, expected / T**k, rtol=2e-14)


@every_function
def test_layouts_and_batches_have_the_same_bits(level, name):
    x = logits((3, 4, 33), np.dtype(np.float64))
    T = np.linspace(0.3, 3, 12).reshape(3, 4)
    got = FUNCTIONS[name](x, temperature=T)
    for i in np.ndindex(3, 4):
        for a, b in zip(got, FUNCTIONS[name](x[i], temperature=T[i]), strict=True):
            assert_same(np.asarray(a)[i], np.asarray(b), i)
    flipped = FUNCTIONS[name](np.asfortranarray(x), temperature=T[..., None])
    for a, b in zip(got, flipped, strict=True):
        assert_same(a, np.ascontiguousarray(b))


def test_many_rows_go_in_blocks(level):
    """Threads, blocks and a gradient that is written over its logits change no bit."""
    x = np.random.default_rng(1).normal(size=(9000, 40)).astype(np.float32) * 5
    labels = np.arange(9000) % 40
    expected = sg.cross_entropy_grad(x, labels, temperature=0.7, label_smoothing=0.1)
    some = sg.cross_entropy_grad(x[8000:8003], labels[8000:8003], temperature=0.7, label_smoothing=0.1)
    assert_same(expected.grad[8000:8003], some.grad)
    memory = np.zeros((9001, 40), np.float32)
    memory[1:] = x
    got = sg.cross_entropy_grad(memory[1:], labels, temperature=0.7, label_smoothing=0.1, grad_out=memory[:-1])
    assert_same(got.loss, expected.loss)
    assert_same(memory[:-1], expected.grad)


def test_limits(level):
    """T = 0 and T = inf: the values and derivatives that the formulas tend to."""
    x = np.array([[1.0, 1.0, 0.0], [2.0, 1.0, -inf], [0.0, 1.0, nan]])
    log2, log3 = np.log(2), np.log(3)
    losses = [sg.cross_entropy(x, [k] * 3, temperature=0) for k in range(3)]
    np.testing.assert_allclose(losses, [[log2, 0, nan], [log2, inf, nan], [inf, inf, nan]], rtol=1e-15)
    np.testing.assert_allclose(sg.entropy(x, temperature=0), [log2, 0, nan], rtol=1e-15)
    np.testing.assert_allclose(sg.entropy(x, temperature=inf), [log3, log2, nan], rtol=1e-15)
    np.testing.assert_array_equal(sg.entropy_grad(x[:2], temperature=[0, inf]).grad, np.zeros((2, 3)))
    np.testing.assert_array_equal(
        sg.cross_entropy_grad(x, [0, 0, 0], temperature=0).grad, [[-inf, inf, 0], [0, 0, 0], [nan] * 3]
    )
    np.testing.assert_array_equal(sg.cross_entropy_grad(x[:2], [0, 0], temperature=inf).grad, np.zeros((2, 3)))
    loss, grad_p, grad_q = sg.kl_divergence_grad([1.0, 0, 0], [1.0, 1, 0], temperature=0)
    np.testing.assert_allclose(loss, log2, rtol=1e-15)
    np.testing.assert_array_equal(grad_p, [0, 0, 0])
    np.testing.assert_array_equal(grad_q, [-inf, inf, 0])
    assert sg.kl_divergence([1.0, 1, 0], [1.0, 0, 0], temperature=0) == inf
    assert sg.kl_divergence([1.0, 5, 0], [3.0, 0, 0], temperature=inf) == 0
    np.testing.assert_allclose(sg.selective_log_softmax(x[:2], [1, 2], temperature=0), [-log2, -inf], rtol=1e-15)
    assert_same(sg.cross_entropy([[1.0, 5.0]], [0], temperature=0, where=[[True, False]]), np.zeros(1))
    for bad in (-1.0, nan, [1.0, -1.0, 1.0]):
        with pytest.raises(ValueError, match="temperature must be at least 0"):
            sg.cross_entropy(x, [0, 0, 0], temperature=bad)


@every_function
def test_dtypes(level, name):
    f = FUNCTIONS[name]
    for given in (np.float16, BFLOAT16, np.float32, np.float64, np.longdouble):
        x = logits((4, 9), np.dtype(given))
        for dtype in (np.float16, BFLOAT16, np.float32, np.float64):
            wide = f(x.astype(np.promote_types(given, np.float32) if given != BFLOAT16 else np.float32))
            if np.dtype(dtype).itemsize > np.dtype(given).itemsize:
                wide = f(x.astype(dtype))
            for got, expected in zip(f(x, dtype=dtype), wide, strict=True):
                assert got.dtype == dtype
                assert_close(got, expected.astype(dtype))
    with pytest.raises(TypeError, match="dtype must be a floating type; got int64"):
        f(logits((4, 9), np.dtype(np.float64)), dtype=int)


def test_dtype_of_buffers(level):
    x = logits((4, 9), np.dtype(np.float32))
    loss, grad = np.empty(4), np.empty((4, 9))
    got = sg.cross_entropy_grad(x, [0] * 4, dtype=np.float64, temperature=2, out=loss, grad_out=grad)
    assert got.loss is loss
    assert_same(grad, sg.cross_entropy_grad(x.astype(np.float64), [0] * 4, temperature=2).grad)
    with pytest.raises(TypeError, match="grad_out must have dtype float64; got float32"):
        sg.cross_entropy_grad(x, [0] * 4, dtype=np.float64, grad_out=np.empty((4, 9), np.float32))
