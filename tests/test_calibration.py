"""Temperatures, vector scaling and their estimators: the minimum, the same for any split, scikit-learn's own."""

import re
import warnings

import dask.array as da
import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_limits

import softgrad as sg
from softgrad.calibration import TemperatureScaling, VectorScaling, fit_vector_scaling


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """On a busy machine the threads of BLAS wait for each other longer than such small products take."""
    with threadpool_limits(1):
        yield


def problem(rows=2000, n=5, temperature=1.0, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, n))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return temperature * logits, labels


def loss_at(logits, labels, beta, weight=None):
    return np.average(sg.cross_entropy(logits * beta, labels), weights=weight)


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1.0, 40.0, 1e6, 1e100])
def test_the_temperature_of_the_smallest_loss(level, scale):
    logits, labels = problem(temperature=scale)
    found = sg.fit_temperature(logits, labels)
    assert found.temperature == pytest.approx(3.013462357940851 / 3 * scale, rel=1e-9)
    assert found.loss == pytest.approx(loss_at(logits, labels, 1 / found.temperature), rel=1e-14)
    assert found.loss_before == pytest.approx(loss_at(logits, labels, 1.0), rel=1e-14)
    for factor in (0.999, 1.001):
        assert loss_at(logits, labels, factor / found.temperature) > found.loss
    assert found.iterations <= 10


def test_from_many_starts_it_is_the_root_of_the_derivative():
    for seed in range(20):
        logits, labels = problem(60, 3, temperature=10.0 ** np.random.default_rng(seed).uniform(-3, 3), seed=seed)
        found = sg.fit_temperature(logits, labels)
        p = sg.softmax(logits / found.temperature)
        at_label = logits[np.arange(60), labels]
        slope = ((p * logits).sum(1) - at_label).mean() / found.temperature
        assert abs(slope) < 1e-11, seed


def test_weights_masks_and_ignored_rows():
    logits, labels = problem()
    weight = np.random.default_rng(1).integers(0, 4, len(labels))
    repeated = sg.fit_temperature(np.repeat(logits, weight, axis=0), np.repeat(labels, weight))
    weighted = sg.fit_temperature(logits, labels, sample_weight=weight)
    assert weighted.temperature == pytest.approx(repeated.temperature, rel=1e-12)
    assert weighted.loss == pytest.approx(repeated.loss, rel=1e-13)
    kept = labels != 2
    ignored = sg.fit_temperature(logits, labels, ignore_index=2)
    assert ignored.temperature == pytest.approx(sg.fit_temperature(logits[kept], labels[kept]).temperature, rel=1e-13)
    wide = np.concatenate([logits, np.full((len(labels), 1), np.nan)], axis=1)
    masked = sg.fit_temperature(wide, labels, where=np.arange(6)[None] < 5)
    assert masked == pytest.approx(sg.fit_temperature(logits, labels), rel=1e-13)


def test_any_split_gives_the_same(tmp_path):
    logits, labels = problem(3_000, 150, temperature=2.0)
    found = sg.fit_temperature(logits, labels)
    np.save(tmp_path / "logits.npy", logits)
    np.save(tmp_path / "labels.npy", labels)
    others = [
        sg.fit_temperature(da.from_array(logits, chunks=(701, 150)), labels),
        sg.fit_temperature(tmp_path / "logits.npy", tmp_path / "labels.npy"),
        sg.fit_temperature(logits, labels, workers=1),
        sg.fit_temperature(logits[::-1], labels[::-1]),
    ]
    for other in others:
        assert other.iterations == found.iterations
        assert tuple(other) == pytest.approx(tuple(found), rel=4e-15)


def test_half_precision_is_computed_wide():
    logits, labels = problem(500)
    narrow = logits.astype(np.float16)
    expected = sg.fit_temperature(narrow.astype(np.float64), labels)
    assert tuple(sg.fit_temperature(narrow, labels)) == pytest.approx(tuple(expected), rel=1e-7)


def test_without_a_minimum_it_ends_with_a_message(tmp_path):
    with pytest.raises(ValueError, match="all logits of every row are equal"):
        sg.fit_temperature(np.ones((3, 3)), [0, 1, 2])
    logits, labels = problem()
    with pytest.raises(ValueError, match="the label of every row has the largest logit: the loss falls as the temp"):
        sg.fit_temperature(logits, logits.argmax(axis=1))
    with pytest.raises(ValueError, match="no larger than the others: the loss falls as the temperature grows"):
        sg.fit_temperature(logits, logits.argmin(axis=1))
    with pytest.raises(ValueError, match="no rows with a positive weight"):
        sg.fit_temperature(logits, labels, sample_weight=np.zeros(len(labels)))
    with pytest.raises(ValueError, match="every label the largest logit"):
        fit_vector_scaling(logits, logits.argmax(axis=1))
    with pytest.raises(ValueError, match="no row has the label 4: its bias would fall for ever"):
        fit_vector_scaling(logits[labels < 4], labels[labels < 4])
    only = np.where(labels[:, None] == 4, logits, [[0, 0, 0, 0, -np.inf]])  # never beside another label
    with pytest.raises(ValueError, match="some factors and biases grow for ever"):
        fit_vector_scaling(only, labels)
    with pytest.raises(ValueError, match="scale or bias must be True"):
        fit_vector_scaling(logits, labels, scale=False, bias=False)
    bad = np.array(logits)
    bad[1203, labels[1203]] = -np.inf
    np.save(tmp_path / "x.npy", bad)
    place = re.escape(f"{tmp_path / 'x.npy'}, slice [1203]: the logits must not hold NaN or infinities")
    for fit in (sg.fit_temperature, fit_vector_scaling):
        with pytest.raises(ValueError, match=place):
            fit(tmp_path / "x.npy", labels)


