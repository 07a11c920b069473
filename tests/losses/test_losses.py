"""The losses: values and derivatives against exact arithmetic, edges, options, and the errors of wrong labels."""

from functools import lru_cache
from math import inf, nan

import array_api_strict as strict
import mpmath as mp
import numpy as np
import pytest

import softgrad as sg
from softgrad._numpy import threads

from .. import rows
from ..maps import BFLOAT16, assert_close, assert_same, every_float, logits
from ..reference import ExactSoftmax, check, exact_softmax, number, numbers

DTYPES = (np.float32, np.float64)
LENGTHS = (1, 2, 3, 10, 32, 33, 65)
LOSS, GRADIENT, HESSIAN = 2.0, 4.0, 4.0
"""In ulp of the value or its largest term; of the terms, as the docstrings write them; of the value, or with
options of its terms."""
GENERIC_OPTIONS = 5.0
"""float64 without the kernels, with every option at once: NumPy's exp and log1p take an ulp each of the room."""
SMOOTHED = {"label_smoothing": 0.1, "z_loss": 1e-3}
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
every_kind = pytest.mark.parametrize("kind", rows.KINDS)


class Exact:
    """A row of logits in exact arithmetic: p, 1 − p and −log p of every entry."""

    def __init__(self, x, row=None):
        row = exact_softmax(x) if row is None else row
        self.n, self.k = len(x), row.k
        total = 1 + row.rest
        self.p = [row.softmax(i) for i in range(self.n)]
        self.others = [(row.rest if i == row.k else total - row.weight(i)) / total for i in range(self.n)]
        self.losses = [-row.log_softmax(i) for i in range(self.n)]
        self.lse, self.log_total = row.logsumexp(), row.log_total
        x = numbers(x)
        self.depths = [x[row.k] - v for v in x]

    def loss(self, t, z=0):
        return mp.fsum(c * v for c, v in zip(t, self.losses, strict=True) if c) + z * self.lse**2

    def gradient(self, t, i, z=0):
        """The derivative of the loss by entry i, and the size of its terms."""
        rest = mp.fsum(c for j, c in enumerate(t) if j != i)
        pull, push, joint = self.p[i] * rest, t[i] * self.others[i], 2 * z * self.lse * self.p[i]
        size = pull + push if i == self.k else self.p[i] * (rest + t[i]) + t[i]
        return pull - push + joint, size + abs(joint)

    def curvature(self, t, i, z):
        """The second derivative of the loss by entry i, and the size of its terms."""
        variance, square = self.p[i] * self.others[i], 2 * z * self.p[i] ** 2
        plain, joint = mp.fsum(t) * variance, 2 * z * self.lse * variance
        return plain + joint + square, plain + abs(joint) + square


def label_cases(x, exact):
    return sorted({0, exact.k, len(x) - 1})


def one_hot(n, label):
    return [mp.mpf(i == label) for i in range(n)]


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
            check("cross_entropy", level, loss, exact.losses[label], bound=LOSS, note=note)
            for i in range(n):
                value, size = exact.gradient(one_hot(n, label), i)
                check("cross_entropy'", level, grad[i], value, size=size, bound=GRADIENT, note=f"{note} i={i}")
                value = exact.p[i] * exact.others[i]
                check("cross_entropy''", level, hess[i], value, bound=HESSIAN, note=f"{note} i={i}")


@every_dtype
@every_kind
def test_every_option_at_once(level, kind, dtype):
    if kind == "extreme":
        pytest.skip("max − x overflows")
    generic = level == "generic" and dtype is np.float64
    for n in LENGTHS:
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
            check("every option", level, loss, value, bound=GENERIC_OPTIONS if generic else LOSS, note=note)
            for i in range(n):
                value, size = (s * v for v in exact.gradient(t, i, number(z)))
                bound = GENERIC_OPTIONS if generic else GRADIENT
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
        check("soft_cross_entropy", level, loss, exact.loss(t), bound=LOSS, note=note)
        for i in range(n):
            value, size = exact.gradient(t, i)
            check("soft_cross_entropy'", level, grad[i], value, size=size, bound=GRADIENT, note=f"{note} i={i}")


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
        check("entropy", level, value, exact.log_total + mean, bound=LOSS + generic, note=note)
        for i in range(n):
            p, depth = exact.p[i], exact.depths[i] if exact.p[i] else mp.mpf(0)
            slope, size = p * (depth - mean), p * (depth + mean)
            check("entropy'", level, grad[i], slope, size=size, bound=GRADIENT + generic, note=f"{note} i={i}")


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
                check("focal_loss", level, loss, factor * ell, bound=LOSS + gamma, note=note)
                for i in range(n):
                    value = slope * (exact.p[i] if i != label else -others)
                    check("focal_loss'", level, grad[i], value, bound=GRADIENT + gamma, note=f"{note} i={i}")


