"""Draws: their probabilities against exact arithmetic, and the same draws however the slices are divided."""

import mpmath as mp
import numpy as np
import pytest
from scipy import stats

import softgrad as sg
from softgrad._api.sampling import sample_from
from softgrad._formulas import sampling as formulas

from ..layouts import LAYOUTS
from ..maps import FLOATS, INTEGERS, logits
from ..reference import numbers
from ..rows import KINDS

pytestmark = pytest.mark.usefixtures("level")
inf, nan = np.inf, np.nan


def assert_draws(got, expected, case=""):
    assert got.dtype == np.int64, case
    np.testing.assert_array_equal(got, expected, str(case), strict=True)


def limits(x, T=1.0):
    """The number of uniform numbers k/2^53 for which each row draws an entry up to i, by bisection."""
    n = x.shape[-1]
    low, high = np.zeros(x.shape, np.int64), np.full(x.shape, 2**53)
    for _ in range(54):
        middle = (low + high) // 2
        beyond = sample_from(x, np.minimum(middle, 2**53 - 1) / 2**53, temperature=T) > np.arange(n)
        beyond |= middle == 2**53
        low, high = np.where(beyond, low, np.minimum(middle + 1, high)), np.where(beyond, middle, high)
    return low


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64], ids=lambda d: d.__name__)
def test_probabilities_are_exact(dtype):
    """Every entry has its probability to 2^-50, and none that is impossible is drawn by any number."""
    rng, info = np.random.default_rng(0), np.finfo(dtype)
    for n, T in ((2, 1.0), (33, 1.0), (33, 0.7)):
        with np.errstate(over="ignore"):
            rows = [np.asarray(kind(rng, n, info)).astype(dtype) for kind in KINDS.values()]
        x = np.stack([row for row in rows if np.isfinite(row.max())])
        counts = np.diff(limits(x, T), axis=-1, prepend=0)
        for row, count in zip(x, counts, strict=True):
            weights = [mp.exp((v - float(row.max())) / mp.mpf(T)) for v in numbers(row)]
            total = mp.fsum(weights)
            for w, c in zip(weights, count.tolist(), strict=True):
                assert abs(mp.mpf(c) / 2**53 - w / total) <= mp.mpf(2) ** -50, (n, T, row)
            assert (count[row == -inf] == 0).all()


def test_long_rows_are_as_their_formula():
    """Numbers on either side of what a sum of blocks is exact to, and draws of all kinds in rows of several blocks."""
    rng = np.random.default_rng(1)
    for dtype in (np.float32, np.float64):
        for scale in (0.001, 20):
            x = (rng.normal(size=(4, 2000)) * scale).astype(dtype)
            x[1, ::3] = -inf
            x[2, :1700] = -inf
            p = sg.softmax(x.astype(np.float64))
            boundary = np.cumsum(p, axis=-1)[:, ::100]
            near = boundary[..., None] + np.array([0, 1e-16, -1e-16, 1e-12, 1e-8, -1e-8])
            u = np.concatenate([np.clip(near.reshape(4, -1), 0, 1 - 2**-53), rng.random((4, 20))], axis=-1)
            for T in (1.0, 0.5):
                expected = formulas.draws(x, u, None, T)
                assert_draws(sample_from(x, u, temperature=T), expected, (dtype, scale, T))
                few = np.stack([sample_from(x, u[:, i], temperature=T) for i in range(0, u.shape[1], 9)], axis=-1)
                assert_draws(few, expected[:, ::9], (dtype, scale, T))


