"""The fused linear layer beside the same formula with all logits in memory: values, gradients, edges, memory."""

import os
import re
import subprocess
import sys
import tracemalloc
from math import inf, nan
from pathlib import Path

import array_api_strict as strict
import numpy as np
import pytest

import softgrad as sg
from softgrad._numpy import kernels
from softgrad.testing import check_vjp

from ..maps import BFLOAT16

M, D, K = 40, 7, 13
EVERYTHING = {
    "class_weight": np.linspace(0, 2, K),
    "sample_weight": np.linspace(0, 3, M),
    "label_smoothing": 0.1,
    "ignore_index": 3,
    "z_loss": 0.01,
}
OPTIONS = {
    "plain": {},
    "class weight": {"class_weight": np.linspace(0, 2, K)},
    "temperatures": {"temperature": np.linspace(0.5, 3, M)},
    "everything": {**EVERYTHING, "temperature": 0.7},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
ONE_ROW = K + 4 * D + K
"""Numbers that the gradients of one row need."""
with_kernels = pytest.mark.skipif(
    not hasattr(kernels.table, "cross_entropy_grad"), reason="the formulas are not bounded in memory"
)


def problem(dtype=np.float64, m=M, d=D, n=K, scale=1.0):
    """Hidden, weight, labels and bias."""
    random = np.random.default_rng(0)
    hidden, weight, bias = (scale * random.normal(size=shape) for shape in ((m, d), (n, d), n))
    return hidden.astype(dtype), weight.astype(dtype), random.integers(0, n, m), bias.astype(dtype)


def unfused(hidden, weight, labels, bias, g=1.0, **options):
    """Loss and gradients with all logits in memory, in float64."""
    hidden, weight, bias = (np.asarray(a, dtype=np.float64) for a in (hidden, weight, bias))
    renamed = {"weight" if name == "class_weight" else name: value for name, value in options.items()}
    loss, grad = sg.cross_entropy_grad(hidden @ weight.T + bias, labels, **renamed)
    grad = np.broadcast_to(g, loss.shape)[:, np.newaxis] * grad
    return loss, grad @ weight, grad.T @ hidden, grad.sum(axis=0)


def assert_agree(results, expected, dtype, roundings=50):
    """Every result is of `dtype` and within some roundings of the largest entry of what was expected."""
    eps = max(float(np.finfo(dtype).eps) if dtype != BFLOAT16 else 2.0**-8, 2.0**-52)
    for i, (result, value) in enumerate(zip(results, expected, strict=True)):
        assert result.dtype == (np.float32 if i == 0 and eps > 1e-6 else dtype)  # a loss of half precision is float32
        assert result.shape == value.shape
        assert np.max(np.abs(result.astype(np.float64) - value)) <= roundings * eps * np.max(np.abs(value))


@every_option
@pytest.mark.parametrize("rows", [1, 3, None])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
@pytest.mark.usefixtures("level")
def test_it_is_the_unfused_formula(dtype, rows, options):
    hidden, weight, labels, bias = problem(dtype)
    max_bytes = None if rows is None else rows * ONE_ROW * np.dtype(dtype).itemsize
    g = np.linspace(-1, 1, M)
    expected = unfused(hidden, weight, labels, bias, g, **options)
    options = {**options, "max_bytes": max_bytes}
    results = sg.linear_cross_entropy_grad(hidden, weight, labels, bias, grad_output=g, **options)
    assert_agree(results, expected, dtype)
    assert_agree([sg.linear_cross_entropy(hidden, weight, labels, bias, **options)], expected[:1], dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.usefixtures("level")
def test_blocks_that_are_worth_threads(dtype):
    arguments = problem(dtype, 700, 5, 1500)
    results = sg.linear_cross_entropy_grad(*arguments, max_bytes=12 * 2**20)
    assert_agree(results, unfused(*arguments), dtype, roundings=200)  # sums over 1500 classes and 700 rows


@pytest.mark.parametrize("dtype", [np.float16, BFLOAT16], ids=str)
def test_half_precision_is_computed_in_float32(dtype):
    arguments = problem(dtype)
    assert_agree(sg.linear_cross_entropy_grad(*arguments), unfused(*arguments), dtype, roundings=1)


def test_the_widest_dtype_wins():
    hidden, weight, labels, bias = problem()
    for given in ((hidden.astype(np.float32), weight, bias), (hidden.astype(np.float32), weight.astype("f4"), bias)):
        results = sg.linear_cross_entropy_grad(*given[:2], labels, given[2])
        assert {result.dtype for result in results} == {np.dtype(np.float64)}
    results = sg.linear_cross_entropy_grad(hidden.astype(int), weight.astype(int), labels)
    assert_agree(results[:3], unfused(hidden.astype(int), weight.astype(int), labels, np.zeros(K))[:3], np.float64)


def test_the_dtype_of_the_results():
    """The logits are computed in the wider dtype; without `dtype` losses of half precision are float32."""
    arguments = problem(np.float32)
    wide = sg.linear_cross_entropy_grad(*arguments, dtype=np.float64)
    assert_agree(wide, unfused(*arguments), np.float64)
    narrow = sg.linear_cross_entropy_grad(*problem(), dtype="float16")
    assert {result.dtype for result in narrow} == {np.dtype(np.float16)}
    for result, exact in zip(narrow, unfused(*problem()), strict=True):
        np.testing.assert_array_equal(result, exact.astype(np.float16))
    assert sg.linear_cross_entropy(*arguments, dtype=np.float64).dtype == np.float64
    assert sg.linear_cross_entropy(*problem(BFLOAT16), dtype=BFLOAT16).dtype == BFLOAT16
    with pytest.raises(TypeError, match="dtype must be a floating type; got 'whole'"):
        sg.linear_cross_entropy(*arguments, dtype="whole")


@every_option
@pytest.mark.parametrize("name", ["hidden", "weight", "bias"])
def test_the_gradients_are_those_of_the_loss(name, options):
    hidden, weight, labels, bias = problem()
    point = {"hidden": hidden, "weight": weight, "bias": bias}

    def losses(value):
        now = {**point, name: value}
        return sg.linear_cross_entropy(now["hidden"], now["weight"], labels, now["bias"], **options)

    def vjp(g):
        result = sg.linear_cross_entropy_grad(hidden, weight, labels, bias, grad_output=g, **options)
        return getattr(result, f"grad_{name}")

    check_vjp(losses, vjp, point[name])


def test_the_losses_do_not_depend_on_grad_output():
    arguments = problem()
    plain = sg.linear_cross_entropy_grad(*arguments)
    halved = sg.linear_cross_entropy_grad(*arguments, grad_output=0.5)
    np.testing.assert_array_equal(halved.loss, plain.loss)
    np.testing.assert_allclose(halved.grad_weight, plain.grad_weight / 2, rtol=1e-12)


def test_batch_axes():
    hidden, weight, labels, bias = problem()
    flat = sg.linear_cross_entropy_grad(hidden, weight, labels, bias, grad_output=np.arange(M))
    hidden, labels, g = hidden.reshape(5, 8, D), labels.reshape(5, 8), np.arange(M).reshape(5, 8)
    loss, grad_hidden, grad_weight, _ = sg.linear_cross_entropy_grad(hidden, weight, labels, bias, grad_output=g)
    np.testing.assert_array_equal(loss, flat.loss.reshape(5, 8))
    np.testing.assert_array_equal(grad_hidden, flat.grad_hidden.reshape(5, 8, D))
    np.testing.assert_array_equal(grad_weight, flat.grad_weight)
    weights = np.linspace(0, 1, 8)
    options = {"sample_weight": weights, "label_smoothing": 0.2}
    np.testing.assert_allclose(
        sg.linear_cross_entropy(hidden, weight, labels, **options),
        sg.cross_entropy(hidden @ weight.T, labels, **options),
        rtol=1e-12,
    )


def test_one_row_has_one_loss():
    hidden, weight, labels, _ = problem()
    result = sg.linear_cross_entropy_grad(hidden[0], weight, labels[0])
    assert isinstance(result.loss, np.float64)
    assert result.grad_hidden.shape == (D,)
    assert result.grad_bias is None
    assert result.loss == sg.linear_cross_entropy(hidden[0], weight, labels[0])
    assert result.loss == pytest.approx(sg.cross_entropy(weight @ hidden[0], labels[0]), rel=1e-14)


@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (1, 2), (-1, 1), (1, -1), (0, 1)])
def test_any_layout_of_hidden_and_weight(stride):
    hidden, weight, labels, bias = problem(m=2 * M, d=2 * D, n=2 * K)
    views = (
        np.broadcast_to(a[:1], a.shape) if stride[0] == 0 else a[:: stride[0], :: stride[1]] for a in (hidden, weight)
    )
    hidden, weight = views
    labels, bias = labels[: len(hidden)] % len(weight), bias[: len(weight)]
    expected = unfused(hidden, weight, labels, bias)
    for first, second in ((hidden, weight), (np.asfortranarray(hidden), np.asfortranarray(weight))):
        assert_agree(sg.linear_cross_entropy_grad(first, second, labels, bias), expected, np.float64)
    swapped = [a.astype(a.dtype.newbyteorder()) for a in (hidden, weight, bias)]
    assert_agree(sg.linear_cross_entropy_grad(*swapped[:2], labels, swapped[2]), expected, np.float64)