@every_dtype
@every_kind
def test_selected_log_probabilities(level, kind, dtype):
    for n in LENGTHS:
        x = rows.row(kind, n, dtype)
        exact = Exact(x)
        index = np.random.default_rng(n).integers(n, size=5)
        for i, got in zip(index, sg.selective_log_softmax(x, index), strict=True):
            check("selective_log_softmax", level, got, -exact.losses[i], bound=LOSS, note=f"rows.row({kind!r}, {n})")
        assert sg.selective_log_softmax(x, index[0]) == sg.selective_log_softmax(x, index)[0]


class ExactDivergence:
    """The divergence of two rows and its gradients, each with the size of its terms."""

    def __init__(self, a, b):
        with mp.workprec(1200):  # on saturated rows it is the square of nearly nothing
            p, q = (Exact(x, ExactSoftmax(x)) for x in (a, b))
            ratios = [v - u if w else mp.mpf(0) for w, u, v in zip(p.p, p.losses, q.losses, strict=True)]
            alike = all(bool(u) == bool(v) and abs(r) <= 1 for u, v, r in zip(p.p, q.p, ratios, strict=True))
            sizes = map(abs, ratios) if alike else map(sum, zip(p.losses, q.losses, strict=True))
            self.loss = self._mean(p, ratios), self._mean(p, sizes)
            d = [u - v if w else mp.mpf(0) for w, u, v in zip(p.p, numbers(a), numbers(b), strict=True)]
            d = [v - d[p.k] for v in d]
            mean, spread = self._mean(p, d), self._mean(p, map(abs, d))
            self.grad_p = [
                (w * (v - mean if mp.isfinite(mean) else mp.nan), w * (abs(v) + spread)) if w else (w, w)
                for w, v in zip(p.p, d, strict=True)
            ]
            self.grad_q = [(v - u, v + u) for u, v in zip(p.p, q.p, strict=True)]
            if p.k == q.k and p.others[p.k] + q.others[p.k] < 1:
                self.grad_q[p.k] = p.others[p.k] - q.others[p.k], p.others[p.k] + q.others[p.k]

    @staticmethod
    def _mean(p, values):
        return mp.fsum(w * v for w, v in zip(p.p, values, strict=True) if w)


@lru_cache(maxsize=4096)
def exact_divergence(a, b, dtype):
    return ExactDivergence(np.frombuffer(a, dtype), np.frombuffer(b, dtype))


def check_divergence(level, a, b, note=""):
    loss, grad_p, grad_q = sg.kl_divergence_grad(a, b)
    assert_same(loss, sg.kl_divergence(a, b))
    assert loss >= 0
    exact = exact_divergence(a.tobytes(), b.tobytes(), a.dtype)
    check("kl_divergence", level, loss, exact.loss[0], size=exact.loss[1], bound=LOSS, note=note)
    for what, got, values in (("p", grad_p, exact.grad_p), ("q", grad_q, exact.grad_q)):
        for i, (value, size) in enumerate(values):
            check(f"kl_divergence'{what}", level, got[i], value, size=size, bound=GRADIENT, note=f"{note} i={i}")


@every_dtype
@pytest.mark.parametrize("distance", [3.0, 0.1, 1e-4, 1e-8])
def test_divergence(level, dtype, distance):
    for n in (1, 2, 10, 100):
        rng = np.random.default_rng(n)
        a = rng.normal(size=n).astype(dtype)
        check_divergence(level, a, (a + distance * rng.normal(size=n)).astype(dtype))


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


@every_dtype
@pytest.mark.parametrize("workers", [1, 3])
def test_divergence_beyond_the_caches(level, dtype, workers, monkeypatch):
    """Large gradients are stored past the caches, also over what they are computed from."""
    monkeypatch.setattr(threads, "count", lambda asked, size: workers)
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


@every_dtype
def test_saturated_rows_keep_what_is_small(level, dtype):
    x = np.array([30, 0, 0], dtype)
    loss, grad, hess = sg.cross_entropy_grad_hess(x, 0)
    small = np.exp(-30.0)
    assert loss == pytest.approx(2 * small)
    assert grad == pytest.approx([-2 * small, small, small])
    assert hess == pytest.approx([2 * small, small, small])


