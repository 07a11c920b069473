"""The Kullback–Leibler divergence of two rows of logits: values, edges, layouts."""

from math import inf, nan

import numpy as np
import pytest

import softgrad as sg
from softgrad._numpy import threads

from .. import error_bounds, rows
from ..maps import assert_same, every_float, logits
from ..reference import check
from .exact import every_dtype, every_kind, exact_divergence


def check_divergence(level, a, b, note=""):
    loss, grad_p, grad_q = sg.kl_divergence_grad(a, b)
    assert_same(loss, sg.kl_divergence(a, b))
    assert loss >= 0
    exact = exact_divergence(a.tobytes(), b.tobytes(), a.dtype)
    check("kl_divergence", level, loss, exact.loss[0], size=exact.loss[1], bound=error_bounds.LOSS, note=note)
    for what, got, values in (("p", grad_p, exact.grad_p), ("q", grad_q, exact.grad_q)):
        for i, (value, size) in enumerate(values):
            check(
                f"kl_divergence'{what}",
                level,
                got[i],
                value,
                size=size,
                bound=error_bounds.LOSS_GRADIENT,
                note=f"{note} i={i}",
            )


@every_dtype
@pytest.mark.parametrize("distance", [3.0, 0.1, 1e-4, 1e-8])
def test_divergence(level, dtype, distance):
    for n in (1, 2, 10, 100):
        rng = np.random.default_rng(n)
        a = rng.normal(size=n).astype(dtype)
        check_divergence(level, a, (a + distance * rng.normal(size=n)).astype(dtype))


@pytest.mark.slow
@every_dtype
@every_kind
def test_divergence_of_hard_rows(level, kind, dtype):
    if kind == "extreme":
        pytest.skip("max − x overflows")
    if level == "generic" and dtype is np.float64 and kind in ("subnormal_tail", "growing"):
        pytest.skip("p itself is subnormal there, and has lost its bits")
    for n in (1, 2, 3, 10, 33):
        a = rows.row(kind, n, dtype)
        ulp = np.spacing(np.where(a > -inf, a, 0).astype(dtype))
        others = {
            "seed 1": rows.row(kind, n, dtype, seed=1),
            "reversed": a[::-1].copy(),
            "normal": rows.row("normal", n, dtype),
            "an ulp away": a + ulp * np.random.default_rng(n).integers(-1, 2, n).astype(dtype),
            "itself": a,
        }
        for other, b in others.items():
            check_divergence(level, a, b, f"rows.row({kind!r}, {n}) and {other}")


@every_dtype
@pytest.mark.parametrize("n", [5, 40])
def test_divergence_at_its_edges(level, n, dtype):
    """Rows that part of the formula would lose, or make infinite, or take beyond the largest number."""
    rng = np.random.default_rng(n)
    x, noise = rng.normal(size=n), rng.normal(size=n)
    lowest = float(np.finfo(dtype).min)
    first, second = np.arange(n) == 0, np.arange(n) == 1
    pairs = {
        "both impossible, else near": (np.where(first, -inf, x), np.where(first, -inf, x + 1e-6 * noise)),
        "impossible in p alone, else near": (np.where(first, -inf, x), x + 1e-6 * noise),
        "hardly possible in p, impossible in q": (np.where(first, -200, x), np.where(first, -inf, x)),
        "the lowest number in q": (x, np.where(first, lowest, x)),
        "the lowest number in p": (np.where(first, lowest, x), x),
        "the lowest number in both": (np.where(first, lowest, x), np.where(first, lowest, x + 1e-6 * noise)),
        "no number between": (np.where(first, -lowest, lowest), np.where(first, lowest, -lowest) * 0.9),
        "no number between, but the same": (first - lowest, second + lowest),
        "a large number in q": (x, np.where(first, -1e9, x)),
        "larger": (x, np.where(first, -3e9, x)),
        "hardly possible in p, less in q": (np.where(first, -60, x), np.where(first, lowest, x + 1e-6 * noise)),
        "the lowest number in p, a large one in q": (
            np.where(first, lowest, x),
            np.where(first, -1e9, x + 1e-6 * noise),
        ),
        "nearly alike": (np.where(first, 4, -3), np.where(first, 4, -2.1)),
        "an outlier": (np.where(first, -15, x), np.where(first, -17, x)),
        "far apart at the largest": (0.1 * first, -100.0 * first),
        "a factor e apart": (
            np.where(first, 1, np.where(second, 0, -30)),
            np.where(second, 1, np.where(first, 0, -30)),
        ),
    }
    if level == "generic" and dtype is np.float64:
        pairs = {what: pair for what, pair in pairs.items() if not what.startswith("no number")}  # a − b overflows
    for what, (a, b) in pairs.items():
        check_divergence(level, a.astype(dtype), b.astype(dtype), what)


