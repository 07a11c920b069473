"""The losses of sparsemax and entmax: values and gradients by exact arithmetic, margins, edges, options."""

from math import inf, nan

import mpmath as mp
import numpy as np
import pytest

import softgrad as sg

from .. import error_bounds, rows
from ..maps import assert_close, assert_same, logits
from ..reference import exact_entmax, number, spacing

DTYPES = (np.float32, np.float64)
ALPHAS = (1.25, 1.5, 2.0, 3.0)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)


def exact_loss(x, y, alpha):
    """Ω*(x) + Ω(y) − ⟨x, y⟩ with Σ y = 1, the size of its terms after rewriting, and p."""
    p = exact_entmax(x.tobytes(), x.dtype, alpha).p
    s, x = number(alpha) - 1, [number(v) for v in x]
    omega = [mp.fsum(v ** (1 + s) for v in part if v) / (s * (1 + s)) for part in (p, y)]
    value = mp.fsum((a - b) * c for a, b, c in zip(p, y, x, strict=True)) - omega[0] + omega[1]
    gaps = [max(x) - v for v in x]
    largest = max(p) ** s
    size = mp.fsum(a**s * abs(a - b) if a else b * (c + largest / s) for a, b, c in zip(p, y, gaps, strict=True))
    return value, size, p


@every_dtype
@pytest.mark.parametrize("alpha", ALPHAS)
def test_losses_of_labels(dtype, alpha):
    """Within 16 ulp; what general α costs p itself, which is more than an ulp only in float64, comes on top."""
    for kind in ("normal", "ties", "wide", "saturated", "tiny"):
        for n in (2, 7, 20):
            x = rows.row(kind, n, dtype)
            for label in {0, n - 1, int(np.argmax(x))}:
                y = [mp.mpf(int(j == label)) for j in range(n)]
                value, _, p = exact_loss(x, y, alpha)
                loss, grad = sg.entmax_loss_grad(x, label, alpha)
                what = f"{kind}, n={n}, label={label}, alpha={alpha}"
                bound = error_bounds.SPARSE_LOSS * (1 if p[label] else 1 + alpha)
                room = mp.mpf(2) ** -150 + (2.0**-48 * value if alpha not in (1.5, 2) else 0)  # the reference has 180
                assert abs(number(loss) - value) <= bound * spacing(value, dtype) + room, what
                assert_same(sg.entmax_loss(x, label, alpha), loss, what)
                for j in range(n):
                    exact = mp.fsum(-v for i, v in enumerate(p) if i != label) if j == label else p[j]
                    room = mp.mpf(2) ** -100 if alpha in (1.5, 2) else mp.mpf(2) ** -46 * (1 + abs(exact))
                    assert abs(number(grad[j]) - exact) <= 2 * spacing(exact, dtype) + room, (what, j)


@every_dtype
@pytest.mark.parametrize("alpha", ALPHAS)
def test_losses_of_distributions(dtype, alpha):
    rng = np.random.default_rng(0)
    for kind in ("normal", "ties", "wide"):
        x = rows.row(kind, 10, dtype)
        for scale in (0.3, 3.0):
            counts = rng.multinomial(64, sg.sparsemax(rng.normal(size=10) * scale))  # multiples of 1/64: Σ y is 1
            targets = (counts / 64).astype(dtype)
            value, size, p = exact_loss(x, [number(v) for v in targets], alpha)
            loss, grad = sg.soft_entmax_loss_grad(x, targets, alpha)
            unit = spacing(value + size, dtype)
            assert abs(number(loss) - value) <= error_bounds.SPARSE_LOSS * (1 + alpha) * unit, (kind, scale)
            assert_same(sg.soft_entmax_loss(x, targets, alpha), loss)
            np.testing.assert_allclose(grad, [float(v - number(t)) for v, t in zip(p, targets, strict=True)], atol=1e-6)


