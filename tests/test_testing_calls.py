"""Gradient checks as people call them: a Jacobian as a function, no warnings near the ends of a type."""

import warnings

import ml_dtypes
import numpy as np
import pytest

import softgrad as sg
from softgrad.testing import GradientMismatch, check_jacobian, check_jvp, check_vjp

X = np.random.default_rng(0).normal(size=(4, 5))


@pytest.mark.parametrize(
    "x", [X, X[0], X.astype(np.float32), np.zeros((1, 1))], ids=["rows", "one", "float32", "number"]
)
@pytest.mark.parametrize(
    "jacobian",
    [
        sg.calculate_gradient,
        sg.softmax_jacobian,
        lambda x: sg.softmax_jacobian(x).toarray(),
        lambda x, normalization=True: sg.calculate_gradient(x, normalization),
    ],
)
def test_a_jacobian_may_be_a_function_of_the_point(jacobian, x):
    check_jacobian(sg.softmax, jacobian, x)


def test_a_wrong_function_is_reported():
    with pytest.raises(GradientMismatch, match="jacobian is wrong in"):
        check_jacobian(sg.log_softmax, sg.calculate_gradient, X)


def test_a_callable_without_arguments_stays_one():
    layer = sg.Softmax()
    check_jacobian(layer, layer.backward, X)
    calls = []
    check_jacobian(sg.softmax, lambda x=None: calls.append(x) or sg.calculate_gradient(X), X)
    assert calls == [None]


def test_the_error_of_a_jacobian_is_its_own():
    def failing(x):
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        check_jacobian(sg.softmax, failing, X)


LARGE = {
    np.float16: [1.0, 300.0, 6e4],
    ml_dtypes.bfloat16: [1.0, 1e10, 3e38],
    np.float32: [1.0, 1e20, 3e38],
    np.float64: [1.0, 1e160, 1e300],
}


@pytest.mark.parametrize(("dtype", "size"), [(dtype, size) for dtype, sizes in LARGE.items() for size in sizes])
def test_no_warning_near_the_ends_of_a_type(dtype, size):
    x = (np.clip(X / np.abs(X).max(), 0.3, 1.0) * size).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        half = dtype(0.5)
        check_vjp(lambda z: z * half, lambda g: g * half, x)
        check_jvp(lambda z: z * half, lambda v: v * half, x)
        check_jacobian(lambda z: z * half, np.eye(20).reshape(4, 5, 4, 5) / 2, x)
        check_vjp(lambda z: np.tanh(z / size), lambda g: g / size / np.cosh(np.float64(x) / size) ** 2, x)


def test_a_value_that_float32_does_not_hold_makes_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_vjp(lambda z: np.exp(z * 200), lambda g: 200 * g * np.exp(200 * np.abs(X)), np.abs(X))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_is_wrong_is_still_found(dtype):
    x = (np.clip(X / np.abs(X).max(), 0.3, 1.0) * LARGE[dtype][-1]).astype(dtype)
    with pytest.raises(GradientMismatch, match=r"the wrong entries are 0\.5 times what they should be"):
        check_vjp(lambda z: z / 2, lambda g: g / 4, x)
