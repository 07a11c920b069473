"""SimplexJacobian: every method against the dense matrix, computed by NumPy and, where it is delicate, by mpmath."""

import dataclasses

import mpmath as mp
import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator, aslinearoperator, cg

import softgrad as sg
from softgrad._numpy import kernels

from .. import error_bounds
from ..maps import assert_close, assert_same, logits
from ..reference import check, exact_softmax

pytestmark = pytest.mark.usefixtures("level")
F64 = np.dtype(np.float64)


def dense(p, temperature=1.0):
    """(diag(p) − p pᵀ)/T by NumPy."""
    T = np.asarray(temperature)[..., None, None]
    return (p[..., :, None] * np.eye(p.shape[-1]) - p[..., :, None] * p[..., None, :]) / T


def gentle(*shape):
    """Logits whose dense references keep their digits: the smallest probability is about 0.01."""
    return logits(shape, F64) / 5


CASES = {
    "one": (gentle(*(5,)), 1.0),
    "of one entry": (gentle(*(1,)), 1.0),
    "at a temperature": (gentle(*(6,)), 0.5),
    "batch": (gentle(*(3, 5)), 1.0),
    "temperature per slice": (gentle(*(3, 5)), np.array([0.5, 1.0, 4.0])),
    "two batch axes": (gentle(*(2, 3, 7)), 2.0),
    "two batch axes, temperature per slice": (gentle(*(2, 3, 7)), np.array([[0.5, 1.0, 4.0], [1.0, 2.0, 3.0]])),
    "impossible entries": (np.array([[0.0, -np.inf, 1.0, 2.0], [3.0, 1.0, -np.inf, -np.inf]]), 1.0),
}


@pytest.fixture(params=CASES)
def case(request):
    """(J, p, T, the dense array)."""
    x, T = CASES[request.param]
    p = sg.softmax(x, temperature=T)
    return sg.softmax_jacobian(x, temperature=T), p, T, dense(p, T)


def near(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13 * max(1.0, np.abs(expected).max(initial=0)))


def vectors(*shape):
    return np.random.default_rng(1).normal(size=shape)


def test_attributes(case):
    J, p, _, D = case
    assert J.shape == D.shape
    assert J.ndim == D.ndim
    assert J.dtype == p.dtype
    assert J.T.shape == J.shape
    near(J.T.toarray(), np.swapaxes(D, -1, -2))
    near(J.toarray(), D)
    near(np.asarray(J), D)
    assert np.asarray(J, dtype=np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="copy"):
        np.array(J, copy=False)


def test_diagonal_and_trace(case):
    J, _, _, D = case
    assert_close(J.diagonal(), np.diagonal(J.toarray(), axis1=-2, axis2=-1))
    near(J.trace(), np.trace(D, axis1=-2, axis2=-1))


def test_products_with_a_vector_per_matrix(case):
    J, p, _, D = case
    v = vectors(*p.shape)
    for product in (J.matvec, J.rmatvec):
        near(product(v), (D @ v[..., None])[..., 0])
        one = v.reshape(-1, p.shape[-1])[0]
        near(product(one), D @ one)
    near(J.quadratic(v), (v[..., None, :] @ D @ v[..., None])[..., 0, 0])
    assert np.all(J.quadratic(v) >= 0)


def test_products_with_matrices(case):
    J, p, _, D = case
    *batch, n = p.shape
    for k in (1, 2, n):
        for V in (vectors(n, k), vectors(*batch, n, k)):
            near(J.matmat(V), D @ V)
            near(J.rmatmat(V), np.swapaxes(D, -1, -2) @ V)


def test_matmul_means_what_the_dense_array_means(case):
    J, p, _, D = case
    *batch, n = p.shape
    for V in (vectors(n), vectors(n, 3), vectors(n, n), vectors(*batch, n, 2), vectors(4, *batch, n, 2)):
        got, expected = J @ V, D @ V
        assert got.shape == expected.shape
        near(got, expected)
    for V in (vectors(n), vectors(3, n), vectors(n, n), vectors(*batch, 2, n), vectors(4, *batch, 2, n)):
        got, expected = V @ J, V @ D
        assert got.shape == expected.shape
        near(got, expected)
    near(J @ vectors(n).tolist(), D @ vectors(n))
    near(vectors(n).tolist() @ J, vectors(n) @ D)