@pytest.mark.parametrize("options", [{}, SMOOTHED], ids=["label", "smoothed"])
@every_float
def test_a_row_alone_or_among_others(level, dtype, options):
    """The same bits in any batch, layout and number of threads."""
    for n in (5, 40):
        x = logits((37, n), dtype)
        labels = np.arange(37) % n
        whole = sg.cross_entropy_grad_hess(x, labels, **options)
        for i in range(0, 37, 6):
            for all_rows, alone in zip(whole, sg.cross_entropy_grad_hess(x[i], labels[i], **options), strict=True):
                assert_same(alone, all_rows[i])
        across = sg.cross_entropy_grad_hess(np.asfortranarray(x), labels, **options)
        moved = sg.cross_entropy_grad_hess(x.T, labels, axis=0, **options)
        for a, b, c in zip(whole, across, moved, strict=True):
            assert_same(b, a)
            assert_same(c.T, a)


@every_dtype
@pytest.mark.parametrize("options", [{}, SMOOTHED], ids=["label", "smoothed"])
@pytest.mark.parametrize("shift", [0, 3])
def test_results_beyond_the_caches(level, dtype, options, shift):
    """Large gradients are stored past the caches: the same bits as in small blocks, in place and out of step too."""
    m, n = 1024, 2049
    x, labels = logits((m, n), np.dtype(dtype)), np.arange(m) % n
    grad, memory = np.empty_like(x), np.empty(x.size + shift, dtype)
    hess = memory[shift:].reshape(m, n)
    loss = sg.cross_entropy_grad_hess(x, labels, grad_out=grad, hess_out=hess, **options).loss
    blocks = [sg.cross_entropy_grad_hess(x[i : i + 32], labels[i : i + 32], **options) for i in range(0, m, 32)]
    for got, parts in zip((loss, grad, hess), zip(*blocks, strict=True), strict=True):
        assert_same(got, np.concatenate(parts))
    soft = sg.soft_cross_entropy_grad(x, np.eye(1, n, dtype=dtype)).grad
    assert_same(soft[-32:], sg.soft_cross_entropy_grad(x[-32:], np.eye(1, n, dtype=dtype)).grad)
    place = x.copy()
    assert_same(sg.cross_entropy_grad_hess(place, labels, grad_out=place, **options).grad, grad)
    place = x.copy()
    assert_same(sg.cross_entropy_grad_hess(place, labels, hess_out=place, **options).hess, hess)


def test_threads_change_no_bit(level, monkeypatch):
    x, labels = logits((101, 40), np.dtype(np.float32)), np.arange(101) % 40
    alone = sg.cross_entropy_grad_hess(x, labels, **SMOOTHED), sg.cross_entropy_grad(x, labels)
    monkeypatch.setattr(threads, "count", lambda workers, size: 3)
    together = sg.cross_entropy_grad_hess(x, labels, **SMOOTHED), sg.cross_entropy_grad(x, labels)
    for a, b in zip(alone, together, strict=True):
        for one, other in zip(a, b, strict=True):
            assert_same(other, one)


@pytest.mark.usefixtures("level")
def test_threads_do_not_write_what_others_read(monkeypatch):
    monkeypatch.setattr(threads, "count", lambda workers, size: 3)
    x = logits((1024, 2049), np.dtype(np.float32))
    memory = np.zeros((1025, 2049), np.float32)
    memory[1:] = targets = np.abs(x[::-1])
    soft = sg.soft_cross_entropy_grad(x, memory[1:], grad_out=memory[:-1])
    assert_same(soft.grad, sg.soft_cross_entropy_grad(x, targets).grad)
    memory[1:] = x[::-1]
    divergence = sg.kl_divergence_grad(x, memory[1:], grad_q_out=memory[:-1])
    assert_same(divergence.grad_q, sg.kl_divergence_grad(x, x[::-1]).grad_q)


def test_half_precision_is_rounded_once(level):
    for dtype in (np.dtype(np.float16), BFLOAT16):
        x = logits((7, 20), dtype)
        labels = np.arange(7)
        options = {"label_smoothing": 0.125, "weight": np.arange(20) + 1}
        for choice in ({}, options):
            for got, wide in zip(
                sg.cross_entropy_grad_hess(x, labels, **choice),
                sg.cross_entropy_grad_hess(x.astype(np.float64), labels, **choice),
                strict=True,
            ):
                assert got.dtype == dtype
                assert_close(got, wide.astype(dtype), ulp=1)


