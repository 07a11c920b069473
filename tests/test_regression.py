"""SoftmaxRegression: scikit-learn's rules, LogisticRegression's optimum."""

import subprocess
import sys
import warnings
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_limits

import softgrad as sg
from softgrad.regression import SoftmaxRegression
from softgrad.regression.objective import InMemory, _loss_grad, _mean, _product, _variance


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """On a busy machine the threads of BLAS wait for each other longer than such small products take."""
    with threadpool_limits(1):
        yield


@parametrize_with_checks([SoftmaxRegression()])
def test_scikit_learns_rules(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        check(estimator)


def digits():
    x, y = load_digits(return_X_y=True)
    return x / 16, y


def iris():
    return load_iris(return_X_y=True)


def two_classes():
    x, y = load_breast_cancer(return_X_y=True)
    return (x - x.mean(axis=0)) / x.std(axis=0), np.array(["benign", "malignant"])[y]


def gradient(model, x, y, sample_weight=None):
    """Of C Σ s loss + ‖coef‖²/2, over C Σ s, at the fitted coefficients, by the textbook's formula."""
    s = np.ones(len(y)) if sample_weight is None else sample_weight
    error = sg.softmax(x @ model.coef_.T + model.intercept_) - (y[:, None] == model.classes_)
    coef = model.C * error.T @ (s[:, None] * x) + model.coef_
    return np.concatenate([coef, model.C * error.T @ s[:, None]], axis=1) / (model.C * s.sum())


OPTIONS = [
    {},
    {"C": 0.05},
    {"fit_intercept": False},
    {"class_weight": "balanced"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("data", [digits, iris, two_classes])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_the_optimum_is_that_of_logistic_regression(data, options, weighted):
    x, y = data()
    sample_weight = np.random.default_rng(0).uniform(0, 3, len(y)) if weighted else None
    own = SoftmaxRegression(**options, tol=1e-9).fit(x, y, sample_weight=sample_weight)
    reference = LogisticRegression(**options, tol=1e-9, max_iter=10_000, solver="newton-cg")
    reference.fit(x, y, sample_weight=sample_weight)
    np.testing.assert_array_equal(own.classes_, reference.classes_)
    assert own.coef_.shape == reference.coef_.shape
    np.testing.assert_allclose(own.coef_, reference.coef_, rtol=0, atol=1e-4)
    np.testing.assert_allclose(own.intercept_, reference.intercept_, rtol=0, atol=1e-4)
    np.testing.assert_allclose(own.predict_proba(x), reference.predict_proba(x), rtol=0, atol=1e-5)
    np.testing.assert_allclose(own.decision_function(x), reference.decision_function(x), rtol=0, atol=1e-3)
    np.testing.assert_array_equal(own.predict(x), own.classes_[own.predict_proba(x).argmax(axis=1)])


@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-10])
def test_tol_bounds_the_gradient_of_features_as_they_came(tol):
    x, y = iris()
    x = x * [1, 10, 100, 1000] + 500  # neither centred nor of one scale
    model = SoftmaxRegression(tol=tol).fit(x, y)
    assert np.abs(gradient(model, x, y)).max() <= tol * 1.01
    assert 1 <= model.n_iter_[0] < 100


def test_raw_digits_converge_far_beyond_a_first_order_tolerance():
    x, y = load_digits(return_X_y=True)
    model = SoftmaxRegression(tol=1e-10).fit(x, y)
    assert np.abs(gradient(model, x, y)).max() <= 1.01e-10


def test_no_penalty():
    x, y = iris()
    rng = np.random.default_rng(0)
    y = np.where(rng.uniform(size=len(y)) < 0.3, rng.integers(0, 3, len(y)), y)  # not separable: there is an optimum
    model = SoftmaxRegression(C=np.inf).fit(x, y)
    error = model.predict_proba(x) - np.eye(3)[y]
    assert np.abs(error.T @ x).max() / len(y) <= 1.01e-6


def test_weights_count_rows():
    x, y = iris()
    repeats = np.random.default_rng(1).integers(0, 4, len(y))
    weighted = SoftmaxRegression(class_weight="balanced", tol=1e-10).fit(x, y, sample_weight=repeats)
    repeated = SoftmaxRegression(class_weight="balanced", tol=1e-10)
    repeated.fit(np.repeat(x, repeats, axis=0), np.repeat(y, repeats))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=0, atol=1e-6)


def test_log_probabilities_do_not_underflow():
    x, y = iris()
    model = SoftmaxRegression().fit(x, y)
    far = 1000 * x[:1]
    log_p = model.predict_log_proba(far)
    assert np.isfinite(log_p).all()
    assert log_p.min() < -800  # exp of it is 0


