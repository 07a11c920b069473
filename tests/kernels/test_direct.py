"""Kernels as plain functions: the same bits as the gufuncs, for exactly the calls that need nothing else."""

import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import pytest

import softgrad as sg
from softgrad._numpy import kernels

from .direct import GRADIENTS, LABELLED, LIMIT, MASKED, NAMES, NATIVE, TEMPERED, every_dtype, operands, same

INNER = ("entmax15", "log_sum", "signed_logsumexp", "jacobian")  # no public function has their names


def test_every_kernel_from_slices_of_one_dtype_is_there(direct):
    assert sorted(direct) == sorted(NAMES + GRADIENTS + LABELLED + INNER)
    for name, function in direct.items():
        assert function.__name__ == name


@every_dtype
@pytest.mark.parametrize("name", NAMES)
def test_the_bits_are_the_gufuncs(tables, name, dtype):
    gufunc, direct = (table[name] for table in tables)
    shapes = [(n,) for n in (*range(72), 127, 128, 1000, 1023, 1024, 2999)]
    shapes += [(3, n) for n in (0, 1, 7, 32, 33, 600)] + [(0, 5), (0, 0), (2, 0, 3), (2, 3, 5), (40, 3), (2, 1, 1, 9)]
    for shape in shapes:
        given = operands(name, shape, dtype)
        expected = gufunc(*given)
        assert same(direct(*given), expected), shape
        assert same(direct(*given, axis=-1, out=None), expected)
        assert same(direct(*given, axis=len(shape) - 1), expected)
        out = np.full(expected.shape, 7, dtype)
        assert direct(*given, out=out) is out
        assert same(out, np.asarray(expected))


@every_dtype
@pytest.mark.parametrize("name", MASKED)
def test_the_bits_with_a_mask_and_a_temperature_are_the_gufuncs(tables, name, dtype):
    gufunc, direct = tables[0][f"{name}_where"], tables[1][name]
    for shape in ((1,), (7,), (33,), (1000,), (5, 3), (40, 10), (9, 64), (2, 3, 100), (0, 5), (3, 0)):
        (x,) = operands(name, shape, dtype)
        mask = np.random.default_rng(1).random(shape) < 0.7
        for where in (None, mask, np.zeros(shape, bool)):
            read = np.broadcast_to(True, shape) if where is None else where
            for T in (1.0, 0.7, 0.0, 1e-300, np.inf, np.float64(3)) if name in TEMPERED else (None,):
                options = ({} if where is None else {"where": where}) | ({} if T is None else {"temperature": T})
                expected = gufunc(x, read) if T is None else gufunc(x, read, T)
                assert same(direct(x, **options), expected), (shape, options)
                out = np.full(expected.shape, 7, dtype)
                assert direct(x, axis=-1, out=out, **options) is out
                assert same(out, np.asarray(expected))
                if expected.shape == shape:
                    copy = x.copy()
                    assert same(direct(copy, out=copy, **options), expected)


@every_dtype
@pytest.mark.parametrize("name", MASKED)
def test_masks_of_any_layout(direct, name, dtype):
    """A mask that is broadcast or strided gives the bits of the mask that has an entry for each logit."""
    rng = np.random.default_rng(3)
    for shape in ((3, 7), (2, 40), (3, 4, 5), (1, 6), (2, 1, 3)):
        (x,) = operands(name, shape, dtype)
        mask = rng.random(shape) < 0.6
        masks = [mask, mask[0], mask[..., :1], mask[:1], np.array(True), np.asfortranarray(mask), mask[..., ::-1]]
        masks += [np.repeat(mask, 2, axis=-1)[..., ::2], np.broadcast_to(mask[:1], shape)]
        for where, axis in product(masks, range(len(shape))):
            got = direct[name](x, where=where, axis=axis)
            whole = np.ascontiguousarray(np.broadcast_to(where, shape))
            if len(shape) == 2 or got is not NotImplemented:  # rows of other batches may have no single step
                assert same(got, direct[name](x, where=whole, axis=axis)), (shape, where.shape, where.strides, axis)