def unfused(x, labels, weight, sample_weight, smoothing, ignore_index, z):
    """The formula of the docstring, as it stands there."""
    results = []
    for row, y, s in zip(x, labels, sample_weight, strict=True):
        log_p = sg.log_softmax(row)
        value = (1 - smoothing) * weight[y] * -log_p[y] if y != ignore_index else 0
        value += smoothing / len(row) * np.sum(weight * -log_p)
        value += z * sg.logsumexp(row) ** 2
        results.append(0 if y == ignore_index else s * value)
    return np.array(results)


@pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("z", [0.0, 0.01])
def test_options_mean_what_the_docstring_says(level, smoothing, z):
    rng = np.random.default_rng(0)
    x, weight, sample_weight = rng.normal(size=(8, 5)) * 3, rng.random(5), rng.random(8)
    labels = np.array([0, 1, 2, -100, 4, 0, -100, 2])
    options = {"label_smoothing": smoothing, "z_loss": z, "weight": weight, "sample_weight": sample_weight}
    loss, grad, hess = sg.cross_entropy_grad_hess(x, labels, ignore_index=-100, **options)
    np.testing.assert_allclose(loss, unfused(x, labels, weight, sample_weight, smoothing, -100, z), rtol=1e-14)
    assert not grad[labels == -100].any()
    assert not hess[labels == -100].any()
    targets = np.where(labels[:, None] == np.arange(5), 1.0, 0.0)
    kept = labels != -100
    options["sample_weight"] = sample_weight[kept]
    soft = sg.soft_cross_entropy_grad(x[kept], targets[kept], **options)
    np.testing.assert_allclose(soft.loss, loss[kept], rtol=1e-14)
    np.testing.assert_allclose(soft.grad, grad[kept], rtol=0, atol=1e-15)
    step = 1e-5
    for j in range(5):
        nudge = step * (np.arange(5) == j)
        ahead = sg.cross_entropy_grad(
            x + nudge, labels, ignore_index=-100, **options | {"sample_weight": sample_weight}
        )
        back = sg.cross_entropy_grad(x - nudge, labels, ignore_index=-100, **options | {"sample_weight": sample_weight})
        np.testing.assert_allclose((ahead.loss - back.loss) / (2 * step), grad[:, j], atol=1e-9)
        np.testing.assert_allclose((ahead.grad - back.grad)[:, j] / (2 * step), hess[:, j], atol=1e-9)


def test_curvatures(level):
    x, labels = logits((6, 4), np.dtype(np.float64)), np.arange(6) % 4
    p = sg.softmax(x)
    of = {c: sg.cross_entropy_grad_hess(x, labels, curvature=c) for c in ("diagonal", "upper", "friedman", "residual")}
    np.testing.assert_allclose(of["diagonal"].hess, p * (1 - p), rtol=1e-13)
    np.testing.assert_allclose(of["upper"].hess, 2 * p * (1 - p), rtol=1e-13)
    np.testing.assert_allclose(of["friedman"].hess, 4 / 3 * p * (1 - p), rtol=1e-13)
    np.testing.assert_array_equal(of["residual"].hess, np.abs(of["residual"].grad))
    for result in of.values():
        assert_same(result.grad, of["diagonal"].grad)
    masked = sg.cross_entropy_grad_hess(x, 0 * labels, where=np.arange(4) < 2, curvature="friedman")
    alone = sg.cross_entropy_grad_hess(x[:, :2], 0 * labels, curvature="friedman")
    assert_close(masked.hess[:, :2], alone.hess)
    assert sg.cross_entropy_grad_hess([3.0], 0, curvature="friedman").hess == [0]
    with pytest.raises(ValueError, match=r"curvature must be one of 'diagonal'.*got 'exact'"):
        sg.cross_entropy_grad_hess(x, labels, curvature="exact")