def test_too_few_steps_warn():
    x, y = iris()
    with pytest.warns(ConvergenceWarning, match=r"the largest entry of the gradient is .* after max_iter=2 steps"):
        SoftmaxRegression(max_iter=2).fit(x, y)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"C": 0}, ValueError, "C must be positive; got 0"),
        ({"C": "1"}, TypeError, "C must be a number; got '1'"),
        ({"tol": -1e-4}, ValueError, "tol must be positive; got -0.0001"),
        ({"tol": float("nan")}, ValueError, "tol must be positive; got nan"),
        ({"max_iter": 0}, ValueError, "max_iter must be at least 1; got 0"),
        ({"max_iter": 10.0}, TypeError, "max_iter must be an integer; got 10.0"),
    ],
)
def test_wrong_parameters(options, error, message):
    with pytest.raises(error, match=message):
        SoftmaxRegression(**options).fit(*iris())


def test_one_class():
    with pytest.raises(ValueError, match="y must hold at least 2 classes; got one class: 7"):
        SoftmaxRegression().fit([[0.0], [1.0]], [7, 7])


@pytest.mark.parametrize("weights", [[0, 0, 0], [1, -1, 1]])
def test_wrong_weights(weights):
    with pytest.raises(ValueError, match=r"(?i)sample.weight"):
        SoftmaxRegression().fit([[0.0], [1.0], [2.0]], [0, 1, 0], sample_weight=weights)


def test_no_class_counts():
    with pytest.raises(ValueError, match="sample_weight and class_weight leave no row with a positive weight"):
        SoftmaxRegression(class_weight={0: 0.0, 1: 0.0}).fit([[0.0], [1.0]], [0, 1])


@pytest.mark.parametrize("missing", ["sklearn", "scipy"])
def test_without_the_extra_the_error_names_it(missing):
    code = f"import sys; sys.modules[{missing!r}] = None; import softgrad.regression"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: softgrad.regression needs ")
    assert last.endswith('pip install "softgrad[sklearn]"')


@pytest.mark.slow
def test_the_example_finds_the_same_coefficients_and_draws_them(tmp_path):
    script = Path(__file__).parents[1] / "examples" / "regression.py"
    command = [sys.executable, "-W", "error", str(script), "--output", str(tmp_path / "results")]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the coefficients agree: " in done.stdout
    assert (tmp_path / "results" / "coefficients.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


# Dask arrays


def no_computing(*args, **options):
    raise AssertionError("computed before it was asked for")


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"fit_intercept": False, "class_weight": "balanced"}], ids=str)
@pytest.mark.parametrize("data", [iris, two_classes])
def test_dask_arrays_have_the_fit_of_arrays_in_memory(data, options):
    random = np.random.default_rng(0)
    order = random.permutation(len(data()[1]))
    x, y = (a[order] for a in data())
    weight = random.uniform(0, 3, len(y))
    weight[:50] = 0  # a block without any
    lazy_x = da.from_array(x, chunks=((50, 0, 60, len(y) - 110), -1))
    lazy_y, lazy_weight = da.from_array(y, chunks=40), da.from_array(weight, chunks=70)
    plain = SoftmaxRegression(**options, tol=1e-10).fit(x, y, sample_weight=weight)
    fits = []
    for scheduler, labels, weights in (("synchronous", y, weight), ("threads", lazy_y, lazy_weight)):
        with dask.config.set(scheduler=scheduler):
            model = SoftmaxRegression(**options, tol=1e-10).fit(lazy_x, labels, sample_weight=weights)
            assert model.score(lazy_x, labels) == plain.score(x, y)
        fits.append(model)
        np.testing.assert_array_equal(model.classes_, plain.classes_)
        np.testing.assert_allclose(model.coef_, plain.coef_, rtol=0, atol=1e-6)
        np.testing.assert_allclose(model.intercept_, plain.intercept_, rtol=0, atol=1e-6)
        assert model.n_features_in_ == x.shape[1]
    np.testing.assert_array_equal(fits[0].coef_, fits[1].coef_)


@pytest.mark.parametrize("data", [iris, two_classes])
@pytest.mark.parametrize("method", ["decision_function", "predict", "predict_proba", "predict_log_proba"])
def test_predictions_of_dask_arrays_are_lazy(data, method):
    x, y = data()
    call = getattr(SoftmaxRegression().fit(x, y), method)
    plain = call(x)
    with dask.config.set(scheduler=no_computing):
        lazy = da.from_array(x, chunks=(40, -1))
        found = call(lazy)
        some = call(lazy[lazy[:, 0] > 0])
    assert found.shape == plain.shape
    assert found.dtype == plain.dtype
    assert found.chunks == (lazy.chunks[0], *((k,) for k in plain.shape[1:]))
    for array, expected in ((found, plain), (some, plain[x[:, 0] > 0])):
        result = array.compute(scheduler="synchronous")
        if method == "predict":
            np.testing.assert_array_equal(result, expected)
        else:
            np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-14)