@pytest.mark.parametrize("bad", [nan, inf])
@pytest.mark.parametrize("n", [5, 40])
@every_float
def test_divergence_beside_nan(level, n, bad, dtype):
    """Also where the other distribution has nothing, or hardly anything."""
    for scale in (1, 200):
        x = scale * logits((6, n), dtype)
        y = x[:, ::-1].copy()
        x[0, 0] = x[1, 1] = y[2, 0] = y[3, 1] = bad
        x[1, 0] = y[1, 0] = y[2, 1] = x[3, 1] = -inf
        for result in sg.kl_divergence_grad(x, y):
            assert np.isnan(result[:4].astype(np.float64)).all()
            assert np.isfinite(result[4:].astype(np.float64)).all()


@every_float
def test_divergence_in_any_layout(level, dtype):
    """The same bits in any batch, layout and number of threads, broadcast and in place."""
    for n in (5, 40):
        a, b = logits((37, n), dtype), logits((37, n), dtype)[::-1]
        whole = sg.kl_divergence_grad(a, b)
        assert_same(whole.loss, sg.kl_divergence(a, b))
        for i in range(0, 37, 6):
            for all_rows, alone in zip(whole, sg.kl_divergence_grad(a[i], b[i]), strict=True):
                assert_same(alone, all_rows[i])
        for got, value in zip(sg.kl_divergence_grad(a[2], b), sg.kl_divergence_grad(0 * a + a[2], b), strict=True):
            assert_same(got, value)
        for one, other in ((np.asfortranarray(a), b), (a, np.asfortranarray(b)), (a.T.copy().T, b.T.copy().T)):
            for got, value in zip(sg.kl_divergence_grad(one, other), whole, strict=True):
                assert_same(got, value)
        moved = sg.kl_divergence_grad(a.T, b.T, axis=0)
        for got, value in zip(moved, whole, strict=True):
            assert_same(got.T, value)
        for swap in (False, True):
            first, second = a.copy(), b.copy()
            places = (second, first) if swap else (first, second)
            result = sg.kl_divergence_grad(first, second, grad_p_out=places[0], grad_q_out=places[1])
            for got, value in zip(result, whole, strict=True):
                assert_same(got, value)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "workers"), [(np.float32, 3), (np.float64, 1)])
def test_divergence_beyond_the_caches(level, dtype, workers, monkeypatch):
    """Large gradients are written by non-temporal stores, also over what they are computed from."""
    monkeypatch.setattr(threads, "count", lambda *_: workers)
    m, n = 1024, 2049
    a, b = logits((m, n), np.dtype(dtype)), logits((m, n), np.dtype(dtype))[::-1].copy()
    b[::2] = a[::2] + (dtype(1e-3) * b[::2])
    whole = sg.kl_divergence_grad(a, b)
    assert_same(whole.loss, sg.kl_divergence(a, b))
    for i in range(0, m, 101):
        for got, value in zip(whole, sg.kl_divergence_grad(a[i], b[i]), strict=True):
            assert_same(got[i], value)
    again = sg.kl_divergence_grad(a, b, grad_p_out=b, grad_q_out=a)
    for got, value in zip(again, whole, strict=True):
        assert_same(got, value)
