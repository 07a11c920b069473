"""The objectives train real XGBoost, LightGBM and CatBoost models: those of the built-in objectives."""

import pickle
import subprocess
import sys
from pathlib import Path

import catboost
import lightgbm
import numpy as np
import pytest
import xgboost
from mpmath import mp
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import softgrad as sg
import softgrad.boosting
from softgrad._api.losses import CURVATURES
from softgrad.boosting import (
    LGBMSoftmaxClassifier,
    catboost_metric,
    catboost_objective,
    catboost_soft_metric,
    catboost_soft_objective,
    lightgbm_metric,
    lightgbm_objective,
    xgboost_metric,
    xgboost_objective,
)

K = 10
WEIGHTED = pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
# One thread each: on a busy machine the threads would wait for each other longer than such small models take.
XGBOOST = {"max_depth": 3, "base_score": 0.0, "n_jobs": 1}
LIGHTGBM = {
    "num_threads": 1,
    "num_leaves": 8,
    "boost_from_average": False,
    "verbosity": -1,
    "deterministic": True,
    "force_row_wise": True,
}
CATBOOST = {
    "iterations": 4,
    "depth": 3,
    "learning_rate": 0.2,
    "bootstrap_type": "Bayesian",
    "leaf_estimation_iterations": 2,
    "leaf_estimation_backtracking": "No",
    "thread_count": 1,
    "verbose": False,
    "allow_writing_files": False,
}


@pytest.fixture(scope="module")
def digits():
    """Training rows, test rows and training labels, 600 to train on."""
    x, labels = load_digits(return_X_y=True)
    train, test, y, _ = train_test_split(x, labels, train_size=600, stratify=labels, random_state=0)
    return train, test, y


def weights_of(labels, weighted):
    return np.random.default_rng(0).uniform(0.25, 4, len(labels)) if weighted else None


def agree(own, built_in):
    np.testing.assert_allclose(own, built_in, rtol=0, atol=1e-5)
    assert built_in.max(axis=1).mean() > 0.2  # both have learned: it was 0.1


@WEIGHTED
def test_xgboost_train_equals_its_softprob(digits, weighted):
    train, test, y = digits
    parameters = XGBOOST | {"objective": "multi:softprob", "num_class": K}
    data = xgboost.DMatrix(train, y, weight=weights_of(y, weighted), nthread=1)
    own = xgboost.train(parameters, data, 8, obj=xgboost_objective(K))
    built_in = xgboost.train(parameters, data, 8)
    agree(own.predict(xgboost.DMatrix(test, nthread=1)), built_in.predict(xgboost.DMatrix(test, nthread=1)))


@WEIGHTED
def test_xgboost_classifier_equals_its_softprob(digits, weighted):
    train, test, y = digits
    sample_weight = weights_of(y, weighted)
    own = xgboost.XGBClassifier(objective=xgboost_objective(K), n_estimators=5, **XGBOOST)
    built_in = xgboost.XGBClassifier(n_estimators=5, **XGBOOST)
    own, built_in = (clone(model).fit(train, y, sample_weight=sample_weight) for model in (own, built_in))
    agree(own.predict_proba(test), built_in.predict_proba(test))


@WEIGHTED
def test_lightgbm_train_equals_its_multiclass(digits, weighted):
    train, test, y = digits
    parameters = LIGHTGBM | {"num_class": K}

    def trained(objective):
        data = lightgbm.Dataset(train, y, weight=weights_of(y, weighted))
        return lightgbm.train(parameters | {"objective": objective}, data, 8).predict(test)

    agree(sg.softmax(trained(lightgbm_objective(K))), trained("multiclass"))