@every_dtype
@pytest.mark.parametrize("name", TEMPERED)
def test_a_temperature_for_each_row(tables, name, dtype):
    gufunc, direct = tables[0][f"{name}_where"], tables[1][name]
    rng = np.random.default_rng(4)
    for shape in ((3, 7), (2, 40), (3, 4, 5), (0, 5), (3, 0)):
        (x,) = operands(name, shape, dtype)
        for axis in range(len(shape)):
            moved = np.ascontiguousarray(np.moveaxis(x, axis, -1))
            T = rng.choice([0, 0.5, 1, 7, np.inf], moved.shape[:-1])
            mask = rng.random(moved.shape) < 0.7
            for where in (None, mask):
                expected = gufunc(moved, np.broadcast_to(True, moved.shape) if where is None else where, T)
                option = {} if where is None else {"where": np.moveaxis(where, -1, axis)}
                got = direct(x, axis=axis, temperature=T, **option)
                if len(shape) == 2 or got is not NotImplemented:
                    assert same(got, np.ascontiguousarray(np.moveaxis(expected, -1, axis))), (shape, axis)
    (x,) = operands(name, (3, 7), np.float64)
    T = np.ones(21)
    assert direct(x, temperature=T[:3], out=T.reshape(3, 7)) is NotImplemented
    assert (T == 1).all()


@every_dtype
@pytest.mark.parametrize("name", NAMES)
def test_in_place(tables, name, dtype):
    gufunc, direct = (table[name] for table in tables)
    for shape in ((0,), (1,), (5,), (33,), (2, 300), (40, 3)):
        given = operands(name, shape, dtype)
        expected = gufunc(*given)
        if expected.shape != shape:
            if given[0].size:  # one number for each row is not written entry by entry
                first = given[0].reshape(-1)[: expected.size].reshape(expected.shape)
                assert direct(*given, out=first) is NotImplemented
            continue
        for place in range(len(given)):
            copies = [a.copy() for a in given]
            assert direct(*copies, out=copies[place]) is copies[place]
            assert same(copies[place], expected)
        assert same(direct(given[0], *given[:-1]), gufunc(given[0], *given[:-1]))  # one array as both operands


@every_dtype
@pytest.mark.parametrize("name", NAMES + GRADIENTS)
def test_any_axis_is_the_last_axis_moved(direct, name, dtype):
    for shape in ((4, 10), (3, 5, 7), (2, 3, 4, 5), (33, 40), (0, 5), (5, 0), (3, 1)):
        given = operands(name, shape, dtype)
        for axis in range(-len(shape), len(shape)):
            got = direct[name](*given, axis=axis)
            moved = direct[name](*(np.ascontiguousarray(np.moveaxis(a, axis, -1)) for a in given))
            several = isinstance(got, tuple)
            for a, b in zip(got, moved, strict=True) if several else [(got, moved)]:
                back = np.ascontiguousarray(np.moveaxis(b, -1, axis)) if b.ndim == len(shape) else b
                assert same(a, back), (shape, axis)
            if not several and got.shape == shape:
                place = [a.copy() for a in given]
                assert direct[name](*place, axis=axis, out=place[0]) is place[0]
                assert same(place[0], got)


@every_dtype
def test_options_of_a_loop(direct, dtype):
    (x,) = operands("logsumexp", (3, 4, 5), dtype)
    mask = np.random.default_rng(2).random(x.shape) < 0.7
    for axis in range(3):
        plain = direct["logsumexp"](x, axis=axis, where=mask)
        kept = direct["logsumexp"](x, axis=axis, where=mask, keepdims=True, workers=1)
        assert same(kept, np.expand_dims(plain, axis))
        assert same(direct["logsumexp"](x, axis=axis, where=mask, keepdims=False, workers=None), plain)
        p = direct["softmax"](x, axis=axis, where=mask, temperature=3)
        moved = direct["softmax"](*(np.ascontiguousarray(np.moveaxis(x, axis, -1)),),
                                  where=np.ascontiguousarray(np.moveaxis(mask, axis, -1)), temperature=3.0)  # fmt: skip
        assert same(p, np.ascontiguousarray(np.moveaxis(moved, -1, axis)))
    out = np.ones((3, 1, 5), dtype)
    assert direct["logsumexp"](x, axis=1, keepdims=True, out=out) is out
    assert same(out, direct["logsumexp"](x, axis=1, keepdims=True))
    assert direct["logsumexp"](x, axis=1, out=out) is NotImplemented


