"""SoftmaxRegression: sparse features, warm starts, tables as output, and messages that are true."""

import warnings

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_limits

from softgrad.regression import SoftmaxRegression


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """On a busy machine the threads of BLAS wait for each other longer than such small products take."""
    with threadpool_limits(1):
        yield


def iris():
    return load_iris(return_X_y=True)


@parametrize_with_checks([SoftmaxRegression(warm_start=True), SoftmaxRegression().set_output(transform="default")])
def test_scikit_learns_rules(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        check(estimator)


# Messages


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2, 2], list("aabbcc")], ids=["numbers", "names"])
def test_balanced_weights_of_a_class_without_weight(labels, lazy):
    x, labels, weight = np.arange(12.0).reshape(6, 2), np.array(labels), np.array([1.0, 1.0, 0.0, 0.0, 1.0, 1.0])
    message = f"class_weight='balanced' gives no weight to class {labels[2]}: all of its rows have sample_weight 0"
    if lazy:
        x, labels, weight = (da.from_array(a, chunks=(2, *a.shape[1:])) for a in (x, labels, weight))
    with pytest.raises(ValueError, match=message):
        SoftmaxRegression(class_weight="balanced").fit(x, labels, sample_weight=weight)
    SoftmaxRegression().fit(x, labels, sample_weight=weight)  # without it the class has a probability that is small


@pytest.mark.parametrize("weight", [{0: -1.0, 1: 3.0}, {0: float("nan"), 1: 1.0}, {0: float("inf"), 1: 1.0}])
def test_class_weights_that_are_none(weight):
    with pytest.raises(ValueError, match=r"class_weight must be at least 0 and finite; got \{0: "):
        SoftmaxRegression(class_weight=weight).fit([[0.0], [1.0]], [0, 1])


@pytest.mark.parametrize("factor", [1e-7, 1e-12])
def test_a_fit_that_took_no_step_says_so(factor):
    x, y = iris()
    with pytest.warns(ConvergenceWarning, match="no step was taken, and all coefficients are 0: .* within tol=1.0e-06"):
        model = SoftmaxRegression().fit(factor * x, y)
    assert model.n_iter_[0] == 0
    with pytest.warns(ConvergenceWarning, match="no step was taken"):
        SoftmaxRegression(tol=10.0).fit(x, y)