TARGETS = np.random.default_rng(2).multinomial(64, np.full(9, 1 / 9), 5) / 64
LOSSES = {
    "labels": lambda x, *alpha, **options: sg.entmax_loss_grad(x, np.arange(5) % 9, *alpha, **options),
    "targets": lambda x, *alpha, **options: sg.soft_entmax_loss_grad(x, TARGETS, *alpha, **options),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_the_loss_at_a_temperature_is_that_of_the_quotient(loss):
    x = logits((5, 9), np.dtype(np.float32))
    every = np.array([1.0, 1.5, 2.0, 2.5, inf])
    for alpha in (1.0, *ALPHAS, inf, every):
        for T in (0.25, 3.0, np.array([0.3, 1.0, 2.0, 7.0, 0.1])):
            exact = loss(x.astype(np.float64) / np.reshape(T, (-1, 1)), alpha)
            got = loss(x, alpha, temperature=T)
            case = f"alpha = {alpha}, T = {T}"
            assert_close(got.loss, exact.loss.astype(np.float32), ulp=2, case=case)
            expected = (exact.grad / np.reshape(T, (-1, 1))).astype(np.float32)
            assert_close(got.grad, expected, ulp=2, case=case)
    T = np.array([0.3, 1.0, 2.0, 7.0, 0.1])
    together = loss(x, temperature=T)
    for i in range(5):
        one = sg.entmax_loss_grad(x[i], i, temperature=T[i]) if loss is LOSSES["labels"] else None
        one = one or sg.soft_entmax_loss_grad(x[i], TARGETS[i], temperature=T[i])
        assert_same(together.grad[i], one.grad, i)
        assert_same(together.loss[i], one.loss, i)


def test_limits_of_the_temperature():
    x = np.array([[1.0, 1.0, 0.0], [2.0, 1.0, -inf]])
    for alpha in ALPHAS:
        uniform = sg.entmax_loss([0.0, 0.0], 0, alpha)
        loss, grad = sg.entmax_loss_grad(x, [0, 0], alpha, temperature=0)
        np.testing.assert_allclose(loss, [uniform, 0], rtol=1e-15)
        np.testing.assert_array_equal(grad, [[-inf, inf, 0], [0, 0, 0]])
        assert (sg.entmax_loss(x, [2, 1], alpha, temperature=0) == inf).all()
        np.testing.assert_allclose(
            sg.entmax_loss(x[:1], [2], alpha, temperature=inf), sg.entmax_loss([0.0] * 3, 0, alpha)
        )
        assert not sg.entmax_loss_grad(x[:1], [2], alpha, temperature=inf).grad.any()
        assert sg.soft_entmax_loss(x[0], [0.5, 0.5, 0.0], alpha, temperature=0) == 0
    for bad in (-1.0, nan):
        with pytest.raises(ValueError, match="temperature must be at least 0"):
            sg.sparsemax_loss(x, [0, 0], temperature=bad)


def test_dtypes_of_the_loss():
    for given in (np.float16, np.float32, np.float64):
        x = logits((5, 9), np.dtype(given))
        for dtype in (np.float16, np.float32, np.float64):
            expected = sg.sparsemax_loss_grad(x.astype(np.promote_types(dtype, given)), np.arange(5))
            got = sg.sparsemax_loss_grad(x, np.arange(5), dtype=dtype)
            assert got.loss.dtype == got.grad.dtype == dtype
            assert_close(got.grad, expected.grad.astype(dtype))
        assert sg.soft_sparsemax_loss(x, TARGETS, dtype="f8").dtype == np.float64
    with pytest.raises(TypeError, match="dtype must be a floating type; got int64"):
        sg.entmax_loss(x, np.arange(5), dtype=int)


def test_an_infinite_alpha_among_others():
    """α − 1 = ∞ was 0·∞ in the bounds of a bisection, and that an index out of bounds."""
    alpha = np.array([1.0, 1.5, 2.0, 2.5, inf])
    for seed in range(20):
        x = np.random.default_rng(seed).normal(size=(5, 6)) * 3
        p = sg.entmax(x, alpha, temperature=0.5)
        for i, a in enumerate(alpha):
            assert_same(p[i], sg.entmax(x[i], a, temperature=0.5), (seed, i))


def test_alpha_one_is_cross_entropy():
    x, labels = logits((4, 7), np.dtype(np.float64)), np.array([0, 3, 6, 2])
    options = {"weight": np.arange(7.0), "sample_weight": [1, 0, 2, 3], "ignore_index": 6}
    for got, expected in zip(
        sg.entmax_loss_grad(x, labels, 1, **options), sg.cross_entropy_grad(x, labels, **options), strict=True
    ):
        assert_same(got, expected)
    assert_same(sg.entmax_loss(x, labels, 1.0), sg.cross_entropy(x, labels))
    assert_close(sg.entmax_loss(x, labels, np.ones(4)), sg.cross_entropy(x, labels), ulp=32)
    assert_close(sg.entmax_loss(x, labels, 1 + 2.0**-50), sg.cross_entropy(x, labels), ulp=32)
    y = sg.softmax(x[::-1])
    assert_close(sg.soft_entmax_loss(x, y, 1), sg.kl_divergence(x[::-1], x), ulp=32)
    far = [0.0, -2000.0]  # p underflows
    assert sg.soft_entmax_loss(far, [0.5, 0.5], 1) == pytest.approx(1000 - np.log(2))
    assert sg.entmax_loss([far], [1], [1.0]).tolist() == [2000]


@pytest.mark.parametrize("alpha", ALPHAS)
def test_loss_and_gradient_are_zero_where_the_margin_is_met(alpha):
    edge = 1 / (alpha - 1)
    for gap in (edge, np.nextafter(edge, 9), 2 * edge):
        x = [0.0, gap, -1.0]
        loss, grad = sg.entmax_loss_grad(x, 1, alpha)
        assert loss == 0
        assert grad.tolist() == [0, 0, 0]
        loss, grad = sg.soft_entmax_loss_grad(x, [0.0, 1.0, 0.0], alpha)
        assert loss == 0
        assert grad.tolist() == [0, 0, 0]
    loss, grad = sg.entmax_loss_grad([0.0, edge * (1 - 2.0**-20), -9.0], 1, alpha)
    assert loss > 0
    assert grad[0] == -grad[1] > 0
    p = sg.entmax([0.0, 0.5, 0.25], alpha)
    assert sg.soft_entmax_loss([0.0, 0.5, 0.25], p, alpha) < 1e-30


def test_edges():
    x = np.array([[1, 2, 3], [1, nan, 0], [inf, 0, 0], [-inf, -inf, -inf], [-inf, 1, 2], [3, 2, 1]], np.float64)
    where = np.ones(x.shape, bool)
    where[5] = False
    expected = [inf, nan, nan, nan, inf, 0]
    for alpha in (1.25, 1.5, 2.0, 3.0):
        loss, grad = sg.entmax_loss_grad(np.where(x == 1, -inf, x), [0] * 6, alpha, where=where)
        assert_same(loss, np.array(expected))
        assert np.isnan(grad[1:4]).all()
        assert not grad[5].any()
        loss, grad = sg.soft_entmax_loss_grad(x, [0.0, 0.5, 0.5], alpha, where=where)
        np.testing.assert_array_equal(np.isnan(loss), [False, True, True, True, False, False])
        assert loss[5] == 0
        assert sg.entmax_loss(x[0], 0, alpha, where=[False, True, True]) == inf
        ignored = sg.entmax_loss_grad(x, [-1] * 6, alpha, ignore_index=-1)
        assert not ignored.loss.any()
        assert not ignored.grad.any()
        with pytest.raises(ValueError, match=r"targets must be at least 0; the smallest is -0\.5"):
            sg.soft_entmax_loss([1.0, 2.0], [-0.5, 1.5], alpha)
    for half in (np.float16, np.float32):
        loss, grad = sg.sparsemax_loss_grad(np.array([[1, 2, 3]], half), [0])
        assert loss.dtype == np.float32
        assert grad.dtype == half


def test_infinite_alpha_is_the_perceptron():
    x = np.array([[1.0, 3.0, 2.0], [1.0, 3.0, 3.0]])
    assert_same(sg.entmax_loss(x, [0, 1], inf), np.array([2.0, 0.0]))
    assert_same(sg.entmax_loss_grad(x, [0, 1], inf).grad, np.array([[-1.0, 1.0, 0.0], [0.0, -0.5, 0.5]]))
    assert_same(sg.soft_entmax_loss(x, [0.5, 0.5, 0.0], inf), np.array([1.0, 1.0]))


def test_options_scale_the_loss():
    x, labels = logits((4, 7), np.dtype(np.float64)) / 5, np.array([0, 3, 6, 2])
    plain = sg.entmax_loss_grad(x, labels)
    weight, sample_weight = np.arange(7.0), np.array([1.0, 0.0, 2.0, 3.0])
    got = sg.entmax_loss_grad(x, labels, weight=weight, sample_weight=sample_weight)
    factor = weight[labels] * sample_weight
    assert_close(got.loss, plain.loss * factor)
    assert_close(got.grad, plain.grad * factor[:, None])
    for alpha in ([1.25, 1.5, 2.0, 3.0],):
        each = [sg.entmax_loss_grad(x[i], labels[i], float(alpha[i])) for i in range(4)]
        got = sg.entmax_loss_grad(x, labels, alpha)
        assert_same(got.loss, np.array([e.loss for e in each]))
        assert_same(got.grad, np.array([e.grad for e in each]))
    out, grad_out = np.empty(4), np.empty((4, 7))
    got = sg.entmax_loss_grad(x, labels, out=out, grad_out=grad_out)
    assert got.loss is out
    assert_same(grad_out, plain.grad)
    assert_same(sg.sparsemax_loss(x, labels), sg.entmax_loss(x, labels, 2.0))
    assert_same(sg.sparsemax_loss_grad(x, labels).grad, sg.entmax_loss_grad(x, labels, 2.0).grad)
    y = sg.softmax(x[::-1])
    assert_same(sg.soft_sparsemax_loss(x, y), sg.soft_entmax_loss(x, y, 2.0))
    assert_same(sg.soft_sparsemax_loss_grad(x, y).grad, sg.soft_entmax_loss_grad(x, y, 2.0).grad)
    H = sg.entmax_loss_hessian(x, 1.25, sample_weight=sample_weight + 1).toarray()
    assert_close(H, sg.entmax_jacobian(x, 1.25).toarray() * (sample_weight + 1)[:, None, None])
    assert_same(sg.sparsemax_loss_hessian(x).toarray(), sg.sparsemax_jacobian(x).toarray())
    with pytest.raises(ValueError, match="sample_weight must be positive"):
        sg.sparsemax_loss_hessian(x, sample_weight=sample_weight)


def test_targets_that_do_not_sum_to_one_have_the_gradient_of_their_loss():
    x, y, h = np.array([0.3, -0.2, 0.1]), np.array([0.5, 0.1, 0.0]), 1e-6
    for alpha in (1.0, 1.25, 1.5, 2.0, 3.0):
        grad = sg.soft_entmax_loss_grad(x, y, alpha).grad
        steps = [sg.soft_entmax_loss(x + h * e, y, alpha) - sg.soft_entmax_loss(x - h * e, y, alpha) for e in np.eye(3)]
        np.testing.assert_allclose(grad, np.array(steps) / (2 * h), atol=1e-8)
