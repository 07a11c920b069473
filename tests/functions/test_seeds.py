"""The two notebooks that the project comes from, run again: every number they print, to the last printed digit."""

import random

import numpy as np
import pytest

from softgrad import Softmax, calculate_gradient, softmax


@pytest.fixture(autouse=True)
def notebook_printing():
    """Print as a notebook does, whatever the options of the session are."""
    with np.printoptions(precision=8, threshold=1000, linewidth=75, suppress=False, legacy=False):
        yield


def test_normalization_works(capsys):
    np.random.seed(0)  # noqa: NPY002  the notebook draws from NumPy's global state
    random.seed(0)

    def test_softmax(num_tests: int = 200):
        for _ in range(num_tests):
            # generate a random array
            random_x = np.random.random(size=(10,)) * 10 - random.random()  # noqa: NPY002
            soft_x = softmax(random_x, normalization=False)
            soft_x_norm = softmax(random_x)

            assert np.allclose(soft_x, soft_x_norm), "WELL recheck the code!!"
        print("well the normalization works")

    test_softmax()
    assert capsys.readouterr().out == "well the normalization works\n"


def test_calculate_gradient():
    assert repr(calculate_gradient(x=[1, 2, 3])) == (
        "array([[ 0.08192507, -0.02203304, -0.05989202],\n"
        "       [-0.02203304,  0.18483645, -0.1628034 ],\n"
        "       [-0.05989202, -0.1628034 ,  0.22269543]])"
    )


OUTPUT = """\
output:
[[1.16562310e-02 3.16849208e-02 8.61285444e-02 2.34121657e-01
  6.36408647e-01]
 [6.36408647e-01 2.34121657e-01 8.61285444e-02 3.16849208e-02
  1.16562310e-02]
 [4.54370855e-05 4.54825454e-05 4.54598098e-05 4.55280507e-05
  9.99818093e-01]]
"""

# The document breaks off in the middle of the second matrix.
BACKPROPAGATION = """\
backpropagation:
[[[ 1.15203632e-02 -3.69326755e-04 -1.00393421e-03 -2.72897611e-03
   -7.41812617e-03]
  [-3.69326755e-04  3.06809866e-02 -2.72897611e-03 -7.41812617e-03
   -2.01645576e-02]
  [-1.00393421e-03 -2.72897611e-03  7.87104183e-02 -2.01645576e-02
   -5.48129504e-02]
  [-2.72897611e-03 -7.41812617e-03 -2.01645576e-02  1.79308707e-01
   -1.48997047e-01]
  [-7.41812617e-03 -2.01645576e-02 -5.48129504e-02 -1.48997047e-01
    2.31392681e-01]]

 [[ 2.31392681e-01 -1.48997047e-01 -5.48129504e-02 -2.01645576e-02
   -7.41812617e-03]
  [-1.48997047e-01  1.79308707e-01 -2.01645576e-02 -7.41812617e-03
   -2.72897611e-03]
  [-5.48129504e-02 -2.01645576e-02  7.87104183e-02 -2.72897611e-03
   -1.00393421e-03]
  [-2.01645576e-02 -7.41812617e-03 -"""

x = np.array([[1, 2, 3, 4, 5],
              [5, 4, 3, 2, 1],
              [0.001, 0.002, 0.0015, 0.003, 10]])  # fmt: skip


def test_layer_with_normalization(capsys):
    softmax_layer = Softmax()
    print(f"output:\n{softmax_layer(x)}")
    print(f"backpropagation:\n{softmax_layer.backward()}")
    assert capsys.readouterr().out.startswith(OUTPUT + BACKPROPAGATION)


def test_layer_without_normalization(capsys):
    """The notebook says "without normalization" and calls the layer as before; both ways print these numbers."""
    for options in ({}, {"normalization": False}):
        softmax_wo_norm_layer = Softmax()
        print(f"output:\n{softmax_wo_norm_layer(x, **options)}")
        print(f"backpropagation:\n{softmax_wo_norm_layer.backward()}")
        assert capsys.readouterr().out.startswith(OUTPUT + BACKPROPAGATION)


def test_third_matrix_which_the_document_cuts_off():
    """By the notebook's own loops; its diagonal subtracts 1 − p, so that only 12 digits of the last one can agree."""
    layer = Softmax()
    (*_, batch) = layer(x)
    expected = [[batch[i] * ((i == j) - batch[j]) for j in range(5)] for i in range(5)]
    np.testing.assert_allclose(layer.backward()[2], expected, rtol=1e-12, atol=0)


def test_a_column_vector_is_slices_of_one_entry():
    """The notebooks squeeze; softgrad takes the last axis, and its documentation says so."""
    column = np.array([[1.0], [2.0], [3.0]])
    np.testing.assert_array_equal(softmax(column), np.ones((3, 1)))
    np.testing.assert_array_equal(calculate_gradient(column), np.zeros((3, 1, 1)))
    layer = Softmax()
    np.testing.assert_array_equal(layer(column), np.ones((3, 1)))
    np.testing.assert_array_equal(layer.backward(), np.zeros((3, 1, 1)))
    layer = Softmax(axis=0)
    np.testing.assert_array_equal(np.ravel(layer(column)), softmax(np.ravel(column)))
    np.testing.assert_array_equal(layer.backward()[0], calculate_gradient(np.ravel(column)))
    for documented in (calculate_gradient, Softmax):
        assert "column vector" in documented.__doc__
