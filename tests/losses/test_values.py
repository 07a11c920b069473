"""Losses and their derivatives against exact arithmetic (docs/accuracy.md)."""

from math import inf

import mpmath as mp
import numpy as np
import pytest

import softgrad as sg

from .. import error_bounds, rows
from ..maps import BFLOAT16, assert_close, assert_same, logits
from ..reference import check, number, numbers
from .exact import LENGTHS, Exact, every_dtype, every_kind, label_cases, one_hot


@every_dtype
@every_kind
def test_labels(level, kind, dtype):
    for n in LENGTHS:
        x = rows.row(kind, n, dtype)
        exact = Exact(x)
        for label in label_cases(x, exact):
            note = f"rows.row({kind!r}, {n}) label={label}"
            loss, grad, hess = sg.cross_entropy_grad_hess(x, label)
            assert loss == sg.cross_entropy(x, label) == sg.cross_entropy_grad(x, label).loss
            assert_same(grad, sg.cross_entropy_grad(x, label).grad)
            check("cross_entropy", level, loss, exact.losses[label], bound=error_bounds.LOSS, note=note)
            for i in range(n):
                value, size = exact.gradient(one_hot(n, label), i)
                check(
                    "cross_entropy'",
                    level,
                    grad[i],
                    value,
                    size=size,
                    bound=error_bounds.LOSS_GRADIENT,
                    note=f"{note} i={i}",
                )
                value = exact.p[i] * exact.others[i]
                check("cross_entropy''", level, hess[i], value, bound=error_bounds.LOSS_HESSIAN, note=f"{note} i={i}")


@pytest.mark.slow
@every_dtype
@every_kind
def test_every_option_at_once(level, kind, dtype):
    if kind == "extreme":
        pytest.skip("max − x overflows")
    generic = level == "generic" and dtype is np.float64
    for n in LENGTHS[::2]:
        x = rows.row(kind, n, dtype)
        exact = Exact(x)
        rng = np.random.default_rng(n)
        weight, sample_weight, smoothing, z = rng.random(n), rng.random(), 0.1, 1e-3
        for label in label_cases(x, exact):
            e, s = number(smoothing), number(sample_weight)
            t = [e / n * w + (1 - e) * w * (i == label) for i, w in enumerate(numbers(weight))]
            options = {"weight": weight, "sample_weight": sample_weight, "label_smoothing": smoothing, "z_loss": z}
            loss, grad, hess = sg.cross_entropy_grad_hess(x, label, curvature="friedman", **options)
            assert loss == sg.cross_entropy(x, label, **options) == sg.cross_entropy_grad(x, label, **options).loss
            assert_same(grad, sg.cross_entropy_grad(x, label, **options).grad)
            note = f"rows.row({kind!r}, {n}) label={label} {options}"
            value = s * exact.loss(t, number(z))
            check(
                "every option",
                level,
                loss,
                value,
                bound=error_bounds.GENERIC_LOSS_OPTIONS if generic else error_bounds.LOSS,
                note=note,
            )
            for i in range(n):
                value, size = (s * v for v in exact.gradient(t, i, number(z)))
                bound = error_bounds.GENERIC_LOSS_OPTIONS if generic else error_bounds.LOSS_GRADIENT
                check("every option'", level, grad[i], value, size=size, bound=bound, note=f"{note} i={i}")
                value, size = (mp.mpf(n) / max(n - 1, 1) * s * v for v in exact.curvature(t, i, number(z)))
                check("every option''", level, hess[i], value, size=size, bound=bound, note=f"{note} i={i}")


@every_dtype
@every_kind
def test_distributions(level, kind, dtype):
    if kind == "extreme":
        pytest.skip("max − x overflows")
    for n in LENGTHS:
        x = rows.row(kind, n, dtype)
        exact = Exact(x)
        rng = np.random.default_rng(n)
        targets = (rng.dirichlet(np.ones(n)) * (rng.random(n) < 0.7) * (x > -inf)).astype(dtype)
        loss, grad = sg.soft_cross_entropy_grad(x, targets)
        assert loss == sg.soft_cross_entropy(x, targets)
        t = numbers(targets)
        note = f"rows.row({kind!r}, {n})"
        check("soft_cross_entropy", level, loss, exact.loss(t), bound=error_bounds.LOSS, note=note)
        for i in range(n):
            value, size = exact.gradient(t, i)
            check(
                "soft_cross_entropy'",
                level,
                grad[i],
                value,
                size=size,
                bound=error_bounds.LOSS_GRADIENT,
                note=f"{note} i={i}",
            )


