"""The examples run as a newcomer runs them, and do what they say."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import softgrad as sg

DIGITS = Path(__file__).parents[1] / "examples" / "digits.py"


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    """What examples/digits.py printed, and the folder that it filled."""
    folder = tmp_path_factory.mktemp("digits") / "results"  # to be made by the example
    command = [sys.executable, "-W", "error", str(DIGITS), "--output", str(folder)]
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
    command = [sys.executable, str(DIGITS.parent / "dask_cluster.py")]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^mean loss \d+\.\d{4}, largest gradient 1\.0000, mean entropy ", done.stdout, re.MULTILINE), (
        done.stdout
    )
    assert done.stdout.endswith("rows in 4 pieces each: equal to those in one\n")