@every_dtype
def test_the_jacobian_is_the_gufuncs(tables, dtype):
    gufunc, direct = (table["jacobian"] for table in tables)
    for shape in ((1,), (10,), (40, 3), (2, 3, 33), (0, 5), (3, 0), (50,)):
        p = sg.softmax(operands("softmax", shape, dtype)[0])
        assert same(direct(p), gufunc(p, 1.0)), shape
        assert same(direct(p, axis=-1), gufunc(p, 1.0)), shape
    p = sg.softmax(operands("softmax", (3, 7), dtype)[0])
    assert direct(p, axis=0) is NotImplemented
    assert direct(p, temperature=2.0) is NotImplemented
    out = np.empty((3, 7, 7), dtype)
    assert direct(p, out=out) is out
    assert same(out, gufunc(p, 1.0))
    assert direct(p, out=np.empty((3, 7), dtype)) is NotImplemented


@pytest.mark.usefixtures("level")
@every_dtype
def test_public_functions_take_this_way_at_their_own_level(dtype):
    if kernels.table is None:
        pytest.skip("the formulas have no kernels")
    calls = []

    def spy(name):
        function = kernels.table.direct[name]
        return lambda *given, **options: calls.append(name) or function(*given, **options)

    kernels.table.direct = {name: spy(name) for name in NAMES}
    for name in NAMES:
        given = operands(name, (9,), dtype)
        calls.clear()
        result, of_kernel = getattr(sg, name)(*given), getattr(kernels.table, name)(*given)
        if result.dtype == of_kernel.dtype:
            assert same(result, of_kernel)
            assert calls == [name]
        else:  # a value of half precision is float32, and the kernel's own is not
            assert name in ("entropy", "kl_divergence")
            assert result.dtype == np.float32
            assert same(result.astype(of_kernel.dtype), of_kernel)
            assert calls == []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_kept(direct, name):
    given = operands(name, (4, 6), np.float64)
    out = np.empty(np.shape(direct[name](*given)))
    other = given[0].astype(np.float16)

    def calls(times):
        for _ in range(times):
            direct[name](*given)
            direct[name](*given, axis=-1, out=out)
            direct[name](*given, where=True)
            direct[name](*given, out=other)
            direct[name](other, *given[1:])

    counted = (*given, out, other, np.dtype(np.float64), direct[name], NotImplemented)
    calls(10)
    before = [sys.getrefcount(a) for a in counted]
    tracemalloc.start()
    try:
        calls(10)
        used = tracemalloc.get_traced_memory()[0]
        calls(1000)
        grown = tracemalloc.get_traced_memory()[0] - used
    finally:
        tracemalloc.stop()
    assert [sys.getrefcount(a) for a in counted] == before
    assert grown < 1000  # bytes: less than one for each call


def test_a_table_of_functions_goes_away():
    if not NATIVE:
        pytest.skip("nothing is native here")
    from softgrad import _kernels  # noqa: PLC0415

    function = _kernels.direct(NATIVE[0], 8 * LIMIT)["softmax"]
    assert function(np.zeros(2)).tolist() == [0.5, 0.5]  # the table itself is gone
    tracemalloc.start()
    try:
        for _ in range(10):
            _kernels.direct(NATIVE[0], LIMIT)
        used = tracemalloc.get_traced_memory()[0]
        for _ in range(200):
            _kernels.direct(NATIVE[0], LIMIT)
        grown = tracemalloc.get_traced_memory()[0] - used
    finally:
        tracemalloc.stop()
    assert grown < 2000


def test_an_unknown_level_is_an_error():
    if not NATIVE:
        pytest.skip("nothing is native here")
    from softgrad import _kernels  # noqa: PLC0415

    with pytest.raises(ValueError, match="no level 'x86-64-v9'"):
        _kernels.direct("x86-64-v9", LIMIT)
    with pytest.raises(TypeError):
        _kernels.direct(NATIVE[0])


def test_threads_of_the_callers_own(direct):
    """Some of these calls keep the GIL and some release it; each computes its own row."""
    rows = [operands("softmax", (n,), np.float32)[0] for n in (10, 1000, 1024, 2900) * 4]
    expected = [direct["softmax"](row) for row in rows]

    def repeatedly(row):
        return [direct["softmax"](row) for _ in range(200)]

    with ThreadPoolExecutor(4) as pool:
        for results, wanted in zip(pool.map(repeatedly, rows), expected, strict=True):
            assert all(same(result, wanted) for result in results)