@pytest.mark.usefixtures("level")
def test_rows_that_do_not_count_are_not_read():
    hidden, weight, labels, bias = problem()
    weights = np.ones(M)
    labels[:10], weights[30:] = -100, 0
    counted = sg.linear_cross_entropy_grad(hidden[10:30], weight, labels[10:30], bias)
    hidden[:10], hidden[30:] = nan, inf
    result = sg.linear_cross_entropy_grad(hidden, weight, labels, bias, ignore_index=-100, sample_weight=weights)
    np.testing.assert_array_equal(result.grad_weight, counted.grad_weight)
    np.testing.assert_array_equal(result.grad_bias, counted.grad_bias)
    np.testing.assert_array_equal(result.loss, np.concatenate([np.zeros(10), counted.loss, np.zeros(10)]))
    np.testing.assert_array_equal(result.grad_hidden[10:30], counted.grad_hidden)
    assert not np.any(result.grad_hidden[:10])
    assert not np.any(result.grad_hidden[30:])


@pytest.mark.parametrize("bad", [nan, inf])
@pytest.mark.usefixtures("level")
def test_a_row_without_a_loss_spoils_no_other(bad):
    hidden, weight, labels, bias = problem()
    good = sg.linear_cross_entropy_grad(hidden, weight, labels, bias)
    hidden[5, 2] = bad
    result = sg.linear_cross_entropy_grad(hidden, weight, labels, bias)
    others = np.arange(M) != 5
    assert np.isnan(result.loss[5])
    np.testing.assert_array_equal(np.isnan(result.grad_hidden[5]), True)
    np.testing.assert_allclose(result.loss[others], good.loss[others], rtol=1e-12)
    np.testing.assert_allclose(result.grad_hidden[others], good.grad_hidden[others], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.usefixtures("level")
def test_no_gradient_is_left_out(dtype):
    """Probabilities far below any threshold of a filter reach the gradients, at the label too."""
    hidden = np.array([[1.0]], dtype)
    weight = np.array([[0.0], [40.0], [-30.0]], dtype)
    result = sg.linear_cross_entropy_grad(hidden, weight, [1])
    expected = np.array([np.exp(-40.0), -np.exp(-40.0) - np.exp(-70.0), np.exp(-70.0)])
    np.testing.assert_allclose(result.grad_weight[:, 0], expected, rtol=10 * np.finfo(dtype).eps)
    np.testing.assert_allclose(result.loss, [np.exp(-40.0) + np.exp(-70.0)], rtol=10 * np.finfo(dtype).eps)


@pytest.mark.parametrize(("m", "d", "n"), [(0, 3, 4), (0, 3, 0), (5, 0, 4), (0, 0, 0), (5, 3, 1), (1, 100, 2)], ids=str)
def test_empty_and_narrow(m, d, n):
    hidden, weight = np.ones((m, d)), np.ones((n, d))
    result = sg.linear_cross_entropy_grad(hidden, weight, np.zeros(m, int), np.zeros(n))
    assert [r.shape for r in result] == [(m,), (m, d), (n, d), (n,)]
    np.testing.assert_allclose(result.loss, np.full(m, np.log(max(n, 1))), atol=1e-15)
    np.testing.assert_allclose(result.grad_bias, (m / max(n, 1) - m * (np.arange(n) == 0)) if m else np.zeros(n))
    least = 8 * (n + d)
    loss = sg.linear_cross_entropy(hidden, weight, np.zeros(m, int), np.zeros(n), max_bytes=least)
    np.testing.assert_array_equal(result.loss, loss)


def test_nothing_counts():
    hidden, weight, labels, bias = problem()
    for result in (
        sg.linear_cross_entropy_grad(hidden, weight, np.full_like(labels, -1), bias, ignore_index=-1),
        sg.linear_cross_entropy_grad(hidden, weight, labels, bias, sample_weight=0),
    ):
        for part, like in zip(result, (labels, hidden, weight, bias), strict=True):
            np.testing.assert_array_equal(part, np.zeros(like.shape))


ERRORS = {
    "labels outside": ({"labels": np.full(M, K)}, IndexError, r"labels must lie in \[0, 13\); labels\[0\] is 13"),
    "labels of floats": ({"labels": np.zeros(M)}, TypeError, "labels must be integers; got dtype float64"),
    "labels' shape": ({"labels": [0]}, ValueError, r"labels must have shape \(40,\)"),
    "weight's shape": ({"weight": np.zeros(D)}, ValueError, r"weight must have shape \(K, d\).* got \(7,\)"),
    "hidden's shape": (
        {"hidden": np.zeros((M, 6))},
        ValueError,
        r"hidden must have shape \(\.\.\., 7\).* got \(40, 6\)",
    ),
    "a number": ({"hidden": 1.0}, ValueError, r"hidden must have shape \(\.\.\., 7\).* got \(\)"),
    "bias's shape": ({"bias": np.zeros((K, 1))}, ValueError, r"bias must have shape \(13,\).* got \(13, 1\)"),
    "complex": (
        {"weight": np.zeros((K, D), complex)},
        TypeError,
        "weight must hold real numbers; got dtype complex128",
    ),
    "masked": ({"hidden": np.ma.zeros((M, D))}, TypeError, "hidden must be a plain NumPy array; got .*MaskedArray"),
    "foreign": (
        {"weight": strict.zeros((K, D))},
        TypeError,
        "weight must be a plain NumPy array; got array_api_strict",
    ),
    "class_weight": ({"class_weight": np.zeros(3)}, ValueError, r"class_weight must broadcast to shape \(13,\)"),
    "a negative weight": (
        {"class_weight": -np.ones(K)},
        ValueError,
        r"class_weight must be finite .*class_weight\[0\]",
    ),
    "smoothing": ({"label_smoothing": 2}, ValueError, r"label_smoothing must lie in \[0, 1\]; got 2"),
    "grad_output": ({"grad_output": np.ones(3)}, ValueError, r"grad_output must broadcast to shape \(40,\)"),
    "grad_output's type": ({"grad_output": 1j}, TypeError, "grad_output must hold real numbers"),
    "too little": (
        {"max_bytes": 431},
        ValueError,
        "max_bytes must be at least 432, for one row of 13 classes; got 431",
    ),
    "no integer": ({"max_bytes": 1e9}, TypeError, "max_bytes must be an integer or None; got 1000000000.0"),
}


@pytest.mark.parametrize(("wrong", "error", "message"), ERRORS.values(), ids=ERRORS)
def test_errors_say_what_was_expected(wrong, error, message):
    arguments = {**dict(zip(("hidden", "weight", "labels", "bias"), problem(), strict=True)), **wrong}
    positional = [arguments.pop(name) for name in ("hidden", "weight", "labels")]
    with pytest.raises(error, match=message):
        sg.linear_cross_entropy_grad(*positional, **arguments)


@pytest.mark.slow
@with_kernels
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("max_bytes", [100_000, 1_000_000])
# Not at a temperature: the docstring says that what its formulas hold is not counted.
@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["plain", "everything"])
def test_no_more_than_max_bytes_are_held(options, max_bytes, dtype):
    options = {**options, "sample_weight": 1.0, "class_weight": np.ones(1000)}
    arguments = problem(dtype, 2000, 16, 1000)  # logits of 8 or 16 MB
    results = sg.linear_cross_entropy_grad(*arguments, max_bytes=max_bytes, **options)
    results_bytes = sum(part.nbytes for part in results)
    tracemalloc.start()
    try:
        sg.linear_cross_entropy_grad(*arguments, max_bytes=max_bytes, **options)
        with_gradients = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        sg.linear_cross_entropy(*arguments, max_bytes=max_bytes, **options)
        losses_only = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    few_per_row = 20 * 8 * 2000 + 50_000  # labels and scales, one number per row each, and Python's own objects
    assert max_bytes / 2 < with_gradients - results_bytes < max_bytes + few_per_row
    assert losses_only < max_bytes + few_per_row


