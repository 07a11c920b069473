"""States of blocks: whatever they are and their order, the results are those of the whole slice."""

import operator
import pickle
from functools import reduce
from math import inf, nan

import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import softgrad as sg
from softgrad._formulas import states
from softgrad._numpy import states as kernel_states

from .. import rows
from ..maps import BFLOAT16, FLOATS, INTEGERS, assert_close, assert_same, every_float, logits, result_dtype
from ..reference import check, exact_softmax

BOUND = 2.0
"""In ulp of the result; for logsumexp and mean of max(|result|, |max x|)."""

DTYPES = (np.float32, np.float64)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
every_kind = pytest.mark.parametrize("kind", rows.KINDS)


def close(what, got, exact, size=None, note=""):
    if what in ("entropy", "mean"):  # their terms are weights times up to 745, and weights may be subnormal
        size = max(exact if size is None else size, 745 * float(np.finfo(got.dtype).tiny))
    check(f"streaming {what}", "", got, exact, bound=BOUND, size=size, subnormal=1.0, note=note)


def check_state(x, values, at, note=""):
    """Compare the (logsumexp, entropy, mean) and the {index: (p, log p)} of a state with those of the whole row x."""
    exact = exact_softmax(x)
    gap, largest = exact.mean_gap, exact.largest()
    lse, entropy, mean = values
    close("logsumexp", lse, exact.logsumexp(), max(abs(exact.logsumexp()), abs(largest)), note)
    close("entropy", entropy, exact.log_total + gap, note=note)
    close("mean", mean, largest - gap, max(abs(largest - gap), abs(largest)), note)
    for i, (p, log_p) in at.items():
        close("softmax", p, exact.softmax(i), note=f"{note} i={i}")
        close("log_softmax", log_p, exact.log_softmax(i), note=f"{note} i={i}")


def results(state):
    return state.logsumexp(), state.entropy(), state.mean()


def normalized(state, x):
    p, y = state.normalize(x), state.normalize(x, log=True)
    return {i: (p[i], y[i]) for i in rows.sample(y, rows.rough_log_softmax(x))}


