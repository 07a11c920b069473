"""sparsemax and entmax: values by exact arithmetic, the support, the family of α, and other implementations."""

from math import inf, nan

import mpmath as mp
import numpy as np
import pytest

import softgrad as sg
from softgrad._formulas import sparse

from .. import error_bounds, rows
from ..maps import assert_close, assert_same, logits
from ..reference import exact_entmax, number, spacing

DTYPES = (np.float32, np.float64)
ALPHAS = (1.01, 1.25, 1.75, 3.0, 10.0)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)


def check(x, alpha, temperature=1.0):
    """Every entry of one row."""
    exact = exact_entmax(x.tobytes(), x.dtype, alpha, temperature)
    got = sg.entmax(x, alpha, temperature=temperature)
    for i, p in enumerate(exact.p):
        room = error_bounds.sparse_map(x.dtype, alpha, p, exact.shares[i], exact.entropy)
        error = abs(number(got[i]) - p)
        assert error <= spacing(p, x.dtype) / 2 + room, f"{x!r}, alpha={alpha}, T={temperature}, i={i}: {got[i]}, {p}"
    total = abs(mp.fsum(map(number, got)) - 1)
    assert total <= mp.fsum(spacing(p, x.dtype) for p in exact.p if p) / 2 + len(x) * mp.mpf(2) ** -50


@every_dtype
@pytest.mark.parametrize("alpha", [1.5, 2.0])
def test_entries_are_right_to_the_last_digit(dtype, alpha):
    for kind in rows.KINDS:
        for n in (1, 2, 10, 25):
            check(rows.row(kind, n, dtype), alpha)


@every_dtype
@pytest.mark.usefixtures("level")
def test_entries_at_any_alpha(dtype):
    for alpha in ALPHAS:
        for kind in ("normal", "wide", "tiny", "ties", "nearly_sorted", "impossible", "offset_1e30", "extreme"):
            for n in (2, 33) if kind in ("normal", "ties") else (2, 7):  # short rows and long ones
                check(rows.row(kind, n, dtype), alpha)


@every_dtype
def test_entries_at_a_temperature(dtype):
    for alpha in (1.5, 2.0, 1.25, 3.0):
        for temperature in (0.7, 3.0, 1e3):
            for kind in ("normal", "ties", "offset_1e6"):
                check(rows.row(kind, 10, dtype), alpha, temperature)


@every_dtype
def test_entries_at_the_edge_of_the_support(dtype):
    """Logits at a distance of one unit from the threshold 1/(α−1): the entry is positive, or 0."""
    for alpha, edge in ((2.0, 1.0), (1.5, 2.0)):
        for below in (np.nextafter(dtype(edge), 0), dtype(edge), np.nextafter(dtype(edge), 9)):
            x = np.array([below, 0, -3], dtype)
            check(x, alpha)
            assert (sg.entmax(x, alpha)[1] > 0) == (below < edge)


def test_one_alpha_per_slice_has_the_bits_of_each():
    alphas = np.array([[1.0, 1.5, 2.0], [1.25, 3.0, inf]])
    for dtype in (np.float16, *DTYPES, np.longdouble):
        for n in (7, 33):
            x = logits((2, 3, n), np.dtype(dtype))
            for options in ({}, {"temperature": 0.5}, {"where": x > -4}):
                got = sg.entmax(x, alphas, **options)
                assert_same(sg.entmax(x, alphas[..., None], **options), got)
                for i in np.ndindex(2, 3):
                    own = {**options, **({"where": options["where"][i]} if "where" in options else {})}
                    assert_same(got[i], sg.entmax(x[i], float(alphas[i]), **own), alphas[i])


def test_alpha_one_and_two_have_the_bits_of_softmax_and_sparsemax(level):
    for dtype in DTYPES:
        x = logits((3, 100), np.dtype(dtype))
        for options in ({}, {"axis": 0}, {"temperature": 0.5}, {"where": x > 0}):
            assert_same(sg.entmax(x, 1, **options), sg.softmax(x, **options))
            assert_same(sg.entmax(x, alpha=2.0, **options), sg.sparsemax(x, **options))
        assert_same(sg.entmax(x, np.ones(3)), sg.softmax(x))


