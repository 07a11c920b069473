"""Second derivatives of the losses: by the logits, and by the weights of a regression."""

import numpy as np
import pytest

import softgrad as sg

from .. import rows
from ..maps import assert_same
from .exact import every_dtype


@every_dtype
def test_hessian_operator(level, dtype):
    x = rows.row("normal", 6, dtype).reshape(2, 3)
    H = sg.cross_entropy_hessian(x, sample_weight=[2.0, 0.5])
    assert H.dtype == dtype
    p = sg.softmax(x.astype(np.float64))
    dense = np.array([2.0, 0.5])[:, None, None] * (np.eye(3) * p[:, None] - p[:, :, None] * p[:, None])
    np.testing.assert_allclose(H.toarray(), dense, rtol=1e-5)
    np.testing.assert_allclose(H.diagonal(), np.einsum("ijj->ij", dense), rtol=1e-5)
    with pytest.raises(ValueError, match="sample_weight must be positive"):
        sg.cross_entropy_hessian(x, sample_weight=[1, 0])


@pytest.mark.parametrize("weighted", [False, True])
def test_regression_hessian(level, weighted, monkeypatch):
    monkeypatch.setattr("softgrad._api.hessians.BLOCK_BYTES", 400)  # several blocks of rows
    rng = np.random.default_rng(0)
    X, W = rng.normal(size=(23, 4)), rng.normal(size=(4, 3))
    s = rng.random(23) if weighted else None
    labels = rng.integers(3, size=23)

    def gradient(W):
        return X.T @ sg.cross_entropy_grad(X @ W, labels, sample_weight=s).grad

    H = sg.softmax_regression_hessian(X, X @ W, sample_weight=s)
    assert_same(H, H.T)
    step = 1e-6
    for _ in range(5):
        V = rng.normal(size=(4, 3))
        product = sg.softmax_regression_hvp(X, X @ W, V, sample_weight=s)
        np.testing.assert_allclose(H @ V.ravel(), product.ravel(), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose((gradient(W + step * V) - gradient(W - step * V)) / (2 * step), product, atol=1e-7)


def test_regression_hessian_of_saturated_rows(level):
    X = np.eye(2)
    H = sg.softmax_regression_hessian(X, [[40.0, 0.0], [0.0, 40.0]])
    assert np.diag(H) == pytest.approx(np.exp(-40.0))


@pytest.mark.parametrize(
    ("message", "X", "logits", "V"),
    [
        (r"X must have shape \(m, d\); got \(3,\)", np.zeros(3), np.zeros((3, 2)), np.zeros((1, 2))),
        (r"logits must have shape \(3, K\).*got \(2, 2\)", np.zeros((3, 1)), np.zeros((2, 2)), np.zeros((1, 2))),
        (r"V must have shape \(1, 2\).*got \(2, 1\)", np.zeros((3, 1)), np.zeros((3, 2)), np.zeros((2, 1))),
    ],
)
def test_regression_shapes(message, X, logits, V):
    with pytest.raises(ValueError, match=message):
        sg.softmax_regression_hvp(X, logits, V)
