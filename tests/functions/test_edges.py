"""The design's section 3, row by row: every function of the table, every dtype, every instruction-set level."""

from math import inf, nan

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import softgrad as sg

from ..maps import (
    BFLOAT16,
    FLOATS,
    INTEGERS,
    MAPS,
    assert_close,
    assert_same,
    directions,
    every_float,
    every_map,
    logits,
    maps_with,
)
from ..rows import LENGTHS

pytestmark = pytest.mark.usefixtures("level")


def lengths(f):
    """Row lengths for a map: n² numbers come back from a Jacobian."""
    return [n for n in LENGTHS if n <= 100 or f.result != "matrix"]


# axis


@every_map
@every_float
def test_any_axis_is_the_last_axis_moved(f, dtype):
    for shape in ((2, 3, 5), (33, 2, 17), (1, 40, 1)):
        x = logits(shape, dtype)
        g = directions(x)
        for axis in (0, 1, -1, -2):
            expected = f(*(np.ascontiguousarray(np.moveaxis(a, axis, -1)) for a in (x, g)))
            assert_same(f.last(f(x, g, axis=axis), axis, 3), expected)


@every_map
@every_float
def test_several_axes_are_one_slice(f, dtype):
    x = logits((2, 3, 4, 5), dtype)
    g = directions(x)
    for axis in ((1, 3), (3, 1), (-1, 0), (0, 1, 2, 3), None):
        axes = tuple(range(4)) if axis is None else tuple(sorted(a % 4 for a in axis))
        batch = tuple(a for a in range(4) if a not in axes)

        def as_rows(a, batch=batch, axes=axes):
            return a.transpose(*batch, *axes).reshape(*(a.shape[i] for i in batch), -1)

        got = f(x, g, axis=axis)
        if f.result == "slice" and f.name != "diagonal":
            assert got.shape == x.shape
            got = as_rows(got)
        assert_same(got, f(as_rows(x), as_rows(g)))


@every_map
def test_no_such_axis(f):
    x = logits((2, 3), FLOATS[3])
    for axis in (2, -3, (0, 2)):
        with pytest.raises(np.exceptions.AxisError):
            f(x, axis=axis)
    with pytest.raises(ValueError, match="axis"):
        f(x, axis=(1, -1))


# NaN and infinities


