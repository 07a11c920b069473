"""Edges of the axis and of shapes: any axis, several, none, empty and 0-d (docs/edges.md)."""

from math import inf

import numpy as np
import pytest

import softgrad as sg

from ..maps import FLOATS, assert_same, directions, every_float, every_map, logits

pytestmark = pytest.mark.usefixtures("level")


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
    expected = {"softmax": 1.0, "sparsemax": 1.0, "entmax": 1.0, "logsumexp": 3.0}
    assert got.ravel()[0] == expected.get(f.name.partition(" ")[0], 0.0)
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
