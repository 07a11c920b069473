"""Zarr, Parquet and safetensors: as their own libraries write and read them, in any combination, all or nothing."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import ml_dtypes
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet
import pytest
import safetensors.numpy
import zarr

import softgrad as sg
from softgrad import cli
from softgrad.files import blocks

from ..maps import BFLOAT16, assert_close, assert_same

FUNCTIONS = [sg.softmax, partial(sg.log_softmax, temperature=0.7, dtype="float64"), sg.logsumexp]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=[False, True], ids=["large blocks", "small blocks"])
def sizes(request, monkeypatch):
    if request.param:
        for name, value in {"BYTES": 400, "BYTES_READ": 900, "RUN": 32, "BATCH": 8, "ROWS_READ": 60}.items():
            monkeypatch.setattr(blocks, name, value)


def logits(shape, dtype="f4"):
    return np.random.default_rng(len(shape)).normal(scale=5, size=shape).astype(dtype)


def save(name, x):
    """Write an array by the format's own library; returns what `apply_blocks` reads."""
    if name == "shards":
        cuts = [0, len(x) // 3, len(x) // 3, len(x)]  # one of them is empty
        return [save(f"shard{k}.npy", x[cuts[k] : cuts[k + 1]]) for k in range(3)]
    if name.endswith(".npy"):
        np.save(name, x)
    elif name == "compressed.npz":
        np.savez_compressed(name, logits=x)
    elif name.endswith(".npz"):
        np.savez(name, logits=x)
    elif name.endswith(".zarr"):
        zarr.create_array(name, data=x, chunks=tuple(max(1, n // 3) for n in x.shape))
    elif name.endswith((".parquet", ".arrow", ".feather")):
        columns = {f"c{j}": column for j, column in enumerate(x.T)}
        if name.startswith("lists"):
            columns = {"logits": pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1])}
        save_table(name, pa.table(columns))
    else:
        safetensors.numpy.save_file({"logits": x}, name)
    return name


def save_table(name, table):
    """Write a table of Arrow, 7 rows at a time."""
    if name.endswith(".parquet"):
        pa.parquet.write_table(table, name, row_group_size=7)
    else:
        new = pa.ipc.new_stream if name.startswith("stream") else pa.ipc.new_file
        with new(name, table.schema) as file:
            file.write_table(table, max_chunksize=7)


def load(name):
    """Read an array by the format's own library."""
    if name.endswith(".npy"):
        return np.load(name)
    if name.endswith(".zarr"):
        return np.asarray(zarr.open_array(name, mode="r")[...])
    if name.endswith((".parquet", ".arrow", ".feather")):
        table = pa.parquet.read_table(name) if name.endswith(".parquet") else pa.feather.read_table(name)
        if table.num_columns == 1 and not pa.types.is_fixed_size_list(table.schema[0].type):
            return table.column(0).to_numpy()
        columns = [np.stack(table.column(0).to_numpy())] if table.num_columns == 1 else table.columns
        return np.column_stack(columns)
    (x,) = safetensors.numpy.load_file(name).values()
    return x


SOURCES = (
    "x.npy", "x.npz", "compressed.npz", "x.zarr", "x.parquet", "lists.parquet", "x.arrow", "lists.arrow", "x.feather",
    "stream.arrow", "x.safetensors", "shards",
)  # fmt: skip
TARGETS = ("y.npy", "y.zarr", "y.parquet", "y.arrow", "y.feather", "y.safetensors")


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("source", SOURCES)
def test_every_combination(source, axis, sizes):
    x = logits((50, 7))
    given = save(source, x)
    before = set(os.listdir())
    for function in FUNCTIONS:
        expected = function(x, axis=axis)
        for target in TARGETS:
            contents = sg.apply_blocks(function, given, target, axis=axis, force=True)
            got = load(target)
            assert contents.final_shape == expected.shape
            assert_close(got if got.shape == expected.shape else got.reshape(expected.shape), expected)
    assert set(os.listdir()) == before | set(TARGETS)


@pytest.mark.parametrize("shape", [(300,), (6, 20, 4), (1, 1), (5, 0), (0, 5)], ids=str)
@pytest.mark.parametrize("name", ["x.zarr", "x.safetensors", "x.npz", "compressed.npz", "shards"])
def test_any_shape_and_axis(name, shape, sizes):
    x = logits(shape, "f8")
    source = save(name, x)
    for axis in range(-1, len(shape) - 1):
        for function in FUNCTIONS:
            for target in ("y.npy", "y.zarr", "y.safetensors"):
                sg.apply_blocks(function, source, target, axis=axis, force=True)
                assert_close(load(target), function(x, axis=axis))


@pytest.mark.parametrize("source", SOURCES)
def test_every_dtype(source, sizes):
    target = f"y{os.path.splitext(source)[1]}".replace(".npz", ".npy") if "." in source else "y.npy"
    for dtype in ("f2", "f4", "f8", "i1", "i8", "u4", "?"):
        x = logits((40, 6), dtype)
        if source.endswith(".zarr"):
            shutil.rmtree(source, ignore_errors=True)
        sg.apply_blocks(sg.softmax, save(source, x), target, axis=0, force=True)
        assert_close(load(target), sg.softmax(x, axis=0))


def test_bfloat16(sizes):
    x = logits((40, 6)).astype(ml_dtypes.bfloat16)
    header = {"x": {"dtype": "BF16", "shape": [40, 6], "data_offsets": [0, 480]}}
    write_safetensors("x.safetensors", header, x.tobytes())
    for axis in (0, 1):
        sg.apply_blocks(sg.softmax, "x.safetensors", "y.safetensors", axis=axis, force=True)
        header, data = read_safetensors("y.safetensors")
        assert header == {"x": {"dtype": "BF16", "shape": [40, 6], "data_offsets": [0, 480]}}
        assert_close(np.frombuffer(data, BFLOAT16).reshape(40, 6), sg.softmax(x, axis=axis), ulp=1)
    for target in ("y.npy", "y.zarr", "y.parquet", "y.arrow"):
        with pytest.raises(TypeError, match=r"holds no bfloat16.*; pass dtype='float32' \(--dtype float32\)"):
            sg.apply_blocks(sg.softmax, "x.safetensors", target)
        sg.apply_blocks(sg.softmax, "x.safetensors", target, dtype="float32")
        assert_close(load(target), sg.softmax(x, dtype="float32"))


def test_the_dtype_of_the_results(sizes):
    x = logits((40, 6))
    np.save("x.npy", x)
    for dtype in ("float16", "bfloat16", np.float32, "f8"):
        sg.apply_blocks(sg.softmax, "x.npy", "y.safetensors", where=x > -4, dtype=dtype, force=True)
        found = np.dtype(BFLOAT16 if dtype == "bfloat16" else dtype)
        (got,) = safetensors.numpy.load_file("y.safetensors").values()
        assert got.dtype == found
        assert_same(np.asarray(got), sg.softmax(x, where=x > -4, dtype=found))
    sg.apply_blocks(lambda block, axis: block * 1e-30, "x.npy", "y.npy", dtype="f2")  # rounded, without a warning
    assert_same(np.load("y.npy"), np.zeros((40, 6), "f2") * np.sign(x).astype("f2"))


def test_order_of_memory():
    x = np.asfortranarray(logits((30, 20)))
    np.save("x.npy", x)
    np.savez("x.npz", x)
    for target in ("y.safetensors", "y.zarr", "y.parquet"):
        for source in ("x.npy", "x.npz", ["x.npy"]):
            sg.apply_blocks(sg.softmax, source, target, force=True)
            assert_close(load(target), sg.softmax(x))
    np.savez_compressed("x.npz", x)
    with pytest.raises(ValueError, match=r"x\.npz: array 'arr_0' is compressed and in Fortran order.*numpy\.savez"):
        sg.apply_blocks(sg.softmax, "x.npz", "y.npy")


# tables


def test_columns_keep_their_names():
    save("x.parquet", logits((10, 3)))
    sg.apply_blocks(sg.softmax, "x.parquet", "y.csv")
    sg.apply_blocks(sg.softmax, "y.csv", "z.parquet")
    assert pa.parquet.read_schema("z.parquet").names == ["c0", "c1", "c2"]
    sg.apply_blocks(sg.logsumexp, "x.parquet", "s.parquet")
    assert pa.parquet.read_schema("s.parquet").names == ["values"]


def test_lists_of_any_kind():
    rows = [[1.0, 2.0], [3.0, 5.0]]
    pa.parquet.write_table(pa.table({"logits": pa.array(rows, pa.list_(pa.float32()))}), "x.parquet")
    sg.apply_blocks(sg.softmax, "x.parquet", "y.npy")
    assert_same(np.load("y.npy"), sg.softmax(np.array(rows, np.float32)))


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"a": [1.0, None]}, "column 'a' has missing values"),
        ({"a": [[1.0, 2.0], [1.0]]}, "the lists of column 'a' must have 2 entries, as the first"),
        ({"a": [[1.0, None], [1.0, 2.0]]}, "column 'a' has missing values"),
        ({"a": [1.0], "b": ["x"]}, "column 'b' must hold real numbers; got string: choose others with columns"),
        ({"a": [[1.0]], "b": [1.0]}, "expected columns of numbers, or one column of lists; got 2 columns"),
        ({}, "the table has no columns"),
    ],
)
def test_tables_that_are_no_arrays(table, complaint):
    pa.parquet.write_table(pa.table(table), "x.parquet")
    with pytest.raises((TypeError, ValueError), match=f"^x.parquet: .*{complaint}"):
        sg.apply_blocks(sg.softmax, "x.parquet", "y.npy")
    assert os.listdir() == ["x.parquet"]


