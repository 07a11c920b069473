"""SoftmaxRegression: scikit-learn's rules, LogisticRegression's optimum."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_limits

import softgrad as sg
from softgrad.regression import SoftmaxRegression


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


def test_the_example_finds_the_same_coefficients_and_draws_them(tmp_path):
    script = Path(__file__).parents[1] / "examples" / "regression.py"
    command = [sys.executable, "-W", "error", str(script), "--output", str(tmp_path / "results")]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the coefficients agree: " in done.stdout
    assert (tmp_path / "results" / "coefficients.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