@pytest.mark.parametrize(("scale", "bias"), [(True, True), (True, False), (False, True)])
def test_vector_scaling_finds_the_minimum(level, scale, bias):
    logits, labels = problem(600, 4, temperature=3.0)
    weight = np.random.default_rng(2).random(600)
    found = fit_vector_scaling(logits, labels, scale=scale, bias=bias, sample_weight=weight)

    def loss(z):
        a, b = (z[:4] if scale else np.ones(4)), (z[-4:] if bias else np.zeros(4))
        value, grad = sg.cross_entropy_grad(a * logits + b, labels, sample_weight=weight / weight.sum())
        parts = [(grad * logits).sum(0)] * scale + [grad.sum(0)] * bias
        return value.sum(), np.concatenate(parts)

    start = np.concatenate([np.ones(4)] * scale + [np.zeros(4)] * bias)
    reference = minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 1000})
    assert found.loss == pytest.approx(reference.fun, abs=1e-12)
    assert found.loss_before == pytest.approx(loss(start)[0], rel=1e-13)
    np.testing.assert_allclose(found.scale, reference.x[:4] if scale else 1, atol=1e-6)
    if bias:
        np.testing.assert_allclose(found.bias, reference.x[-4:] - reference.x[-4:].mean(), atol=1e-6)
        assert abs(found.bias.sum()) < 1e-9
    else:
        assert not found.bias.any()


def test_vector_scaling_of_files_and_dask(tmp_path):
    logits, labels = problem(900, 4, temperature=3.0)
    logits[(labels != 3) & (np.arange(900) % 3 == 0), 3] = -np.inf
    expected = fit_vector_scaling(logits, labels)
    np.save(tmp_path / "x.npy", logits)
    for found in (
        fit_vector_scaling(tmp_path / "x.npy", labels),
        fit_vector_scaling(da.from_array(logits, (100, 4)), labels),
    ):
        np.testing.assert_allclose(found.scale, expected.scale, rtol=1e-9)
        np.testing.assert_allclose(found.bias, expected.bias, atol=1e-9)


@parametrize_with_checks([TemperatureScaling(LogisticRegression(), cv=2), VectorScaling(LogisticRegression(), cv=2)])
def test_scikit_learns_rules(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def digits(classes=10):
    x, y = load_digits(return_X_y=True)
    x = x + np.random.default_rng(0).normal(scale=6, size=x.shape)  # so that no fold is predicted without a mistake
    return x[y < classes] / 16, y[y < classes]


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("weighted", [False, True])
def test_equal_to_scikit_learns_temperature(classes, weighted):
    x, y = digits(classes)
    weight = np.random.default_rng(3).random(len(y)) if weighted else None
    classifier = LogisticRegression(C=10, max_iter=300, tol=1e-3)
    own = TemperatureScaling(classifier, cv=3).fit(x, y, sample_weight=weight)
    other = CalibratedClassifierCV(classifier, method="temperature", ensemble=False, cv=3)
    other.fit(x, y, sample_weight=weight)
    np.testing.assert_allclose(own.predict_proba(x), other.predict_proba(x), atol=1e-6)
    beta = other.calibrated_classifiers_[0].calibrators[0].beta_
    assert own.temperature_ == pytest.approx(1 / beta / (2 if classes == 2 else 1), rel=1e-6)  # of (−x, x), there
    np.testing.assert_array_equal(own.predict(x), other.predict(x))


def test_classifiers_with_probabilities_only():
    x, y = digits(4)
    forest = RandomForestClassifier(15, random_state=0)
    own = TemperatureScaling(forest, cv=2).fit(x, y)
    other = CalibratedClassifierCV(forest, method="temperature", ensemble=False, cv=2).fit(x, y)
    np.testing.assert_allclose(own.predict_proba(x), other.predict_proba(x), atol=1e-6)


def test_a_frozen_classifier_is_calibrated_on_what_fit_gets():
    x, y = digits()
    classifier = LogisticRegression(C=10, max_iter=300, tol=1e-3).fit(x[:900], y[:900])
    own = TemperatureScaling(FrozenEstimator(classifier)).fit(x[900:], y[900:])
    found = sg.fit_temperature(classifier.decision_function(x[900:]), y[900:])
    assert own.temperature_ == pytest.approx(found.temperature, rel=1e-12)
    assert own.temperature_ > 1.2
    vector = VectorScaling(FrozenEstimator(classifier)).fit(x[900:], y[900:])
    losses = [
        sg.cross_entropy(np.log(model.predict_proba(x[900:])), y[900:]).mean() for model in (classifier, own, vector)
    ]
    assert losses == sorted(losses, reverse=True)


def test_calibration_lowers_the_error():
    logits, labels = problem(5000, temperature=4.0)
    found = sg.fit_temperature(logits, labels)
    before, after = sg.evaluate(logits, labels), sg.evaluate(logits, labels, temperature=found.temperature)
    assert (before.nll, after.nll) == pytest.approx((found.loss_before, found.loss), rel=1e-13)
    assert after.ece < before.ece / 5
    assert after.accuracy == before.accuracy


def test_a_separable_problem_leaves_the_probabilities():
    x = np.concatenate([np.full((20, 1), -1.0), np.full((20, 1), 1.0)])
    y = np.repeat(["a", "b"], 20)
    for model, parameter in ((TemperatureScaling(), "temperature_"), (VectorScaling(), "scale_")):
        with pytest.warns(ConvergenceWarning, match="the probabilities stay as they are"):
            model.fit(x, y)
        assert np.all(getattr(model, parameter) == 1)
        np.testing.assert_array_equal(model.predict_proba(x), model.estimator_.predict_proba(x))