def test_results_that_a_format_cannot_hold():
    np.save("x.npy", logits((2, 3, 4), "g"))
    for target, complaint in {
        "y.zarr": "a .zarr array holds no (longdouble|float128)",
        "y.safetensors": "a .safetensors file holds no (longdouble|float128)",
        "y.parquet": r"a .parquet file holds 1 or 2 dimensions; the result has shape \(2, 3, 4\)",
    }.items():
        with pytest.raises((TypeError, ValueError), match=complaint):
            sg.apply_blocks(sg.softmax, "x.npy", target)
    np.save("x.npy", logits((3, 4), "g"))
    with pytest.raises(TypeError, match=r"a .parquet file holds no (longdouble|float128)"):
        sg.apply_blocks(sg.softmax, "x.npy", "y.parquet")


# safetensors


def write_safetensors(name, header, data, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    with open(name, "wb") as file:
        file.write((len(text) if length is None else length).to_bytes(8, "little") + text + data)


def read_safetensors(name):
    with open(name, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return header, file.read()


def test_tensors_are_named():
    x, y = logits((3, 4)), logits((5,), "f8")
    safetensors.numpy.save_file({"x": x, "y": y}, "both.safetensors", {"of": "a model"})
    sg.apply_blocks(sg.softmax, "both.safetensors", "z.safetensors", tensor="y")
    assert list(safetensors.numpy.load_file("z.safetensors")) == ["y"]
    assert_same(load("z.safetensors"), sg.softmax(y))
    with pytest.raises(ValueError, match=r"both.safetensors: tensor must name one of 'x', 'y'"):
        sg.apply_blocks(sg.softmax, "both.safetensors", "n.npy")
    with pytest.raises(ValueError, match="there is no tensor 'w'; there is 'x', 'y'"):
        sg.apply_blocks(sg.softmax, "both.safetensors", "n.npy", tensor="w")
    np.save("x.npy", x)
    with pytest.raises(ValueError, match=r"tensor is for \.npz and \.safetensors files"):
        sg.apply_blocks(sg.softmax, "x.npy", "n.npy", tensor="x")


ENTRY = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


@pytest.mark.parametrize(
    ("header", "length", "complaint"),
    [
        (b"", None, "the header is not JSON"),
        (b"{", None, "the header is not JSON"),
        (b"\xff\xff", None, "the header is not JSON"),
        (b"[1, 2]", None, "the header is not JSON"),
        ({"x": ENTRY}, 2**60, "the header would take 1152921504606846976 bytes, the file has"),
        ({"x": ENTRY}, 5, "the header is not JSON"),
        ({"x": 3}, None, "the header does not describe tensor 'x'"),
        ({"x": {**ENTRY, "shape": [2, -3]}}, None, "the header does not describe tensor 'x'"),
        ({"x": {**ENTRY, "shape": "23"}}, None, "the header does not describe tensor 'x'"),
        ({"x": {**ENTRY, "data_offsets": [0]}}, None, "the header does not describe tensor 'x'"),
        ({"x": {**ENTRY, "data_offsets": [0, 20]}}, None, r"takes 24 bytes; the header gives 20"),
        ({"x": {**ENTRY, "shape": [2, 2**40]}}, None, "takes 8796093022208 bytes; the header gives 24"),
        ({"x": {**ENTRY, "data_offsets": [1000, 1024]}}, None, r"takes 24 bytes, the file has -"),
        ({"x": {**ENTRY, "dtype": "F8_E4M3"}}, None, "must hold real numbers that NumPy has; got dtype F8_E4M3"),
        ({}, None, "tensor must name one of none"),
    ],
)
def test_headers_that_lie(header, length, complaint):
    write_safetensors("x.safetensors", header, bytes(24), length)
    with pytest.raises((TypeError, ValueError), match=f"^x.safetensors: .*{complaint}"):
        sg.apply_blocks(sg.softmax, "x.safetensors", "y.npy")
    assert os.listdir() == ["x.safetensors"]


# damage


def cut(name, keep):
    os.truncate(name, int(os.path.getsize(name) * keep))


@pytest.mark.parametrize("name", [name for name in SOURCES if name not in ("x.zarr", "shards")])
def test_truncated_files(name, capsys):
    for keep in (0, 0.01, 0.5, 0.9, 0.99):
        save(name, logits((1000, 5)))
        cut(name, keep)
        assert cli.run(["apply", "softmax", name, "y.npy"]) == cli.FAILURE
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert err.startswith(f"softgrad: {name}: ")
        assert os.listdir() == [name]


def test_damaged_pages_of_a_table(capsys):
    save("x.parquet", logits((5000, 5)))
    with open("x.parquet", "r+b") as file:
        file.seek(4)
        file.write(bytes(2996))
    assert cli.run(["apply", "softmax", "x.parquet", "y.npy"]) == cli.FAILURE
    assert capsys.readouterr().err.startswith("softgrad: x.parquet: not a .parquet file that can be read")
    assert os.listdir() == ["x.parquet"]


@pytest.mark.parametrize("metadata", ["", "{", "{}", "[]", '{"zarr_format": 3, "node_type": "group"}', None])
def test_bad_metadata(metadata, capsys):
    save("x.zarr", logits((10, 5)))
    if metadata is None:
        os.remove("x.zarr/zarr.json")
    else:
        Path("x.zarr/zarr.json").write_text(metadata)
    assert cli.run(["apply", "softmax", "x.zarr", "y.npy"]) == cli.FAILURE
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("softgrad: x.zarr: not a Zarr array")
    assert os.listdir() == ["x.zarr"]


def test_a_damaged_chunk(capsys):
    save("x.zarr", logits((30, 6)))
    cut("x.zarr/c/1/1", 0.5)
    for target in ("y.npy", "y.zarr"):
        assert cli.run(["apply", "softmax", "x.zarr", target]) == cli.FAILURE
        assert capsys.readouterr().err.startswith("softgrad: x.zarr: the chunks of [")
        assert not os.path.exists(target)


# Zarr: replacing


def test_only_an_array_is_replaced_and_only_by_force():
    x = logits((10, 5))
    save("x.zarr", x)
    os.mkdir("y.zarr")
    Path("y.zarr/thesis.txt").touch()
    with pytest.raises(FileExistsError):
        sg.apply_blocks(sg.softmax, "x.zarr", "x.zarr")
    for force in (False, True):
        with pytest.raises(FileExistsError):
            sg.apply_blocks(sg.softmax, "x.zarr", "y.zarr", force=force)
    assert os.listdir("y.zarr") == ["thesis.txt"]
    sg.apply_blocks(sg.softmax, "x.zarr", "x.zarr", force=True)
    assert_same(load("x.zarr"), sg.softmax(x))


@pytest.mark.parametrize(
    ("library", "name", "extra"),
    [("zarr", "x.zarr", "zarr"), ("pyarrow", "x.parquet", "parquet"), ("pyarrow", "x.arrow", "parquet")],
)
def test_a_library_that_is_not_installed_is_named(library, name, extra, capsys, monkeypatch):
    save(name, logits((3, 4)))
    monkeypatch.setitem(sys.modules, library, None)
    assert cli.run(["apply", "softmax", name, "y.npy"]) == cli.FAILURE
    assert capsys.readouterr().err.endswith(f'need {library}: pip install "softgrad[{extra}]"\n')


# memory

MEMORY = """
import resource, sys
import numpy as np, softgrad as sg
from softgrad.files import apply_blocks
source, target, axis = sys.argv[1], sys.argv[2], int(sys.argv[3])
np.save("warm.npy", np.ones((4, 4), np.float32))
if target.endswith(".zarr") or source.endswith(".zarr"):
    import zarr, zarr.storage
if target.endswith((".parquet", ".arrow")) or source.endswith(".parquet"):
    import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
apply_blocks(sg.softmax, source, target, axis=axis)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "axis"),
    [("y.npy", 0), *((f"y.{kind}", 1) for kind in ("npy", "zarr", "parquet", "arrow", "safetensors"))],
)
def test_memory_is_bounded(target, axis):
    """A file of 160 MB, a hole in the disk: far more than the bound, which does not grow with it."""
    with open("x.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (40_000, 1000)})
        file.truncate(file.tell() + 160_000_000)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, "x.npy", target, str(axis)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert int(done.stdout) < 100 * 1024  # KiB


@pytest.mark.slow
def test_memory_is_bounded_by_rows_and_shards():
    """Archives that are compressed, shards, labels: 80 MB of zeros in each."""
    x = np.zeros((20_000, 1000), "f4")
    np.savez_compressed("x.npz", x)
    np.save("x.npy", x)
    np.save("labels.npy", np.zeros(80_000, np.int64))
    program = MEMORY.replace(
        "apply_blocks(sg.softmax, source, target, axis=axis)",
        """
sg.apply_blocks(sg.cross_entropy, [source, "x.npy", "x.npy", source], target, axis=axis, labels="labels.npy")
""",
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "x.npz", "y.npy", "-1"],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert int(done.stdout) < 100 * 1024  # KiB, of 320 MB


@pytest.mark.slow
def test_a_table_of_one_chunk_is_read_in_blocks():
    values = pa.array(np.random.default_rng(0).normal(size=30_000_000).astype(np.float32))
    table = pa.table({"logits": pa.FixedSizeListArray.from_arrays(values, 1000)})
    pa.parquet.write_table(table, "x.parquet", row_group_size=30_000, compression="none")
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, "x.parquet", "y.npy", "-1"],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert int(done.stdout) < 100 * 1024  # KiB, of 120 MB