def test_an_optimum_at_0_is_no_reason_to_warn():
    x = np.array([[1.0, -2.0], [-1.0, 2.0]]).repeat(2, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = SoftmaxRegression().fit(x, [0, 1, 0, 1])
        SoftmaxRegression().fit(np.zeros((4, 2)), [0, 1, 0, 1])
        SoftmaxRegression(warm_start=True).fit(x, [0, 1, 0, 1]).fit(x, [0, 1, 0, 1])
    assert not model.coef_.any()


# Sparse features

KINDS = [sp.csr_matrix, sp.csr_array, sp.csc_array, sp.coo_matrix, sp.lil_array]


@pytest.mark.parametrize("options", [{}, {"fit_intercept": False}, {"C": 0.1, "class_weight": "balanced"}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_sparse_features_have_the_fit_of_dense_ones(kind, options):
    x, y = load_digits(return_X_y=True)
    weight = np.random.default_rng(0).uniform(0, 2, len(y))
    dense = SoftmaxRegression(**options, tol=1e-10).fit(x / 16, y, sample_weight=weight)
    sparse = SoftmaxRegression(**options, tol=1e-10).fit(kind(x / 16), y, sample_weight=weight)
    np.testing.assert_allclose(sparse.coef_, dense.coef_, rtol=0, atol=1e-6)
    np.testing.assert_allclose(sparse.intercept_, dense.intercept_, rtol=0, atol=1e-6)
    for method in ("decision_function", "predict_proba", "predict_log_proba"):
        found = getattr(sparse, method)(kind(x / 16))
        assert isinstance(found, np.ndarray)
        np.testing.assert_allclose(found, getattr(dense, method)(x / 16), rtol=0, atol=1e-4)
    np.testing.assert_array_equal(sparse.predict(kind(x / 16)), dense.predict(x / 16))


def test_two_classes_of_sparse_features():
    x, y = iris()
    y = y == 1
    dense, sparse = (SoftmaxRegression(tol=1e-10).fit(a, y) for a in (x, sp.csr_array(x)))
    np.testing.assert_allclose(sparse.coef_, dense.coef_, rtol=0, atol=1e-6)
    np.testing.assert_allclose(sparse.predict_proba(sp.csr_array(x)), dense.predict_proba(x), rtol=0, atol=1e-6)


def test_sparse_features_stay_sparse():
    """Dense they would take 8 GB."""
    random = np.random.default_rng(0)
    rows, columns = 50_000, 20_000
    x = sp.random_array((rows, columns), density=1e-4, format="csr", rng=random)
    y = random.integers(0, 2, rows)
    model = SoftmaxRegression(C=1e-3).fit(x, y)
    reference = LogisticRegression(C=1e-3, solver="newton-cg", tol=1e-6, max_iter=1000).fit(x, y)
    np.testing.assert_allclose(model.coef_, reference.coef_, rtol=0, atol=1e-5)


def test_infinities_in_sparse_features():
    x = sp.csr_array(np.array([[1.0, np.inf], [0.0, 1.0]]))
    with pytest.raises(ValueError, match="infinity"):
        SoftmaxRegression().fit(x, [0, 1])


# Warm starts


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_warm_start_goes_on(classes, fit_intercept):
    x, y = iris()
    y = np.minimum(y, classes - 1)
    cold = SoftmaxRegression(fit_intercept=fit_intercept, tol=1e-9).fit(x, y)
    warm = SoftmaxRegression(fit_intercept=fit_intercept, tol=1e-9, warm_start=True).fit(x, y)
    assert warm.n_iter_[0] == cold.n_iter_[0]
    coef = warm.coef_.copy()
    warm.fit(x, y)
    assert warm.n_iter_[0] <= 1
    np.testing.assert_allclose(warm.coef_, coef, rtol=0, atol=1e-7)
    warm.set_params(C=1.1).fit(x, y)
    again = SoftmaxRegression(C=1.1, fit_intercept=fit_intercept, tol=1e-9).fit(x, y)
    assert warm.n_iter_[0] < again.n_iter_[0]
    np.testing.assert_allclose(warm.coef_, again.coef_, rtol=0, atol=1e-5)
    np.testing.assert_allclose(warm.intercept_, again.intercept_, rtol=0, atol=1e-5)


def test_a_warm_start_of_other_classes_or_features():
    x, y = iris()
    model = SoftmaxRegression(warm_start=True).fit(x, y)
    for features, labels in ((x, y == 1), (x[:, :3], y), (x, y + 1)):
        with pytest.raises(ValueError, match="warm_start goes on from 3 classes and 4 features, as they were fitted"):
            model.fit(features, labels)
        model.fit(x, y)


# Tables as output


def test_pandas_as_output():
    x, y = iris()
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    table = pd.DataFrame(x, columns=list("abcd"), index=[f"flower {i}" for i in range(len(x))])
    plain = SoftmaxRegression().fit(table, names)
    model = SoftmaxRegression().fit(table, names).set_output(transform="pandas")
    for method in ("decision_function", "predict_proba", "predict_log_proba"):
        found = getattr(model, method)(table)
        expected = pd.DataFrame(getattr(plain, method)(table), index=table.index, columns=model.classes_)
        pd.testing.assert_frame_equal(found, expected)
    assert model.score(table, names) == plain.score(table, names)
    assert isinstance(model.predict(table), np.ndarray)
    copy = clone(model).fit(table, names)
    assert isinstance(copy.predict_proba(table), pd.DataFrame)
    assert isinstance(model.set_output().predict_proba(table), pd.DataFrame)
    assert isinstance(model.set_output(transform="default").predict_proba(table), np.ndarray)
    with pytest.raises(ValueError, match="transform must be 'default', 'pandas' or None; got 'arrow'"):
        model.set_output(transform="arrow")


def test_pandas_as_output_of_two_classes_and_of_arrays():
    x, y = iris()
    model = SoftmaxRegression().fit(x, y == 1).set_output(transform="pandas")
    found = model.decision_function(x)
    assert isinstance(found, pd.Series)
    assert found.name == True  # noqa: E712  the class
    assert list(model.predict_proba(x).columns) == [False, True]
    assert model.predict_proba(x).index.equals(pd.RangeIndex(len(x)))


def test_pandas_as_output_of_a_pipeline():
    x, y = iris()
    pipeline = make_pipeline(StandardScaler(), SoftmaxRegression()).fit(x, y)
    pipeline[-1].set_output(transform="pandas")
    assert isinstance(pipeline.predict_proba(x), pd.DataFrame)
