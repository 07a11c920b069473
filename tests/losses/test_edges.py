"""Losses at the edges of docs/edges.md."""

from math import inf, nan

import numpy as np
import pytest

import softgrad as sg

from ..maps import assert_close, assert_same, every_float, logits
from .exact import SMOOTHED

LOSSES = {
    "cross_entropy": lambda x, **o: sg.cross_entropy_grad(x, np.zeros(x.shape[:-1], int), **o),
    "smoothed": lambda x, **o: sg.cross_entropy_grad(x, np.zeros(x.shape[:-1], int), label_smoothing=0.1, **o),
    "curved": lambda x, **o: sg.cross_entropy_grad_hess(x, np.zeros(x.shape[:-1], int), **SMOOTHED, **o),
    "soft": lambda x, **o: sg.soft_cross_entropy_grad(x, np.arange(x.shape[-1]) == 0, **o),
    "focal": lambda x, **o: sg.focal_loss_grad(x, np.zeros(x.shape[:-1], int), **o),
    "entropy": sg.entropy_grad,
    "kl": lambda x, **o: sg.kl_divergence_grad(x, x[..., ::-1], **o),
    "kl of p": lambda x, **o: sg.kl_divergence_grad(x, np.zeros_like(x), **o),
    "kl of q": lambda x, **o: sg.kl_divergence_grad(np.zeros_like(x), x, **o),
}


every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


@every_loss
@pytest.mark.parametrize("n", [4, 40])
@every_float
def test_nan_and_inf_stay_in_their_row(level, loss, n, dtype):
    x = logits((4, n), dtype)
    x[0, 2], x[1, 2], x[2] = nan, inf, -inf
    results = loss(x)
    for result in (np.asarray(result, dtype=np.float64) for result in results):
        assert np.isnan(result[:3]).all()
        assert np.isfinite(result[3]).all()
    for result, alone in zip(results, loss(x[3:]), strict=True):
        assert_same(result[3:], alone)


@every_loss
@pytest.mark.parametrize("n", [4, 40])
@every_float
def test_masked_entries_are_never_read(level, loss, n, dtype):
    x = logits((5, n), dtype)
    mask = np.random.default_rng(1).random((5, n)) < 0.6
    mask[:, 0] = mask[:, -1] = True
    mask |= mask[:, ::-1]
    mask[2] = False
    x[~mask] = nan
    results = loss(x, where=mask)
    for result in (np.asarray(result, dtype=np.float64) for result in results):
        assert np.isfinite(result).all()
        assert not np.any(result[2])
        if result.ndim == 2:
            assert not np.any(result[~mask])
    for i in (0, 1, 3, 4):
        for result, alone in zip(results, loss(x[i, mask[i]]), strict=True):
            assert_close(result[i][mask[i]] if result.ndim == 2 else result[i], alone, ulp=8)
    masked = loss(np.ma.MaskedArray(x, ~mask))
    for result, expected in zip(masked, results, strict=True):
        assert_same(np.asarray(result), expected)


def test_impossible_entries(level):
    """0·(−inf) is 0, and an impossible label is an infinite loss with a finite gradient."""
    for n in (3, 40):
        x = np.zeros(n)
        x[1] = -inf
        assert sg.soft_cross_entropy(x, np.arange(n) == 0) == pytest.approx(np.log(n - 1))
        loss, grad = sg.cross_entropy_grad(x, 1)
        assert loss == inf
        assert grad[1] == -1
        assert grad[0] == pytest.approx(1 / (n - 1))
        assert sg.soft_cross_entropy(x, np.arange(n) == 1) == inf
        assert sg.focal_loss(x, 1) == inf
        assert sg.entropy(x) == pytest.approx(np.log(n - 1))
        assert sg.kl_divergence(x, np.zeros(n)) == pytest.approx(np.log(n / (n - 1)))
        assert sg.kl_divergence(np.zeros(n), x) == inf
        assert sg.kl_divergence(x, x) == 0
        assert sg.selective_log_softmax(x, 1) == -inf
        assert sg.cross_entropy(np.zeros(n), 1, where=np.arange(n) != 1) == inf


@pytest.mark.parametrize("n", [3, 40])
def test_rows_that_do_not_count_are_not_read(level, n):
    x = np.full((3, n), nan)
    x[0] = 0
    for options in (
        {"ignore_index": -1, "labels": [1, -1, -1]},
        {"sample_weight": [1, 0, 0], "labels": [1, 1, 1]},
        {"weight": np.arange(n) > 0, "labels": [1, 0, 0]},
        {"ignore_index": -1, "labels": [1, -1, -1], "label_smoothing": 0.5},
    ):
        labels = options.pop("labels")
        loss, grad, hess = sg.cross_entropy_grad_hess(x, labels, **options)
        assert loss[0] > 0
        assert not loss[1:].any()
        assert not grad[1:].any()
        assert not hess[1:].any()
        assert grad[0].any()
        assert hess[0].any()


def test_empty_and_scalar():
    assert sg.cross_entropy(np.zeros((0, 3)), np.zeros(0, int)).shape == (0,)
    assert sg.cross_entropy(np.zeros((0, 3)), []).shape == (0,)
    loss, grad = sg.cross_entropy_grad(np.zeros((2, 0)), [-1, -1], ignore_index=-1)
    assert_same(loss, np.zeros(2))
    assert grad.shape == (2, 0)
    with pytest.raises(IndexError, match=r"labels must lie in \[0, 0\); labels\[0\] is 0"):
        sg.cross_entropy(np.zeros((2, 0)), [0, 0])
    assert_same(sg.entropy(np.zeros((2, 0))), np.zeros(2))
    assert isinstance(sg.cross_entropy([1.0, 2.0], 0), np.float64)
    with pytest.raises(np.exceptions.AxisError):
        sg.cross_entropy(1.0, 0)
    assert sg.cross_entropy(1.0, 0, axis=None) == 0


def test_integers_become_float64():
    loss, grad = sg.cross_entropy_grad(np.array([[-128, 127]], np.int8), [0])
    assert loss.dtype == grad.dtype == np.float64
    assert loss == [255]


@pytest.mark.parametrize("axis", [0, 1, -1, (0, 2), None])
def test_axes(level, axis):
    x = logits((3, 4, 5), np.dtype(np.float64))
    axes = tuple(range(3)) if axis is None else tuple(sorted(np.atleast_1d(axis) % 3))
    batch = tuple(a for a in range(3) if a not in axes)
    flat = x.transpose(*batch, *axes).reshape(*(x.shape[a] for a in batch), -1)
    labels = np.random.default_rng(0).integers(flat.shape[-1], size=flat.shape[:-1])
    loss, grad = sg.cross_entropy_grad(x, labels, axis=axis)
    expected = sg.cross_entropy_grad(flat, labels)
    assert_same(loss, expected.loss)
    assert_same(grad.transpose(*batch, *axes).reshape(flat.shape), expected.grad)
    assert_close(sg.selective_log_softmax(x, labels, axis=axis), -loss, ulp=2)