LOSSES = {
    "cross_entropy": lambda x, **o: sg.cross_entropy_grad(x, np.zeros(x.shape[:-1], int), **o),
    "smoothed": lambda x, **o: sg.cross_entropy_grad(x, np.zeros(x.shape[:-1], int), label_smoothing=0.1, **o),
    "curved": lambda x, **o: sg.cross_entropy_grad_hess(x, np.zeros(x.shape[:-1], int), **SMOOTHED, **o),
    "soft": lambda x, **o: sg.soft_cross_entropy_grad(x, np.arange(x.shape[-1]) == 0, **o),
    "focal": lambda x, **o: sg.focal_loss_grad(x, np.zeros(x.shape[:-1], int), **o),
    "entropy": sg.entropy_grad,
    "kl": lambda x, **o: sg.kl_divergence_grad(x, x[..., ::-1], **o),
    "kl of p": lambda x, **o: sg.kl_divergence_grad(x, np.zeros_like(x), **o),
    "kl of q": lambda x, **o: sg.kl_divergence_grad(np.zeros_like(x), x, **o),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


@every_loss
@pytest.mark.parametrize("n", [4, 40])
@every_float
def test_nan_and_inf_stay_in_their_row(level, loss, n, dtype):
    x = logits((4, n), dtype)
    x[0, 2], x[1, 2], x[2] = nan, inf, -inf
    results = loss(x)
    for result in (np.asarray(result, dtype=np.float64) for result in results):
        assert np.isnan(result[:3]).all()
        assert np.isfinite(result[3]).all()
    for result, alone in zip(results, loss(x[3:]), strict=True):
        assert_same(result[3:], alone)


@every_loss
@pytest.mark.parametrize("n", [4, 40])
@every_float
def test_masked_entries_are_never_read(level, loss, n, dtype):
    x = logits((5, n), dtype)
    mask = np.random.default_rng(1).random((5, n)) < 0.6
    mask[:, 0] = mask[:, -1] = True
    mask |= mask[:, ::-1]
    mask[2] = False
    x[~mask] = nan
    results = loss(x, where=mask)
    for result in (np.asarray(result, dtype=np.float64) for result in results):
        assert np.isfinite(result).all()
        assert not np.any(result[2])
        if result.ndim == 2:
            assert not np.any(result[~mask])
    for i in (0, 1, 3, 4):
        for result, alone in zip(results, loss(x[i, mask[i]]), strict=True):
            assert_close(result[i][mask[i]] if result.ndim == 2 else result[i], alone, ulp=8)
    masked = loss(np.ma.MaskedArray(x, ~mask))
    for result, expected in zip(masked, results, strict=True):
        assert_same(np.asarray(result), expected)


def test_impossible_entries(level):
    """0·(−inf) is 0, and an impossible label is an infinite loss with a finite gradient."""
    for n in (3, 40):
        x = np.zeros(n)
        x[1] = -inf
        assert sg.soft_cross_entropy(x, np.arange(n) == 0) == pytest.approx(np.log(n - 1))
        loss, grad = sg.cross_entropy_grad(x, 1)
        assert loss == inf
        assert grad[1] == -1
        assert grad[0] == pytest.approx(1 / (n - 1))
        assert sg.soft_cross_entropy(x, np.arange(n) == 1) == inf
        assert sg.focal_loss(x, 1) == inf
        assert sg.entropy(x) == pytest.approx(np.log(n - 1))
        assert sg.kl_divergence(x, np.zeros(n)) == pytest.approx(np.log(n / (n - 1)))
        assert sg.kl_divergence(np.zeros(n), x) == inf
        assert sg.kl_divergence(x, x) == 0
        assert sg.selective_log_softmax(x, 1) == -inf
        assert sg.cross_entropy(np.zeros(n), 1, where=np.arange(n) != 1) == inf


@pytest.mark.parametrize("n", [3, 40])
def test_rows_that_do_not_count_are_not_read(level, n):
    x = np.full((3, n), nan)
    x[0] = 0
    for options in (
        {"ignore_index": -1, "labels": [1, -1, -1]},
        {"sample_weight": [1, 0, 0], "labels": [1, 1, 1]},
        {"weight": np.arange(n) > 0, "labels": [1, 0, 0]},
        {"ignore_index": -1, "labels": [1, -1, -1], "label_smoothing": 0.5},
    ):
        labels = options.pop("labels")
        loss, grad, hess = sg.cross_entropy_grad_hess(x, labels, **options)
        assert loss[0] > 0
        assert not loss[1:].any()
        assert not grad[1:].any()
        assert not hess[1:].any()
        assert grad[0].any()
        assert hess[0].any()


def test_empty_and_scalar():
    assert sg.cross_entropy(np.zeros((0, 3)), np.zeros(0, int)).shape == (0,)
    assert sg.cross_entropy(np.zeros((0, 3)), []).shape == (0,)
    loss, grad = sg.cross_entropy_grad(np.zeros((2, 0)), [-1, -1], ignore_index=-1)
    assert_same(loss, np.zeros(2))
    assert grad.shape == (2, 0)
    with pytest.raises(IndexError, match=r"labels must lie in \[0, 0\); labels\[0\] is 0"):
        sg.cross_entropy(np.zeros((2, 0)), [0, 0])
    assert_same(sg.entropy(np.zeros((2, 0))), np.zeros(2))
    assert isinstance(sg.cross_entropy([1.0, 2.0], 0), np.float64)
    with pytest.raises(np.exceptions.AxisError):
        sg.cross_entropy(1.0, 0)
    assert sg.cross_entropy(1.0, 0, axis=None) == 0


def test_integers_become_float64():
    loss, grad = sg.cross_entropy_grad(np.array([[-128, 127]], np.int8), [0])
    assert loss.dtype == grad.dtype == np.float64
    assert loss == [255]


@pytest.mark.parametrize("axis", [0, 1, -1, (0, 2), None])
def test_axes(level, axis):
    x = logits((3, 4, 5), np.dtype(np.float64))
    axes = tuple(range(3)) if axis is None else tuple(sorted(np.atleast_1d(axis) % 3))
    batch = tuple(a for a in range(3) if a not in axes)
    flat = x.transpose(*batch, *axes).reshape(*(x.shape[a] for a in batch), -1)
    labels = np.random.default_rng(0).integers(flat.shape[-1], size=flat.shape[:-1])
    loss, grad = sg.cross_entropy_grad(x, labels, axis=axis)
    expected = sg.cross_entropy_grad(flat, labels)
    assert_same(loss, expected.loss)
    assert_same(grad.transpose(*batch, *axes).reshape(flat.shape), expected.grad)
    assert_close(sg.selective_log_softmax(x, labels, axis=axis), -loss, ulp=2)


@pytest.mark.parametrize("n", [5, 50])
@every_float
def test_out(level, n, dtype):
    x = logits((6, n), dtype)
    labels = np.arange(6) % n
    expected = sg.cross_entropy_grad_hess(x, labels)
    out, hess = np.empty(6, dtype), np.empty((n, 6), dtype).T
    wide = np.empty((6, 2 * n), dtype)
    result = sg.cross_entropy_grad_hess(x, labels, out=out, grad_out=wide[:, ::2], hess_out=hess)
    assert result.loss is out
    assert result.hess is hess
    for got, value in zip((out, wide[:, ::2], hess), expected, strict=True):
        assert_same(got, value)
    place = x.copy()
    assert sg.cross_entropy_grad(place, labels, grad_out=place).grad is place
    assert_same(place, expected.grad)
    shifted = np.empty((7, n), dtype)
    shifted[:6] = x
    sg.cross_entropy_grad(shifted[:6], labels, grad_out=shifted[1:])
    assert_same(shifted[1:], expected.grad)


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (IndexError, r"labels must lie in \[0, 3\); labels\[1\] is 17", {"labels": [0, 17, -1]}),
        (IndexError, r"labels must lie in \[0, 3\); labels\[2\] is -1", {"labels": [0, 2, -1]}),
        (IndexError, r"labels\[2\] is -1", {"labels": [0, 5, -1], "ignore_index": 5}),
        (IndexError, r"labels\[0\] is 18446744073709551615", {"labels": np.full(3, 2**64 - 1, np.uint64)}),
        (TypeError, "labels must be integers; got dtype float64", {"labels": [0.0, 1.0, 2.0]}),
        (TypeError, "labels must be integers; got dtype bool", {"labels": [True, True, False]}),
        (TypeError, "labels must be integers; got dtype <U1", {"labels": ["a", "b", "c"]}),
        (ValueError, r"labels must have shape \(3,\), one per slice of the logits; got \(2,\)", {"labels": [0, 1]}),
        (ValueError, r"labels must have shape \(3,\).*got \(3, 1\)", {"labels": [[0], [1], [2]]}),
        (ValueError, "labels must be an array of integers", {"labels": [[0], [1, 2], [2]]}),
        (TypeError, "ignore_index must be an integer or None; got 1.5", {"ignore_index": 1.5}),
        (ValueError, r"weight must be finite and at least 0; weight\[1\] is -1.0", {"weight": [1, -1, 1]}),
        (ValueError, r"weight must broadcast to shape \(3,\); got shape \(2,\)", {"weight": [1, 1]}),
        (ValueError, r"sample_weight\[2\] is nan", {"sample_weight": [1, 1, nan]}),
        (ValueError, r"label_smoothing must lie in \[0, 1\]; got 1.5", {"label_smoothing": 1.5}),
        (TypeError, "label_smoothing must be a number; got 'a'", {"label_smoothing": "a"}),
        (ValueError, r"z_loss must lie in \[0, inf\); got -1.0", {"z_loss": -1}),
        (TypeError, "where must be of dtype bool", {"where": [1, 0, 1]}),
        (ValueError, r"grad_out must have shape \(3, 3\); got \(3,\)", {"grad_out": np.zeros(3)}),
        (TypeError, "grad_out must have dtype float64; got float32", {"grad_out": np.zeros((3, 3), np.float32)}),
        (TypeError, "grad_out must be a NumPy array; got list", {"grad_out": [1]}),
    ],
    ids=lambda value: value.replace("\\", "") if isinstance(value, str) else None,
)
def test_wrong_arguments_write_nothing(error, message, arguments):
    arguments = {"labels": [0, 1, 2], **arguments}
    labels = arguments.pop("labels")
    out, grad_out = np.full(3, 7.0), np.full((3, 3), 7.0)
    with pytest.raises(error, match=message):
        sg.cross_entropy_grad(np.eye(3), labels, out=out, **{"grad_out": grad_out, **arguments})
    assert (out == 7).all()
    assert (grad_out == 7).all()