@every_dtype
@pytest.mark.usefixtures("level")
def test_kernels_find_the_support_of_the_formula(dtype):
    """At any α, of short rows and long ones, of values that are close and far apart, also where α differs by row."""
    rng = np.random.default_rng(0)
    for n in (3, 32, 100, 1000):
        spread = rng.choice([1e-3, 0.1, 1, 5, 300], (8, 1))
        x = (rng.normal(size=(8, n)) * spread).astype(dtype)
        x[0, : n // 2] = x[0, 0]
        for alpha in (1 + 2.0**-52, 1.001, 1.9, 2.1, 20.0, 1e6, inf, np.exp(rng.uniform(-6, 6, 8)) + 1):
            got, formula = sg.entmax(x, alpha), sparse.entmax(x, alpha)
            np.testing.assert_array_equal(got > 0, formula > 0)
            np.testing.assert_allclose(got, formula, rtol=1e-6 if dtype == np.float32 else 1e-12, atol=1e-15)
            assert abs(got.sum(-1, dtype=np.float64) - 1).max() < n * np.finfo(dtype).eps


def test_limits(level):
    x = np.array([1.0, 3.0, 3.0, 2.0])
    argmax = np.array([0, 0.5, 0.5, 0])
    for alpha in (2.0, 1.5, 1.25, 3.0, inf):
        assert_same(sg.entmax(x, alpha, temperature=0.0), argmax)
        assert_same(sg.entmax(x, alpha, temperature=inf), np.full(4, 0.25))
    for alpha in (1e3, 1e300, inf):
        assert_close(sg.entmax(x, alpha), argmax)
    assert_close(sg.entmax(x, 1 + 2.0**-52), sg.softmax(x))
    assert_close(sg.entmax(np.float32([1, 2, 3]), 1 + 1e-12), sg.softmax(np.float32([1, 2, 3])))


def test_the_margin_is_met():
    """All of the probability is that of the largest entry once its margin is 1/(α−1)."""
    for alpha in (1.25, 1.5, 2.0, 3.0):
        assert sg.entmax([1 / (alpha - 1), 0.0, -1.0], alpha).tolist() == [1, 0, 0]


def test_wrong_arguments():
    x = np.ones((2, 3))
    for bad, message in ((0.5, "at least 1; got 0.5"), (np.nan, "at least 1; got nan"), ([1, 0.0], "everywhere")):
        with pytest.raises(ValueError, match=f"alpha must be {message}" if message != "everywhere" else message):
            sg.entmax(x, bad)
    with pytest.raises(ValueError, match=r"alpha must broadcast to shape \(2,\)"):
        sg.entmax(x, [1, 2, 3])
    with pytest.raises(TypeError, match="alpha must be a number"):
        sg.entmax(x, "much")
    with pytest.raises(TypeError, match="multiple values"):
        sg.entmax(x, 1.5, alpha=2)
    with pytest.raises(TypeError, match="positional"):
        sg.entmax(x, 1.5, 0)


def exact_powers(p, alpha):
    """q = p^(2−α), and p, as exact numbers."""
    exact = [number(v) for v in p]
    return [v ** (2 - number(alpha)) if v else mp.mpf(0) for v in exact], exact


def exact_by_alpha(p, alpha):
    """∂p/∂α and the size of its terms, by the formula in `entmax_alpha_vjp`."""
    s = number(alpha) - 1
    log = [mp.log(v) if v else mp.mpf(0) for v in p]
    beta = [(mp.exp(-s * t) - 1 + s * t) / s**2 if s else t * t / 2 for t in log]
    L, B = (mp.fsum(v * t for v, t in zip(p, part, strict=True)) for part in (log, beta))
    total = mp.fsum(v ** (1 - s) for v in p if v)
    slopes = [v * ((B - b) - s * (t * B - b * L)) / total for v, t, b in zip(p, log, beta, strict=True)]
    sizes = [v * ((B + b) + s * (abs(t) * B + b * abs(L))) / total for v, t, b in zip(p, log, beta, strict=True)]
    return slopes, sizes


@every_dtype
def test_products_with_the_jacobian(dtype):
    rng = np.random.default_rng(0)
    for alpha in (1.0, 1.25, 1.5, 2.0, 3.0):
        for kind in ("normal", "ties", "wide", "nearly_sorted"):
            p = sg.entmax(rows.row(kind, 20, dtype) / 2, alpha)
            q, _ = exact_powers(p, alpha)
            g = rng.normal(size=20).astype(dtype)
            exact = [number(v) for v in g]
            k = max(range(20), key=q.__getitem__)
            relative = [v - exact[k] if w else mp.mpf(0) for v, w in zip(exact, q, strict=True)]
            mean = mp.fsum(a * b for a, b in zip(q, relative, strict=True)) / mp.fsum(q)
            spread = mp.fsum(a * abs(b) for a, b in zip(q, relative, strict=True)) / mp.fsum(q)
            got = sg.entmax_vjp(p, g, alpha)
            J = sg.entmax_jacobian(rows.row(kind, 20, dtype) / 2, alpha).toarray()
            for i in range(20):
                size = q[i] * (abs(relative[i]) + spread)
                what = f"alpha={alpha}, {kind}, i={i}"
                value = q[i] * (relative[i] - mean)
                assert abs(number(got[i]) - value) <= error_bounds.SPARSE_VJP * spacing(size, dtype), what
                others = mp.fsum(v for j, v in enumerate(q) if j != i)
                entry = q[i] * others / mp.fsum(q)
                assert abs(number(J[i, i]) - entry) <= error_bounds.SPARSE_JACOBIAN * spacing(entry, dtype), what
                entry = -q[i] * q[k] / mp.fsum(q) if i != k else entry
                assert abs(number(J[i, k]) - entry) <= error_bounds.SPARSE_JACOBIAN * spacing(entry, dtype), what
            if alpha == 2:
                assert_same(sg.sparsemax_vjp(p, g), got)


@every_dtype
def test_derivatives_by_alpha(dtype):
    rng = np.random.default_rng(1)
    for alpha in (1.0, 1 + 2.0**-20, 1.25, 1.5, 2.0, 4.0):
        for kind in ("normal", "ties", "wide", "saturated"):
            p = sg.entmax(rows.row(kind, 20, dtype) / 2, alpha)
            g = rng.normal(size=20).astype(dtype)
            exact_p, exact_g = [number(v) for v in p], [number(v) for v in g]
            slopes, sizes = exact_by_alpha(exact_p, alpha)
            k = int(np.argmax(p))
            value = mp.fsum(a * (b - exact_g[k]) for a, b in zip(slopes, exact_g, strict=True))
            size = mp.fsum(a * abs(b - exact_g[k]) for a, b in zip(sizes, exact_g, strict=True))
            error = abs(number(sg.entmax_alpha_vjp(p, g, alpha)) - value)
            assert error <= error_bounds.ALPHA_VJP * spacing(size, dtype), f"alpha={alpha}, {kind}"


def test_the_formula_of_the_derivative_by_alpha_is_that_of_exact_differences():
    x, h = np.array([0.3, -0.5, 0.1, -2.0]), 2.0**-20
    for alpha in (1.25, 1.5, 2.5):
        exact = [exact_entmax(x.tobytes(), x.dtype, a).p for a in (alpha, alpha + h, alpha - h)]
        slopes, _ = exact_by_alpha(exact[0], alpha)
        for slope, above, below in zip(slopes, exact[1], exact[2], strict=True):
            assert abs((above - below) / (2 * number(h)) - slope) < 1e-9


def test_the_derivative_of_a_step_is_zero():
    p = np.array([0.5, 0.5, 0.0])
    assert sg.entmax_vjp(p, [1.0, 2.0, 3.0], inf).tolist() == [0, 0, 0]
    assert sg.entmax_alpha_vjp(p, [1.0, 2.0, 3.0], inf) == 0
    with pytest.raises(ValueError, match="alpha must be finite"):
        sg.entmax_jacobian([1.0, 2.0], inf)
    with pytest.raises(ValueError, match="at 0 entmax is a step"):
        sg.entmax_jacobian([1.0, 2.0], temperature=0.0)
    assert sg.entmax_vjp([1e-200, 1.0], [1.0, 2.0], 10.0).tolist() == [-1, 1]  # q = 1e1600


@pytest.mark.parametrize("vjp", [sg.sparsemax_vjp, sg.entmax_vjp, lambda p, g: sg.entmax_vjp(p, g, 1.7)])
@pytest.mark.usefixtures("level")
def test_directions_that_are_no_numbers(vjp):
    """NaN, or an infinity at the largest entry, spoils its slice, as in `softmax_vjp`; where p is 0 nothing is read."""
    p = np.array([[1, 0, 0], [0.5, 0.5, 0]])
    for bad in (nan, inf):
        np.testing.assert_array_equal(vjp(p, [bad, 1, 2]), [[nan, 0, 0], [nan, nan, 0]])
        np.testing.assert_array_equal(vjp(p[0], [1, bad, bad]), [0, 0, 0])


def test_tsallis_entropy():
    for dtype in DTYPES:
        for kind in ("normal", "wide", "saturated", "ties"):
            p = sg.softmax(rows.row(kind, 20, dtype))
            exact = [number(v) for v in p]
            for alpha in (1.0, 1 + 2.0**-30, 1.5, 2.0, 7.0):
                s = number(alpha) - 1
                terms = [(v - v ** (1 + s)) / (s * (1 + s)) if s else -v * mp.log(v) for v in exact if v]
                value = mp.fsum(terms)
                error = abs(number(sg.tsallis_entropy(p, alpha)) - value)
                assert error <= error_bounds.TSALLIS * spacing(value, dtype), f"{kind}, alpha={alpha}"
    assert sg.tsallis_entropy([0.25, 0.75], inf) == 0
    assert np.isnan(sg.tsallis_entropy([[np.nan, 1.0], [-0.5, 1.5]])).all()
    assert sg.tsallis_entropy(np.float16([0.5, 0.5]), 2.0).dtype == np.float32


def test_layers():
    x, g = logits((3, 5), np.dtype(np.float64)) / 5, np.ones((3, 5)) * np.arange(5)
    for layer, alpha in ((sg.Sparsemax(), 2.0), (sg.Entmax(), 1.5), (sg.Entmax(1.25, axis=0), 1.25)):
        p = sg.entmax(x, alpha, axis=layer.axis)
        assert_same(layer(x), p)
        assert_same(layer.output, p)
        assert_same(layer.backward(g), sg.entmax_vjp(p, g, alpha, axis=layer.axis))
        assert_same(layer.backward_alpha(g), sg.entmax_alpha_vjp(p, g, alpha, axis=layer.axis))
        assert_close(layer.backward(), sg.entmax_jacobian(x, alpha, axis=layer.axis).toarray())
    assert repr(sg.Entmax(1.25)) == "Entmax(alpha=1.25, axis=-1)"
    assert repr(sg.Sparsemax(0)) == "Sparsemax(axis=0)"
    with pytest.raises(RuntimeError, match="no output yet"):
        sg.Entmax().backward(g)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_entmax_package_agrees(dtype):
    entmax, torch = pytest.importorskip("entmax", "1.3"), pytest.importorskip("torch")
    x, labels = torch.tensor(logits((20, 50), np.dtype(dtype))), torch.arange(20)
    exact = 64 * np.finfo(dtype).eps
    np.testing.assert_allclose(sg.sparsemax(x), entmax.sparsemax(x, -1), atol=exact)
    np.testing.assert_allclose(sg.entmax(x), entmax.entmax15(x, -1), atol=exact)
    np.testing.assert_allclose(sg.entmax(x, 1.25), entmax.entmax_bisect(x, 1.25, n_iter=60), atol=1e-5)
    np.testing.assert_allclose(sg.sparsemax_loss(x, labels), entmax.sparsemax_loss(x, labels), rtol=exact, atol=exact)
    np.testing.assert_allclose(sg.entmax_loss(x, labels), entmax.entmax15_loss(x, labels), rtol=exact, atol=exact)


def test_where_the_entmax_package_is_not_right():
    """What is exact here, and by how much it fails there: whoever moves over sees other numbers."""
    entmax, torch = pytest.importorskip("entmax", "1.3"), pytest.importorskip("torch")
    impossible, label = torch.tensor([[1.0, 2.0, -inf]]), torch.tensor([0])
    assert torch.isnan(entmax.sparsemax_loss(impossible, label)).all()
    assert sg.sparsemax_loss(impossible, label).tolist() == [1.0]  # p = (0, 1): (1 − ‖p‖²)/2 + ⟨p − y, x⟩
    with pytest.raises(RuntimeError):
        entmax.sparsemax(torch.full((1, 3), -inf), -1)
    assert torch.isnan(sg.sparsemax(torch.full((1, 3), -inf))).all()
    x = torch.tensor([[0.3, -0.2, 0.1, 1.0]])
    almost_one = 1 + 2.0**-20
    exact = sg.entmax(x.double(), almost_one)
    assert abs(entmax.entmax_bisect(x, almost_one) - exact).max() > 1e-4
    np.testing.assert_allclose(sg.entmax(x, almost_one), exact, rtol=2.0**-23)
    half = torch.tensor(logits((50, 20), np.dtype(np.float16)))
    once = sg.entmax(half.double()).half()
    assert (entmax.entmax15(half, -1) != once).any()
    assert_same(sg.entmax(half).numpy(), once.numpy())


def test_optax_agrees():
    optax = pytest.importorskip("optax")
    for row in logits((20, 50), np.dtype(np.float32)):
        np.testing.assert_allclose(sg.sparsemax(row), optax.projections.projection_simplex(row), atol=1e-6)