def test_matmul_of_wrong_shapes(case):
    J, p, _, _ = case
    n = p.shape[-1]
    for V in (np.ones(n + 1), np.ones((n + 1, 2)), np.float64(1.0)):
        for product in (lambda V: J @ V, lambda V: V @ J):
            with pytest.raises(ValueError, match=r"shape|dimension"):
                product(V)
    with pytest.raises(ValueError, match="shape"):
        J.matvec(np.ones(n + 1))
    with pytest.raises(ValueError, match="shape"):
        J.matmat(np.ones(n))


def test_square_root(case):
    J, p, _, D = case
    L = J.sqrt()
    assert L.shape == J.shape
    dense_root = L.toarray()
    near(dense_root @ np.swapaxes(dense_root, -1, -2), D)
    near(L.T.toarray(), np.swapaxes(dense_root, -1, -2))
    V = vectors(*p.shape)
    near(L.matvec(V), (dense_root @ V[..., None])[..., 0])
    near(L.rmatvec(V), (np.swapaxes(dense_root, -1, -2) @ V[..., None])[..., 0])
    near(L @ vectors(p.shape[-1], 2), dense_root @ vectors(p.shape[-1], 2))
    near(vectors(2, p.shape[-1]) @ L, vectors(2, p.shape[-1]) @ dense_root)
    near(L.T.matvec(V), L.rmatvec(V))
    assert L.T.T.shape == L.shape
    near(L.matvec(L.T.matvec(V)), J.matvec(V))


def test_pseudo_inverse(case):
    J, p, _, D = case
    P = J.pinv()
    near(P.toarray(), np.linalg.pinv(D, rcond=1e-14, hermitian=True) if p.shape[-1] > 1 else np.zeros_like(D))
    v = vectors(*p.shape)
    near(P.matvec(v), (P.toarray() @ v[..., None])[..., 0])
    near(P @ vectors(p.shape[-1], 2), P.toarray() @ vectors(p.shape[-1], 2))
    near(P.T.toarray(), P.toarray())
    near(D @ P.toarray() @ D, D)


def test_solve(case):
    J, p, _, D = case
    b = vectors(*p.shape)
    near(J.solve(b), J.pinv().matvec(b))
    for damping in (1e-3, 1.0, 100.0):
        expected = np.linalg.solve(D + damping * np.eye(p.shape[-1]), b[..., None])[..., 0]
        np.testing.assert_allclose(J.solve(b, damping=damping), expected, rtol=1e-10, atol=1e-12)
    one = vectors(p.shape[-1])
    expected = np.linalg.solve(D + 0.5 * np.eye(p.shape[-1]), np.broadcast_to(one, p.shape)[..., None])[..., 0]
    np.testing.assert_allclose(J.solve(one, damping=0.5), expected, rtol=1e-10, atol=1e-12)
    for bad in (-1.0, np.nan):
        with pytest.raises(ValueError, match="damping"):
            J.solve(b, damping=bad)
    with pytest.raises(ValueError, match="b must"):
        J.solve(np.ones(p.shape[-1] + 1), damping=1.0)


def test_eigenvalues(case):
    J, _, _, D = case
    got = J.eigvalsh()
    assert got.dtype == J.dtype
    assert (np.diff(got, axis=-1) >= 0).all()
    np.testing.assert_allclose(got, np.linalg.eigvalsh(D), rtol=1e-9, atol=1e-15)


def test_log_pseudo_determinant(case):
    J, p, _, D = case
    values = np.linalg.eigvalsh(D)
    rank = np.count_nonzero(p, axis=-1) - 1
    rows = zip(values.reshape(-1, D.shape[-1]), np.ravel(rank), strict=True)
    expected = [np.sum(np.log(v[len(v) - r :])) for v, r in rows]
    np.testing.assert_allclose(np.ravel(J.logpdet()), expected, rtol=1e-10, atol=1e-12)


# delicate rows


