"""Damaged files of every format: one clear error, never a traceback of a parser, never numbers out of nowhere.

Random changes are the same in each run, a few hundred of each file; `-m slow --hypothesis-profile=nightly` makes others
each time, a million in all. A file that shows a fault goes into `damaged/`, which holds one for each error so far.
"""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest
import safetensors.numpy
import zarr
from hypothesis import settings

import softgrad as sg
from softgrad import cli

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
DAMAGED = sorted(Path(__file__).with_name("damaged").iterdir())


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def mutated(content, random, within):
    """A content with one to three random changes among its first bytes."""
    content = bytearray(content)
    for _ in range(random.integers(1, 4)):
        place = int(random.integers(min(within, len(content))))
        kind = random.integers(4)
        if kind == 0:
            content[place] = random.integers(256)
        elif kind == 1:
            content[place] ^= 1 << random.integers(8)
        elif kind == 2:
            content[place] = random.choice(list(b"\t\n'\"()[]{},:\\0L-#"))
        else:
            del content[place]
    return bytes(content)


def changed_at_random(path, at_least, within=None):
    """Write changed contents to a file, one after the other, and yield each."""
    content = path.read_bytes()
    random = np.random.default_rng(0 if settings().derandomize else None)
    for _ in range(max(at_least, settings().max_examples)):
        changed = mutated(content, random, within or len(content))
        path.write_bytes(changed)
        yield changed


def outcome(source):
    """What applying softmax to a file comes to: None, or the error, which must be one that the command reports."""
    try:
        sg.apply_blocks(sg.softmax, source, "y.npy", force=True)
    except (TypeError, ValueError, OSError) as error:
        return error
    return None


def is_clear(error, name):
    """Whether an error is one line that says which file, or what does not fit the function."""
    text = str(error)
    return "\n" not in text and any(word in text for word in (name, "axis", "columns"))


@pytest.mark.parametrize("damaged", DAMAGED, ids=lambda path: path.name)
def test_files_that_once_were_found(damaged):
    (shutil.copytree if damaged.is_dir() else shutil.copy)(damaged, damaged.name)
    error = outcome(damaged.name)
    assert error is not None
    assert is_clear(error, damaged.name), error
    assert os.listdir() == [damaged.name]


@pytest.mark.slow
def test_headers_of_npy_that_were_changed_at_random():
    np.save("x.npy", X)
    refused = []
    for content in changed_at_random(Path("x.npy"), 1500, within=128):
        error = outcome("x.npy")
        refused.append(error is not None)
        assert error is None or is_clear(error, "x.npy"), (content, error)
    assert np.mean(refused) > 0.4  # most of a header is spaces


HEADERS = [
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (6,\t4), }",
    b"\t{'descr': '<f4', 'fortran_order': False, 'shape': (6, 4), }",
    b"{'descr': '<f4, 'fortran_order': False, 'shape': (6, 4), }",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (6, 4), ",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': ((((((6, 4), }",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (6, -4), }",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (-6, -4), }",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (6, 4.0), }",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (6L, 4L), }",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': 24, }",
    b"{'descr': '<f9', 'fortran_order': False, 'shape': (6, 4), }",
    b"{'descr': '|O', 'fortran_order': False, 'shape': (6, 4), }",
    b"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (6, 4), }",
    b"{'descr': '<f4', 'fortran_order': 3, 'shape': (6, 4), }",
    b"[1, 2]", b"", b"\x00" * 50, b"\xff" * 50, b"(" * 150, b"'" * 51, b"0x", b"__import__('os')", b"1" * 5000,
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 4), }",
]  # fmt: skip


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0), (9, 9)])
@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_headers_of_npy(header, version, capsys):
    header += b" " * 8 + b"\n"
    size = len(header).to_bytes(2 if version[0] == 1 else 4, "little")
    Path("x.npy").write_bytes(b"\x93NUMPY" + bytes(version) + size + header + X.tobytes())
    code = cli.run(["apply", "softmax", "x.npy", "y.npy"])
    out, err = capsys.readouterr()
    if code == 0:
        np.testing.assert_array_equal(np.load("y.npy"), sg.softmax(X))
        return
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("softgrad: x.npy: ")
    assert os.listdir() == ["x.npy"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "source",
    [
        "x.safetensors", "x.parquet", "lists.parquet", "x.csv", "x.zarr/zarr.json", "x.zarr/c/0/0", "x.npz",
        "compressed.npz", "x.arrow", "stream.arrow",
    ],
)  # fmt: skip
def test_other_formats_that_were_changed_at_random(source):
    name = source.split("/", maxsplit=1)[0]
    if name == "x.safetensors":
        safetensors.numpy.save_file({"x": X}, name)
    elif name == "x.csv":
        Path(name).write_text("a,b,c,d\n" + "".join(",".join(map(repr, row)) + "\n" for row in X.tolist()))
    elif name == "x.zarr":
        zarr.create_array(name, data=X, chunks=(3, 4))
    elif name == "x.npz":
        np.savez(name, X)
    elif name == "compressed.npz":
        np.savez_compressed(name, X)
    elif name.endswith(".arrow"):
        table = pa.table({f"c{j}": column for j, column in enumerate(X.T)})
        with (pa.ipc.new_stream if name == "stream.arrow" else pa.ipc.new_file)(name, table.schema) as file:
            file.write_table(table, max_chunksize=2)
    elif name == "x.parquet":
        pa.parquet.write_table(pa.table({f"c{j}": column for j, column in enumerate(X.T)}), name)
    else:
        pa.parquet.write_table(pa.table({"logits": pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), 4)}), name)
    for content in changed_at_random(Path(source), 300):
        error = outcome(name)
        assert error is None or is_clear(error, name), (content, error)
    shutil.rmtree(name) if name == "x.zarr" else os.remove(name)


