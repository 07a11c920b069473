"""What notebooks show, and operators of some matrices of a batch."""

import dask.array as da
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import softgrad as sg

X = np.arange(12.0).reshape(2, 2, 3)
T = [[1.0, 2.0], [3.0, 4.0]]
INDICES = [
    0,
    -1,
    (1, 1),
    (slice(None), 0),
    (..., 0),
    np.array([True, False]),
    X[..., 0] > 3,
    None,
    [0, 1, 1],
    (None, 1),
]


@pytest.mark.parametrize("index", INDICES, ids=str)
@pytest.mark.parametrize("temperature", [1.0, T], ids=["one", "each"])
def test_matrices_of_a_batch(index, temperature):
    J = sg.softmax_jacobian(X, temperature=temperature)
    dense = (*index, slice(None), slice(None)) if isinstance(index, tuple) else index
    for operator in (J, J.T, J.sqrt(), J.sqrt().T, J.pinv()):
        assert type(operator[index]) is type(operator)
        np.testing.assert_allclose(operator[index].toarray(), operator.toarray()[dense], rtol=1e-15, atol=1e-15)


@pytest.mark.slow
def test_matrices_of_other_libraries():
    for to in (torch.tensor, jnp.asarray, da.from_array):
        operator = sg.softmax_jacobian(to(X))[1]
        assert isinstance(operator.p, type(to(X)))
        np.testing.assert_allclose(np.asarray(operator.toarray()), sg.softmax_jacobian(X[1]).toarray(), rtol=1e-6)
        assert str(tuple(operator.shape)) == "(2, 3, 3)"
        assert "2 × 3 × 3" in operator._repr_html_()


def test_only_the_batch_has_places():
    J = sg.softmax_jacobian(X)
    assert [operator.shape for operator in J] == [(2, 3, 3)] * 2
    with pytest.raises(IndexError, match=r"there are 2 axes to choose matrices by; got 3 indices: toarray\(\) has"):
        J[0, 0, 0]
    with pytest.raises(IndexError, match="out of bounds"):
        J[5]
    with pytest.raises(TypeError, match=r"a single matrix has no batch to choose from; toarray\(\) has its entries"):
        J[0, 0][0]


def test_tables():
    cases = {
        sg.softmax_jacobian(X, temperature=T): ("SimplexJacobian", "2 × 2 × 3 × 3", "from 1 to 4", "float64"),
        sg.softmax_jacobian(X).sqrt().T: ("Transposed", "2 × 2 × 3 × 3"),
        sg.LogSumExpState(): ("LogSumExpState", "axis"),
        sg.LogSumExpState(axis=None).update([0.0, 0.0]): ("batch shape", "0.693147 (float64)", "entropy", "mean"),
    }
    for shown, words in cases.items():
        html = shown._repr_html_()
        assert html.startswith("<table>")
        assert all(word in html for word in words), html
    html = sg.cross_entropy_grad(X.astype(np.float32), [[0, 1], [2, 0]])._repr_html_()
    for words in ("<caption>LossGrad<", "<th>loss<", "float32, 2 × 2, from 0.4076 to 2.408", "2 × 2 × 3", "<th>grad<"):
        assert words in html
    assert "<th>hess<" in sg.cross_entropy_grad_hess(np.zeros((0, 3)), np.zeros(0, int))._repr_html_()
    tracked = torch.zeros(3, requires_grad=True)
    assert "Tensor torch.float32 (3,)" in sg.kl_divergence_grad(tracked, tracked)._repr_html_()
    assert "None" in sg.linear_cross_entropy_grad([[1.0]], [[0.0], [0.0]], [1])._repr_html_()
    lazy = sg.entropy_grad(da.zeros((4, 3)))
    assert "Array float64 (4, 3)" in lazy._repr_html_()


def test_layers_show_every_option():
    assert repr(sg.Softmax(axis=(0, 1))) == "Softmax(axis=(0, 1))"
    assert repr(sg.LogSoftmax()) == "LogSoftmax(axis=-1)"
    assert repr(sg.SoftmaxCrossEntropy(0, weight=np.ones(3), ignore_index=-1)) == (
        "SoftmaxCrossEntropy(axis=0, temperature=1.0, weight=<array of shape (3,)>, label_smoothing=0.0, "
        "ignore_index=-1, z_loss=0.0, dtype=None)"
    )
    assert "weight=None" in repr(sg.SoftmaxCrossEntropy())