@every_dtype
@every_kind
def test_entropy(level, kind, dtype):
    generic = level == "generic" and dtype is np.float64
    if generic and kind in ("subnormal_tail", "growing"):
        pytest.skip("p itself is subnormal there, and has lost its bits")
    for n in LENGTHS:
        x = rows.row(kind, n, dtype)
        exact = Exact(x)
        mean = mp.fsum(p * a for p, a in zip(exact.p, exact.depths, strict=True) if p)
        value, grad = sg.entropy_grad(x)
        assert value == sg.entropy(x)
        note = f"rows.row({kind!r}, {n})"
        check("entropy", level, value, exact.log_total + mean, bound=error_bounds.LOSS + generic, note=note)
        for i in range(n):
            p, depth = exact.p[i], exact.depths[i] if exact.p[i] else mp.mpf(0)
            slope, size = p * (depth - mean), p * (depth + mean)
            check(
                "entropy'",
                level,
                grad[i],
                slope,
                size=size,
                bound=error_bounds.LOSS_GRADIENT + generic,
                note=f"{note} i={i}",
            )


@every_dtype
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal_loss(level, dtype, gamma):
    for kind in ("normal", "wide", "saturated", "ties", "falling"):
        for n in LENGTHS:
            x = rows.row(kind, n, dtype)
            exact = Exact(x)
            for label in label_cases(x, exact):
                loss, grad = sg.focal_loss_grad(x, label, gamma=gamma)
                assert loss == sg.focal_loss(x, label, gamma=gamma)
                ell, p, others = exact.losses[label], exact.p[label], exact.others[label]
                factor = others**gamma
                slope = factor + gamma * factor / others * p * ell if others else mp.mpf(gamma == 0)
                note = f"rows.row({kind!r}, {n}) label={label}"
                check("focal_loss", level, loss, factor * ell, bound=error_bounds.LOSS + gamma, note=note)
                for i in range(n):
                    value = slope * (exact.p[i] if i != label else -others)
                    check(
                        "focal_loss'",
                        level,
                        grad[i],
                        value,
                        bound=error_bounds.LOSS_GRADIENT + gamma,
                        note=f"{note} i={i}",
                    )


@every_dtype
@every_kind
def test_selected_log_probabilities(level, kind, dtype):
    for n in LENGTHS:
        x = rows.row(kind, n, dtype)
        exact = Exact(x)
        index = np.random.default_rng(n).integers(n, size=5)
        for i, got in zip(index, sg.selective_log_softmax(x, index), strict=True):
            check(
                "selective_log_softmax",
                level,
                got,
                -exact.losses[i],
                bound=error_bounds.LOSS,
                note=f"rows.row({kind!r}, {n})",
            )
        assert sg.selective_log_softmax(x, index[0]) == sg.selective_log_softmax(x, index)[0]


@every_dtype
def test_saturated_rows_keep_what_is_small(level, dtype):
    x = np.array([30, 0, 0], dtype)
    loss, grad, hess = sg.cross_entropy_grad_hess(x, 0)
    small = np.exp(-30.0)
    assert loss == pytest.approx(2 * small)
    assert grad == pytest.approx([-2 * small, small, small])
    assert hess == pytest.approx([2 * small, small, small])