@every_map
@every_float
def test_nan_stays_in_its_slice(f, dtype):
    for n in lengths(f):
        x = logits((3, n), dtype)
        clean = f(x)
        for place in {0, n // 2, n - 1}:
            poisoned = x.copy()
            poisoned[1, place] = nan
            got = f(poisoned, directions(x))
            assert np.isnan(got[1]).all()
            assert_same(got[[0, 2]], clean[[0, 2]])


@every_map
@every_float
def test_positive_infinity(f, dtype):
    for n in lengths(f):
        x = logits((3, n), dtype)
        clean = f(x)
        for places in ([0], [n - 1], [0, n - 1]):
            poisoned = x.copy()
            poisoned[1, places] = inf
            got = f(poisoned, directions(x))
            np.testing.assert_array_equal(got[1].astype(float), np.full(f.shape(x.shape)[1:], f.posinf))
            assert_same(got[[0, 2]], clean[[0, 2]])


@every_map
@every_float
def test_nothing_but_negative_infinity(f, dtype):
    for n in lengths(f):
        x = logits((3, n), dtype)
        clean = f(x)
        x[1] = -inf
        got = f(x, directions(x))
        np.testing.assert_array_equal(got[1].astype(float), np.full(f.shape(x.shape)[1:], f.neginf))
        assert_same(got[[0, 2]], clean[[0, 2]])


def _some_read(n, seed=0):
    read = np.random.default_rng([n, seed]).random(n) < 0.6
    read[n // 2] = True
    return read


@every_map
@every_float
def test_negative_infinity_is_as_good_as_absent(f, dtype):
    for n in lengths(f):
        x, read = logits((n,), dtype), _some_read(n)
        g = directions(x)
        expected = f.expand(f(x[read], g[read]), read, n)
        x[~read] = -inf
        assert_close(f(x, g), expected)


# where


@maps_with("where")
@every_float
@pytest.mark.parametrize("beneath", [0.0, nan, inf, -inf, 60000.0])
def test_masked_is_sliced(f, dtype, beneath):
    for n in lengths(f):
        x, read = logits((n,), dtype), _some_read(n)
        g = directions(x)
        expected = f.expand(f(x[read], g[read]), read, n)
        x[~read] = beneath
        g[~read] = beneath
        got = f(x, g, where=read)
        assert_close(got, expected)
        if f.result == "slice":
            assert_same(got[~read], expected[~read])


@maps_with("where")
@every_float
def test_slices_masked_entirely(f, dtype):
    for n in lengths(f):
        x = logits((3, n), dtype)
        read = np.ones((3, n), np.bool)
        clean = f(x, where=read)
        for beneath in (0.0, nan, inf, -inf):
            x[1], read[1] = beneath, False
            got = f(x, directions(x), where=read)
            np.testing.assert_array_equal(got[1].astype(float), np.full(f.shape(x.shape)[1:], f.masked))
            assert_same(got[[0, 2]], clean[[0, 2]])


@maps_with("where")
@every_float
def test_an_entry_that_is_not_masked_still_poisons(f, dtype):
    x, read = logits((33,), dtype), _some_read(33)
    x[np.flatnonzero(read)[:2]] = nan, -inf
    got = f(x, where=read)
    assert np.isnan(
        got[read] if f.result == "slice" else got[np.ix_(read, read)] if f.result == "matrix" else got
    ).all()


@maps_with("where")
@every_float
def test_a_mask_that_hides_nothing(f, dtype):
    for n in lengths(f):
        x = logits((3, n), dtype)
        for mask in (True, np.True_, np.ones(n, np.bool), np.ones((3, 1), np.bool)):
            assert_close(f(x, where=mask), f(x))


@maps_with("where")
@every_float
def test_a_mask_broadcasts_and_moves_with_its_axis(f, dtype):
    x = logits((3, 40, 2), dtype)
    g = directions(x)
    read = np.random.default_rng(1).random((40, 1)) < 0.7
    got = f.last(f(x, g, axis=1, where=read), 1, 3)
    moved = [np.ascontiguousarray(np.moveaxis(np.broadcast_to(a, x.shape), 1, -1)) for a in (x, g, read)]
    assert_same(got, f(moved[0], moved[1], where=moved[2]))


# empty and 0-d


@every_map
@every_float
def test_empty(f, dtype):
    for shape in ((0,), (3, 0), (0, 5), (0, 0), (2, 0, 5)):
        x = np.empty(shape, dtype)
        got = f(x)
        assert got.shape == f.shape(shape)
        assert np.asarray(got).dtype == dtype
        if f.result == "value":
            assert (np.asarray(got).astype(float) == -inf).all()
    for axis in (0, (0, 1), None):
        got = f(np.empty((3, 0), dtype), axis=axis)
        assert got.size == (0 if f.result != "value" or axis == 0 else 1)


@every_map
@every_float
def test_zero_dimensions(f, dtype):
    x = np.array(3.0, dtype)
    got = np.asarray(f(x, np.array(2.0, dtype), axis=None)).astype(float)
    assert got.size == 1
    assert got.ravel()[0] == {"softmax": 1.0, "logsumexp": 3.0}.get(f.name, 0.0)
    if f.result == "slice" and f.name != "diagonal":
        assert got.shape == ()
    for axis in (-1, 0):
        with pytest.raises(np.exceptions.AxisError):
            f(x, np.array(2.0, dtype), axis=axis)


def test_a_scalar_gives_a_scalar():
    for f in (sg.softmax, sg.log_softmax, sg.logsumexp):
        assert isinstance(f(3.0, axis=None), np.float64)
        assert isinstance(f(np.float32(3.0), axis=None), np.float32)
    assert isinstance(sg.logsumexp([1.0, 2.0]), np.float64)


# dtypes


@every_map
@pytest.mark.parametrize("dtype", INTEGERS, ids=lambda d: d.name)
def test_integers_become_float64_first(f, dtype):
    x = logits((3, 33), dtype)
    assert_same(f(x), f(x.astype(np.float64), directions(x)))


@every_map
@every_float
def test_floating_dtypes_are_kept(f, dtype):
    assert f(logits((3, 33), dtype)).dtype == dtype


def test_small_integers_do_not_wrap():
    assert sg.softmax(np.array([-128, 127], np.int8))[1] == 1.0
    assert sg.logsumexp(np.array([-128, 127], np.int8)) == 127.0


@every_map
@pytest.mark.parametrize(
    "x", [[1j], [None], ["a"], [np.datetime64("2026-01-01")], [b"a"]], ids=lambda x: type(x[0]).__name__
)
def test_what_is_not_real_is_a_type_error(f, x):
    x = np.array(x)
    with pytest.raises(TypeError) as error:
        f(x, np.ones(1))
    assert str(x.dtype) in str(error.value)


@pytest.mark.parametrize("dtype", FLOATS[:2], ids=lambda d: d.name)
@pytest.mark.parametrize("f", MAPS[:3], ids=lambda f: f.name)
def test_half_precision_is_computed_wider(f, dtype):
    """Within one rounding of the computation in float32."""
    for n in LENGTHS:
        x = logits((n,), dtype)
        assert_close(f(x), np.asarray(f(x.astype(np.float32))).astype(dtype), ulp=1)


# layouts


def _unaligned(x):
    buffer = np.zeros(x.nbytes + 1, np.uint8)
    y = buffer[1:].view(x.dtype).reshape(x.shape)
    y[...] = x
    return y


def _readonly(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def _every_other(x, axis):
    wide = np.repeat(x, 2, axis=axis)
    index = [slice(None)] * x.ndim
    index[axis] = slice(None, None, 2)
    return wide[tuple(index)]


LAYOUTS = {
    "strided": lambda x: _every_other(x, -1),
    "strided rows": lambda x: _every_other(x, 0),
    "negative strides": lambda x: np.ascontiguousarray(x[..., ::-1])[..., ::-1],
    "negative rows": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "Fortran": np.asfortranarray,
    "axes swapped": lambda x: np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1),
    "rows broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
    "entries broadcast": lambda x: np.broadcast_to(x[..., :1], x.shape),
    "byte-swapped": lambda x: x if x.dtype == BFLOAT16 else x.astype(x.dtype.newbyteorder("S")),
    "unaligned": _unaligned,
    "read-only": _readonly,
    "offset": lambda x: np.concatenate([x[..., :1], x], axis=-1)[..., 1:],
}


@every_map
@every_float
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_gives_the_same_bits(f, dtype, layout):
    for n in lengths(f):
        for shape in ((5, n), (2, 18, n)) if n < 100 else ((5, n),):
            contiguous = logits(shape, dtype)
            x, g = LAYOUTS[layout](contiguous), LAYOUTS[layout](directions(contiguous))
            plain = [np.array(a, dtype=dtype, order="C") for a in (x, g)]
            assert_same(f(x, g), f(*plain))


@pytest.mark.usefixtures("level")
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmax_vjp", "log_softmax_vjp", "log_softmax_jvp"])
def test_a_result_lies_in_memory_as_the_operand_does(name, order, axis):
    x = np.asarray(logits((40, 50), np.dtype(float)), order=order)
    given = (x,) if name.endswith("max") else (x, np.ones_like(x))
    assert getattr(sg, name)(*given, axis=axis).strides == x.strides


@maps_with("where")
@pytest.mark.parametrize("dtype", FLOATS[:4], ids=lambda d: d.name)
@pytest.mark.parametrize(
    "layout", ["strided", "negative strides", "Fortran", "read-only", "rows broadcast", "entries broadcast"]
)
def test_any_layout_of_a_mask(f, dtype, layout):
    for n in (10, 33, 300):
        x = logits((11, n), dtype)
        mask = LAYOUTS[layout](np.random.default_rng(2).random((11, n)) < 0.7)
        x[~mask] = np.resize(np.array([nan, inf, -inf, 1e4], dtype), (~mask).sum())
        g = directions(x)
        expected = np.stack([f(x[row], g[row], where=mask[row].copy()) for row in range(11)])
        assert_same(f(x, g, where=mask), expected)
        assert_same(f.last(f(x.T, g.T, where=mask.T, axis=0), 0, 2), expected)


# temperature


@maps_with("temperature")
@every_float
def test_one_temperature_per_slice(f, dtype):
    x = logits((2, 3, 17), dtype)
    temperatures = np.array([[0.5, 1.0, 2.0], [4.0, 0.75, 3.0]])
    got = f(x, temperature=temperatures)
    assert_same(got, f(x, temperature=temperatures[..., None]))
    g = directions(x)
    for i in np.ndindex(2, 3):
        assert_close(got[i], f(x[i], g[i], temperature=temperatures[i]))
    axis0 = f(np.moveaxis(x, -1, 0), np.moveaxis(g, -1, 0), axis=0, temperature=temperatures)
    assert_same(f.last(axis0, 0, 3), got)
    assert_same(f(x, temperature=[1.5, 1.0, 0.5]), f(x, temperature=[[1.5, 1.0, 0.5]] * 2))


@maps_with("temperature")
@every_float
def test_a_temperature_of_one_changes_nothing(f, dtype):
    x = logits((3, 33), dtype)
    for one in (1, 1.0, np.float32(1), np.ones(3), np.ones((3, 1))):
        assert_close(f(x, temperature=one), f(x))


@every_float
def test_temperature_zero_is_uniform_over_the_largest(dtype):
    for n in LENGTHS[1:]:
        x = logits((3, n), dtype)
        x[1, [0, n - 1]] = 50.0
        x[2, n // 2] = -inf
        expected = (x == x.max(axis=-1, keepdims=True)).astype(np.longdouble)
        expected /= expected.sum(axis=-1, keepdims=True)
        for zero in (0, 0.0, np.zeros(3)):
            assert_same(sg.softmax(x, temperature=zero), expected.astype(dtype))
        with np.errstate(divide="ignore"):
            assert_close(sg.log_softmax(x, temperature=0.0), np.log(expected).astype(dtype))


@every_float
@pytest.mark.parametrize("T", [0.0, 5e-324, 0.5, inf])
def test_positive_infinity_at_any_temperature(dtype, T):
    x = logits((3, 33), dtype)
    x[1, 7] = inf
    for f in (sg.softmax, sg.log_softmax):
        np.testing.assert_array_equal(np.isnan(f(x, temperature=T)).any(axis=-1), [False, True, False])
        assert np.isnan(f(x, temperature=T)[1]).all()


@every_float
def test_temperature_infinity_is_uniform(dtype):
    x = logits((3, 8), dtype)
    for T in (inf, np.full(3, inf)):
        assert_same(sg.softmax(x, temperature=T), np.full((3, 8), 0.125, dtype))
    assert_close(sg.softmax(x, temperature=1e300), np.full((3, 8), 0.125, dtype))


@every_float
def test_a_tiny_temperature_selects_the_largest(dtype):
    x = logits((3, 33), dtype)
    expected = (x == x.max(axis=-1, keepdims=True)).astype(np.longdouble)
    expected /= expected.sum(axis=-1, keepdims=True)
    for T in (1e-300, 5e-324, np.full(3, 1e-300)):
        assert_same(sg.softmax(x, temperature=T), expected.astype(dtype))
        y = sg.log_softmax(x, temperature=T).astype(np.longdouble)
        assert (y[expected == 0] < -1e4).all()


@every_float
def test_temperatures_of_one_batch_do_not_mix(dtype):
    x = logits((4, 33), dtype)
    got = sg.softmax(x, temperature=[0.0, 1.0, inf, 1e-300])
    for row, T in enumerate((0.0, 1.0, inf, 1e-300)):
        assert_close(got[row], sg.softmax(x[row], temperature=T))


@maps_with("temperature")
def test_bad_temperatures(f):
    x = logits((3, 4), np.dtype(np.float64))
    for bad in (-1, -0.5, nan, [1.0, -1.0, 1.0], [1.0, nan, 1.0], np.float32(nan)):
        with pytest.raises(ValueError, match="temperature"):
            f(x, temperature=bad)
    for shape in ((4,), (3, 4), (2, 3)):
        with pytest.raises(ValueError, match="temperature"):
            f(x, temperature=np.ones(shape))


def test_at_temperature_zero_there_is_no_derivative():
    for T in (0.0, [1.0, 0.0]):
        with pytest.raises(ValueError, match="temperature"):
            sg.softmax_jacobian(np.ones((2, 3)), temperature=T)


@maps_with("temperature")
@every_float
def test_edges_at_a_temperature(f, dtype):
    x = logits((4, 33), dtype)
    x[0, 3], x[1, 3], x[2], x[3, 3] = nan, inf, -inf, -inf
    got = f(x, directions(x), temperature=0.7).astype(float)
    assert np.isnan(got[:2]).all()
    np.testing.assert_array_equal(got[2], np.full(got[2].shape, f.neginf))
    np.testing.assert_array_equal(got[3, 3], np.full(got[3, 3].shape, f.masked))


# masked arrays


@every_map
@every_float
def test_masked_arrays(f, dtype):
    x = logits((4, 33), dtype)
    g = directions(x)
    mask = np.random.default_rng(3).random((4, 33)) < 0.4
    mask[2] = True
    expected = f(x, g, where=~mask)
    got = f(np.ma.MaskedArray(x, mask), g)
    if f.name in ("jacobian", "diagonal"):  # an operator holds plain numbers
        assert_same(got, expected)
        return
    assert isinstance(got, np.ma.MaskedArray)
    hidden = mask if f.result == "slice" else mask.all(axis=-1)
    np.testing.assert_array_equal(np.ma.getmaskarray(got), hidden)
    assert_same(got.data[~hidden], expected[~hidden])


@pytest.mark.parametrize("f", MAPS[:3], ids=lambda f: f.name)
def test_masked_arrays_with_options(f):
    x = logits((4, 33), np.dtype(np.float32))
    mask = np.random.default_rng(3).random((4, 33)) < 0.4
    also = np.random.default_rng(4).random(33) < 0.8
    masked = np.ma.MaskedArray(x, mask)
    got = f(masked, where=also)
    assert_same(got.data, f(x, where=~mask & also))
    out = np.empty(f.shape(x.shape), np.float32)
    f(masked, out=out)
    assert_same(out, f(x, where=~mask))
    integers = np.ma.MaskedArray(np.arange(6), [0, 0, 1, 0, 0, 1])
    assert_same(np.asarray(f(integers)), f(np.arange(6.0), where=~integers.mask))
    unmasked = f(np.ma.MaskedArray(x))
    assert_close(np.asarray(unmasked), f(x))


# warnings


@every_map
@every_float
def test_no_floating_point_error_reaches_the_caller(f, dtype):
    """Not even one who asked NumPy to raise them all: underflow, inf and NaN are results here, never news."""
    largest = float(ml_dtypes.finfo(dtype).max if dtype == BFLOAT16 else np.finfo(dtype).max)
    hard = (
        [1, -inf, 2],
        [nan, 1, 2],
        [inf, 1, -inf],
        [-inf] * 3,
        [0, -20, -800],
        [largest, -largest, 0],
        [-1e-4, 0, 1],
    )
    x = np.array(hard, np.longdouble).astype(dtype)
    g = directions(x)
    masks = (
        ({}, {"where": np.array([True, False, True])}, {"where": np.zeros(3, np.bool)})
        if "where" in f.options
        else ({},)
    )
    for options in (*masks, *({"temperature": T} for T in (0.7, 1e-300, 1e300, inf) if "temperature" in f.options)):
        with np.errstate(all="raise"):
            f(x, g, **options)


# out


@pytest.mark.parametrize("function", [sg.softmax, sg.log_softmax], ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.usefixtures("level")
def test_out_may_be_x_at_any_temperature(function, dtype):
    """Temperatures beyond the vectors' range are computed after the others: from x as it was."""
    for n in (3, 40):
        for axis in (-1, 0):
            for T in (0.0, 1e-300, 1e300, inf, 0.7):
                x = logits((n, n), np.dtype(dtype))
                expected = function(x.copy(), axis=axis, temperature=T)
                function(x, axis=axis, temperature=T, out=x)
                assert_same(x, expected)


FORWARD = MAPS[:7]
every_forward = pytest.mark.parametrize("f", FORWARD, ids=lambda f: f.name)


@every_forward
@every_float
def test_out_is_written_and_returned(f, dtype):
    for n in LENGTHS:
        x = logits((5, n), dtype)
        expected = f(x)
        out = np.empty(f.shape(x.shape), dtype)
        assert f(x, out=out) is out
        assert_same(out, expected)
        for make in ("strided", "negative strides", "Fortran", "unaligned"):
            out = LAYOUTS[make](np.full(out.shape, 7, dtype))
            assert f(x, out=out) is out
            assert_same(out, expected)


@every_forward
@every_float
def test_out_along_other_axes(f, dtype):
    x = logits((3, 40, 4), dtype)
    for axis in (0, 1, (0, 2), None):
        expected = f(x, axis=axis)
        for order in "CF":
            out = np.empty(np.shape(expected), dtype, order)
            assert f(x, axis=axis, out=out) is out
            assert_same(out, expected)


@every_forward
def test_out_leaves_its_neighbours_alone(f):
    x = logits((5, 33), np.dtype(np.float32))
    wide = np.full((5, 66), 7, np.float32)
    out = wide[:, ::2] if f.result == "slice" else wide[:, 0]
    f(x, out=out)
    assert (wide[:, 1::2] == 7).all()


@pytest.mark.parametrize("f", MAPS[:2], ids=lambda f: f.name)
@every_float
def test_out_may_be_x_or_overlap_it(f, dtype):
    for n in LENGTHS:
        for axis in (-1, 0):
            x = logits((5, n), dtype)
            for options in ({}, {"where": _some_read(n)}, {"temperature": 0.7}):
                expected = f(x, axis=axis, **options)
                inplace = x.copy()
                assert f(inplace, axis=axis, out=inplace, **options) is inplace
                assert_same(inplace, expected)
                for shift in (1, n, 2 * n):
                    for forward in (True, False):
                        buffer = np.zeros(5 * n + shift, dtype)
                        low, high = (part.reshape(5, n) for part in (buffer[: 5 * n], buffer[shift:]))
                        source, out = (low, high) if forward else (high, low)
                        source[...] = x
                        f(source, axis=axis, out=out, **options)
                        assert_same(out, expected)
                reversed_out = x.copy()
                f(reversed_out, axis=axis, out=reversed_out[:, ::-1], **options)
                assert_same(reversed_out[:, ::-1], expected)


@every_float
def test_out_may_be_an_operand_of_a_derivative(dtype):
    for n in LENGTHS:
        x = logits((5, n), dtype)
        g = directions(x)
        for function, first in (
            (sg.softmax_vjp, sg.softmax(x)),
            (sg.log_softmax_vjp, sg.log_softmax(x)),
            (sg.log_softmax_jvp, sg.log_softmax(x)),
        ):
            expected = function(first, g)
            for place in (0, 1):
                operands = [first.copy(), g.copy()]
                assert function(*operands, out=operands[place]) is operands[place]
                assert_same(operands[place], expected)


def test_logsumexp_out_may_overlap_x():
    for n in LENGTHS:
        x = logits((5, n), np.dtype(np.float32))
        expected = sg.logsumexp(x)
        for column in {0, n - 1}:
            inplace = x.copy()
            sg.logsumexp(inplace, out=inplace[:, column])
            assert_same(inplace[:, column], expected)
        flat = x.copy()
        sg.logsumexp(flat, out=flat.reshape(-1)[:5])
        assert_same(flat.reshape(-1)[:5], expected)


@every_forward
def test_bad_out(f):
    x = logits((5, 33), np.dtype(np.float32))
    shape = f.shape(x.shape)
    readonly = np.full(shape, 7, np.float32)
    readonly.flags.writeable = False
    for error, out in (
        (ValueError, np.full((2, *shape), 7, np.float32)),
        (ValueError, np.full((*shape[:-1], shape[-1] + 1), 7, np.float32)),
        (ValueError, np.full((1, *shape[1:]), 7, np.float32)),
        (TypeError, np.full(shape, 7, np.float64)),
        (TypeError, np.full(shape, 7, np.float16)),
        (TypeError, np.full(shape, 7, np.int32)),
        (ValueError, readonly),
    ):
        with pytest.raises(error, match="out"):
            f(x, out=out)
        assert (out == 7).all()
    with pytest.raises(TypeError, match="out"):
        f(x, out=[[0.0] * 33] * 5)


# repeatability


@every_map
@every_float
def test_a_row_has_the_same_bits_in_any_batch(f, dtype):
    for n in lengths(f):
        x = logits((19, n), dtype)
        g = directions(x)
        whole = f(x, g)
        for row in (0, 7, 18):
            assert_same(whole[row], f(x[row], g[row]))
            assert_same(whole[row], f(x[row : row + 1], g[row : row + 1])[0])
        assert_same(whole[3:11], f(x[3:11], g[3:11]))
        assert_same(whole, f(x, g))


@maps_with("where")
def test_a_masked_row_has_the_same_bits_in_any_batch(f):
    for n in lengths(f):
        x = logits((7, n), np.dtype(np.float32))
        g = directions(x)
        read = np.random.default_rng(n).random((7, n)) < 0.7
        whole = f(x, g, where=read)
        for row in range(7):
            assert_same(whole[row], f(x[row], g[row], where=read[row]))


@maps_with("temperature")
@every_float
def test_a_tempered_row_has_the_same_bits_in_any_batch(f, dtype):
    """T = 1 is no temperature to a row of its own, and 1e-150 is none that vectors take."""
    temperatures = np.array([1.0, 0.7, 2.0, 1.0, 3.3, 1.0, 0.1, 1.0, 1.0, 1e-150, 5.0])
    for n in lengths(f):
        x = logits((11, n), dtype)
        g = directions(x)
        for options in ({}, {"where": np.random.default_rng(n).random((11, n)) < 0.7}):
            whole = f(x, g, temperature=temperatures, **options)
            for row, T in enumerate(temperatures):
                own = {name: mask[row] for name, mask in options.items()}
                assert_same(whole[row], f(x[row], g[row], temperature=T, **own))
            some = {name: mask[:8] for name, mask in options.items()}
            assert_same(whole[:8], f(x[:8], g[:8], temperature=temperatures[:8], **some))


@pytest.mark.parametrize("dtype", FLOATS[2:4], ids=lambda d: d.name)
@pytest.mark.parametrize("f", MAPS[:3], ids=lambda f: f.name)
@pytest.mark.parametrize("shape", [(7, 1000), (1, 5000), (5000,), (100, 3), (2, 3, 257)], ids=str)
def test_any_number_of_workers_gives_the_same_bits(f, dtype, shape):
    x = logits(shape, dtype)
    mask = np.random.default_rng(1).random(shape) < 0.8
    for options in ({}, {"where": mask}, {"axis": 0}, {"axis": None}):
        expected = f(x, workers=1, **options)
        assert_same(f(x, **options), expected)
        for workers in (2, 3, 8, -1):
            assert_same(f(x, workers=workers, **options), expected)


def test_large_arrays_are_split_without_changing_bits():
    x = np.random.default_rng(0).normal(size=(40, 2**14 + 3)).astype(np.float32)
    for function in (sg.softmax, sg.log_softmax, sg.logsumexp):
        automatic = function(x)
        assert_same(automatic, function(x, workers=1))
        assert_same(automatic[17], function(x[17]))


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
    shape, misplaced = (1100, 2016), 3  # rows of whole lines of memory, none of which begins with one
    x = logits(shape, np.dtype(dtype))
    memory = np.empty(x.size + misplaced, dtype)
    for axis in (1, 0):
        out = memory[misplaced:].reshape(shape)
        f(x, axis=axis, out=out, workers=1)
        few = (slice(None), slice(0, 40)) if axis == 0 else (slice(0, 40),)
        last = (slice(None), slice(-40, None)) if axis == 0 else (slice(-40, None),)
        for part in (few, last):
            assert_same(out[part], f(np.ascontiguousarray(x[part]), axis=axis, workers=1))


@pytest.mark.usefixtures("level")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("f", [sg.softmax, sg.log_softmax, sg.logsumexp], ids=lambda f: f.__name__)
@pytest.mark.parametrize("n", [33, 50, 100, 4096, 4129])
def test_columns_have_the_bits_of_rows(f, n, dtype):
    """Of one call, some slices are summed where they lie and others are not: long ones, with large logits or a peak."""
    x = np.random.default_rng(n).normal(size=(n, 1100)).astype(dtype)
    for j, column in ((0, 3), (n - 1, 70), (n // 2, 600)):
        for offset, value in enumerate([np.nan, np.inf, -np.inf, 20, 31, 32, 33, -33, 256, 257, 1e4]):
            x[j, column + offset] = value
    rows = f(np.ascontiguousarray(x.T), workers=1)
    assert_same(f(x, axis=0, workers=1).T, rows)
    for first, last in ((0, 90), (5, 1099)):
        assert_same(f(x[:, first:last], axis=0).T, rows[first:last])
    large = x.copy()
    large[:, :800] += 300  # so many that the others are not tried
    assert_same(f(large, axis=0, workers=1).T, f(np.ascontiguousarray(large.T), workers=1))
    if f is not sg.logsumexp:
        assert_same(f(x, axis=0, out=x).T, rows)


@pytest.mark.usefixtures("level")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("n", [33, 50, 100, 4096, 4129])
def test_derivatives_of_columns_have_the_bits_of_rows(n, dtype):
    """Saturated columns, columns that tie, and columns with gaps, where p is 0 and v anything, beside ordinary ones."""
    random = np.random.default_rng(n)
    x, v = random.normal(size=(2, n, 1100)).astype(dtype)
    x[n // 3, ::7] += 30
    x[:, 40] = x[0, 40]
    x[random.random(x.shape) < 0.01] = -np.inf
    p = sg.softmax(x, axis=0)
    gaps = np.zeros(x.shape, bool)
    gaps[:, 200:230] = gaps[:, 900] = True
    v[gaps & (p == 0)] = np.nan
    v[n // 2, 500] = np.inf
    rows = sg.softmax_vjp(np.ascontiguousarray(p.T), np.ascontiguousarray(v.T))
    assert np.isfinite(rows[200:230]).all()
    assert_same(sg.softmax_vjp(p, v, axis=0).T, rows)
    for first, last in ((0, 90), (5, 1099)):
        assert_same(sg.softmax_vjp(p[:, first:last], v[:, first:last], axis=0).T, rows[first:last])
    for operand in (0, 1):
        given = [p.copy(), v.copy()]
        assert_same(sg.softmax_vjp(*given, axis=0, out=given[operand]).T, rows)
