"""Options of the losses mean what the docstrings say."""

import array_api_strict as strict
import numpy as np
import pytest

import softgrad as sg

from ..maps import assert_close, assert_same, logits


def unfused(x, labels, weight, sample_weight, smoothing, ignore_index, z):
    """The formula of the docstring, as it stands there."""
    results = []
    for row, y, s in zip(x, labels, sample_weight, strict=True):
        log_p = sg.log_softmax(row)
        value = (1 - smoothing) * weight[y] * -log_p[y] if y != ignore_index else 0
        value += smoothing / len(row) * np.sum(weight * -log_p)
        value += z * sg.logsumexp(row) ** 2
        results.append(0 if y == ignore_index else s * value)
    return np.array(results)


@pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("z", [0.0, 0.01])
def test_options_mean_what_the_docstring_says(level, smoothing, z):
    rng = np.random.default_rng(0)
    x, weight, sample_weight = rng.normal(size=(8, 5)) * 3, rng.random(5), rng.random(8)
    labels = np.array([0, 1, 2, -100, 4, 0, -100, 2])
    options = {"label_smoothing": smoothing, "z_loss": z, "weight": weight, "sample_weight": sample_weight}
    loss, grad, hess = sg.cross_entropy_grad_hess(x, labels, ignore_index=-100, **options)
    np.testing.assert_allclose(loss, unfused(x, labels, weight, sample_weight, smoothing, -100, z), rtol=1e-14)
    assert not grad[labels == -100].any()
    assert not hess[labels == -100].any()
    targets = np.where(labels[:, None] == np.arange(5), 1.0, 0.0)
    kept = labels != -100
    options["sample_weight"] = sample_weight[kept]
    soft = sg.soft_cross_entropy_grad(x[kept], targets[kept], **options)
    np.testing.assert_allclose(soft.loss, loss[kept], rtol=1e-14)
    np.testing.assert_allclose(soft.grad, grad[kept], rtol=0, atol=1e-15)
    step = 1e-5
    for j in range(5):
        nudge = step * (np.arange(5) == j)
        ahead = sg.cross_entropy_grad(
            x + nudge, labels, ignore_index=-100, **options | {"sample_weight": sample_weight}
        )
        back = sg.cross_entropy_grad(x - nudge, labels, ignore_index=-100, **options | {"sample_weight": sample_weight})
        np.testing.assert_allclose((ahead.loss - back.loss) / (2 * step), grad[:, j], atol=1e-9)
        np.testing.assert_allclose((ahead.grad - back.grad)[:, j] / (2 * step), hess[:, j], atol=1e-9)


def test_curvatures(level):
    x, labels = logits((6, 4), np.dtype(np.float64)), np.arange(6) % 4
    p = sg.softmax(x)
    of = {c: sg.cross_entropy_grad_hess(x, labels, curvature=c) for c in ("diagonal", "upper", "friedman", "residual")}
    np.testing.assert_allclose(of["diagonal"].hess, p * (1 - p), rtol=1e-12)  # 1 − p loses digits here
    np.testing.assert_allclose(of["upper"].hess, 2 * p * (1 - p), rtol=1e-12)
    np.testing.assert_allclose(of["friedman"].hess, 4 / 3 * p * (1 - p), rtol=1e-12)
    np.testing.assert_array_equal(of["residual"].hess, np.abs(of["residual"].grad))
    for result in of.values():
        assert_same(result.grad, of["diagonal"].grad)
    masked = sg.cross_entropy_grad_hess(x, 0 * labels, where=np.arange(4) < 2, curvature="friedman")
    alone = sg.cross_entropy_grad_hess(x[:, :2], 0 * labels, curvature="friedman")
    assert_close(masked.hess[:, :2], alone.hess)
    assert sg.cross_entropy_grad_hess([3.0], 0, curvature="friedman").hess == [0]
    with pytest.raises(ValueError, match=r"curvature must be one of 'diagonal'.*got 'exact'"):
        sg.cross_entropy_grad_hess(x, labels, curvature="exact")


@np.errstate(all="ignore")  # array-api-strict computes with NumPy
def test_arrays_of_other_libraries():
    x, labels = logits((3, 7), np.dtype(np.float64)), np.array([0, 6, -1])
    mask = np.arange(7) != 3
    options = {"label_smoothing": 0.1, "ignore_index": -1, "z_loss": 0.01}
    foreign = {"where": strict.asarray(mask), "weight": strict.asarray(np.arange(7.0))} | options
    got = sg.cross_entropy_grad_hess(strict.asarray(x), strict.asarray(labels), curvature="friedman", **foreign)
    expected = sg.cross_entropy_grad_hess(x, labels, curvature="friedman", where=mask, weight=np.arange(7.0), **options)
    index = np.array([[0, 1], [2, 3], [4, 5]])
    pairs = list(zip(got, expected, strict=True))
    pairs.append(
        (sg.selective_log_softmax(strict.asarray(x), strict.asarray(index)), sg.selective_log_softmax(x, index))
    )
    pairs += zip(sg.entropy_grad(strict.asarray(x), axis=0), sg.entropy_grad(x, axis=0), strict=True)
    pairs += zip(
        sg.kl_divergence_grad(strict.asarray(x), strict.asarray(x[::-1])),
        sg.kl_divergence_grad(x, x[::-1]),
        strict=True,
    )
    pairs += zip(
        sg.focal_loss_grad(strict.asarray(x), strict.asarray(abs(labels))),
        sg.focal_loss_grad(x, abs(labels)),
        strict=True,
    )
    for a, b in pairs:
        assert isinstance(a, type(strict.asarray(0.0)))
        assert_close(np.from_dlpack(a).copy(), np.asarray(b))
    with pytest.raises(TypeError, match="grad_out is for NumPy arrays"):
        sg.cross_entropy_grad(strict.asarray(x), strict.asarray(abs(labels)), grad_out=np.empty((3, 7)))
