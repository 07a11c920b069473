"""Masks for decoding: against exact arithmetic, at every edge, and by the rules of other libraries."""

import mpmath as mp
import numpy as np
import pytest

import softgrad as sg

from ..layouts import LAYOUTS
from ..maps import FLOATS, INTEGERS, logits
from ..reference import number, numbers
from ..rows import KINDS

pytestmark = pytest.mark.usefixtures("level")
inf, nan = np.inf, np.nan

MASKS = {
    "top_k": lambda x, **options: sg.top_k_mask(x, 3, **{k: v for k, v in options.items() if k != "temperature"}),
    "top_p": lambda x, **options: sg.top_p_mask(x, 0.7, **options),
    "min_p": lambda x, **options: sg.min_p_mask(x, 0.1, **options),
}
every_mask = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)


def assert_mask(got, expected, case=""):
    assert isinstance(got, np.ndarray | np.bool), case
    assert got.dtype == np.bool, case
    np.testing.assert_array_equal(got, expected, str(case), strict=True)


def exact_probabilities(x, T):
    """The probabilities of a row that is finite at its largest entry."""
    largest = number(x.max())
    weights = [mp.exp((v - largest) / number(T)) for v in numbers(x)]
    total = mp.fsum(weights)
    return [w / total for w in weights]


def rows_of_every_kind(n, dtype):
    info, rng = np.finfo(dtype), np.random.default_rng([n, 3])
    for name, kind in KINDS.items():
        with np.errstate(over="ignore"):
            x = np.asarray(kind(rng, n, info)).astype(dtype)
        if np.isfinite(x.max()):
            yield name, x


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda d: d.__name__)
def test_against_exact_arithmetic(dtype):
    near = mp.mpf(2) ** -50  # the exponentials are as exact as that
    for n, T in ((2, 1.0), (7, 0.7), (33, 1.0)):
        for kind, x in rows_of_every_kind(n, dtype):
            p = exact_probabilities(x, T)
            upto = {v: mp.fsum(q for q, w in zip(p, x, strict=True) if w <= v) for v in set(x.tolist())}
            for share in (0.0, 0.1, 0.9, 0.999999, 1.0):
                got, left_out = sg.top_p_mask(x, share, temperature=T), 1 - number(share)
                for v, keep in zip(x.tolist(), got, strict=True):
                    kept = upto[v] > left_out or v == x.max()
                    assert keep == kept or abs(upto[v] - left_out) < near * left_out, (kind, n, share, v)
                got, limit = sg.min_p_mask(x, share, temperature=T), number(share) * max(p)
                for q, keep in zip(p, got, strict=True):
                    assert keep == (q >= limit) or abs(q - limit) < near * limit, (kind, n, share)