@pytest.mark.slow
@every_dtype
@every_kind
def test_blocks_in_any_order(kind, dtype):
    for n in (1, 2, 3, 10, 100):
        x = rows.row(kind, n, dtype)
        for order in (np.arange(n), np.argsort(x), np.argsort(-x)):
            blocks = np.split(x[order], sorted([1, n // 3, n // 2]))
            state = sg.LogSumExpState()
            for block in blocks:
                state.update(block)
            check_state(x, results(state), normalized(state, x), f"{kind} n={n}")


@pytest.mark.slow
@pytest.mark.parametrize("order", ["ascending", "descending", "random"])
@every_dtype
def test_thousands_of_entries_one_by_one(dtype, order):
    """Rows side by side, each taken in entry by entry."""
    n = 4000
    kinds = ("normal", "wide", "growing", "falling", "nearly_sorted", "saturated", "offset_1e30", "constant")
    x = np.stack([rows.row(kind, n, dtype) for kind in kinds])
    given = {"ascending": np.sort(x), "descending": -np.sort(-x), "random": x}[order]
    state = sg.LogSumExpState()
    for j in range(n):
        state.update(given[:, j : j + 1])
    p, y = state.normalize(x), state.normalize(x, log=True)
    for i, kind in enumerate(kinds):
        some = {j: (p[i, j], y[i, j]) for j in (0, 1, n // 2, n - 1, int(np.argmax(x[i])))}
        check_state(x[i], [value[i] for value in results(state)], some, kind)


@given(data=st.data())
def test_any_tree_of_merges(data):
    dtype = data.draw(st.sampled_from(DTYPES))
    n = data.draw(st.integers(1, 60))
    kind = data.draw(st.sampled_from(sorted(rows.KINDS)))
    x = rows.row(kind, n, dtype, seed=data.draw(st.integers(0, 10**6)))
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=12)))
    order = data.draw(st.permutations(range(n)))
    states = [sg.LogSumExpState().update(block) for block in np.split(x[order], cuts)]
    while len(states) > 1:
        a = states.pop(data.draw(st.integers(0, len(states) - 1)))
        b = states.pop(data.draw(st.integers(0, len(states) - 1)))
        states.append(a + b)
    check_state(x, results(states[0]), normalized(states[0], x), f"{kind} {cuts}")


@pytest.mark.parametrize("dtype", [d for d in FLOATS if d.itemsize == 2 or d == np.longdouble], ids=lambda d: d.name)
def test_other_dtypes_are_as_exact_as_the_functions(dtype):
    x = logits((5, 300), dtype)
    state = sg.LogSumExpState().update(x[:, :7]).update(x[:, 7:100]).update(x[:, 100:])
    pairs = [
        (state.logsumexp(), sg.logsumexp(x)),
        (state.entropy(), sg.entropy(x)),
        (state.normalize(x), sg.softmax(x)),
        (state.normalize(x, log=True), sg.log_softmax(x)),
    ]
    for got, expected in pairs:
        assert_close(got, expected, ulp=1 if dtype.itemsize == 2 else 4)


@pytest.mark.parametrize("dtype", INTEGERS, ids=lambda d: d.name)
def test_integers_become_float64_first(dtype):
    x = logits((3, 33), dtype)
    got, expected = (sg.LogSumExpState().update(a[:, :9]).update(a[:, 9:]) for a in (x, x.astype(np.float64)))
    for a, b in zip(results(got), results(expected), strict=True):
        assert_same(a, b)
    assert_same(got.normalize(x), expected.normalize(x.astype(np.float64)))


# edges: one slice in two blocks, against the functions of the whole

EDGES = {
    "nan": [0.0, 1.0, nan, 2.0],
    "nan beside inf": [inf, nan, -inf, 0.0],
    "inf": [0.0, inf, -inf, 1.0],
    "two inf": [inf, 0.0, inf, 1.0],
    "nothing but −inf": [-inf] * 4,
    "−inf among others": [-inf, 0.0, -inf, 3.0],
    "far apart": [60000.0, -60000.0, 0.0, 60000.0],
}


def assert_as_whole(state, x, where=None):
    got = (
        state.logsumexp(),
        state.entropy(),
        state.normalize(x, where=where),
        state.normalize(x, where=where, log=True),
    )
    expected = [f(x, where=where) for f in (sg.logsumexp, sg.entropy, sg.softmax, sg.log_softmax)]
    for a, b in zip(got, expected, strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("edge", EDGES)
@every_float
def test_edges(edge, dtype):
    x = np.array(EDGES[edge], dtype)
    for cut in range(5):
        with np.errstate(all="raise"):
            a, b = sg.LogSumExpState().update(x[:cut]), sg.LogSumExpState().update(x[cut:])
            for state in (a + b, b + a, sg.LogSumExpState().update(x[:cut]).update(x[cut:])):
                assert_as_whole(state, x)
                assert np.isnan(state.mean()) == np.isnan(state.entropy())


@every_float
def test_masks(dtype):
    x = logits((6, 40), dtype)
    where = np.random.default_rng(0).random((6, 40)) < 0.6
    where[1], where[2, :20], where[3, 20:], x[4] = False, False, False, -inf
    where[5, ::2], x[5, 1::2] = False, -inf
    x[~where] = nan
    whole = sg.LogSumExpState()
    for columns in (slice(0, 20), slice(20, 20), slice(20, 31), slice(31, 40)):
        whole.update(x[:, columns], where=where[:, columns])
    assert_as_whole(whole, x, where)
    assert whole.mean()[1] == 0
    masked = np.ma.MaskedArray(x, ~where)
    state = sg.LogSumExpState().update(masked[:, :9]).update(masked[:, 9:])
    assert_same(state.logsumexp(), whole.logsumexp())
    got = state.normalize(masked)
    assert isinstance(got, np.ma.MaskedArray)
    np.testing.assert_array_equal(got.mask, ~where)


@every_float
def test_empty_blocks(dtype):
    state = sg.LogSumExpState().update(np.empty((3, 0), dtype))
    np.testing.assert_array_equal(state.logsumexp().astype(float), [-inf] * 3)
    np.testing.assert_array_equal(state.entropy().astype(float), [0] * 3)
    assert state.normalize(np.empty((3, 0), dtype)).shape == (3, 0)
    x = logits((3, 4), dtype)
    assert_as_whole(state.update(x).update(np.empty((3, 0), dtype)), x)
    assert sg.LogSumExpState().update(np.empty((0, 4), dtype)).logsumexp().shape == (0,)


# axes, dtypes, libraries


@pytest.mark.parametrize("axis", [0, 1, -1, (0, 2), (2, 1), None, (0, 1, 2)], ids=str)
def test_any_axis(axis):
    x = logits((6, 5, 4), np.dtype(np.float64))
    state = sg.LogSumExpState(axis=axis)
    first = 0 if axis is None else axis if isinstance(axis, int) else axis[0]
    for block in np.split(x, [1, 3], axis=first):
        state.update(block)
    assert_close(state.logsumexp(), sg.logsumexp(x, axis=axis))
    some = (slice(None),) * (first % 3) + (slice(2, None),)
    assert_close(state.normalize(x[some]), sg.softmax(x, axis=axis)[some])
    assert_close(state.normalize(x), sg.softmax(x, axis=axis))
    assert_close(state.normalize(x, log=True), sg.log_softmax(x, axis=axis))


def test_the_widest_dtype_so_far_is_that_of_the_results():
    state = sg.LogSumExpState()
    for dtype in (np.float16, np.int8, np.longdouble):
        state.update(np.ones((2, 3), dtype))
        assert state.logsumexp().dtype == np.promote_types(result_dtype(np.dtype(dtype)), state.mean().dtype)
    assert state.logsumexp().dtype == np.longdouble
    np.testing.assert_allclose(state.logsumexp(), 1 + np.log(np.longdouble(9)), rtol=1e-18)
    assert state.normalize(np.ones((2, 1), np.float32)).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, BFLOAT16], ids=str)
def test_a_scalar_comes_back_for_one_slice(dtype):
    assert isinstance(sg.LogSumExpState().update(np.ones(3, dtype)).logsumexp(), np.generic)


@every_dtype
def test_arrays_of_another_library(dtype):
    x = logits((3, 33), np.dtype(dtype))
    x[1, 4], where = -inf, np.random.default_rng(0).random((3, 33)) < 0.8
    state, plain = sg.LogSumExpState(), sg.LogSumExpState()
    for columns in (slice(0, 1), slice(1, 20), slice(20, 33)):
        block, mask = (np.ascontiguousarray(a[:, columns]) for a in (x, where))
        state.update(array_api_strict.asarray(block), where=array_api_strict.asarray(mask))
        plain.update(block, where=mask)
    got = (*results(state), state.normalize(array_api_strict.asarray(x), log=True))
    for a, b in zip(got, (*results(plain), plain.normalize(x, log=True)), strict=True):
        assert_close(np.from_dlpack(a), b)
    with pytest.raises(TypeError, match=r"x must be an array of array_api_strict, as before; got one of numpy"):
        state.update(x)


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "rising"), [(1, True), (5, False), (30, True), (300, True)])
def test_jax_without_float64_keeps_the_rounding_errors_of_float32(scale, rising):
    """Without a warning, and 4 ulp where a state in plain float32 loses dozens of them."""
    jax = pytest.importorskip("jax")
    x = (scale * np.random.default_rng(0).normal(size=(16, 600)) + 10 * scale).astype(np.float32)
    x = np.sort(x, axis=1) if rising else x  # the maximum changes in every block
    state, plain = sg.LogSumExpState(), sg.LogSumExpState()
    for block in np.split(x, 30, axis=1):
        state.update(jax.numpy.asarray(block))
        plain.update(block.astype(np.float64))
    whole = jax.numpy.asarray(x)
    got = (*results(state), state.normalize(whole), state.normalize(whole, log=True))
    wide = x.astype(np.float64)
    expected = (*results(plain), plain.normalize(wide), plain.normalize(wide, log=True))
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == np.float32
        unit = np.spacing(np.maximum(np.abs(b), 1e-30).astype(np.float32))
        assert (np.abs(np.asarray(a, np.float64) - b) <= 4 * unit).all()