@WEIGHTED
def test_lightgbm_classifier_equals_its_multiclass(digits, weighted):
    train, test, y = digits
    sample_weight = weights_of(y, weighted)
    own = lightgbm.LGBMClassifier(objective=lightgbm_objective(K), n_estimators=5, **LIGHTGBM)
    built_in = lightgbm.LGBMClassifier(n_estimators=5, **LIGHTGBM)
    own, built_in = (clone(model).fit(train, y, sample_weight=sample_weight) for model in (own, built_in))
    agree(sg.softmax(own.predict_proba(test, raw_score=True)), built_in.predict_proba(test))


@WEIGHTED
@pytest.mark.parametrize("classes", [2, K])
def test_catboost_equals_its_multiclass(digits, weighted, classes):
    train, test, y = digits
    names = np.array([f"class {label % classes}" for label in y])
    sample_weight = weights_of(y, weighted)
    own = catboost.CatBoostClassifier(loss_function=catboost_objective(), eval_metric="MultiClass", **CATBOOST)
    built_in = catboost.CatBoostClassifier(loss_function="MultiClass", **CATBOOST)
    own, built_in = (clone(model).fit(train, names, sample_weight=sample_weight) for model in (own, built_in))
    agree(own.predict_proba(test), built_in.predict_proba(test))


@pytest.mark.parametrize("curvature", CURVATURES)
def test_every_curvature_lowers_the_loss(digits, curvature):
    train, _, y = digits
    parameters = XGBOOST | {"objective": "multi:softprob", "num_class": K}
    data = xgboost.DMatrix(train, y, nthread=1)
    own = xgboost.train(parameters, data, 5, obj=xgboost_objective(K, curvature=curvature))
    margins = own.predict(data, output_margin=True)
    assert sg.cross_entropy(margins, y).mean() < 0.8 * np.log(K)


def test_both_ways_to_call_give_the_same(digits):
    train, _, y = digits
    scores = np.random.default_rng(1).normal(size=(len(y), K)).astype(np.float32)
    weight = weights_of(y, True).astype(np.float32)
    objective = xgboost_objective(K)
    by_data = objective(scores, xgboost.DMatrix(train, y, weight=weight))
    by_labels = objective(y, scores, sample_weight=weight)
    for one, other in zip(by_data, by_labels, strict=True):
        np.testing.assert_array_equal(one, other)


def test_saturated_rows_keep_their_gradient_and_a_positive_hessian():
    scores = np.array([[30.0, 0.0, 0.0], [200.0, 0.0, 0.0]], dtype=np.float32)
    grad, hess = xgboost_objective(3)(np.zeros(2), scores)
    np.testing.assert_allclose(grad[0, 0], -2 * np.exp(-30), rtol=1e-6)
    np.testing.assert_allclose(hess[0], 2 * np.exp(-30) * np.array([2, 1, 1]), rtol=1e-6)
    np.testing.assert_array_equal(hess[1], np.float32(1e-16))


def test_catboost_derivatives_of_a_saturated_row():
    small = np.exp(-40)
    der1, der2 = catboost_objective().calc_ders_multi(np.array([40.0, 0.0, 0.0]), 0.0, 3.0)
    np.testing.assert_allclose(der1, [6 * small, -3 * small, -3 * small], rtol=1e-14)
    np.testing.assert_allclose(np.diag(der2), [-6 * small, -3 * small, -3 * small], rtol=1e-14)


# The same losses written out in mpmath, for derivatives to compare with.

OPTIONS = [
    {},
    {"weight": [1.0, 0.5, 3.0]},
    {"label_smoothing": 0.2},
    {"weight": [1.0, 0.5, 3.0], "label_smoothing": 0.2},
    {"gamma": 2.0},
    {"gamma": 0.5, "weight": [1.0, 0.5, 3.0]},
]
BY_OPTIONS = pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "plain")
SCORES = np.array([[0.5, -1.0, 2.0], [3.0, 3.0, -4.0], [0.0, 0.0, 0.0], [1.0, 9.0, -2.0]])
CLASSES = np.array([0, 1, 2, 1])
ROW_WEIGHTS = np.array([1.0, 0.25, 2.0, 3.0])
DISTRIBUTIONS = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.25, 0.25, 0.5], [0.1, 0.6, 0.3]])