@pytest.mark.parametrize("code", "bhilqBHILQ")
def test_labels_of_every_integer_type_and_layout(code):
    logits = np.random.default_rng(0).normal(size=(4, 3))
    labels = np.array([2, 0, 1, 2])
    expected = sg.cross_entropy(logits, labels)
    low = np.iinfo(code).min if code.islower() else np.iinfo(code).max
    for bad in (None, 3, low, np.iinfo(code).max):
        given = labels.astype(code)
        if bad is not None:
            given[1] = bad
        for same in (
            given,
            given.astype(given.dtype.newbyteorder()),
            np.repeat(given, 2)[::2],
            given[::-1].copy()[::-1],
        ):
            if bad is None:
                np.testing.assert_array_equal(sg.cross_entropy(logits, same), expected)
            else:
                with pytest.raises(IndexError, match=rf"labels must lie in \[0, 3\); labels\[1\] is {bad}$"):
                    sg.cross_entropy(logits, same)


def test_labels_of_several_axes_and_indices():
    with pytest.raises(IndexError, match=r"labels must lie in \[0, 4\); labels\[1, 2\] is 4"):
        sg.cross_entropy(np.zeros((2, 3, 4)), [[0, 1, 2], [3, 0, 4]])
    with pytest.raises(IndexError, match=r"labels must lie in \[0, 4\); labels is 4"):
        sg.cross_entropy(np.zeros(4), 4)
    with pytest.raises(IndexError, match=r"index must lie in \[0, 4\); index\[1, 0\] is 9"):
        sg.selective_log_softmax(np.zeros((2, 4)), [[0, 1], [9, 3]])
    with pytest.raises(ValueError, match=r"targets must broadcast to shape \(2, 4\); got shape \(3,\)"):
        sg.soft_cross_entropy(np.zeros((2, 4)), np.zeros(3))
    with pytest.raises(ValueError, match=r"gamma must lie in \[0, inf\); got -2.0"):
        sg.focal_loss(np.zeros(4), 1, gamma=-2)