MOST_MEMORY = """
import numpy as np
import softgrad as sg

def most_memory():
    return 1024 * int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])

random = np.random.default_rng(0)
m, d, n = 1500, 32, 50_000
hidden, weight = (random.standard_normal(shape, dtype=np.float32) for shape in ((m, d), (n, d)))
labels, bias = random.integers(0, n, m), np.zeros(n, np.float32)
sg.linear_cross_entropy_grad(hidden, weight, labels, bias)  # BLAS keeps buffers of its own from the first call on
open("/proc/self/clear_refs", "w").write("5")  # the count of the most memory starts again, man 5 proc
before = most_memory()
result = sg.linear_cross_entropy_grad(hidden, weight, labels, bias, grad_output=1 / m)
print(most_memory() - before, sum(part.nbytes for part in result))
"""


@pytest.mark.slow
@with_kernels
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_process_grows_by_64_megabytes_beside_the_gradients():
    """With the default of max_bytes, where the logits are 300 MB and BLAS has what it needs."""
    done = subprocess.run([sys.executable, "-c", MOST_MEMORY], capture_output=True, text=True, timeout=120, check=True)
    grown, gradients = map(int, done.stdout.split())
    assert 32_000_000 < grown <= 64_000_000 + gradients


@pytest.mark.slow
def test_the_language_model_learns(tmp_path):
    """The example with a fifth of its steps, and on one thread: its products are small."""
    example = Path(__file__).parents[2] / "examples" / "language_model.py"
    command = [sys.executable, "-W", "error", str(example), "--output", str(tmp_path), "--steps", "500"]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("gradients of E, W, b, V, c: agree with finite differences\n")
    found = re.search(r"^test loss: (\d\.\d{3}) bits per byte", done.stdout, re.MULTILINE)
    assert found, done.stdout
    assert float(found[1]) < 3.3
    assert (tmp_path / "language-model.png").stat().st_size > 10_000  # an empty figure is smaller
