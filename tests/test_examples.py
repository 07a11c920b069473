"""The examples run as a newcomer runs them, and do what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import softgrad as sg

EXAMPLES = Path(__file__).parents[1] / "examples"
ENVIRONMENT = {
    "COLUMNS": "80",
    "PYTHONIOENCODING": "utf-8",
    "OPENBLAS_NUM_THREADS": "1",
}  # other tests run beside these
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    """What examples/digits.py printed, and the folder that it filled."""
    folder = tmp_path_factory.mktemp("digits") / "results"  # to be made by the example
    command = [sys.executable, "-W", "error", str(EXAMPLES / "digits.py"), "--output", str(folder)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, folder


def test_digits_checks_its_gradients_first(lesson):
    printed, _ = lesson
    assert printed.startswith("gradients of W1, b1, W2, b2: agree with finite differences\n")


def test_digits_reaches_the_required_accuracy(lesson):
    printed, _ = lesson
    found = re.search(r"^test accuracy: (0\.\d{4}) \(required: 0\.97\)$", printed, re.MULTILINE)
    assert found, printed
    assert float(found[1]) >= 0.97


def test_digits_draws_its_pictures(lesson):
    _, folder = lesson
    for name in ("learning-curve.png", "confusion.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert (folder / name).stat().st_size > 10_000  # an empty figure is smaller


def test_digits_shows_the_command_on_its_logits(lesson):
    printed, folder = lesson
    assert "softgrad apply softmax logits.npy probabilities.npy: equal to sg.softmax(logits)" in printed
    logits = np.load(folder / "logits.npy")
    assert logits.shape == (450, 10)
    np.testing.assert_array_equal(np.load(folder / "probabilities.npy"), sg.softmax(logits))


def test_dask_cluster_agrees_with_numpy():
    command = [sys.executable, str(EXAMPLES / "dask_cluster.py")]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^mean loss \d+\.\d{4}, largest gradient 1\.0000, mean entropy ", done.stdout, re.MULTILINE), (
        done.stdout
    )
    assert done.stdout.endswith("rows in 4 blocks each: equal to those in one\n")


@pytest.mark.parametrize(
    ("name", "options", "last"),
    [
        ("calibration", (), r"the smooth calibration error fell from 0\.\d{3} to 0\.0\d\d \(required: to a third\)\n"),
        (
            "decoding",
            ("--steps", "400", "--length", "30"),
            r"known windows at T = 1: .*\nthe picture is in .*\ntest loss: [12]\.\d\d bits per byte ",
        ),
        (
            "sparse_maps",
            (),
            r"accuracy: at least 0\.9\d\d \(required: .*\nclasses that 1\.5-entmax leaves possible: 1\.\d\d ",
        ),
        (
            "token_losses",
            ("--tokens", "100000"),
            r"24 MB of logits, \d\d? MB of memory \(allowed: 64\)\n2\.\d{3} bits",
        ),
    ],
)
def test_what_an_example_draws_and_ends_with(name, options, last, tmp_path):
    command = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), "--output", str(tmp_path), *options]
    environment = {**os.environ, **ENVIRONMENT}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(last, done.stdout), done.stdout
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("from_scipy", r"means and log-likelihood agree: "),
        (
            "larger_than_memory",
            r"the most memory that arrays took: \d\d? MB\nthe probabilities of each query sum to 1 ",
        ),
        ("tables", r"wine \d+ .* class_[012]$"),
        ("torch_and_jax", r"softgrad's gradients are true to 1e-07 of their size "),
    ],
)
def test_what_an_example_ends_with(name, last):
    command = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py")]
    environment = {**os.environ, **ENVIRONMENT}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(last, done.stdout), done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_a_library_that_is_missing_is_one_line(path):
    missing = re.search(r"^try:\n    (?:import|from) ([\w.]+)", path.read_text(encoding="utf-8"), re.MULTILINE)[1]
    code = f"import runpy, sys; sys.modules[{missing!r}] = None; runpy.run_path({str(path)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=60, check=False)
    assert done.returncode == 1
    assert re.fullmatch(rf'this example needs {missing}: pip install "softgrad\[[a-z,]*examples\]".*\n', done.stderr)