def exact_loss(scores, target, weight=(1, 1, 1), label_smoothing=0, gamma=0):
    """The loss of one row, whose target is a distribution; `gamma` is for one class."""
    largest = max(scores)
    log_total = largest + mp.log(mp.fsum(mp.exp(score - largest) for score in scores))
    n = len(scores)
    smoothing = mp.mpf(label_smoothing)
    terms = []
    for score, share, factor in zip(scores, target, weight, strict=True):
        focus = (1 - mp.exp(score - log_total)) ** gamma if gamma else 1
        smoothed = (1 - smoothing) * mp.mpf(share) + smoothing / n
        terms.append(mp.mpf(factor) * smoothed * focus * (log_total - score))
    return mp.fsum(terms)


def exact_slope(scores, target, entry, options):
    def loss(score):
        return exact_loss([*scores[:entry], score, *scores[entry + 1 :]], target, **options)

    return mp.diff(loss, mp.mpf(scores[entry]))


def exact_gradients(targets, options):
    rows = zip(SCORES.tolist(), targets, ROW_WEIGHTS, strict=True)
    return np.array([[float(w * exact_slope(row, target, j, options)) for j in range(3)] for row, target, w in rows])


@BY_OPTIONS
def test_gradients_of_every_option(options):
    expected = exact_gradients(np.eye(3)[CLASSES], options)
    for make in (xgboost_objective, lightgbm_objective):
        grad, hess = make(3, **options)(CLASSES, SCORES, sample_weight=ROW_WEIGHTS)
        np.testing.assert_allclose(grad, expected, rtol=1e-13, atol=1e-15)
        assert (hess > 0).all()
    for row, scores in enumerate(SCORES):
        der1, _ = catboost_objective(**options).calc_ders_multi(scores, float(CLASSES[row]), ROW_WEIGHTS[row])
        np.testing.assert_allclose(der1, -expected[row], rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("options", [o for o in OPTIONS if "gamma" not in o], ids=lambda o: "-".join(o) or "plain")
def test_gradients_of_soft_labels(options):
    expected = exact_gradients(DISTRIBUTIONS, options)
    grad, _ = xgboost_objective(3, **options)(DISTRIBUTIONS, SCORES, sample_weight=ROW_WEIGHTS)
    np.testing.assert_allclose(grad, expected, rtol=1e-13, atol=1e-15)
    objective = lightgbm_objective(3, targets=DISTRIBUTIONS[::-1], **options)
    grad, _ = objective(np.array([3.0, 2.0, 1.0, 0.0], np.float32), SCORES, sample_weight=ROW_WEIGHTS)
    np.testing.assert_allclose(grad, expected, rtol=1e-13, atol=1e-15)
    for row, scores in enumerate(SCORES):
        der1, _ = catboost_soft_objective(**options).calc_ders_multi(scores, DISTRIBUTIONS[row], ROW_WEIGHTS[row])
        np.testing.assert_allclose(der1, -expected[row], rtol=1e-13, atol=1e-15)


def row_factor(row, options):
    """What diag(p) − p pᵀ of a row is multiplied by, from the loss as a function of ℓ = −log p at the label."""
    weight = np.array(options.get("weight", [1.0, 1.0, 1.0]))
    smoothing = options.get("label_smoothing", 0)
    if "gamma" in options:
        loss = mp.mpf(float(sg.cross_entropy(SCORES[row], CLASSES[row])))
        slope = mp.diff(lambda ell: (1 - mp.exp(-ell)) ** options["gamma"] * ell, loss)
        return ROW_WEIGHTS[row] * weight[CLASSES[row]] * float(slope)
    target = (1 - smoothing) * np.eye(3)[CLASSES[row]] + smoothing / 3
    return ROW_WEIGHTS[row] * (weight * target).sum()


@BY_OPTIONS
def test_curvatures_of_every_option(options):
    p = sg.softmax(SCORES)
    factors = np.array([row_factor(row, options) for row in range(len(SCORES))])
    grad, hess = xgboost_objective(3, curvature="diagonal", **options)(CLASSES, SCORES, sample_weight=ROW_WEIGHTS)
    np.testing.assert_allclose(hess, factors[:, None] * p * (1 - p), rtol=1e-10)
    grad, hess = xgboost_objective(3, curvature="residual", **options)(CLASSES, SCORES, sample_weight=ROW_WEIGHTS)
    np.testing.assert_allclose(hess, np.abs(grad), rtol=1e-12)
    for row, scores in enumerate(SCORES):
        _, der2 = catboost_objective(**options).calc_ders_multi(scores, float(CLASSES[row]), ROW_WEIGHTS[row])
        np.testing.assert_allclose(der2, -factors[row] * sg.calculate_gradient(scores), rtol=1e-10)


@BY_OPTIONS
def test_metrics_are_the_mean_of_the_loss(options):
    expected = [
        float(exact_loss([mp.mpf(s) for s in scores], np.eye(3)[label], **options))
        for scores, label in zip(SCORES, CLASSES, strict=True)
    ]
    name = "focal_loss" if "gamma" in options else "cross_entropy"
    for weights in (None, ROW_WEIGHTS):
        mean = np.average(expected, weights=weights)
        found, value, higher_is_better = lightgbm_metric(3, **options)(CLASSES, SCORES, weights)
        assert (found, higher_is_better) == (name, False)
        np.testing.assert_allclose(value, mean, rtol=1e-13)
        metric = xgboost_metric(3, **options)
        assert metric.__name__ == name
        np.testing.assert_allclose(metric(CLASSES, SCORES, sample_weight=weights), mean, rtol=1e-13)
        metric = catboost_metric(**options)
        assert not metric.is_max_optimal()
        np.testing.assert_allclose(metric.get_final_error(*metric.evaluate(SCORES.T, CLASSES, weights)), mean)


def test_metrics_of_soft_labels():
    expected = sg.soft_cross_entropy(SCORES, DISTRIBUTIONS).mean()
    assert xgboost_metric(3)(DISTRIBUTIONS, SCORES) == pytest.approx(expected, rel=1e-15)
    assert lightgbm_metric(3, targets=DISTRIBUTIONS)(np.arange(4), SCORES)[1] == pytest.approx(expected, rel=1e-15)
    metric = catboost_soft_metric()
    error = metric.get_final_error(*metric.evaluate(SCORES.T, DISTRIBUTIONS.T, None))
    assert error == pytest.approx(expected, rel=1e-15)


@WEIGHTED
def test_lightgbm_metric_is_the_loss_of_the_model(digits, weighted):
    """LightGBM's own takes raw scores for probabilities, and early stopping by it means nothing."""
    train, _, y = digits
    weight = weights_of(y, weighted)
    parameters = LIGHTGBM | {"num_class": K, "objective": lightgbm_objective(K), "metric": "multi_logloss"}
    reported = {}
    model = lightgbm.train(
        parameters,
        lightgbm.Dataset(train[::2], y[::2]),
        8,
        valid_sets=[lightgbm.Dataset(train[1::2], y[1::2], weight=None if weight is None else weight[1::2])],
        feval=lightgbm_metric(K),
        callbacks=[lightgbm.record_evaluation(reported)],
    )
    losses = sg.cross_entropy(model.predict(train[1::2]), y[1::2])
    expected = np.average(losses, weights=None if weight is None else weight[1::2])
    np.testing.assert_allclose(reported["valid_0"]["cross_entropy"][-1], expected, rtol=1e-6)
    assert abs(reported["valid_0"]["multi_logloss"][-1] - expected) > 0.1


def test_metrics_stop_early(digits):
    train, _, y = digits
    at = slice(0, 120)
    data, valid = xgboost.DMatrix(train[at], y[at], nthread=1), xgboost.DMatrix(train[120:], y[120:], nthread=1)
    parameters = XGBOOST | {"objective": "multi:softprob", "num_class": K, "disable_default_eval_metric": True}
    parameters |= {"max_depth": 8, "eta": 1.0}
    model = xgboost.train(
        parameters,
        data,
        40,
        evals=[(valid, "valid")],
        obj=xgboost_objective(K),
        custom_metric=xgboost_metric(K),
        early_stopping_rounds=3,
        verbose_eval=False,
    )
    assert model.best_iteration < 39
    margins = model.predict(valid, output_margin=True, iteration_range=(0, model.best_iteration + 1))
    assert model.best_score == pytest.approx(sg.cross_entropy(margins, y[120:]).mean(), rel=1e-5)

    own = LGBMSoftmaxClassifier(
        objective=lightgbm_objective(K), metric="None", n_estimators=60, learning_rate=0.5, **LIGHTGBM
    )
    own.fit(
        train[at],
        y[at],
        eval_X=(train[120:],),
        eval_y=(y[120:],),
        eval_metric=lightgbm_metric(K),
        callbacks=[lightgbm.early_stopping(3, verbose=False)],
    )
    assert 0 < own.best_iteration_ < 60
    losses = sg.cross_entropy(own.predict_proba(train[120:], raw_score=True), y[120:])
    assert own.best_score_["valid_0"]["cross_entropy"] == pytest.approx(losses.mean(), rel=1e-6)


def test_catboost_metric_is_its_multiclass(digits):
    train, _, y = digits
    model = catboost.CatBoostClassifier(
        loss_function="MultiClass", eval_metric=catboost_metric(), classes_count=K, **CATBOOST
    )
    reported = model.fit(train, y, eval_set=(train[:100], y[:100])).get_evals_result()["validation"]
    np.testing.assert_allclose(reported["CatBoostMetric"], reported["MultiClass"], rtol=1e-6)


def test_xgboost_classifier_takes_the_metric(digits):
    train, _, y = digits
    model = xgboost.XGBClassifier(
        objective=xgboost_objective(K), eval_metric=xgboost_metric(K), n_estimators=4, **XGBOOST
    )
    model.fit(train, y, eval_set=[(train, y)], sample_weight=weights_of(y, True), verbose=False)
    losses = sg.cross_entropy(model.predict(train, output_margin=True), y)
    reported = model.evals_result()["validation_0"]["cross_entropy"][-1]
    assert reported == pytest.approx(losses.mean(), rel=1e-5)


def test_metrics_refuse_probabilities(digits):
    train, _, y = digits
    parameters = LIGHTGBM | {"num_class": K, "objective": "multiclass", "metric": "None"}
    data = lightgbm.Dataset(train, y)
    with pytest.raises(ValueError, match=r"raw scores; got probabilities, for which multi_logloss is right"):
        lightgbm.train(parameters, data, 2, valid_sets=[data], feval=lightgbm_metric(K))


def test_lightgbm_classifier_predicts_classes(digits):
    train, test, y = digits
    names = np.array([f"class {label}" for label in y])
    own = LGBMSoftmaxClassifier(objective=lightgbm_objective(K), n_estimators=5, **LIGHTGBM)
    built_in = lightgbm.LGBMClassifier(n_estimators=5, **LIGHTGBM)
    own, built_in = (clone(model).fit(train, names) for model in (own, built_in))
    agree(own.predict_proba(test), built_in.predict_proba(test))
    np.testing.assert_array_equal(own.predict(test), built_in.predict(test))
    assert own.score(train, names) == built_in.score(train, names)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(own)).predict(test), own.predict(test))
    np.testing.assert_allclose(sg.softmax(own.predict(test, raw_score=True)), own.predict_proba(test))
    assert own.predict(test[:3], pred_leaf=True).shape == (3, 5 * K)
    as_lightgbm = LGBMSoftmaxClassifier(n_estimators=5, **LIGHTGBM).fit(train, names)
    np.testing.assert_array_equal(as_lightgbm.predict_proba(test), built_in.predict_proba(test))


