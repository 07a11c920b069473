"""Calls that a type checker accepts, with the types that it finds."""

from collections.abc import Sequence
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import softgrad as sg

NumPy = np.ndarray[Any, Any]
Value = NumPy | np.floating[Any]


def of_numpy(x: NDArray[np.float32], labels: NDArray[np.int64], rows: Sequence[Sequence[float]]) -> None:
    assert_type(sg.softmax(x), NumPy)
    assert_type(sg.softmax([1.0, 2.0]), NumPy)
    assert_type(sg.softmax(rows, axis=(0, 1), temperature=[1.0, 2.0], where=x > 0, dtype="float32", workers=2), NumPy)
    assert_type(sg.softmax([x, x], axis=None, out=x), NumPy)
    assert_type(sg.softmax(range(3), normalization=False), NumPy)
    assert_type(sg.logsumexp(3.0, axis=None), Value)
    assert_type(sg.logsumexp(x, b=[1.0, 2.0], keepdims=True), Value)
    assert_type(sg.entropy(x, temperature=2.0).mean(), Any)
    assert_type(sg.softmax_vjp(x, [1, 2]), NumPy)
    assert_type(sg.softmax_second(x, x, x, axis=0), NumPy)
    assert_type(sg.cross_entropy(x, labels, label_smoothing=0.1, ignore_index=-100), Value)
    assert_type(sg.cross_entropy_grad(x, [0, 1]), sg.LossGrad)
    assert_type(sg.cross_entropy_grad_hess(x, 1, curvature="upper"), sg.LossGradHess)
    assert_type(sg.kl_divergence_grad(x, x), sg.DivergenceGrad)
    assert_type(sg.selective_log_softmax(x, labels), Value)
    loss, grad = sg.entropy_grad(x)
    jacobian = sg.softmax_jacobian(x, temperature=2)
    assert_type(jacobian, sg.SimplexJacobian)
    assert_type(jacobian @ x, NumPy)
    assert_type(jacobian @ [1.0, 0.0], NumPy)
    assert_type([1.0, 0.0] @ jacobian, NumPy)
    assert_type(sg.calculate_gradient(x, False), NumPy)
    assert_type(sg.Softmax(axis=0)(x, False), NumPy)
    assert_type(sg.LogSoftmax()([1.0]), NumPy)
    assert_type(sg.SoftmaxCrossEntropy(weight=[1.0, 2.0])(x, labels), Value)
    _ = loss, grad


class Tensor:
    """What is known of an array of another library."""

    shape: tuple[int, ...]
    dtype: Any


def of_another_library(x: Tensor, labels: Tensor) -> None:
    assert_type(sg.softmax(x, axis=0), Tensor)
    assert_type(sg.logsumexp(x), Tensor)
    assert_type(sg.softmax_vjp(x, x), Tensor)
    assert_type(sg.softmax_vjp([1.0], x), Tensor)
    assert_type(sg.softmax_second(x, x, x), Tensor)
    assert_type(sg.cross_entropy(x, labels), Tensor)
    assert_type(sg.cross_entropy_grad(x, labels), sg.LossGrad)


class Frame:
    """What is known of a DataFrame."""

    shape: tuple[int, ...]
    loc: Any


def with_labels(frame: Frame, series: Frame) -> None:
    sg.softmax(frame, axis="columns")
    sg.cross_entropy(frame, series, axis="columns")
    sg.cross_entropy(frame, ["cat", "dog"])
    sg.cross_entropy_grad(frame, ["cat", "dog"])
    sg.softmax_second(frame, frame, frame, axis="index")
    sg.Softmax()(frame)