def test_saturated_rows(level):
    for dtype in (np.float32, np.float64):
        x = np.array([20, 0, 0, -5], dtype) * (1 if dtype is np.float32 else 2)
        exact = exact_softmax(x)
        J = sg.softmax_jacobian(x)
        trace = mp.fsum(exact.jacobian(i, i) for i in range(4))
        check("trace", level, J.trace(), trace, bound=error_bounds.JACOBIAN)
        unit = np.eye(4, dtype=dtype)
        for i in range(4):
            check("diagonal", level, J.diagonal()[i], exact.jacobian(i, i), bound=error_bounds.JACOBIAN)
            quadratic = J.quadratic(unit[i])
            check("quadratic", level, quadratic, exact.jacobian(i, i), bound=2 * error_bounds.JACOBIAN)
            for j in range(4):
                check("jacobian", level, J.toarray()[i, j], exact.jacobian(i, j), bound=error_bounds.JACOBIAN)
                check("J @ e_j", level, (J @ unit[j])[i], exact.jacobian(i, j), bound=2 * error_bounds.JACOBIAN)
                check("L Lᵀ e_j", level, (J.sqrt() @ (J.sqrt().T @ unit[j]))[i], exact.jacobian(i, j), bound=100)


@pytest.mark.parametrize(
    "x",
    [
        [0.0, 0.0, 0.0, 0.0],
        [1.0, 1.0, 0.0, 0.0, 0.0, -1.0],
        [40.0, 0.0, 0.0, -3.0],
        [700.0, 0.0, -20.0],
        [0.0, 0.0],
        [5.0],
        [0.0, 1e-12, 2e-12],
        [0.0, -1.0, -np.inf, -np.inf],
    ],
    ids=str,
)
def test_eigenvalues_by_mpmath(x):
    """To 1e-13 of each eigenvalue, not of the largest: a saturated row has tiny ones that matter."""
    n = len(x)
    with mp.workprec(2400):  # the smallest of [700, 0, −20] is 1e−313 beside entries of 1
        e = [mp.exp(t) if t > -np.inf else mp.mpf(0) for t in x]
        p = [t / mp.fsum(e) for t in e]
        J = mp.matrix(n, n)
        for i in range(n):
            for j in range(n):
                J[i, j] = p[i] * ((i == j) - p[j])
        expected = sorted(mp.eigsy(J, eigvals_only=True))
        got = sg.softmax_jacobian(x).eigvalsh()
        for value, truth in zip(got.tolist(), expected, strict=True):
            assert abs(value - truth) <= abs(truth) * mp.mpf("1e-13") + mp.mpf("1e-320")


