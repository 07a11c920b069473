"""where= and masked arrays (docs/edges.md)."""

from itertools import product
from math import inf, nan

import numpy as np
import pytest

import softgrad as sg

from ..layouts import LAYOUTS
from ..maps import (
    FLOATS,
    MAPS,
    assert_close,
    assert_same,
    directions,
    every_float,
    every_map,
    lengths,
    logits,
    maps_with,
    some_valid,
)

pytestmark = pytest.mark.usefixtures("level")


@maps_with("where")
@every_float
def test_masked_is_sliced(f, dtype):
    for n, beneath in product(lengths(f), (0.0, nan, inf, -inf, 60000.0)):
        x, read = logits((n,), dtype), some_valid(n)
        g = directions(x)
        expected = f.expand(f(x[read], g[read]), read, n)
        x[~read] = beneath
        g[~read] = beneath
        got = f(x, g, where=read)
        assert_close(got, expected, case=f"n = {n}, {beneath} under the mask")
        if f.result == "slice":
            assert_same(got[~read], expected[~read], f"n = {n}, {beneath} under the mask")


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
def test_a_nan_that_is_not_masked_makes_its_slice_nan(f, dtype):
    x, read = logits((33,), dtype), some_valid(33)
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


@maps_with("where")
@pytest.mark.parametrize("dtype", FLOATS[:4], ids=lambda d: d.name)
def test_any_layout_of_a_mask(f, dtype):
    layouts = ("strided", "negative strides", "Fortran", "read-only", "rows broadcast", "entries broadcast")
    for n, layout in product((10, 33, 300), layouts):
        x = logits((11, n), dtype)
        mask = LAYOUTS[layout](np.random.default_rng(2).random((11, n)) < 0.7)
        x[~mask] = np.resize(np.array([nan, inf, -inf, 1e4], dtype), (~mask).sum())
        g = directions(x)
        expected = np.stack([f(x[row], g[row], where=mask[row].copy()) for row in range(11)])
        assert_same(f(x, g, where=mask), expected, f"n = {n}, {layout}")
        assert_same(f.last(f(x.T, g.T, where=mask.T, axis=0), 0, 2), expected, f"n = {n}, {layout}, first axis")


@every_map
@every_float
def test_masked_arrays(f, dtype):
    x = logits((4, 33), dtype)
    g = directions(x)
    mask = np.random.default_rng(3).random((4, 33)) < 0.4
    mask[2] = True
    expected = f(x, g, where=~mask)
    got = f(np.ma.MaskedArray(x, mask), g)
    if f.result == "matrix" or f.name == "diagonal":  # an operator holds plain numbers
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


def test_masked_entries_of_other_arguments_are_an_error():
    """Their masks were not read: a label, a weight or a temperature under a mask counted as any other."""
    x = logits((2, 3), np.dtype(np.float64))
    one, slices = [False, True], [[False, True, False], [False, False, False]]

    def masked(values, mask):
        return np.ma.masked_array(values, mask)

    labels, numbers, entries = masked([2, 1], one), masked([1.0, 1.5], one), masked(abs(x), slices)
    calls = {
        "labels": lambda: sg.cross_entropy(x, labels),
        "sample_weight": lambda: sg.cross_entropy(x, [2, 1], sample_weight=numbers),
        "weight": lambda: sg.focal_loss(x, [2, 1], weight=masked([1.0, 2.0, 3.0], slices[0])),
        "targets": lambda: sg.soft_cross_entropy(x, entries),
        "temperature": lambda: sg.softmax(x, temperature=numbers),
        "where": lambda: sg.softmax(x, where=masked(x > 0, slices)),
        "b": lambda: sg.logsumexp(x, b=entries),
        "alpha": lambda: sg.entmax(x, numbers),
        "k": lambda: sg.top_k_mask(x, labels),
        "p": lambda: sg.top_p_mask(x, masked([0.5, 0.5], one)),
        "index": lambda: sg.selective_log_softmax(x, labels),
        "v": lambda: sg.softmax_jacobian(x).matvec(entries),
        "X": lambda: sg.softmax_regression_hvp(entries, x, x),
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match=f"^{name} must have no masked entries; got 1 of [236]: filled"):
            call()
    for loss in (sg.sparsemax_loss, sg.entmax_loss, sg.cross_entropy_grad):
        with pytest.raises(ValueError, match="labels must have no masked entries"):
            loss(x, labels)
    with pytest.raises(ValueError, match="labels must have no masked entries"):
        sg.linear_cross_entropy(x, np.eye(3), labels)
    nothing = masked([2, 1], False)
    assert_same(sg.cross_entropy(x, nothing), sg.cross_entropy(x, [2, 1]), "no entry is masked")