@pytest.mark.slow
def test_jax_with_float64_is_as_exact_as_numpy():
    jax = pytest.importorskip("jax")
    x = logits((3, 40), np.dtype(np.float64))
    plain = sg.LogSumExpState().update(x)
    with jax.enable_x64(True):
        state = sg.LogSumExpState()
        for block in np.split(x, 8, axis=1):
            state.update(jax.numpy.asarray(block))
        for a, b in zip(results(state), results(plain), strict=True):
            assert a.dtype == np.float64
            assert_close(np.asarray(a), b)


def test_a_state_travels_and_stays_as_it_was():
    x = logits((3, 30), np.dtype(np.float64))
    parts = [sg.LogSumExpState().update(block) for block in np.split(x, 5, axis=1)]
    before = [results(part) for part in parts]
    total = reduce(operator.add, [pickle.loads(pickle.dumps(part)) for part in parts])
    assert_close(total.logsumexp(), sg.logsumexp(x))
    reduce(operator.add, parts)
    for part, expected in zip(parts, before, strict=True):
        for a, b in zip(results(part), expected, strict=True):
            assert_same(a, b)
    own = sg.LogSumExpState().merge(parts[0]).merge(sg.LogSumExpState())
    assert own.update(x) is own
    assert_same(parts[0].logsumexp(), before[0][0])