def test_half_precision_is_rounded_once(level):
    for dtype in (np.dtype(np.float16), BFLOAT16):
        x = logits((7, 20), dtype)
        labels = np.arange(7)
        options = {"label_smoothing": 0.125, "weight": np.arange(20) + 1}
        for choice in ({}, options):
            loss, *derivatives = sg.cross_entropy_grad_hess(x, labels, **choice)
            exact, *wide = sg.cross_entropy_grad_hess(x.astype(np.float64), labels, **choice)
            assert loss.dtype == np.float32
            assert_close(loss, exact.astype(np.float32), ulp=2)
            for got, expected in zip(derivatives, wide, strict=True):
                assert got.dtype == dtype
                assert_close(got, expected.astype(dtype), ulp=1)


HALF_LABELS = np.arange(6) % 5
HALF_VALUES = {
    "cross_entropy": lambda x: sg.cross_entropy(x, HALF_LABELS),
    "cross_entropy_grad": lambda x: sg.cross_entropy_grad(x, HALF_LABELS),
    "cross_entropy_grad_hess": lambda x: sg.cross_entropy_grad_hess(x, HALF_LABELS, curvature="residual"),
    "soft_cross_entropy": lambda x: sg.soft_cross_entropy(x, np.full(5, 0.3)),
    "soft_cross_entropy_grad": lambda x: sg.soft_cross_entropy_grad(x, np.full(5, 0.3)),
    "focal_loss": lambda x: sg.focal_loss(x, HALF_LABELS),
    "focal_loss_grad": lambda x: sg.focal_loss_grad(x, HALF_LABELS),
    "entropy": sg.entropy,
    "entropy_grad": sg.entropy_grad,
    "kl_divergence": lambda x: sg.kl_divergence(x, x[::-1]),
    "kl_divergence_grad": lambda x: sg.kl_divergence_grad(x, x[::-1]),
    "linear_cross_entropy": lambda x: sg.linear_cross_entropy(x, x[:5], HALF_LABELS),
}


@pytest.mark.parametrize("dtype", [np.dtype(np.float16), BFLOAT16], ids=str)
@pytest.mark.parametrize("function", HALF_VALUES.values(), ids=HALF_VALUES)
def test_values_of_half_precision_are_float32(level, function, dtype):
    """Their sum would overflow or stop growing in half precision; gradients keep the dtype of the logits."""
    x = logits((6, 5), dtype)
    got, exact = function(x), function(x.astype(np.float64))
    loss, *gradients = got if isinstance(got, tuple) else (got,)
    expected, *_ = exact if isinstance(exact, tuple) else (exact,)
    assert loss.dtype == np.float32
    # Logits that are themselves float32 sums err by some of their ulp, whatever is left of the loss.
    from_sums = 1e-6 * np.max(expected) if function is HALF_VALUES["linear_cross_entropy"] else 0
    np.testing.assert_allclose(loss, expected, rtol=1e-6, atol=from_sums)
    assert all(gradient.dtype == dtype for gradient in gradients)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize("function", HALF_VALUES.values(), ids=HALF_VALUES)
def test_values_of_wider_dtypes_keep_them(level, function, dtype):
    got = function(logits((6, 5), np.dtype(dtype)))
    assert {result.dtype for result in (got if isinstance(got, tuple) else (got,))} == {np.dtype(dtype)}


def test_the_mean_of_many_losses_of_bfloat16():
    x = np.zeros((12_000, 50), BFLOAT16)
    mean = sg.cross_entropy(x, np.zeros(12_000, int)).mean()
    assert mean == pytest.approx(np.log(50), rel=1e-6)


@pytest.mark.parametrize("dtype", [np.dtype(np.float16), BFLOAT16], ids=str)
def test_losses_of_half_precision_are_written_to_float32(dtype):
    x = logits((6, 5), dtype)
    expected = sg.cross_entropy_grad(x, HALF_LABELS)
    out, own = np.empty(6, np.float32), x.copy()
    loss, grad = sg.cross_entropy_grad(own, HALF_LABELS, out=out, grad_out=own)
    assert loss is out
    np.testing.assert_array_equal(loss, expected.loss)
    np.testing.assert_array_equal(grad, expected.grad)
    with pytest.raises(TypeError, match="out must have dtype float32; got"):
        sg.cross_entropy_grad(x, HALF_LABELS, out=np.empty(6, dtype))