@pytest.mark.slow
def test_soft_labels_train_the_same_model_in_every_library(digits):
    """Distributions that are one-hot are labels."""
    train, test, y = digits
    one_hot = np.eye(K)[y]
    parameters = XGBOOST | {"objective": "multi:softprob", "num_class": K}
    by_labels = xgboost.train(parameters, xgboost.DMatrix(train, y, nthread=1), 4, obj=xgboost_objective(K))
    by_rows = xgboost.train(XGBOOST, xgboost.DMatrix(train, one_hot, nthread=1), 4, obj=xgboost_objective(K))
    data = xgboost.DMatrix(test, nthread=1)
    agree(sg.softmax(by_rows.predict(data)), by_labels.predict(data))

    parameters = LIGHTGBM | {"num_class": K}
    by_labels, by_rows = (
        lightgbm.train(parameters | {"objective": objective}, lightgbm.Dataset(train, labels), 4).predict(test)
        for objective, labels in [
            (lightgbm_objective(K), y),
            (lightgbm_objective(K, targets=one_hot), np.arange(len(y))),
        ]
    )
    agree(sg.softmax(by_rows), sg.softmax(by_labels))

    options = CATBOOST | {"bootstrap_type": "No"}
    by_labels = catboost.CatBoostClassifier(loss_function=catboost_objective(), eval_metric="MultiClass", **options)
    by_rows = catboost.CatBoost(
        options | {"loss_function": catboost_soft_objective(), "eval_metric": catboost_soft_metric()}
    )
    agree(sg.softmax(by_rows.fit(train, one_hot).predict(test)), by_labels.fit(train, y).predict_proba(test))