def test_a_block_is_read_once_for_every_value_and_product():
    x, y = iris()
    read, passes = [], []

    def counted(block):
        read.append(len(block))
        return block

    class Counting(InMemory):
        def each(self, f, *columns, **common):
            passes.append(f in (_mean, _variance, _loss_grad, _product))
            return super().each(f, *columns, **common)

    lazy = da.from_array(x, chunks=(50, -1)).map_blocks(counted, dtype=x.dtype, meta=np.empty((0, 0)))
    with dask.config.set(scheduler="synchronous"), pytest.MonkeyPatch.context() as patch:
        SoftmaxRegression().fit(lazy, da.from_array(y, chunks=50))
        patch.setattr("softgrad.regression.estimator.InMemory", Counting)
        SoftmaxRegression().fit(x, y)
    assert read == [50, 50, 50] * sum(passes)


def test_rows_whose_number_nobody_knows():
    x, y = iris()
    lazy_x, lazy_y = da.from_array(x, chunks=(40, -1)), da.from_array(y, chunks=40)
    some = x[:, 0] > 5
    with dask.config.set(scheduler="synchronous"):
        chosen = lazy_x[lazy_x[:, 0] > 5], lazy_y[lazy_x[:, 0] > 5]
        found = SoftmaxRegression(tol=1e-10).fit(*chosen)
        with pytest.raises(ValueError, match=r"X and y have unknown sizes: call compute_chunk_sizes\(\)"):
            SoftmaxRegression().fit(chosen[0], y[some])
    plain = SoftmaxRegression(tol=1e-10).fit(x[some], y[some])
    np.testing.assert_allclose(found.coef_, plain.coef_, rtol=0, atol=1e-6)


LAZY = da.from_array(np.arange(12.0).reshape(6, 2), chunks=(2, 2))
CLASSES = np.array([0, 1, 0, 1, 2, 2])
MISSING = np.array([1, 1, np.nan, 1, 1, 1])


@pytest.mark.parametrize(
    ("error", "message", "x", "y", "weight"),
    [
        (ValueError, r"one chunk along its columns; got 2: call X.rechunk", LAZY.rechunk((2, 1)), CLASSES, None),
        (ValueError, r"X must have shape \(m, d\); got shape \(6,\)", LAZY[:, 0], CLASSES, None),
        (ValueError, r"y must have shape \(6,\), one entry per row of X; got shape \(5,\)", LAZY, CLASSES[1:], None),
        (ValueError, r"y must have shape \(6,\), .* got shape \(6, 1\)", LAZY, CLASSES[:, None], None),
        (ValueError, r"sample_weight must have shape \(6,\)", LAZY, CLASSES, da.ones(7)),
        (ValueError, r"sample_weight must have shape \(6,\), .* got shape \(\)", LAZY, CLASSES, 2.0),
        (ValueError, "y must hold at least 2 classes; got one class: 3", LAZY, [3] * 6, None),
        (ValueError, "y must hold at least 2 classes; got no rows", LAZY[:0], CLASSES[:0], None),
        (ValueError, "leave no row with a positive weight", LAZY, CLASSES, np.zeros(6)),
        (ValueError, "Negative values in data.*sample_weight", LAZY, CLASSES, -CLASSES),
        (ValueError, "Input X contains NaN", LAZY * MISSING[:, None], CLASSES, None),
        (ValueError, "Input y contains NaN", LAZY, da.from_array(MISSING, chunks=3), None),
        (ValueError, "Input sample_weight contains NaN", LAZY, CLASSES, MISSING),
        (ValueError, "Unknown label type: continuous", LAZY, CLASSES / 4, None),
    ],
)
def test_wrong_dask_arrays(error, message, x, y, weight):
    with dask.config.set(scheduler="synchronous"), pytest.raises(error, match=message):
        SoftmaxRegression().fit(x, y, sample_weight=weight)


def test_wrong_features_to_predict():
    model = SoftmaxRegression().fit(np.asarray(LAZY), CLASSES)
    with pytest.raises(ValueError, match="X has 3 features, but SoftmaxRegression is expecting 2"):
        model.predict(da.ones((4, 3)))
    found = model.predict(LAZY * MISSING[:, None])
    with pytest.raises(ValueError, match="Input X contains NaN"):
        found.compute(scheduler="synchronous")


def test_labels_that_never_repeat_are_no_reason_to_warn():
    x = np.random.default_rng(0).normal(size=(60, 2))
    y = np.arange(60) % 30
    with dask.config.set(scheduler="synchronous"):
        model = SoftmaxRegression().fit(da.from_array(x, chunks=(20, 2)), y)
    assert len(model.classes_) == 30