@np.errstate(all="ignore")  # array-api-strict computes with NumPy
def test_arrays_of_other_libraries():
    x, labels = logits((3, 7), np.dtype(np.float64)), np.array([0, 6, -1])
    mask = np.arange(7) != 3
    options = {"label_smoothing": 0.1, "ignore_index": -1, "z_loss": 0.01}
    foreign = {"where": strict.asarray(mask), "weight": strict.asarray(np.arange(7.0))} | options
    got = sg.cross_entropy_grad_hess(strict.asarray(x), strict.asarray(labels), curvature="friedman", **foreign)
    expected = sg.cross_entropy_grad_hess(x, labels, curvature="friedman", where=mask, weight=np.arange(7.0), **options)
    index = np.array([[0, 1], [2, 3], [4, 5]])
    pairs = list(zip(got, expected, strict=True))
    pairs.append(
        (sg.selective_log_softmax(strict.asarray(x), strict.asarray(index)), sg.selective_log_softmax(x, index))
    )
    pairs += zip(sg.entropy_grad(strict.asarray(x), axis=0), sg.entropy_grad(x, axis=0), strict=True)
    pairs += zip(
        sg.kl_divergence_grad(strict.asarray(x), strict.asarray(x[::-1])),
        sg.kl_divergence_grad(x, x[::-1]),
        strict=True,
    )
    pairs += zip(
        sg.focal_loss_grad(strict.asarray(x), strict.asarray(abs(labels))),
        sg.focal_loss_grad(x, abs(labels)),
        strict=True,
    )
    for a, b in pairs:
        assert isinstance(a, type(strict.asarray(0.0)))
        assert_close(np.from_dlpack(a).copy(), np.asarray(b))
    with pytest.raises(TypeError, match="grad_out is for NumPy arrays"):
        sg.cross_entropy_grad(strict.asarray(x), strict.asarray(abs(labels)), grad_out=np.empty((3, 7)))