def test_what_does_not_fit():
    state = sg.LogSumExpState(axis=0)
    assert repr(state) == "LogSumExpState(axis=0): empty"
    for result in (state.logsumexp, state.entropy, state.mean, lambda: state.normalize([1.0])):
        with pytest.raises(ValueError, match="taken in no block yet"):
            result()
    state.update(np.ones((2, 3)))
    assert repr(state) == "LogSumExpState(axis=0): float64, batch shape (3,)"
    for attempt in (state.update, state.normalize):
        with pytest.raises(ValueError, match=r"the batch must have shape \(3,\), as before; got \(2,\)"):
            attempt(np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"the batch must have shape"):
        state.merge(sg.LogSumExpState().update([1.0]))
    with pytest.raises(TypeError, match="other must be a LogSumExpState; got float"):
        state.merge(1.0)
    with pytest.raises(TypeError):
        state + 1.0
    with pytest.raises(TypeError, match="complex128"):
        state.update([1j])
    with pytest.raises(ValueError, match="where must broadcast"):
        state.update(np.ones((2, 3)), where=np.ones(2, bool))
    with pytest.raises(np.exceptions.AxisError):
        sg.LogSumExpState(axis=1).update([1.0])


# the array functions at a temperature, which files need


@every_dtype
@pytest.mark.parametrize("T", [0.7, 3.0, 1e-3, 1e3, 1e-300, 1e300, 0.0, inf], ids=str)
def test_states_at_a_temperature(dtype, T):
    for kind in ("normal", "wide", "offset_1e6", "ties", "impossible", "saturated"):
        x = np.stack([rows.row(kind, 50, dtype, seed) for seed in range(4)])
        a, b, c = (states.state(x[:, columns], None, T) for columns in (slice(0, 20), slice(20, 21), slice(21, 50)))
        per_slice = states.merge(
            *(states.state(x[:, columns], None, np.full(4, T)) for columns in np.s_[:9, 9:]), np.full(4, T)
        )
        for state in (states.merge(states.merge(a, b, T), c, T), states.merge(c, states.merge(b, a, T), T), per_slice):
            p = states.softmax(x, state, None, T).astype(dtype)
            with np.errstate(over="ignore"):
                y = states.log_softmax(x, state, None, T).astype(dtype)
            if 0 < T < inf and 1e-9 < T < 1e9:
                exact = exact_softmax(x[0], T)
                for i in range(0, 50, 7):
                    close("softmax", p[0, i], exact.softmax(i), note=f"{kind} T={T}")
                    close("log_softmax", y[0, i], exact.log_softmax(i), note=f"{kind} T={T}")
            assert_close(p, sg.softmax(x, temperature=T))
            assert_close(y, sg.log_softmax(x, temperature=T))


needs_kernels = pytest.mark.skipif(kernel_states.kernels.table is None, reason="there are no kernels")


@needs_kernels
@every_dtype
@pytest.mark.parametrize("T", [0.7, 1e3, 1e-6, np.array([0.3, 5.0])], ids=str)
def test_kernels_of_states_at_a_temperature(monkeypatch, dtype, T):
    monkeypatch.setattr(kernel_states.kernels, "WIDENED", 100)  # several spans
    monkeypatch.setattr(kernel_states, "LEAST_SPAN", 16)
    for kind in rows.KINDS:
        x = np.stack([rows.row(kind, 150, dtype, seed) for seed in range(2)])
        state = kernel_states.merge(
            *(kernel_states.normalizer(x[:, columns], None, T) for columns in np.s_[:100, 100:]), T
        )
        p, y = (f(x, state, None, T) for f in (kernel_states.softmax, kernel_states.log_softmax))
        for row in range(2):
            if np.isfinite(x[row]).all():
                exact = exact_softmax(x[row], np.broadcast_to(T, 2)[row].item())
                for i in {int(x[row].argmax()), *range(0, 150, 30)}:
                    close("softmax", p[row, i], exact.softmax(i), note=f"{kind} T={T}")
                    close("log_softmax", y[row, i], exact.log_softmax(i), note=f"{kind} T={T}")
        assert_close(p, sg.softmax(x, temperature=T))
        assert_close(y, sg.log_softmax(x, temperature=T))


@needs_kernels
@every_dtype
def test_kernels_of_states_at_a_temperature_read_nothing_that_is_masked_out(dtype):
    x = np.array([[1.0, nan, 2.0, -inf], [inf, nan, nan, inf], [3.0, inf, 1.0, 2.0], [-inf] * 4], dtype)
    where = np.array([[True, False, True, True], [False] * 4, [True] * 4, [True] * 4])
    state = kernel_states.normalizer(x, where, 0.7)
    assert_close(kernel_states.softmax(x, state, where, 0.7), sg.softmax(x, where=where, temperature=0.7))
    assert_close(kernel_states.log_softmax(x, state, where, 0.7), sg.log_softmax(x, where=where, temperature=0.7))
    huge = np.array([[np.finfo(dtype).max, -np.finfo(dtype).max]], dtype)  # whose difference overflows
    state = kernel_states.normalizer(huge, None, 1e100)
    assert_close(kernel_states.log_softmax(huge, state, None, 1e100), sg.log_softmax(huge, temperature=1e100))