def test_masked_slices():
    x = logits((3, 5), F64)
    where = np.array([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)
    J = sg.softmax_jacobian(np.where(where, x, np.nan), where=where)
    near(J.toarray(), dense(sg.softmax(x, where=where)))
    assert (J.toarray()[1] == 0).all()
    assert (J.eigvalsh()[1] == 0).all()
    assert (J.pinv().toarray()[1] == 0).all()
    assert J.trace()[1] == 0
    assert J.quadratic(np.ones(5))[1] == 0
    v = np.where(where, vectors(3, 5), np.nan)
    clean = np.where(where, v, 0)
    near(J.matvec(v), J.matvec(clean))
    near(J.quadratic(v), J.quadratic(clean))
    near(J.pinv().matvec(v), J.pinv().matvec(clean))
    near(J.solve(v), J.solve(clean))


def test_slices_along_another_axis():
    x = logits((4, 3, 5), F64)
    assert_same(sg.softmax_jacobian(x, axis=0).toarray(), sg.softmax_jacobian(np.moveaxis(x, 0, -1)).toarray())
    J = sg.softmax_jacobian(x, axis=(0, 2), temperature=np.array([1.0, 2.0, 3.0]))
    assert J.shape == (3, 20, 20)
    near(J.toarray(), dense(J.p, np.array([1.0, 2.0, 3.0])))
    assert sg.softmax_jacobian(x, axis=None).shape == (60, 60)


def test_empty_matrices():
    J = sg.softmax_jacobian(np.empty((3, 0)))
    assert J.toarray().shape == (3, 0, 0)
    assert J.diagonal().shape == (3, 0)
    assert (J.trace() == 0).all()
    assert J.eigvalsh().shape == (3, 0)
    assert J.matvec(np.empty((3, 0))).shape == (3, 0)
    J = sg.softmax_jacobian(np.empty((0, 4)))
    assert J.toarray().shape == (0, 4, 4)
    assert J.trace().shape == (0,)
    assert J.eigvalsh().shape == (0, 4)
    assert (J @ np.ones(4)).shape == (0, 4)
    assert (J @ np.ones((4, 2))).shape == (0, 4, 2)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_the_dtype_is_kept(dtype):
    for T in (1.0, 0.5, [0.5, 2.0]):
        J = sg.softmax_jacobian(logits((2, 5), np.dtype(dtype)), temperature=T)
        v = np.ones(5, dtype)
        for result in (
            J.toarray(),
            J.diagonal(),
            J.trace(),
            J @ v,
            J.quadratic(v),
            J.sqrt() @ v,
            J.sqrt().T @ v,
            J.pinv() @ v,
            J.solve(v),
            J.solve(v, damping=0.5),
            J.eigvalsh(),
            J.logpdet(),
        ):
            assert result.dtype == dtype
    assert (sg.softmax_jacobian(np.zeros(3, np.float32)) @ np.ones(3)).dtype == np.float64


def test_it_is_frozen():
    J = sg.softmax_jacobian(np.zeros(3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        J.p = np.ones(3)
    with pytest.raises((AttributeError, TypeError)):
        J.something = 1


def test_it_is_a_linear_operator_for_scipy():
    J = sg.softmax_jacobian(logits((6,), F64))
    operator = aslinearoperator(J)
    assert isinstance(operator, LinearOperator)
    assert operator.shape == (6, 6)
    v, V = vectors(6), vectors(6, 2)
    near(operator @ v, J @ v)
    near(operator @ V, J @ V)
    near(operator.matmat(v[:, None]), (J @ v)[:, None])
    near(operator.rmatvec(v), J @ v)
    near(operator.H @ V, J @ V)
    b = J @ v
    solution, info = cg(operator, b, rtol=1e-12)
    assert info == 0
    near(J @ solution, b)
    one = aslinearoperator(sg.softmax_jacobian(np.zeros(1)))
    assert (one @ np.ones(1)).shape == (1,)


def test_built_from_probabilities():
    p = np.array([0.2, 0.3, 0.5])
    J = sg.SimplexJacobian(p)
    near(J.toarray(), dense(p))
    near(sg.SimplexJacobian(p, 2.0).toarray(), dense(p, 2.0))


def test_probabilities_that_are_zero():
    p = np.array([0.5, 0.0, 0.5, 0.0])
    J = sg.SimplexJacobian(p)
    near(J.pinv().toarray(), np.linalg.pinv(dense(p)))
    near(J.logpdet(), np.log(0.5))
    near(J.eigvalsh(), [0, 0, 0, 0.5])
    near(J.solve(np.array([1.0, 7.0, -1.0, np.inf])), [2.0, 0.0, -2.0, 0.0])
    certain = sg.SimplexJacobian(np.array([0.0, 1.0, 0.0]))
    assert (certain.toarray() == 0).all()
    assert (certain.eigvalsh() == 0).all()
    assert (certain.pinv().toarray() == 0).all()
    assert certain.logpdet() == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_short_lines_end_where_the_result_does(level, dtype):
    """They are written in whole vectors, each over what the one before spilled: in order, and never past the last."""
    if level == "generic":
        pytest.skip("the formulas have no lines")
    for rows in (1, 3):
        for n in range(1, 70):
            p = sg.softmax(np.random.default_rng(n).normal(size=(rows, n)).astype(dtype))
            room = np.full(rows * n * n + 64, 7, dtype)
            result, apart = room[: rows * n * n].reshape(rows, n, n), np.empty((rows, n, 2 * n), dtype)[..., ::2]
            for out in (result, apart):
                kernels.run("jacobian", (p, 1.0), out, workers=1)
            np.testing.assert_array_equal(result, apart)
            assert (room[rows * n * n :] == 7).all()