@every_dtype
def test_hessian_operator(level, dtype):
    x = rows.row("normal", 6, dtype).reshape(2, 3)
    H = sg.cross_entropy_hessian(x, sample_weight=[2.0, 0.5])
    assert H.dtype == dtype
    p = sg.softmax(x.astype(np.float64))
    dense = np.array([2.0, 0.5])[:, None, None] * (np.eye(3) * p[:, None] - p[:, :, None] * p[:, None])
    np.testing.assert_allclose(H.toarray(), dense, rtol=1e-5)
    np.testing.assert_allclose(H.diagonal(), np.einsum("ijj->ij", dense), rtol=1e-5)
    with pytest.raises(ValueError, match="sample_weight must be positive"):
        sg.cross_entropy_hessian(x, sample_weight=[1, 0])


@pytest.mark.parametrize("weighted", [False, True])
def test_regression_hessian(level, weighted, monkeypatch):
    monkeypatch.setattr("softgrad._api.hessians.BLOCK_BYTES", 400)  # several blocks of rows
    rng = np.random.default_rng(0)
    X, W = rng.normal(size=(23, 4)), rng.normal(size=(4, 3))
    s = rng.random(23) if weighted else None
    labels = rng.integers(3, size=23)

    def gradient(W):
        return X.T @ sg.cross_entropy_grad(X @ W, labels, sample_weight=s).grad

    H = sg.softmax_regression_hessian(X, X @ W, sample_weight=s)
    assert_same(H, H.T)
    step = 1e-6
    for _ in range(5):
        V = rng.normal(size=(4, 3))
        product = sg.softmax_regression_hvp(X, X @ W, V, sample_weight=s)
        np.testing.assert_allclose(H @ V.ravel(), product.ravel(), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose((gradient(W + step * V) - gradient(W - step * V)) / (2 * step), product, atol=1e-7)


def test_regression_hessian_of_saturated_rows(level):
    X = np.eye(2)
    H = sg.softmax_regression_hessian(X, [[40.0, 0.0], [0.0, 40.0]])
    assert np.diag(H) == pytest.approx(np.exp(-40.0))


@pytest.mark.parametrize(
    ("message", "X", "logits", "V"),
    [
        (r"X must have shape \(m, d\); got \(3,\)", np.zeros(3), np.zeros((3, 2)), np.zeros((1, 2))),
        (r"logits must have shape \(3, K\).*got \(2, 2\)", np.zeros((3, 1)), np.zeros((2, 2)), np.zeros((1, 2))),
        (r"V must have shape \(1, 2\).*got \(2, 1\)", np.zeros((3, 1)), np.zeros((3, 2)), np.zeros((2, 1))),
    ],
)
def test_regression_shapes(message, X, logits, V):
    with pytest.raises(ValueError, match=message):
        sg.softmax_regression_hvp(X, logits, V)


def test_layer(level):
    x, labels = logits((4, 5), np.dtype(np.float64)), np.array([0, 1, -1, 4])
    layer = sg.SoftmaxCrossEntropy(label_smoothing=0.1, ignore_index=-1)
    with pytest.raises(RuntimeError, match="SoftmaxCrossEntropy has no output yet"):
        layer.backward()
    losses = layer(x, labels)
    expected = sg.cross_entropy_grad(x, labels, label_smoothing=0.1, ignore_index=-1)
    assert layer.output is losses
    assert_same(losses, expected.loss)
    assert_same(layer.backward(), expected.grad)
    np.testing.assert_array_equal(layer.backward(0.25), expected.grad / 4)
    np.testing.assert_array_equal(layer.backward([1, 2, 3, 4]), expected.grad * np.array([[1], [2], [3], [4]]))
    first = sg.SoftmaxCrossEntropy(axis=0)
    first(x, np.arange(5) % 4)
    np.testing.assert_array_equal(first.backward(np.arange(5)), first.backward() * np.arange(5))
    with pytest.raises(ValueError, match="grad_output must broadcast"):
        layer.backward([1, 2, 3])