# Names that are not valid Unicode


def write_safetensors(name, tensors, data):
    text = json.dumps(tensors).encode()
    Path(name).write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.mark.parametrize("name", ["\ud800", "a\udfffb"])
def test_tensors_whose_name_is_no_unicode(name, capsys):
    entry = {"dtype": "F32", "shape": [6, 4], "data_offsets": [0, 96]}
    write_safetensors("x.safetensors", {name: entry}, X.tobytes())
    for target in ("y.safetensors", "y.npy"):
        with pytest.raises(
            ValueError, match=r"x\.safetensors: not a safetensors file \(the name .* is not valid Unicode"
        ):
            sg.apply_blocks(sg.softmax, "x.safetensors", target)
    assert cli.run(["apply", "softmax", "x.safetensors", "y.npy", "--tensor", name]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert os.listdir() == ["x.safetensors"]


@pytest.mark.parametrize("name", ["é", "名前", "\U0001f600", 'quote " and \\ backslash', "line\nbreak", "\x00"])
def test_unusual_names_are_carried(name):
    safetensors.numpy.save_file({name: X}, "x.safetensors")
    sg.apply_blocks(sg.softmax, "x.safetensors", "y.safetensors")
    np.testing.assert_array_equal(safetensors.numpy.load_file("y.safetensors")[name], sg.softmax(X))


def test_columns_whose_name_is_no_unicode():
    Path("x.csv").write_bytes(b"\xff,b\n1,2\n")
    with pytest.raises(ValueError, match=r"a .parquet file holds no column called '.udcff', which is not"):
        sg.apply_blocks(sg.softmax, "x.csv", "y.parquet")
    sg.apply_blocks(sg.softmax, "x.csv", "y.csv")
    assert Path("y.csv").read_bytes().startswith(b"\xff,b\n")
    assert sorted(os.listdir()) == ["x.csv", "y.csv"]


# Numbers


@pytest.mark.parametrize("number", ["9" * 5000, "-" + "9" * 400, "1e999", "1" + "0" * 309, "-1.8e308"])
def test_a_number_that_is_too_large_is_no_infinity(number):
    Path("x.csv").write_text(f"a,b\n1,2\n3,{number}\n")
    with pytest.raises(ValueError, match=r"x\.csv, line 3, column 2 \('b'\): the number is too large for float64; got"):
        sg.apply_blocks(sg.softmax, "x.csv", "y.npy")


@pytest.mark.parametrize("number", ["inf", "-inf", "Infinity", "+INF", " -Infinity "])
def test_an_infinity_is_written_as_such(number):
    Path("x.csv").write_text(f"1,2\n3,{number}\n")
    sg.apply_blocks(sg.logsumexp, "x.csv", "y.npy")
    np.testing.assert_array_equal(np.load("y.npy")[1], sg.logsumexp([3, float(number)]))


@pytest.mark.parametrize("number", ["0." + "0" * 5000 + "1", "1e-999", "0" * 5000 + "1", "1." + "0" * 5000])
def test_long_numbers_within_the_range(number):
    Path("x.csv").write_text(f"1,2\n3,{number}\n")
    sg.apply_blocks(sg.softmax, "x.csv", "y.npy")
    np.testing.assert_array_equal(np.load("y.npy")[1], sg.softmax([3, float(number)]))