def causes(error):
    while error is not None:
        yield f"{type(error).__name__}: {error}"
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    ("name", "train"),
    [
        ("xgboost_objective", lambda f, x, y: xgboost.train({"num_class": K}, xgboost.DMatrix(x, y), 1, obj=f)),
        ("xgboost_objective", lambda f, x, y: xgboost.XGBClassifier(objective=f).fit(x, y)),
        (
            "xgboost_metric",
            lambda f, x, y: xgboost.XGBClassifier(n_estimators=1, eval_metric=f).fit(x, y, eval_set=[(x, y)]),
        ),
        (
            "lightgbm_objective",
            lambda f, x, y: lightgbm.train(LIGHTGBM | {"num_class": K, "objective": f}, lightgbm.Dataset(x, y), 1),
        ),
        ("lightgbm_objective", lambda f, x, y: lightgbm.LGBMClassifier(objective=f, **LIGHTGBM).fit(x, y)),
        (
            "lightgbm_metric",
            lambda f, x, y: lightgbm.LGBMClassifier(n_estimators=1, **LIGHTGBM).fit(
                x, y, eval_X=(x,), eval_y=(y,), eval_metric=f
            ),
        ),
        (
            "catboost_objective",
            lambda f, x, y: catboost.CatBoost(CATBOOST | {"loss_function": f, "eval_metric": "MultiClass"}).fit(x, y),
        ),
        (
            "catboost_metric",
            lambda f, x, y: catboost.CatBoost(CATBOOST | {"loss_function": "MultiClass", "eval_metric": f}).fit(x, y),
        ),
        (
            "catboost_soft_objective",
            lambda f, x, y: catboost.CatBoost(CATBOOST | {"loss_function": f, "eval_metric": "MultiClass"}).fit(x, y),
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Failed to import numba")
def test_a_missing_call_says_so(digits, name, train):
    x, _, y = digits
    with pytest.raises((TypeError, catboost.CatBoostError)) as caught:
        train(getattr(softgrad.boosting, name), x[:50], y[:50])
    role = "an objective" if name.endswith("objective") else "a metric"
    assert any(f"{name} makes {role} and is none itself: give {name}(" in text for text in causes(caught.value))


def test_objectives_can_be_pickled():
    for make, options in [(lightgbm_objective, {"curvature": "diagonal"}), (xgboost_objective, {"gamma": 1.0})]:
        objective = make(3, **options)
        again = pickle.loads(pickle.dumps(objective))
        np.testing.assert_array_equal(again(CLASSES, SCORES), objective(CLASSES, SCORES))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: xgboost_objective(3, weight=[1.0, 2.0]), ValueError, r"weight must broadcast to shape \(3,\)"),
        (lambda: xgboost_objective(3, weight=[1.0, -1.0, 1.0]), ValueError, r"weight\[1\] is -1.0"),
        (lambda: lightgbm_metric(3, label_smoothing=2), ValueError, r"label_smoothing must lie in \[0, 1\]; got 2.0"),
        (lambda: catboost_objective(gamma="a"), TypeError, "gamma must be a number; got 'a'"),
        (lambda: catboost_metric(gamma=1, label_smoothing=0.1), ValueError, "gamma is for labels as they are"),
        (lambda: lightgbm_objective(3, gamma=1, targets=DISTRIBUTIONS), ValueError, "gamma is for labels; got targets"),
        (lambda: lightgbm_objective(2, targets=DISTRIBUTIONS), ValueError, r"targets must have shape \(rows, 2\)"),
        (lambda: lightgbm_objective(3, alpha=1), TypeError, "unexpected keyword argument 'alpha'"),
        (lambda: xgboost_objective(3, gamma=1)(DISTRIBUTIONS, SCORES), ValueError, "gamma is for labels; got a dist"),
        (
            lambda: lightgbm_objective(3, targets=DISTRIBUTIONS)([0, 1, 4, 2], SCORES),
            ValueError,
            r"labels must be row numbers of targets, in \[0, 4\); labels\[2\] is 4",
        ),
    ],
)
def test_wrong_options(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("n_classes", "error", "message"),
    [
        (1, ValueError, "n_classes must be at least 2; got 1"),
        (3.0, TypeError, "n_classes must be an integer; got 3.0"),
        (True, TypeError, "n_classes must be an integer; got True"),
    ],
)
def test_wrong_number_of_classes(n_classes, error, message):
    with pytest.raises(error, match=message):
        xgboost_objective(n_classes)


def test_unknown_curvature():
    with pytest.raises(ValueError, match=r"curvature must be one of .* got 'exact'"):
        lightgbm_objective(3, curvature="exact")


def test_two_classes_in_a_classifier_are_a_clear_error(digits):
    train, _, y = digits
    with pytest.raises(ValueError, match=r"scores must have shape \(rows, 2\).* got \(600,\)"):
        xgboost.XGBClassifier(objective=xgboost_objective(2), n_estimators=1).fit(train, y % 2)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([0.0, 1.5], ValueError, r"labels must be whole numbers; labels\[1\] is 1.5"),
        ([np.nan, 1.0], ValueError, r"labels\[0\] is nan"),
        ([0.0, 3.0], IndexError, r"labels\[1\] is 3"),
    ],
)
def test_labels_that_are_no_classes(labels, error, message):
    with pytest.raises(error, match=message):
        xgboost_objective(3)(np.array(labels), np.zeros((2, 3)))


@pytest.mark.slow
def test_the_example_finds_the_same_models():
    script = Path(__file__).parents[1] / "examples" / "boosting.py"
    command = [sys.executable, "-W", "error", str(script)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "softgrad's objectives and the built-in ones agree: " in done.stdout
