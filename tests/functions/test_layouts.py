"""The same bits however an array is stored, and along any axis (docs/edges.md)."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import softgrad as sg

from ..layouts import LAYOUTS
from ..maps import FLOATS, MAPS, assert_same, directions, every_float, every_map, lengths, logits

pytestmark = pytest.mark.usefixtures("level")


@every_map
@every_float
def test_any_layout_gives_the_same_bits(f, dtype):
    for n, (name, layout) in product([n for n in lengths(f) if n in (3, 33, 257)], LAYOUTS.items()):
        for shape in ((5, n), (2, 18, n)) if n < 100 else ((5, n),):
            contiguous = logits(shape, dtype)
            x, g = layout(contiguous), layout(directions(contiguous))
            plain = [np.array(a, dtype=dtype, order="C") for a in (x, g)]
            assert_same(f(x, g), f(*plain), f"{name}, shape {shape}")


@pytest.mark.usefixtures("level")
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmax_vjp", "log_softmax_vjp", "log_softmax_jvp"])
def test_a_result_lies_in_memory_as_the_operand_does(name, order, axis):
    x = np.asarray(logits((40, 50), np.dtype(float)), order=order)
    given = (x,) if name.endswith("max") else (x, np.ones_like(x))
    assert getattr(sg, name)(*given, axis=axis).strides == x.strides


@given(data=st.data())
def test_drawn_shapes_strides_and_masks(data):
    """The rule of every test above at once: what counts is the values along the slice, never how they lie in memory."""
    f = data.draw(st.sampled_from(MAPS[:7]))
    dtype = data.draw(st.sampled_from(FLOATS))
    shape = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=3).map(tuple))
    steps = data.draw(st.tuples(*(st.sampled_from([1, 2, 3, -1, -2]) for _ in shape)))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    order = data.draw(st.permutations(range(len(shape))))
    big = logits(tuple(n * abs(s) for n, s in zip(shape, steps, strict=True)), dtype)
    x = big[tuple(slice(None, None, s) for s in steps)].transpose(order)
    assert x.shape == tuple(shape[a] for a in order)
    g, read = directions(x), np.random.default_rng(0).random(x.shape) < 0.8
    plain = [np.ascontiguousarray(np.moveaxis(a, axis, -1)) for a in (x, g, read)]
    assert_same(f.last(f(x, g, axis=axis), axis, x.ndim), f(*plain[:2]))
    assert_same(f.last(f(x, g, axis=axis, where=read), axis, x.ndim), f(*plain[:2], where=plain[2]))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("f", [sg.softmax, sg.log_softmax], ids=lambda f: f.__name__)
def test_large_results_have_the_bits_of_small_ones(f, dtype):
    """Results beyond the caches are stored past them, from wherever they begin in memory; slices lie along any axis."""
    shape, misplaced = (1100, 2016), 3  # rows of whole cache lines, none of which begins with one
    x = logits(shape, np.dtype(dtype))
    memory = np.empty(x.size + misplaced, dtype)
    for axis in (1, 0):
        out = memory[misplaced:].reshape(shape)
        f(x, axis=axis, out=out, workers=1)
        few = (slice(None), slice(0, 40)) if axis == 0 else (slice(0, 40),)
        last = (slice(None), slice(-40, None)) if axis == 0 else (slice(-40, None),)
        for part in (few, last):
            assert_same(out[part], f(np.ascontiguousarray(x[part]), axis=axis, workers=1))


# Columns that end within a block of neighbours, and rows that end within a block of entries.
every_column_shape = pytest.mark.parametrize(("n", "columns"), [(33, 1100), (100, 1100), (4129, 300)])


@pytest.mark.usefixtures("level")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("f", [sg.softmax, sg.log_softmax, sg.logsumexp], ids=lambda f: f.__name__)
@every_column_shape
def test_columns_have_the_bits_of_rows(f, n, columns, dtype):
    """Of one call, some slices are summed in place and others not: long ones, with large logits or one large entry."""
    x = np.random.default_rng(n).normal(size=(n, columns)).astype(dtype)
    for j, column in ((0, 3), (n - 1, 70), (n // 2, columns // 2)):
        for offset, value in enumerate([np.nan, np.inf, -np.inf, 20, 31, 32, 33, -33, 256, 257, 1e4]):
            x[j, column + offset] = value
    rows = f(np.ascontiguousarray(x.T), workers=1)
    assert_same(f(x, axis=0, workers=1).T, rows)
    for first, last in ((0, 90), (5, columns - 1)):
        assert_same(f(x[:, first:last], axis=0).T, rows[first:last])
    large = x.copy()
    large[:, : columns * 3 // 4] += 300  # so many that the others are not tried
    assert_same(f(large, axis=0, workers=1).T, f(np.ascontiguousarray(large.T), workers=1))
    if f is not sg.logsumexp:
        assert_same(f(x, axis=0, out=x).T, rows)


@pytest.mark.usefixtures("level")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@every_column_shape
def test_derivatives_of_columns_have_the_bits_of_rows(n, columns, dtype):
    """Saturated columns, columns that tie, and columns with gaps, where p is 0 and v anything, beside ordinary ones."""
    random = np.random.default_rng(n)
    x, v = random.normal(size=(2, n, columns)).astype(dtype)
    x[n // 3, ::7] += 30
    x[:, 40] = x[0, 40]
    x[random.random(x.shape) < 0.01] = -np.inf
    p = sg.softmax(x, axis=0)
    gaps = np.zeros(x.shape, bool)
    gaps[:, 50:80] = gaps[:, columns - 200] = True
    v[gaps & (p == 0)] = np.nan
    v[n // 2, columns // 2] = np.inf
    rows = sg.softmax_vjp(np.ascontiguousarray(p.T), np.ascontiguousarray(v.T))
    assert np.isfinite(rows[50:80]).all()
    assert_same(sg.softmax_vjp(p, v, axis=0).T, rows)
    for first, last in ((0, 90), (5, columns - 1)):
        assert_same(sg.softmax_vjp(p[:, first:last], v[:, first:last], axis=0).T, rows[first:last])
    for operand in (0, 1):
        given = [p.copy(), v.copy()]
        assert_same(sg.softmax_vjp(*given, axis=0, out=given[operand]).T, rows)
