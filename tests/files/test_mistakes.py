"""Mistakes with files, from Python and on the command line: one line that names what came and what to do instead."""

import json
import os
import warnings
from functools import partial
from pathlib import Path

import ml_dtypes
import numpy as np
import pandas as pd
import pytest
import zarr

import softgrad as sg
from softgrad import cli

X = np.random.default_rng(0).normal(size=(6, 4))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    np.save("cube.npy", np.zeros((2, 3, 4)))
    header = json.dumps({"x": {"dtype": "BF16", "shape": [6, 4], "data_offsets": [0, 48]}}).encode()
    Path("bf16.safetensors").write_bytes(
        len(header).to_bytes(8, "little") + header + X.astype(ml_dtypes.bfloat16).tobytes()
    )
    group = zarr.open_group("group.zarr", mode="w")
    group.create_array("logits", data=X)
    group.create_array("more/labels", data=np.arange(6))
    Path("semicolons.csv").write_text("1;2\n3;4\n")
    Path("decimal.csv").write_text("1,5;2,5\n3,5;4,5\n")
    Path("tabs.csv").write_text("a\tb\n1\t2\n")


BFLOAT16 = r"holds no bfloat16.*; pass dtype='float32' \(--dtype float32\), or write a .safetensors file"


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (("softmax", "x.npy"), {}, TypeError, r"function must be callable, such as softgrad.softmax; got 'softmax'"),
        ((None, "x.npy"), {}, TypeError, "function must be callable"),
        ((sg.softmax, "cube.npy"), {"axis": (0, 2)}, TypeError, r"axis must be one integer: .*; got \(0, 2\)"),
        ((sg.softmax, "cube.npy"), {"axis": None}, TypeError, "axis must be one integer: .*; got None"),
        ((sg.softmax, "cube.npy"), {"axis": 1.0}, TypeError, "axis must be one integer: .*; got 1.0"),
        (
            (sg.softmax, "x.npy"),
            {"target": "x.npy"},
            FileExistsError,
            "the file exists; force=True replaces it: 'x.npy'",
        ),
        ((sg.softmax, "bf16.safetensors"), {"target": "y.csv"}, TypeError, BFLOAT16),
        ((sg.softmax, "bf16.safetensors"), {"target": "y.npy"}, TypeError, BFLOAT16),
        ((sg.softmax, "bf16.safetensors"), {"target": "y.parquet"}, TypeError, BFLOAT16),
        ((sg.softmax, "bf16.safetensors"), {"target": "y.zarr"}, TypeError, BFLOAT16),
        ((sg.softmax, "group.zarr"), {}, ValueError, "a group: tensor must name one of 'logits', 'more/labels'"),
        (
            (sg.softmax, "group.zarr"),
            {"tensor": "x"},
            ValueError,
            "a group: there is no array 'x'; there is 'logits', ",
        ),
        (
            (sg.softmax, "x.npy"),
            {"tensor": "x"},
            ValueError,
            r"tensor is for .npz and .safetensors files and .zarr groups",
        ),
        ((sg.softmax, "semicolons.csv"), {}, ValueError, "fields are separated by commas, not by semicolons"),
        ((sg.softmax, "decimal.csv"), {}, ValueError, "fields are separated by commas, not by semicolons"),
        ((sg.softmax, "tabs.csv"), {}, ValueError, "fields are separated by commas, not by tabs"),
    ],
)
def test_messages(arguments, options, error, message):
    before = sorted(os.listdir())
    options = dict(options)
    with pytest.raises(error, match=message):
        sg.apply_blocks(*arguments, options.pop("target", "y.npy"), **options)
    assert sorted(os.listdir()) == before


def test_an_array_of_a_group():
    for name in ("logits", "more/labels"):
        sg.apply_blocks(sg.softmax, "group.zarr", "y.safetensors", tensor=name, axis=0, force=True)
    sg.apply_blocks(sg.softmax, "group.zarr", "y.npy", tensor="logits")
    np.testing.assert_array_equal(np.load("y.npy"), sg.softmax(X))
    zarr.open_group("one.zarr", mode="w").create_array("only", data=X)
    sg.apply_blocks(sg.softmax, "one.zarr", "y.npy", force=True)
    np.testing.assert_array_equal(np.load("y.npy"), sg.softmax(X))


