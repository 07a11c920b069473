"""The bounds of docs/accuracy.md: every value and derivative against exact arithmetic, on every level."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import softgrad as sg

from .. import error_bounds, rows
from ..reference import ExactProducts, check, exact_softmax, numbers

DTYPES = (np.float32, np.float64)
TEMPERATURES = (0.7, 3.0, 1e-3, 1e3)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
every_kind = pytest.mark.parametrize("kind", rows.KINDS)


def close(what, level, got, exact, *, bound, size=None, note=""):
    """`check`, where a subnormal value has to lie within one subnormal spacing."""
    values = what in ("softmax", "log_softmax", "logsumexp")
    subnormal = error_bounds.SUBNORMAL if values else bound
    check(what, level, got, exact, bound=bound, size=size, subnormal=subnormal, note=note)


def check_forward(level, x, temperature=1.0, note=""):
    """softmax, log_softmax and (at T = 1) logsumexp of one row."""
    exact = exact_softmax(x, temperature)
    rough = rows.rough_log_softmax(x, temperature)
    p = sg.softmax(x, temperature=temperature)
    for i in rows.sample(p, np.exp(rough)):
        close(
            "softmax",
            level,
            p[i],
            exact.softmax(i),
            bound=error_bounds.softmax(level, x.dtype),
            note=f"{note} i={i} T={temperature}",
        )
    y = sg.log_softmax(x, temperature=temperature)
    for i in rows.sample(y, rough):
        value = exact.log_softmax(i)
        close("log_softmax", level, y[i], value, bound=error_bounds.LOG_SOFTMAX, note=f"{note} i={i} T={temperature}")
    if temperature == 1:
        value = exact.logsumexp()
        size = max(abs(value), abs(exact.largest()))
        close("logsumexp", level, sg.logsumexp(x), value, bound=error_bounds.LOGSUMEXP, size=size, note=note)


def check_jacobian(level, x, note=""):
    exact = exact_softmax(x)
    J = sg.calculate_gradient(x)
    diagonal = sg.softmax_jacobian(x).diagonal()
    rng = np.random.default_rng(0)
    k, n = exact.k, len(x)
    some = [(i, i) for i in {k, 0, n - 1, *rng.integers(n, size=8).tolist()}]
    some += [(i, k) for i in rng.integers(n, size=8).tolist()] + rng.integers(n, size=(16, 2)).tolist()
    for i, j in some:
        value = exact.jacobian(i, j)
        close("jacobian", level, J[i, j], value, bound=error_bounds.JACOBIAN, note=f"{note} i={i} j={j}")
        assert J[i, j] == J[j, i]
        if i == j:
            close("diagonal", level, diagonal[i], value, bound=error_bounds.JACOBIAN, note=f"{note} i={i}")


def check_products(level, p, y, u, v, *, note=""):
    """The four derivatives that are applied to directions, from given outputs."""
    dtype = p.dtype
    eu, ev = numbers(u), numbers(v)
    from_p, from_y = ExactProducts(numbers(p)), ExactProducts([mp.exp(t) for t in numbers(y)])
    for what, got, (values, sizes), bound in (
        ("softmax_vjp", sg.softmax_vjp(p, u), from_p.softmax_vjp(eu), error_bounds.VJP),
        ("log_softmax_vjp", sg.log_softmax_vjp(y, u), from_y.log_softmax_vjp(eu), error_bounds.LOG_SOFTMAX_VJP),
        ("log_softmax_jvp", sg.log_softmax_jvp(y, u), from_y.log_softmax_jvp(eu), error_bounds.LOG_SOFTMAX_JVP),
        ("softmax_second", sg.softmax_second(p, u, v), from_p.softmax_second(eu, ev), error_bounds.SOFTMAX_SECOND),
    ):
        assert got.dtype == dtype
        for i in rows.sample(got, np.array([float(t) for t in values])):
            check(what, level, got[i], values[i], bound=bound, size=sizes[i], note=f"{note} i={i}")


def directions(n, dtype, seed=0):
    rng = np.random.default_rng([seed, n, 7])
    scale = np.exp(rng.normal(size=n) * 3)
    return rng.normal(size=n).astype(dtype), (rng.normal(size=n) * scale).astype(dtype)


@every_dtype
@every_kind
def test_values(level, kind, dtype):
    for n in rows.LENGTHS:
        check_forward(level, rows.row(kind, n, dtype), note=f"rows.row({kind!r}, {n})")


@pytest.mark.slow
@every_dtype
@every_kind
def test_values_at_a_temperature(level, kind, dtype):
    if kind in ("extreme", "offset_1e30"):
        pytest.skip("x/T overflows, or T decides nothing")
    for n in (1, 2, 10, 33, 100):
        for temperature in TEMPERATURES:
            check_forward(level, rows.row(kind, n, dtype), temperature, f"rows.row({kind!r}, {n})")


@pytest.mark.slow
@every_dtype
@every_kind
def test_jacobian_entries(level, kind, dtype):
    for n in rows.LENGTHS[:-2]:
        check_jacobian(level, rows.row(kind, n, dtype), f"rows.row({kind!r}, {n})")


@pytest.mark.slow
@every_dtype
@every_kind
def test_products(level, kind, dtype):
    for n in rows.LENGTHS[:-1:2]:
        x = rows.row(kind, n, dtype)
        u, v = directions(n, dtype)
        check_products(level, sg.softmax(x), sg.log_softmax(x), u, v, note=f"rows.row({kind!r}, {n}), directions({n})")


@pytest.mark.slow
@every_dtype
@pytest.mark.parametrize("kind", ["normal", "wide", "subnormal_tail", "growing", "impossible", "constant"])
def test_long_rows(level, kind, dtype):
    n = 20_000
    check_forward(level, rows.row(kind, n, dtype), note=f"rows.row({kind!r}, {n})")


@pytest.mark.slow
@every_dtype
def test_products_of_long_rows(level, dtype):
    n = 5_000
    x = rows.row("normal", n, dtype)
    check_products(level, sg.softmax(x), sg.log_softmax(x), *directions(n, dtype), note=f"directions({n})")


@pytest.mark.parametrize("temperatures", [TEMPERATURES])
@every_dtype
def test_a_temperature_per_slice(level, dtype, temperatures):
    x = np.stack([rows.row("wide", 65, dtype, seed) for seed in range(len(temperatures))])
    p, y = sg.softmax(x, temperature=temperatures), sg.log_softmax(x, temperature=temperatures)
    for r, temperature in enumerate(temperatures):
        exact = exact_softmax(x[r], temperature)
        for i in range(65):
            close(
                "softmax",
                level,
                p[r, i],
                exact.softmax(i),
                bound=error_bounds.softmax(level, x.dtype),
                note=f"T={temperature}",
            )
            close(
                "log_softmax",
                level,
                y[r, i],
                exact.log_softmax(i),
                bound=error_bounds.LOG_SOFTMAX,
                note=f"T={temperature}",
            )


@every_dtype
@pytest.mark.parametrize("n", [10, 33, 100, 257, 1000])
def test_one_probability_from_a_half_to_nearly_1(level, dtype, n):
    x = np.stack([rows.row("normal", n, dtype, seed) for seed in range(24)])
    largest = x.argmax(axis=1)
    x[np.arange(24), largest] = np.log(n) + np.linspace(0, 22, 24) - np.random.default_rng(n).choice([0, 10])
    y, total = sg.log_softmax(x), sg.logsumexp(x)
    for r, k in enumerate(largest):
        exact = exact_softmax(x[r])
        for i in (k, (k + 1) % n):
            value, note = exact.log_softmax(i), f"{n=} {r=} {i=}"
            close("log_softmax", level, y[r, i], value, bound=error_bounds.LOG_SOFTMAX, note=note)
        value = exact.logsumexp()
        size = max(abs(value), abs(exact.largest()))
        close("logsumexp", level, total[r], value, bound=error_bounds.LOGSUMEXP, size=size, note=f"{n=} {r=}")


@every_dtype
def test_saturated_rows_keep_what_is_small(level, dtype):
    """Rows where the usual implementations return 0."""
    assert sg.log_softmax(np.array([0, -40], dtype))[0] == pytest.approx(-4.248354255291589e-18)
    assert sg.calculate_gradient(np.array([20, 0, 0], dtype))[0, 0] == pytest.approx(4.122307e-09, rel=1e-6)
    y = sg.log_softmax(np.array([40, 0], dtype))
    assert sg.log_softmax_vjp(y, np.array([-1, 0], dtype))[0] == pytest.approx(-4.248354255291589e-18)


@pytest.mark.parametrize("kind", ["normal", "saturated", "ties", "impossible", "falling"])
@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_precision_is_rounded_once(level, name, kind):
    import ml_dtypes  # noqa: PLC0415  registers the name

    dtype = np.dtype(np.float16 if name == "float16" else ml_dtypes.bfloat16)
    for n in (1, 2, 10, 33, 100, 257):
        x = rows.row(kind, n, np.float16).astype(dtype)
        exact = exact_softmax(x.astype(np.float64))
        p, y = sg.softmax(x), sg.log_softmax(x)
        assert p.dtype == y.dtype == dtype
        for i in range(0, n, 1 + n // 20):
            close(
                "softmax", level, p[i], exact.softmax(i), bound=error_bounds.HALF, note=f"rows.row({kind!r}, {n}) i={i}"
            )
            close("log_softmax", level, y[i], exact.log_softmax(i), bound=error_bounds.HALF, note=f"{kind} {n} i={i}")
        value = exact.logsumexp()
        close(
            "logsumexp",
            level,
            sg.logsumexp(x),
            value,
            bound=error_bounds.HALF,
            size=max(abs(value), abs(exact.largest())),
        )


def test_longdouble_is_not_narrowed(level):
    for kind in ("normal", "wide", "saturated", "impossible"):
        x = rows.row(kind, 100, np.longdouble)
        x += np.finfo(np.longdouble).eps * np.arange(100)  # not float64 numbers
        check_forward(level, x, note=kind)
        assert sg.softmax(x).dtype == np.longdouble


@st.composite
def drawn_rows(draw, dtype):
    """A row of hand-picked numbers, or a longer one from a magnitude, a spread and a seed."""
    info = np.finfo(dtype)
    width = 32 if dtype is np.float32 else 64
    if draw(st.booleans()):
        finite = st.floats(-1000, 1000, width=width) | st.floats(-100, 0, width=width) | st.just(-np.inf)
        row = draw(st.lists(finite, max_size=40))
        return np.array([*row, draw(st.floats(-1000, 1000, width=width))], dtype)
    n = draw(st.sampled_from(rows.LENGTHS) | st.integers(1, 300))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = draw(st.sampled_from([1e-6, 1e-2, 1.0, 5.0, 20.0, 100.0, 700.0, 1e4]))
    offset = draw(st.sampled_from([0.0, 0.0, 1.0, 255.9, 256.1, 2047.9, 2048.1, 1e4, 1e6, float(info.max) / 4]))
    shape = draw(st.sampled_from([rng.normal, rng.standard_cauchy, lambda size: rng.uniform(-1, 1, size)]))
    x = offset * draw(st.sampled_from([-1, 1])) + spread * shape(size=n)
    impossible = rng.random(n) < draw(st.sampled_from([0.0, 0.0, 0.3, 0.9]))
    impossible[rng.integers(n)] = False
    return np.where(impossible, -np.inf, x).astype(dtype)


@every_dtype
@given(data=st.data())
def test_values_of_drawn_rows(level, dtype, data):
    x = data.draw(drawn_rows(dtype))
    check_forward(level, x, data.draw(st.sampled_from([1.0, 1.0, *TEMPERATURES])), f"x={x!r}")


@every_dtype
@given(data=st.data())
def test_derivatives_of_drawn_rows(level, dtype, data):
    x = data.draw(drawn_rows(dtype))
    check_jacobian(level, x, f"x={x!r}")
    u, v = directions(len(x), dtype, data.draw(st.integers(0, 100)))
    check_products(level, sg.softmax(x), sg.log_softmax(x), u, v, note=f"x={x!r} u={u!r} v={v!r}")


@every_dtype
@given(data=st.data())
def test_weighted_logsumexp_of_drawn_rows(level, dtype, data):
    """With factors b of both signs: 1 ulp of max(|result|, |max x|), times the condition number of the sum."""
    x = data.draw(drawn_rows(dtype))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    b = rng.normal(size=len(x)).astype(dtype) * (rng.random(len(x)) < 0.8)
    if data.draw(st.booleans()):
        b = np.abs(b)
    ex, eb = numbers(x), numbers(b)
    largest = max(ex)
    terms = [w * (mp.exp(t - largest) if t - largest > -20000 else 0) for w, t in zip(eb, ex, strict=True)]
    total, size = mp.fsum(terms), mp.fsum(abs(t) for t in terms)
    if total == 0 or abs(total) < size * mp.mpf(2) ** -10:
        return  # ill-conditioned: the last bits of the sum decide its logarithm
    got = sg.logsumexp(x, b=b)
    if total < 0:
        assert np.isnan(got)
        return
    value = largest + mp.log(total)
    read = max(t for w, t in zip(eb, ex, strict=True) if w)
    scale = max(abs(value), abs(read), size / total)
    close("logsumexp(b)", level, got, value, bound=error_bounds.LOGSUMEXP, size=scale, note=f"x={x!r} b={b!r}")
