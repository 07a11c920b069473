"""Mistakes and messages: every message names the argument, what came, and what to write instead where that is known."""

import traceback
import warnings

import dask.array as da
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import torch

import softgrad as sg

X = np.zeros((2, 3))
HALF = np.zeros((2, 3), np.float16)
UNKNOWN = da.from_array(X)
UNKNOWN = UNKNOWN[UNKNOWN[:, 0] > -1]

ARRAYS = {
    "dict": ({"a": 1.0}, "got a dict: list(x.values()) has its numbers"),
    "values": ({"a": 1.0}.values(), "got a dict_values: list(x) makes it an array"),
    "set": ({1.0, 2.0}, "got a set: list(x) makes it an array"),
    "generator": ((i for i in range(3)), "got a generator: list(x) makes it an array"),
    "sparse array": (scipy.sparse.csr_array(X), "got a sparse csr_array of SciPy: toarray() makes it dense"),
    "sparse matrix": (scipy.sparse.coo_matrix(X), "got a sparse coo_matrix of SciPy: toarray() makes it dense"),
    "None": (None, "got None"),
    "function": (np.sin, "got a ufunc"),
    "text": ("abc", "got dtype <U3"),
    "texts": (["a", "b"], "got dtype <U1"),
    "objects": (np.array([1, None], object), "got dtype object"),
    "complex": (1j * X, "got dtype complex128"),
    "dates": (np.array(["2026-01-01"], "M8[D]"), "got dtype datetime64[D]"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_no_array_of_numbers(name):
    x, words = ARRAYS[name]
    functions = (sg.softmax, sg.logsumexp, sg.softmax_jacobian, sg.calculate_gradient, sg.Softmax())
    for function in functions[:1] if name == "generator" else functions:
        with pytest.raises(TypeError) as caught:
            function(x)
        assert str(caught.value).startswith("x must hold real numbers; ")
        assert words in str(caught.value)
    with pytest.raises(TypeError, match="logits must hold real numbers; got "):
        sg.cross_entropy(x, [0, 1])


SOFT = ": a target for every class, such as one-hot labels, is for soft_cross_entropy"
TABLE = {
    # labels and targets
    "one-hot": (lambda: sg.cross_entropy(X, np.eye(3, dtype=int)[:2]), ValueError, f"got (2, 3){SOFT}"),
    "one-hot floats": (lambda: sg.cross_entropy(X, np.eye(3)[:2]), TypeError, f"got dtype float64{SOFT}"),
    "one-hot focal": (lambda: sg.focal_loss(X, np.eye(3)[:2]), TypeError, SOFT),
    "one-hot axis 0": (lambda: sg.cross_entropy(X.T, np.eye(3)[:2].T, axis=0), TypeError, SOFT),
    "one-hot tensors": (
        lambda: sg.cross_entropy(torch.zeros(2, 3, requires_grad=True), torch.eye(3)[:2]),
        TypeError,
        f"got dtype float32{SOFT}",
    ),
    "float labels": (
        lambda: sg.cross_entropy(X, [0.0, 1.0]),
        TypeError,
        "labels must be integers; got dtype float64: astype(int) makes them integers",
    ),
    "label column": (
        lambda: sg.cross_entropy(X, [[0], [1]]),
        ValueError,
        "labels must have shape (2,), one per slice of the logits; got (2, 1): squeeze() removes the axis of length 1",
    ),
    "label -100": (
        lambda: sg.cross_entropy(X, [0, -100]),
        IndexError,
        "labels must lie in [0, 3); labels[1] is -100: ignore_index=-100 leaves such rows out",
    ),
    "labels from 1": (lambda: sg.cross_entropy(X, [3, 1]), IndexError, "labels[0] is 3: classes are numbered from 0"),
    "index": (lambda: sg.selective_log_softmax(X, [0, -1]), IndexError, "index must lie in [0, 3); index[1] is -1"),
    "labels as targets": (
        lambda: sg.soft_cross_entropy(X, [0, 1]),
        ValueError,
        "targets must broadcast to shape (2, 3); got shape (2,)",
    ),
    "negative targets": (
        lambda: sg.soft_cross_entropy(X, [[0, 0, 1], [-0.25, 0.75, 0.5]]),
        ValueError,
        "targets must be at least 0; the smallest is -0.25",
    ),
    "negative targets, gradient": (
        lambda: sg.soft_cross_entropy_grad(torch.zeros(3, requires_grad=True), torch.tensor([-1.0, 1, 1])),
        ValueError,
        "targets must be at least 0; the smallest is -1.0",
    ),
    "torch labels of a linear layer": (
        lambda: sg.linear_cross_entropy(X, np.zeros((4, 3)), torch.tensor([0, 1])),
        TypeError,
        "labels must be a plain NumPy array; got torch.Tensor",
    ),
    "torch weights of a linear layer": (
        lambda: sg.linear_cross_entropy(X, np.zeros((4, 3)), [0, 1], sample_weight=torch.ones(2)),
        TypeError,
        "sample_weight must be a plain NumPy array; got torch.Tensor",
    ),
    "a tracking tensor with Dask": (
        lambda: sg.softmax(UNKNOWN, temperature=torch.ones(2, requires_grad=True)),
        TypeError,
        "temperature tracks a gradient, which arrays of dask cannot; detach() it",
    ),
    "a tracking tensor with JAX": (
        lambda: sg.kl_divergence(jnp.zeros(3), torch.ones(3, requires_grad=True)),
        TypeError,
        "logits_q tracks a gradient, which arrays of jax cannot; detach() it",
    ),
    "labels of unknown Dask rows": (
        lambda: sg.cross_entropy(UNKNOWN, np.zeros(2, int)),
        ValueError,
        "labels must be a Dask array in the blocks of the logits, whose sizes are unknown; got a ndarray: "
        "call compute_chunk_sizes() of the logits before",
    ),
    # temperatures and other numbers
    "text T": (lambda: sg.softmax(X, temperature="2"), TypeError, "temperature must be a number or an array of n"),
    "text T of NumPy": (lambda: sg.softmax(X, temperature=np.str_("2")), TypeError, "temperature must be a number or"),
    "text T in an array": (lambda: sg.softmax(X, temperature=np.array("2")), TypeError, "temperature must be a number"),
    "texts T": (lambda: sg.softmax(X, temperature=["2", "1"]), TypeError, "numbers; got ['2', '1']"),
    "None T": (lambda: sg.softmax(X, temperature=[None, 1]), TypeError, "numbers; got [None, 1]"),
    "complex T": (lambda: sg.softmax(X, temperature=[1j, 1j]), TypeError, "numbers; got [1j, 1j]"),
    "T of losses": (lambda: sg.entropy(X, temperature="2"), TypeError, "got '2'"),
    "T = 0": (
        lambda: sg.softmax(X, temperature=0, normalization=False),
        ValueError,
        "temperature must be positive with normalization=False: the textbook formula divides by it",
    ),
    "T = 0 somewhere": (
        lambda: sg.log_softmax(X, temperature=[0, 1], normalization=False),
        ValueError,
        "temperature must be positive with normalization=False",
    ),
    "text smoothing": (
        lambda: sg.cross_entropy(X, [0, 1], label_smoothing="0.1"),
        TypeError,
        "label_smoothing must be a number; got '0.1'",
    ),
    "text gamma": (lambda: sg.focal_loss(X, [0, 1], gamma="2"), TypeError, "gamma must be a number; got '2'"),
    "dtype": (lambda: sg.softmax(X, dtype="number"), TypeError, "dtype must be a floating type; got 'number'"),
    "workers": (lambda: sg.softmax(X, workers=0), ValueError, "workers must be at least 1, or -1 for every CPU; got 0"),
    # the signature
    "x by name": (
        lambda: sg.softmax(x=X),
        TypeError,
        "passed as keyword arguments: 'x': arrays go first, without a name, as in softmax(x)",
    ),
    "logits by name": (
        lambda: sg.cross_entropy(logits=X, labels=[0, 1]),
        TypeError,
        "arrays go first, without a name, as in cross_entropy(logits, labels)",
    ),
    "the seeds' second argument": (
        lambda: sg.softmax(X, False),
        TypeError,
        "softmax() takes 1 positional argument but 2 were given: options are given by name, as in "
        "softmax(x, normalization=False)",
    ),
    "a positional axis": (
        lambda: sg.logsumexp(X, 0),
        TypeError,
        "options are given by name, as in logsumexp(x, axis=...)",
    ),
    "dim": (lambda: sg.softmax(X, dim=0), TypeError, "keyword argument 'dim': did you mean axis?"),
    "keepdim": (lambda: sg.logsumexp(X, keepdim=True), TypeError, "did you mean keepdims?"),
    "mask": (lambda: sg.entropy(X, mask=X > 0), TypeError, "did you mean where?"),
    "a misspelling": (lambda: sg.softmax(X, temprature=2), TypeError, "did you mean temperature?"),
    "another word": (lambda: sg.softmax(X, bananas=2), TypeError, "got an unexpected keyword argument 'bananas'"),
    "reduction": (
        lambda: sg.cross_entropy(X, [0, 1], reduction="mean"),
        TypeError,
        "there is one loss per row; .mean() or .sum() reduces them",
    ),
    "a number": (
        lambda: sg.softmax(3.0),
        np.exceptions.AxisError,
        "a single number is a slice with axis=None only: axis -1 is out of bounds for array of dimension 0",
    ),
    # files
    "a function's name": (
        lambda: sg.apply_blocks("softmax", "x.npy", "y.npy"),
        TypeError,
        "function must be callable, such as softgrad.softmax; got 'softmax'",
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_message(name):
    call, error, words = TABLE[name]
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert words in str(caught.value)


LIBRARIES = {"one-hot tensors", "negative targets, gradient", "labels of unknown Dask rows"}


@pytest.mark.parametrize("name", sorted(TABLE.keys() - LIBRARIES))
def test_an_error_about_arguments_is_short(name):
    """What a notebook shows: the line of the call, and no more than four of softgrad."""
    call, error, _ = TABLE[name]
    with pytest.raises(error) as caught:
        call()
    assert len(traceback.extract_tb(caught.value.__traceback__)[2:]) <= 4


def test_an_error_of_the_arithmetic_keeps_its_traceback(monkeypatch):
    def broken(*_):
        raise ValueError("broken")

    monkeypatch.setattr("softgrad._validation.logits.threads.count", broken)
    with pytest.raises(ValueError, match="broken") as caught:
        sg.log_softmax(X, where=X == 0, temperature=[1.0, 2.0])
    assert len(traceback.extract_tb(caught.value.__traceback__)) > 5


@pytest.mark.parametrize(
    "call",
    [
        lambda: sg.softmax(X + 1e4, normalization=False),
        lambda: sg.log_softmax(X + 1e4, normalization=False),
        lambda: sg.calculate_gradient(X + 1e4, normalization=False),
        lambda: sg.Softmax()(X + 1e4, normalization=False),
        lambda: sg.softmax(torch.zeros(3) + 1e4, normalization=False),
    ],
)
def test_a_warning_names_the_line_that_called(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert str(caught[0].message) == "overflow encountered in softmax without normalization"
    assert all(warning.category is RuntimeWarning and warning.filename == __file__ for warning in caught)
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        call()
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        call()


def test_half_precision_overflows_without_a_warning():
    """Infinity is the result where a number is too large for float16, as it is stated; 0 times a large factor is 0."""
    layer = sg.SoftmaxCrossEntropy()
    layer(np.array([[0, 100, 0]], np.float16), [1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(layer.backward(1e6), [[0, 0, 0]])
        layer(HALF, [0, 1])
        np.testing.assert_array_equal(layer.backward(1e6)[0], [-np.inf, np.inf, np.inf])
        assert np.isinf(sg.cross_entropy_grad(HALF, [0, 1], sample_weight=1e6).grad).all()
        assert np.isinf(sg.cross_entropy_grad(HALF, [0, 1], temperature=1e-6).grad).all()
        assert np.isinf(sg.cross_entropy_hessian(HALF, sample_weight=1e6).toarray()).all()
        large = np.full((2, 2), 6e4, np.float16)
        assert np.isinf(sg.softmax_regression_hessian(large, HALF)).all()
        product = sg.softmax_regression_hvp(large, HALF, np.full((2, 3), 6e4, np.float16))
        np.testing.assert_array_equal(product, np.zeros((2, 3)))
        assert product.dtype == np.float16
