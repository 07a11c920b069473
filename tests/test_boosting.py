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
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import softgrad as sg
from softgrad._api.losses import CURVATURES
from softgrad.boosting import catboost_objective, lightgbm_objective, xgboost_objective

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


def test_objectives_can_be_pickled():
    objective = lightgbm_objective(3, curvature="diagonal")
    assert pickle.loads(pickle.dumps(objective)) == objective


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
