"""Losses, and what has several results, as plain functions: labels, weights, results in given arrays."""

import numpy as np
import pytest

from .direct import DTYPES, GRADIENTS, LABELLED, Subclass, operands, results, same


@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize("name", LABELLED)
def test_labels_of_any_width(tables, name, dtype):
    gufunc, direct = (table[name] for table in tables)
    factors = (1.0,) * (gufunc.nin - 2)
    for shape in ((7,), (5, 10), (40, 3), (2, 3, 33), (0, 5), (3, 1)):
        x = operands("softmax", shape, dtype)[0]
        labels = np.asarray(np.arange(int(np.prod(shape[:-1]))).reshape(shape[:-1]) % shape[-1])
        expected = results(gufunc(x, labels, *factors))
        for kind in (np.int8, np.uint8, np.int16, np.int32, np.int64):
            got = results(direct(x, labels.astype(kind), axis=-1))
            assert all(map(same, got, expected)), (shape, kind)
        if len(shape) == 1:
            assert all(map(same, results(direct(x, 0)), expected))
        ignored = np.asarray(np.where(np.arange(labels.size).reshape(labels.shape) % 3 == 1, -100, labels))
        weight = np.where(ignored == -100, 0.0, 1.0)
        expected = results(gufunc(x, np.maximum(ignored, 0), weight, *factors[1:]))
        assert all(map(same, results(direct(x, ignored, ignore_index=-100)), expected)), shape
        if len(shape) > 1:
            first = np.ascontiguousarray(np.moveaxis(x, -1, 0))
            for a, b in zip(results(direct(first, labels, axis=0)), results(gufunc(x, labels, *factors)), strict=True):
                assert same(a, np.ascontiguousarray(np.moveaxis(b, -1, 0)) if b.ndim == x.ndim else b)


@pytest.mark.parametrize("name", LABELLED)
def test_other_labels_are_left_to_the_general_path(direct, name):
    x, y = np.zeros((3, 4)), np.array([0, 1, 3])
    assert direct[name](x, y) is not NotImplemented
    bad = [y + 1, y - 1, y[:2], y[:, np.newaxis], y.astype(float), y.astype(bool), y.astype(">i4"), y.astype(np.uint64)]
    bad += [y.tolist(), 1, None, np.int64(1), y.view(Subclass), np.repeat(y, 2)[::2], y.astype(object), np.array(1)]
    for labels in bad:
        assert direct[name](x, labels) is NotImplemented, labels
    for index in (-100.0, "1", True, 10**30):
        assert direct[name](x, y, ignore_index=index) is NotImplemented
    assert direct[name](x, y - 1, ignore_index=-2) is NotImplemented
    for label in (4, -1, True, 1.0, 10**30):
        assert direct[name](x[0], label) is NotImplemented
    assert direct[name](np.zeros((3, 0)), y) is NotImplemented
    others = [{"keepdims": True}, {"where": None}, {"workers": 1}, {"label_smoothing": 0.1, "weight": np.ones(4)}]
    others += [{"label_smoothing": bad} for bad in (-0.1, 1.1, np.nan, None, True, "0", np.float32(0.5))]
    others += [{"z_loss": bad} for bad in (-0.1, np.inf, np.nan, None, True, "0", np.float32(0.5))]
    for options in others:
        assert direct[name](x, y, **options) is NotImplemented
    w = np.ones(3)
    for weight in (
        -w,
        w * np.nan,
        w * np.inf,
        -1.0,
        True,
        w[:2],
        w.tolist(),
        w.astype(int),
        w.astype(np.float16),
        w > 0,
    ):
        assert direct[name](x, y, sample_weight=weight) is NotImplemented


@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize("name", LABELLED)
def test_sample_weights(tables, name, dtype):
    gufunc, direct = (table[name] for table in tables)
    (x,) = operands("softmax", (6, 5), dtype)
    y, w = np.array([0, 1, 2, 3, 4, 0]), np.array([1, 0, 2.5, 1e-3, 1e300, 7])
    factors = (1.0,) * (gufunc.nin - 3)
    with np.errstate(over="ignore"):
        singles = w.astype(np.float32)
    for given, weight in ((w, w), (np.minimum(singles, 9), np.minimum(singles, 9)), (0.5, 0.5), (2, 2.0), (None, 1.0)):
        expected = results(gufunc(x, y, np.asarray(weight, float), *factors))
        assert all(map(same, results(direct(x, y, sample_weight=given)), expected)), given
    expected = results(gufunc(x, y, np.where(y == 1, 0, w), *factors))
    assert all(map(same, results(direct(x, y, sample_weight=w, ignore_index=1)), expected))
    classes = np.array([0, 1, 2.5, 1e-3, 3])
    expected = results(gufunc(x, y, classes[y], *factors))
    assert all(map(same, results(direct(x, y, weight=classes)), expected))
    expected = results(gufunc(x, y, w * classes.astype(np.float32)[y], *factors))
    assert all(map(same, results(direct(x, y, weight=classes.astype(np.float32), sample_weight=w)), expected))
    for bad in (-classes, classes * np.nan, classes[:4], classes.tolist(), 1.0, classes.astype(int), np.ones(10)[::2]):
        assert direct(x, y, weight=bad) is NotImplemented


@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize("name", ["cross_entropy_grad", "cross_entropy_grad_hess", *GRADIENTS])
def test_several_results_are_written_where_they_are_to_go(direct, name, dtype):
    given = (
        operands(name, (4, 6), dtype) if name in GRADIENTS else (operands("softmax", (4, 6), dtype)[0], np.arange(4))
    )
    options = ("out", "grad_p_out", "grad_q_out") if name.startswith("kl") else ("out", "grad_out", "hess_out")
    expected = direct[name](*given)
    for chosen in range(1, 2 ** len(expected)):
        outs = {
            option: np.full_like(result, 7)
            for i, (option, result) in enumerate(zip(options, expected, strict=False))
            if chosen >> i & 1
        }
        for option, got, result in zip(options, direct[name](*given, **outs), expected, strict=False):
            assert same(got, result)
            assert option not in outs or got is outs[option]
    gradient = options[1]
    assert direct[name](*given, **{gradient: given[0]}) is NotImplemented  # others than the only result not in place
    assert direct[name](*given, **{gradient: np.empty((4, 5), dtype)}) is NotImplemented
    both = np.empty((4, 6), dtype)
    if len(expected) == 3:
        assert direct[name](*given, **{gradient: both, options[2]: both}) is NotImplemented