def test_top_k_against_sorting():
    for dtype in FLOATS:
        for n in (1, 5, 33, 1500):
            x = np.round(logits((6, n), dtype).astype(float), 1).astype(dtype)
            for k in (1, 2, n // 2 + 1, n, n + 3, 10**30):
                smallest_kept = np.sort(x.astype(np.longdouble), axis=-1)[:, [max(n - k, 0)]]
                assert_mask(sg.top_k_mask(x, k), x.astype(np.longdouble) >= smallest_kept, (dtype, n, k))
    k = np.array([1, 2, 4])
    x = np.array([[1.0, 2, 3, 4]] * 3)
    assert_mask(sg.top_k_mask(x, k), x >= 5 - k[:, None])
    assert_mask(sg.top_k_mask(x.T, k, axis=0), (x >= 5 - k[:, None]).T)
    assert_mask(sg.top_k_mask(x, k[:, None]), x >= 5 - k[:, None])


def test_long_rows_are_as_their_formula():
    """Rows that are not sorted but selected from, against sorted sums of long doubles."""
    rng = np.random.default_rng(0)
    for dtype in (np.float16, np.float32, np.float64):
        for scale in (0.01, 1, 30):
            x = (rng.normal(size=(3, 3000)) * scale).astype(dtype)
            x[0, ::7] = -inf
            order = np.argsort(x, axis=-1, stable=True)
            for T in (1.0, 0.5):
                y = np.take_along_axis(x.astype(np.longdouble), order, axis=-1) / T
                e = np.exp(y - y[:, -1:])
                upto = np.cumsum(e, axis=-1)
                for p in (0.05, 0.5, 0.9, 0.9999):
                    first = np.argmax(upto > (1 - np.longdouble(p)) * upto[:, -1:], axis=-1)
                    least = np.take_along_axis(x, np.take_along_axis(order, first[:, None], axis=-1), axis=-1)
                    assert_mask(sg.top_p_mask(x, p, temperature=T), x >= least, (dtype, scale, T, p))
                    got = sg.min_p_mask(x, p, temperature=T)
                    ratio = np.exp((x.astype(np.longdouble) - x.max(axis=-1, keepdims=True)) / T)
                    near = np.abs(ratio - p) < 1e-15
                    assert_mask(got | near, (ratio >= p) | near, (dtype, scale, T, p))
    p = np.array([0.1, 0.5, 0.9])
    each = np.concatenate([sg.top_p_mask(row, q)[None] for row, q in zip(x, p, strict=True)])
    assert_mask(sg.top_p_mask(x, p), each)


def test_ties_stay_together():
    for n in (4, 2000):
        x = np.zeros((2, n))
        x[1, : n // 2] = 1
        for p in (0.0, 0.3, 0.5, 0.999):
            assert_mask(sg.top_p_mask(x, p)[0], np.ones(n, bool), p)
        assert_mask(sg.top_p_mask(x, 0.5)[1], x[1] == 1)
        assert_mask(sg.top_k_mask(x, 1), x == x.max(axis=-1, keepdims=True))
        # A sum that is exactly p reaches it: what follows is not kept.
        exact = np.log2([0.5, 0.25, 0.25]) * np.log(2)
        assert_mask(sg.top_p_mask(exact, float(sg.softmax(exact)[0])), [True, False, False])


def test_what_always_stays():
    x = np.array([0.0, -1.0, -800.0, -2000.0, -inf])
    for mask in (sg.top_p_mask, lambda x, p: ~sg.min_p_mask(x, 1.0)):
        assert_mask(mask(x, 0.0) if mask is sg.top_p_mask else ~mask(x, 0.0), x == 0)
    # At p = 1 every entry that is possible, also those whose probability no number holds.
    for n in (0, 2000):
        row = np.concatenate([x, np.full(n, -3000.0)])
        assert_mask(sg.top_p_mask(row, 1.0), row > -inf)
        assert_mask(sg.top_p_mask(row, 1.0, temperature=0.0), row == 0)
        assert_mask(sg.top_p_mask(row, np.nextafter(1, 0)), row > -100)
        assert_mask(sg.min_p_mask(row, 0.0), np.ones(row.shape, bool))
        assert_mask(sg.min_p_mask(row, 0.5, temperature=0.0), row == 0)
        for mask in (sg.top_p_mask, sg.min_p_mask):
            assert_mask(mask(row, 0.5, temperature=inf), row > -inf)


@every_mask
def test_slices_without_probabilities_keep_what_is_valid(mask):
    for n in (5, 2000):
        x = np.zeros((5, n))
        x[0, 1], x[1, 2], x[2], x[3, 3] = nan, inf, -inf, 9
        where = np.ones(x.shape, bool)
        where[:, 0], where[4] = False, False
        for dtype in FLOATS:
            for T in (1.0, 0.5, 0.0):
                got = mask(x.astype(dtype), where=where, temperature=T)
                assert_mask(got[:3], where[:3], (dtype, T))
                assert_mask(got[3], x[3] == 9 if mask is not MASKS["top_k"] else where[3], (dtype, T))
                assert_mask(got[4], where[4], (dtype, T))
                p = sg.softmax(x, where=got, temperature=T)
                np.testing.assert_array_equal(np.isnan(p).any(axis=-1), [True, True, True, False, False])


@every_mask
def test_masked_entries_are_as_if_they_were_not_there(mask):
    rng = np.random.default_rng(0)
    for dtype in FLOATS:
        for n in (10, 1500):
            x = logits((4, n), dtype)
            where = rng.random(x.shape) < 0.7
            where[:, 1] = True
            x = np.where(where, x, np.asarray(rng.choice([nan, inf, 1e4], x.shape)).astype(dtype))
            got = mask(x, where=where)
            for row, valid, keep in zip(x, where, got, strict=True):
                assert_mask(keep[valid], mask(row[valid]), (dtype, n))
                assert not keep[~valid].any()
            masked = mask(np.ma.MaskedArray(x, ~where))
            assert isinstance(masked, np.ma.MaskedArray)
            assert_mask(masked.data, got)
            np.testing.assert_array_equal(masked.mask, ~where)


@every_mask
def test_layouts_axes_types_and_threads(mask):
    for dtype in (*FLOATS, INTEGERS[0], INTEGERS[-1]):
        x = logits((4, 6, 5), dtype)
        expected = mask(x)
        for name, layout in LAYOUTS.items():
            y = layout(x)
            assert_mask(mask(y), mask(np.ascontiguousarray(y)), (dtype, name))
        assert_mask(np.moveaxis(mask(np.moveaxis(x, -1, 0), axis=0), 0, -1), expected, dtype)
        assert_mask(mask(x, axis=(2, 1)), mask(x.reshape(4, 30)).reshape(x.shape), dtype)
        assert_mask(mask(x, axis=None), mask(x.ravel()).reshape(x.shape), dtype)
    x = logits((300, 1100), np.dtype(np.float32))
    for workers in (1, 2, 3):
        assert_mask(mask(x, workers=workers), mask(x))
    assert_mask(mask(x)[7:9], mask(x[7:9]))
    assert_mask(mask([3.0, 1.0]), [True, mask is MASKS["top_k"] or (mask is MASKS["min_p"])])
    assert mask(np.array(2.0), axis=None)
    for shape in ((0,), (3, 0), (0, 5)):
        assert mask(np.zeros(shape)).shape == shape


def test_filters_are_composed():
    x = logits((5, 200), np.dtype(np.float32))
    first = sg.top_k_mask(x, 20)
    both = sg.top_p_mask(x, 0.5, where=first)
    assert (both <= first).all()
    for row, valid, keep in zip(x, first, both, strict=True):
        assert_mask(keep[valid], sg.top_p_mask(row[valid], 0.5))


def test_errors():
    x = np.zeros((2, 3))
    for k in (1.5, "2", None, [1.0, 2.0], True):
        with pytest.raises(TypeError, match="k must be an integer"):
            sg.top_k_mask(x, k)
    for k in (0, -1, [0, 1]):
        with pytest.raises(ValueError, match="k must be at least 1"):
            sg.top_k_mask(x, k)
    for mask in (sg.top_p_mask, sg.min_p_mask):
        for p in (-0.1, 1.1, nan, [0.5, 2]):
            with pytest.raises(ValueError, match=r"p must lie in \[0, 1\]"):
                mask(x, p)
        with pytest.raises(TypeError, match="p must be a number"):
            mask(x, "many")
        with pytest.raises(ValueError, match="p must broadcast"):
            mask(x, [0.1, 0.2, 0.3])
        with pytest.raises(ValueError, match="temperature must be at least 0"):
            mask(x, 0.5, temperature=-1)
    with pytest.raises(TypeError, match="where must be of dtype bool"):
        sg.top_k_mask(x, 1, where=[1, 0, 1])
    with pytest.raises(TypeError, match="complex"):
        sg.top_k_mask(x + 1j, 1)
    with pytest.raises(np.exceptions.AxisError):
        sg.top_k_mask(x, 1, axis=2)


# The same logits by the documented rules of other libraries


def test_transformers():
    """Ascending cumulative sums up to and including 1 − p are left out; a top-k below the k-th largest; min-p by p."""
    x = logits((50, 40), np.dtype(np.float64))
    ascending = np.argsort(x, axis=-1)
    p = sg.softmax(x)
    removed = np.cumsum(np.take_along_axis(p, ascending, axis=-1), axis=-1) <= 1 - 0.8
    removed[:, -1:] = False  # min_tokens_to_keep
    left_out = np.zeros(x.shape, bool)
    np.put_along_axis(left_out, ascending, removed, axis=-1)
    assert_mask(sg.top_p_mask(x, 0.8), ~left_out)
    kth = -np.sort(-x, axis=-1)[:, [9]]
    assert_mask(sg.top_k_mask(x, 10), ~(x < kth))
    assert_mask(sg.min_p_mask(x, 0.05), ~(p < 0.05 * p.max(axis=-1, keepdims=True)))


def test_vllm():
    """The k-th largest is the threshold; of what is left, sorted, sums up to and including 1 − p are left out."""
    x = logits((50, 40), np.dtype(np.float64))
    order = np.argsort(x, axis=-1)
    ascending = np.take_along_axis(x, order, axis=-1)
    for k, p in ((10, 0.8), (40, 0.3), (3, 1.0)):
        limited = np.where(ascending < ascending[:, [40 - k]], -inf, ascending)
        left_out = (np.cumsum(sg.softmax(limited), axis=-1) <= 1 - p) | (limited == -inf)
        left_out[:, -1] = False
        kept = np.zeros(x.shape, bool)
        np.put_along_axis(kept, order, ~left_out, axis=-1)
        assert_mask(sg.top_p_mask(x, p, where=sg.top_k_mask(x, k)), kept, (k, p))
    p = sg.softmax(x)
    assert_mask(sg.min_p_mask(x, 0.05), p >= 0.05 * p.max(axis=-1, keepdims=True))


def test_ties_are_where_sorts_differ():
    """transformers and vLLM keep the tied entries that their sort puts last, llama.cpp those that it puts first."""
    x = np.log([0.5, 0.125, 0.125, 0.125, 0.125])
    assert_mask(sg.top_p_mask(x, 0.7), np.ones(5, bool))
    ascending = np.argsort(x, kind="stable")
    last = ascending[np.cumsum(sg.softmax(x)[ascending]) > 1 - 0.7]
    assert sorted(last) == [0, 3, 4]
    descending = np.argsort(-x, kind="stable")
    first = descending[: 1 + np.argmax(np.cumsum(sg.softmax(x)[descending]) >= 0.7)]
    assert sorted(first) == [0, 1, 2]
    assert_mask(sg.top_k_mask(x, 2), np.ones(5, bool))


def test_llama_cpp():
    """Descending until the sum is at least p; the first k of a sorted row; logits of at least max + log p."""
    x = logits((50, 40), np.dtype(np.float64))
    tied = np.round(x)
    for row in x:
        order = np.argsort(-row, stable=True)
        count = 1 + int(np.argmax(np.cumsum(sg.softmax(row)[order]) >= 0.8))
        assert_mask(sg.top_p_mask(row, 0.8), np.isin(np.arange(40), order[:count]))
        assert_mask(sg.min_p_mask(row, 0.05), row >= row.max() + np.log(0.05))
    for row in tied:  # it keeps exactly k; here those that are tied with the last stay, too
        kept = np.argsort(-row, stable=True)[:10]
        got = sg.top_k_mask(row, 10)
        assert got[kept].all()
        assert (row[got] >= row[kept].min()).all()
        assert got.sum() >= 10