def test_an_array_that_xarray_wrote():
    xarray = pytest.importorskip("xarray")
    data = xarray.DataArray(X, dims=("row", "class"), coords={"class": list("abcd")}, name="logits")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Zarr, about the type of the coordinates
        data.to_dataset().to_zarr("x.zarr", consolidated=False)
    sg.apply_blocks(sg.softmax, "x.zarr", "y.npy", tensor="logits")
    np.testing.assert_array_equal(np.load("y.npy"), sg.softmax(X))


@pytest.mark.parametrize("target", ["y.npy", "y.csv", "y.parquet", "y.zarr"])
def test_what_the_message_says_helps(target):
    sg.apply_blocks(sg.softmax, "bf16.safetensors", target, dtype="float32")
    sg.apply_blocks(partial(sg.softmax, dtype="float32"), "bf16.safetensors", target, force=True)
    assert cli.run(["apply", "softmax", "bf16.safetensors", target, "--dtype", "float32", "--force"]) == 0
    assert cli.run(["apply", "softmax", "bf16.safetensors", "y.safetensors", "--force"]) == 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("apply softplus x.npy y.npy", "Invalid value for 'FUNCTION': must be one of softmax, log-softmax, logsumexp"),
        ("apply softmax x.npy y.npy --dtype int8", "Invalid value for '--dtype': must be one of float16, bfloat16, "),
        ("apply softmax x.npy y.npy --axis 0.5", "Invalid value for '--axis': must be an integer; got '0.5'"),
        (
            "apply softmax x.npy y.npy --temperature hot",
            "Invalid value for '--temperature': must be a number or a file; got 'hot'",
        ),
        ("show 1 2 --temperature hot", "Invalid value for '--temperature': must be a number; got 'hot'"),
        ("apply softmax x.npy x.npy", "x.npy: the file exists; --force replaces it"),
        ("apply softmax x.npy group.zarr --force", "group.zarr: Not replaced, since it is no Zarr array"),
        (
            "apply softmax group.zarr y.npy",
            "group.zarr: not a Zarr array but a group: --tensor must name one of 'logits', 'more/labels'",
        ),
        ("show 1 2 --plot f.gif", "Format 'gif' is not supported: f.gif must end in .png, .pdf or .svg"),
        ("show 1 2 --plot f", "Format '' is not supported: f must end in .png, .pdf or .svg"),
    ],
)
def test_lines(arguments, line, capsys):
    before = sorted(os.listdir())
    assert cli.run(arguments.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"softgrad: {line}")
    assert err.count("\n") == 1
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("function", ["log_softmax", "log-softmax"])
def test_underscores_are_accepted(function):
    assert cli.run(["apply", function, "x.npy", "y.npy"]) == 0
    np.testing.assert_array_equal(np.load("y.npy"), sg.log_softmax(X))


def test_bfloat16_is_a_dtype(capsys):
    assert cli.run(["apply", "softmax", "x.npy", "y.safetensors", "--dtype", "bfloat16"]) == 0
    assert "wrote y.safetensors: 6 x 4 bfloat16" in capsys.readouterr().err
    assert cli.run(["apply", "softmax", "x.npy", "y.csv", "--dtype", "bfloat16"]) == 2
    assert "holds no bfloat16" in capsys.readouterr().err


# show


def test_many_logits_are_cut_to_the_most_probable(capsys):
    x = np.random.default_rng(1).normal(size=2000)
    assert cli.run(["show", *map(repr, x.tolist())]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 103
    rows = pd.DataFrame([line.split()[:3] for line in lines[1:101]], dtype=float)
    largest = np.sort(np.argsort(-x)[:100])
    np.testing.assert_array_equal(rows[0], largest)
    np.testing.assert_allclose(rows[2], sg.softmax(x)[largest], rtol=1e-5)
    rest = 1 - sg.softmax(x)[largest].sum()
    assert lines[101].startswith("The other 1900 of 2000 logits have ")
    np.testing.assert_allclose(float(lines[101].split()[-2]), rest, rtol=1e-4)


@pytest.mark.parametrize(
    ("logits", "shown"),
    [
        (["2000", "0"], ["1.00000", "2.57654e-869"]),
        (["0", "-1000"], ["1.00000", "5.07596e-435"]),
        (["1e9", "0"], ["1.00000", "1.24953e-434294482"]),
        (["0", "-1e300"], ["1.00000", "0.00000"]),
        (["0", "-inf"], ["1.00000", "0.00000"]),
        (["0", "-700"], ["1.00000", "9.85968e-305"]),
    ],
)
def test_a_probability_that_underflows_is_shown(logits, shown, capsys):
    assert cli.run(["show", *logits]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:-1]]
    assert [row[2] for row in rows] == shown
