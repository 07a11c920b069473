"""`softgrad apply` with every function that files can take, its operands in files of their own."""

import os
import re

import numpy as np
import pytest

import softgrad as sg
from softgrad import cli
from softgrad.cli.functions import FUNCTIONS

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(scale=3, size=(20, 5))
OPERANDS = {
    "labels": RANDOM.integers(0, 5, 20),
    "targets": sg.softmax(RANDOM.normal(size=(20, 5))),
    "where": np.ones((20, 5), bool),
    "sample_weight": RANDOM.uniform(1, 2, 20),
    "temperature": RANDOM.uniform(1, 2, 20),
    "weight": RANDOM.uniform(1, 2, 5),
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    np.save("x.npy", X)
    for name, values in OPERANDS.items():
        np.save(f"{name}.npy", values)
        np.savetxt(f"{name}.csv", values, delimiter=",")
    np.savetxt("bad.csv", np.arange(20), fmt="%d")


def run(*arguments):
    return cli.run([str(argument) for argument in arguments])


NEEDS = {
    name: "labels" if re.search(r"^(cross|focal|selective|sparsemax-loss|entmax-loss)", name) else "targets"
    for name in FUNCTIONS
    if re.search(r"cross|focal|selective|loss|kl", name)
}

VALUES = {"top-k-mask": ("k", 2), "top-p-mask": ("p", 0.6), "min-p-mask": ("p", 0.1)}


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function(name, suffix):
    function = getattr(sg, name.replace("-", "_"))
    operand = [OPERANDS[NEEDS[name]]] if name in NEEDS else []
    options = [f"--{NEEDS[name]}", f"{NEEDS[name]}{suffix}"] if operand else []
    if name in VALUES:
        operand, options = [VALUES[name][1]], [f"--{VALUES[name][0]}", str(VALUES[name][1])]
    expected = function(X, *operand)
    if name.endswith("-grad"):
        assert run("apply", name, "x.npy", "y.npy", *options, "--grad", "g.npy") == 0
        np.testing.assert_allclose(np.load("g.npy"), expected.grad, rtol=1e-12, atol=1e-15)
        expected = expected.loss
    else:
        assert run("apply", name, "x.npy", "y.npy", *options) == 0
    np.testing.assert_allclose(np.load("y.npy"), expected, rtol=1e-12, atol=1e-15)


def test_options_of_the_function():
    arguments = "--labels labels.csv --sample-weight sample_weight.csv --weight weight.csv --where where.npy"
    arguments += " --label-smoothing 0.1 --z-loss 0.01 --ignore-index 3"
    assert run("apply", "cross_entropy", "x.npy", "y.npy", *arguments.split()) == 0
    options = {key: OPERANDS[key] for key in ("sample_weight", "weight", "where")}
    options |= {"label_smoothing": 0.1, "z_loss": 0.01, "ignore_index": 3}
    expected = sg.cross_entropy(X, OPERANDS["labels"], **options)
    np.testing.assert_allclose(np.load("y.npy"), expected, rtol=1e-12)


def test_a_temperature_for_every_slice():
    assert run("apply", "softmax", "x.npy", "y.npy", "--temperature", "temperature.csv") == 0
    np.testing.assert_allclose(np.load("y.npy"), sg.softmax(X, temperature=OPERANDS["temperature"]), rtol=1e-14)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("cross-entropy x.npy y.npy", "cross-entropy needs --labels FILE"),
        ("soft-cross-entropy x.npy y.npy", "soft-cross-entropy needs --targets FILE"),
        ("kl-divergence x.npy y.npy", "kl-divergence needs --targets FILE"),
        (
            "entropy x.npy y.npy --labels labels.npy",
            "--labels is for cross-entropy and focal-loss among others; entropy",
        ),
        ("logsumexp x.npy y.npy --temperature 2", "--temperature is for softmax and log-softmax"),
        ("top-k-mask x.npy y.npy", "top-k-mask needs --k K"),
        ("top_p_mask x.npy y.npy --k 3", "--k is for top-k-mask; top-p-mask has none"),
        ("top-k-mask x.npy y.npy --k 0", "k must be"),
        ("softmax x.npy y.npy --grad g.npy", "--grad is for functions with a gradient"),
        ("entropy-grad x.npy y.npy", "entropy-grad needs --grad FILE"),
        ("entropy-grad x.npy y.npy --grad y.npy", "target must be a path, or a sequence of different paths"),
        ("cross-entropy x.npy y.npy --labels missing.npy", "missing.npy: No such file or directory"),
        ("cross-entropy x.npy y.npy --labels bad.csv", "bad.csv: labels must lie in [0, 5); labels[5] is 5"),
        (
            "cross-entropy x.npy y.npy --labels weight.npy",
            "weight.npy: labels must have shape (20,), as x.npy has it; got (5,)",
        ),
        (
            "cross-entropy x.npy y.npy --labels labels.csv --ignore-index x",
            "Invalid value for '--ignore-index': must be an",
        ),
    ],
)
def test_mistakes(arguments, line, capsys):
    before = sorted(os.listdir())
    assert run("apply", *arguments.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"softgrad: {line}")
    assert err.count("\n") == 1
    assert sorted(os.listdir()) == before


def test_the_help_shows_groups_and_examples_in_80_columns(capsys):
    assert run("apply", "--help") == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for words in ("Options of the function", "Files", "--labels", "softgrad apply cross-entropy logits.zarr loss.npy"):
        assert words in out
    for name in FUNCTIONS:
        assert name in out