def test_draws_without_replacement_are_the_largest_perturbed_logits():
    """As the formula and as exact arithmetic order them, also where a float64 does not hold the sum with the noise."""
    rng = np.random.default_rng(1)
    for dtype in (np.float16, *FLOATS[-3:]):
        for n in (7, 300):
            x = (rng.normal(size=(6, n)) * 5).astype(dtype)
            x[1, ::3], x[2], x[3] = -inf, np.where(np.arange(n) % 5, -6e4, 6e4), np.round(x[3])
            u = rng.random(x.shape)
            u[4] = np.round(u[4], 1)  # 0 and 1 among them, and equal numbers
            for T in (1.0, 0.5, 0.0, inf, 1e-300, np.array([0.0, 1e-310, 0.5, 0.0, 1.0, inf])):
                ranks = np.broadcast_to(np.arange(n), x.shape)
                expected = formulas.draws_without_replacement(x, ranks, u, None, T)
                for k in (1, 3, n):
                    got = sample_from(x, u, k, temperature=T, replace=False)
                    assert_draws(got, expected[:, :k], (dtype, n, T, k))
            drawn = sample_from(x[:4], u[:4], n, temperature=0.5, replace=False)
            for row, noise, index in zip(x[:4], u[:4], drawn, strict=True):
                possible = np.flatnonzero(row > -inf)
                scores = [2 * mp.mpf(float(row[i])) - mp.log(-mp.log1p(-mp.mpf(noise[i]))) for i in possible]
                exact = [i for _, i in sorted(zip(scores, possible, strict=True), reverse=True)]
                assert_draws(index, np.pad(exact, (0, n - len(exact)), constant_values=-1), (dtype, n))
    far = np.float64([0.0, -1e20, -1e20, -1e20, -1e25])
    drawn = sg.sample(np.broadcast_to(far, (3000, 5)), 5, rng=0, replace=False)
    assert (drawn[:, 0] == 0).all()
    assert (drawn[:, 4] == 4).all()
    assert stats.chisquare(np.bincount(drawn[:, 1])[1:]).pvalue > 1e-4
    assert_draws(sg.sample([1.0, 3.0, 2.0, -inf], 4, rng=0, replace=False, temperature=1e-310), np.array([1, 2, 0, -1]))


def test_frequencies():
    """χ² for distributions that are hard: falling, flat, with rare entries, tempered, masked, in float16."""
    count = 50_000
    falling, flat = np.arange(12) * -1.0, np.zeros(1000)
    rare = np.where(np.arange(50) % 7 == 0, 0.0, -9.0)
    where = np.arange(12) % 3 > 0
    for x, options in (
        (falling, {}),
        (flat, {}),
        (rare, {}),
        (falling, {"temperature": 3.0}),
        (falling, {"where": where}),
        (falling.astype(np.float16), {"temperature": 0.5}),
        (np.float32(1e4) + np.float32(falling), {}),
    ):
        drawn = sg.sample(x, count, rng=7, **options)
        p = sg.softmax(x.astype(np.float64), **options)
        expected = p * count
        seen = np.bincount(drawn, minlength=len(x))
        assert (seen[p == 0] == 0).all()
        enough = expected >= 5
        pooled = [np.append(a[enough], a[~enough].sum()) for a in (seen, expected)]
        if pooled[1][-1] == 0:
            pooled = [a[:-1] for a in pooled]
        assert stats.chisquare(*pooled, sum_check=False).pvalue > 1e-4, options


@pytest.mark.slow
def test_frequencies_of_ten_million(level):
    count = 10**5 if level == "generic" else 10**7  # which takes a second for each million
    x = np.concatenate([np.linspace(0, -9, 60), np.full(40, -inf)])
    seen = np.bincount(sg.sample(x, count, rng=11), minlength=100)
    assert (seen[60:] == 0).all()
    assert stats.chisquare(seen[:60], sg.softmax(x)[:60] * count).pvalue > 1e-4


