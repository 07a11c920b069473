"""A row of losses has the same bits in any batch, layout and number of threads, and in out=."""

import numpy as np
import pytest

import softgrad as sg
from softgrad._numpy import threads

from ..maps import assert_same, every_float, logits
from .exact import SMOOTHED, every_dtype


@pytest.mark.parametrize("options", [{}, SMOOTHED], ids=["label", "smoothed"])
@every_float
def test_a_row_alone_or_among_others(level, dtype, options):
    """The same bits in any batch, layout and number of threads."""
    for n in (5, 40):
        x = logits((37, n), dtype)
        labels = np.arange(37) % n
        whole = sg.cross_entropy_grad_hess(x, labels, **options)
        for i in range(0, 37, 6):
            for all_rows, alone in zip(whole, sg.cross_entropy_grad_hess(x[i], labels[i], **options), strict=True):
                assert_same(alone, all_rows[i])
        across = sg.cross_entropy_grad_hess(np.asfortranarray(x), labels, **options)
        moved = sg.cross_entropy_grad_hess(x.T, labels, axis=0, **options)
        for a, b, c in zip(whole, across, moved, strict=True):
            assert_same(b, a)
            assert_same(c.T, a)


@pytest.mark.slow
@every_dtype
@pytest.mark.parametrize(("options", "shift"), [({}, 3), (SMOOTHED, 0)], ids=["label", "smoothed"])
def test_results_beyond_the_caches(level, dtype, options, shift):
    """Large gradients are written by non-temporal stores: the same bits as in small blocks, in place and misaligned."""
    m, n = 1024, 2049
    x, labels = logits((m, n), np.dtype(dtype)), np.arange(m) % n
    grad, memory = np.empty_like(x), np.empty(x.size + shift, dtype)
    hess = memory[shift:].reshape(m, n)
    loss = sg.cross_entropy_grad_hess(x, labels, grad_out=grad, hess_out=hess, **options).loss
    blocks = [sg.cross_entropy_grad_hess(x[i : i + 32], labels[i : i + 32], **options) for i in range(0, m, 32)]
    for got, parts in zip((loss, grad, hess), zip(*blocks, strict=True), strict=True):
        assert_same(got, np.concatenate(parts))
    soft = sg.soft_cross_entropy_grad(x, np.eye(1, n, dtype=dtype)).grad
    assert_same(soft[-32:], sg.soft_cross_entropy_grad(x[-32:], np.eye(1, n, dtype=dtype)).grad)
    place = x.copy()
    assert_same(sg.cross_entropy_grad_hess(place, labels, grad_out=place, **options).grad, grad)
    place = x.copy()
    assert_same(sg.cross_entropy_grad_hess(place, labels, hess_out=place, **options).hess, hess)


def test_threads_change_no_bit(level, monkeypatch):
    x, labels = logits((101, 40), np.dtype(np.float32)), np.arange(101) % 40
    alone = sg.cross_entropy_grad_hess(x, labels, **SMOOTHED), sg.cross_entropy_grad(x, labels)
    monkeypatch.setattr(threads, "count", lambda *_: 3)
    together = sg.cross_entropy_grad_hess(x, labels, **SMOOTHED), sg.cross_entropy_grad(x, labels)
    for a, b in zip(alone, together, strict=True):
        for one, other in zip(a, b, strict=True):
            assert_same(other, one)


@pytest.mark.slow
@pytest.mark.usefixtures("level")
def test_threads_do_not_write_what_others_read(monkeypatch):
    monkeypatch.setattr(threads, "count", lambda *_: 3)
    x = logits((1024, 2049), np.dtype(np.float32))
    memory = np.zeros((1025, 2049), np.float32)
    memory[1:] = targets = np.abs(x[::-1])
    soft = sg.soft_cross_entropy_grad(x, memory[1:], grad_out=memory[:-1])
    assert_same(soft.grad, sg.soft_cross_entropy_grad(x, targets).grad)
    memory[1:] = x[::-1]
    divergence = sg.kl_divergence_grad(x, memory[1:], grad_q_out=memory[:-1])
    assert_same(divergence.grad_q, sg.kl_divergence_grad(x, x[::-1]).grad_q)


@pytest.mark.parametrize("n", [5, 50])
@every_float
def test_out(level, n, dtype):
    x = logits((6, n), dtype)
    labels = np.arange(6) % n
    expected = sg.cross_entropy_grad_hess(x, labels)
    out, hess = np.empty(6, expected.loss.dtype), np.empty((n, 6), dtype).T
    wide = np.empty((6, 2 * n), dtype)
    result = sg.cross_entropy_grad_hess(x, labels, out=out, grad_out=wide[:, ::2], hess_out=hess)
    assert result.loss is out
    assert result.hess is hess
    for got, value in zip((out, wide[:, ::2], hess), expected, strict=True):
        assert_same(got, value)
    place = x.copy()
    assert sg.cross_entropy_grad(place, labels, grad_out=place).grad is place
    assert_same(place, expected.grad)
    shifted = np.empty((7, n), dtype)
    shifted[:6] = x
    sg.cross_entropy_grad(shifted[:6], labels, grad_out=shifted[1:])
    assert_same(shifted[1:], expected.grad)