def test_draws_without_replacement_have_the_probabilities_of_plackett_and_luce():
    x = np.array([0.0, -0.5, -1.5, -4.0])
    p, count = sg.softmax(x), 60_000
    drawn = sg.sample(np.broadcast_to(x, (count, 4)), 2, rng=3, replace=False)
    pairs = [(i, j) for i in range(4) for j in range(4) if i != j]
    expected = [p[i] * p[j] / (1 - p[i]) * count for i, j in pairs]
    seen = [((drawn[:, 0] == i) & (drawn[:, 1] == j)).sum() for i, j in pairs]
    assert stats.chisquare(seen, expected).pvalue > 1e-4
    for n in (50, 200):  # of 200 entries only the sums of blocks are kept
        x = logits((10, n), np.dtype(np.float32))
        every = sg.sample(x, n, rng=3, replace=False)
        assert_draws(np.sort(every, axis=-1), np.broadcast_to(np.arange(n), x.shape))
        x[:, ::2] = -inf
        half = sg.sample(x, n, rng=3, replace=False)
        assert_draws(np.sort(half[:, : n // 2], axis=-1), np.broadcast_to(np.arange(1, n, 2), (10, n // 2)))
        assert (half[:, n // 2 :] == -1).all()
    # What no number holds beside the largest is drawn after it; what is impossible never.
    far = sg.sample([0.0, -5000.0, -inf, -10000.0], 4, rng=0, replace=False)
    assert_draws(far, np.array([0, 1, 3, -1]))
    assert_draws(sg.sample([1.0, 3.0, 2.0], 3, rng=0, replace=False, temperature=0), np.array([1, 2, 0]))


def test_draws_do_not_depend_on_how_slices_are_divided():
    for dtype in FLOATS:
        for n in (5, 1500):
            x = logits((12, n), dtype)
            for options in ({}, {"size": 3}, {"size": 3, "replace": False}, {"size": 12, "temperature": 0.5}):
                expected = sg.sample(x, rng=5, **options)
                rng = np.random.default_rng(5)
                parts = [sg.sample(x[i:j], rng=rng, **options) for i, j in ((0, 1), (1, 4), (4, 12))]
                assert_draws(np.concatenate(parts), expected, (dtype, n, options))
                assert_draws(sg.sample(x.reshape(3, 4, n), rng=5, **options).reshape(expected.shape), expected)
                assert_draws(sg.sample(np.ascontiguousarray(x.T), rng=5, axis=0, **options), expected)
    x = logits((400, 1100), np.dtype(np.float32))
    for workers in (1, 2, 3):
        for replace in (True, False):
            got = sg.sample(x, 2, rng=1, workers=workers, replace=replace)
            assert_draws(got, sg.sample(x, 2, rng=1, replace=replace))


def test_layouts_axes_and_types():
    for dtype in (*FLOATS, *INTEGERS[:3], INTEGERS[-1]):
        x = logits((4, 6, 5), dtype)
        wide = x.astype(np.float64) if dtype in INTEGERS else x
        assert_draws(sg.sample(x, 2, rng=0), sg.sample(wide, 2, rng=0), dtype)
        assert_draws(sg.sample(x, 2, rng=0, axis=(2, 1)), sg.sample(x.reshape(4, 30), 2, rng=0), dtype)
        turned = sg.sample(x.transpose(1, 0, 2), 2, rng=0, axis=(0, 2), replace=False)
        assert_draws(turned, sg.sample(x.reshape(4, 30), 2, rng=0, replace=False))
        assert sg.sample(x, rng=0, axis=None) == sg.sample(x.ravel(), rng=0)
    for name, layout in LAYOUTS.items():
        y = layout(logits((4, 6, 5), np.dtype(np.float32)))
        assert_draws(sg.sample(y, rng=0), sg.sample(np.ascontiguousarray(y), rng=0), name)
    assert sg.sample([[0.0, 9.0]], 0, rng=0).shape == (1, 0)
    assert sg.sample(np.array(3.0), axis=None) == 0
    assert_draws(sg.sample(np.zeros((3, 0)), 2), np.full((3, 2), -1))
    assert sg.sample(np.zeros((0, 5)), 2).shape == (0, 2)


def test_masked_entries_are_never_drawn():
    rng = np.random.default_rng(0)
    for dtype in FLOATS:
        for n in (10, 1500):
            x = logits((6, n), dtype)
            where = rng.random(x.shape) < 0.6
            where[:, 1] = True
            x = np.where(where, x, np.asarray(rng.choice([nan, inf, 1e4], x.shape)).astype(dtype))
            drawn = sg.sample(x, 4, rng=2, where=where)
            assert np.take_along_axis(where, drawn, axis=-1).all()
            for i, row in enumerate(x):
                numbers = np.random.default_rng(2).random((6, 4))[i]
                alone = np.flatnonzero(where[i])[sample_from(row[where[i]], numbers)]
                assert_draws(drawn[i], alone, (dtype, n))
            assert_draws(sg.sample(np.ma.MaskedArray(x, ~where), 4, rng=2), drawn)
    for mask in (sg.top_k_mask(x, 5), sg.top_p_mask(x, 0.3)):
        assert np.take_along_axis(mask, sg.sample(x, 20, rng=0, where=mask & where), axis=-1).all()


def test_nothing_to_draw():
    for n in (4, 1500):
        x = np.zeros((5, n))
        x[0, 1], x[1, 2], x[2] = nan, inf, -inf
        where = np.ones(x.shape, bool)
        where[3] = False
        for dtype in FLOATS:
            for T in (1.0, 0.5, 0.0, inf):
                for replace in (True, False):
                    drawn = sg.sample(x.astype(dtype), 3, rng=0, where=where, temperature=T, replace=replace)
                    assert_draws(drawn[:4], np.full((4, 3), -1), (dtype, T, replace))
                    assert (drawn[4] >= 0).all()


def test_the_temperature_of_each_slice():
    for n in (6, 1500):
        x = np.round(logits((4, n), np.dtype(np.float32)))
        T = np.array([0.0, 0.5, 1.0, inf])
        each = np.stack([sg.sample(x, 50, rng=4, temperature=t)[i] for i, t in enumerate(T)])
        assert_draws(sg.sample(x, 50, rng=4, temperature=T), each)
        largest = sg.sample(x, 2000, rng=1, temperature=0.0)
        for row, drawn in zip(x, largest, strict=True):
            assert set(drawn) <= set(np.flatnonzero(row == row.max()))
            assert len(set(drawn)) == min((row == row.max()).sum(), len(set(drawn)))


def test_the_generator_is_the_callers():
    x = logits((3, 4), np.dtype(np.float64))
    rng, same = np.random.default_rng(1), np.random.default_rng(1)
    sg.sample(x, 5, rng=rng)
    same.random((3, 5))
    assert rng.random() == same.random()
    other = [np.random.Generator(np.random.MT19937(1)) for _ in range(2)]
    assert_draws(sg.sample(x, rng=other[0]), sample_from(x, other[1].random(3)))
    drawn = sg.sample(x, 4, rng=other[0], replace=False)
    assert_draws(drawn, sample_from(x, other[1].random((3, 4)), 4, replace=False))
    sg.sample(x, 2, rng=rng, replace=False)
    same.random((3, 4))
    assert rng.random() == same.random()
    assert sg.sample(np.zeros(10**6), 20).std() > 0
    assert (sg.sample(np.zeros(10**6), 20) != sg.sample(np.zeros(10**6), 20)).any()


def test_log_probabilities_of_draws():
    rng = np.random.default_rng(3)
    for dtype in (np.float32, np.float64):
        for scale in (1, 30):
            x = (rng.normal(size=(3, 9)) * scale).astype(dtype)
            x[0, 4] = -inf
            for T in (1.0, 0.5):
                drawn = sg.sample(x, 8, rng=1, replace=False, temperature=T)
                got = sg.sample_log_prob(x, drawn, replace=False, temperature=T)
                assert got.dtype == dtype
                for row, index, values in zip(x, drawn, got, strict=True):
                    terms = {i: mp.exp(v / mp.mpf(T)) for i, v in enumerate(numbers(row))}
                    for i, value in zip(index.tolist(), values, strict=True):
                        exact = mp.log(terms[i] / mp.fsum(terms.values())) if len(terms) > 1 else mp.mpf(0)
                        bound = 4 * float(np.finfo(dtype).eps) * abs(exact) + 1e-14 * scale
                        assert abs(float(value) - exact) <= bound, (dtype, scale, T)
                        del terms[i]
                plain = sg.sample_log_prob(x, drawn, temperature=T)
                y = sg.log_softmax(x.astype(float), temperature=T)
                np.testing.assert_array_equal(plain, np.take_along_axis(y, drawn, axis=-1).astype(dtype))
    # A draw of probability near 1 does not spoil its own logarithm nor the next ones.
    got = sg.sample_log_prob([0.0, -50.0, -51.0], [0, 2, 1], replace=False)
    expected = [-np.exp(-50) - np.exp(-51), -1 - np.log1p(np.exp(-1)), 0]
    np.testing.assert_allclose(got, expected, rtol=1e-14)
    where = np.array([True, True, False])
    x = np.array([[0.0, 0.0, nan], [nan, 0.0, 0.0], [-inf, -inf, 0.0]])
    for replace, first in ((True, np.log(0.5)), (False, np.log(0.5))):
        got = sg.sample_log_prob(x, [[0, 2], [0, 1], [-1, -1]], where=where, replace=replace)
        np.testing.assert_allclose(got, [[first, -inf], [nan, nan], [nan, nan]])
    assert sg.sample_log_prob([0.0, 1.0], [0, 0], replace=False)[1] == -inf
    assert sg.sample_log_prob(np.zeros(4, np.float16), 2).dtype == np.float32
    assert sg.sample_log_prob(np.zeros((5, 3)), np.zeros((3, 2), int), axis=0).shape == (3, 2)
    assert np.isnan(sg.sample_log_prob(np.zeros((2, 0)), [-1, -1])).all()
    with pytest.raises(IndexError, match="index must lie in"):
        sg.sample_log_prob([0.0, 1.0], 2)
    with pytest.raises(ValueError, match="temperature must be positive without replacement"):
        sg.sample_log_prob([0.0, 1.0], 1, replace=False, temperature=0)


def test_gumbel_softmax():
    for dtype in FLOATS:
        x = logits((4, 5, 6), dtype)
        y = sg.gumbel_softmax(x, rng=0, temperature=0.5)
        assert (y.dtype, y.shape) == (x.dtype, x.shape)
        noise = -np.log(-np.log1p(-np.random.default_rng(0).random(x.shape)))
        perturbed = x.astype(np.longdouble if dtype == np.longdouble else np.float64) + noise
        np.testing.assert_array_equal(y, sg.softmax(perturbed, temperature=0.5, dtype=dtype))
        hard = sg.gumbel_softmax(x, rng=0, hard=True)
        np.testing.assert_array_equal(hard, np.arange(6) == perturbed.argmax(axis=-1)[..., None])
        moved = sg.gumbel_softmax(np.moveaxis(x, -1, 0), rng=0, temperature=0.5, axis=0)
        np.testing.assert_array_equal(np.moveaxis(moved, 0, -1), y)
        both = sg.gumbel_softmax(x, rng=0, axis=(1, 2), hard=True)
        assert (both.astype(float).sum(axis=(1, 2)) == 1).all()
    where = np.array([True, False, True, True, False, True])
    y = sg.gumbel_softmax(x, rng=0, where=where, hard=True)
    assert not y[..., ~where].any()
    for edge in (np.where(where, x, nan), np.full(x.shape, -inf)):
        assert np.isnan(sg.gumbel_softmax(edge.astype(float), rng=0, hard=True)).all()
    assert not sg.gumbel_softmax(x, rng=0, where=False, hard=True).any()
    masked = np.ma.masked_array(x, np.broadcast_to(~where, x.shape)).copy()
    masked[0] = np.ma.masked
    hard = sg.gumbel_softmax(masked, rng=0, hard=True)  # a slice without valid entries has no largest one
    np.testing.assert_array_equal(hard.mask, masked.mask)
    np.testing.assert_array_equal(
        hard.data, np.where(masked.mask, 0, sg.gumbel_softmax(x, rng=0, where=where, hard=True))
    )
    assert sg.gumbel_softmax(np.zeros((2, 0)), hard=True).shape == (2, 0)
    largest = sg.gumbel_softmax(np.broadcast_to([0.0, -1.0, -3.0], (50_000, 3)), rng=5, hard=True)
    assert stats.chisquare(largest.sum(axis=0), sg.softmax([0.0, -1.0, -3.0]) * 50_000).pvalue > 1e-4


def test_errors():
    x = np.zeros((2, 3))
    for function in (sg.sample, sg.gumbel_softmax):
        for wrong in (None, {}, {1.0}, "abc"):
            with pytest.raises(TypeError, match="logits must hold real numbers; got"):
                function(wrong)
    for size in (1.5, "2", True, (2, 3)):
        with pytest.raises(TypeError, match="size must be an integer or None"):
            sg.sample(x, size)
    with pytest.raises(ValueError, match="size must be at least 0; got -1"):
        sg.sample(x, -1)
    with pytest.raises(ValueError, match="at most 3, the number of entries, without replacement; got 4"):
        sg.sample(x, 4, replace=False)
    for rng in ("seed", 1.5, -1):
        with pytest.raises((TypeError, ValueError), match=r"rng must be a numpy\.random\.Generator, a seed or None"):
            sg.sample(x, rng=rng)
    with pytest.raises(ValueError, match="temperature must be at least 0"):
        sg.sample(x, temperature=-1)
    with pytest.raises(TypeError, match="where must be of dtype bool"):
        sg.sample(x, where=[1, 0, 1])
    with pytest.raises(TypeError, match="complex"):
        sg.sample(x + 1j)
    for function in (sg.sample, sg.gumbel_softmax):
        with pytest.raises(np.exceptions.AxisError):
            function(x, axis=2)
