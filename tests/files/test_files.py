"""Files in blocks: the same bits as the function gives for the whole array, whatever the format, order and axis."""

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import softgrad as sg
from softgrad.files import FORMATS, apply_blocks, blocks

from ..maps import assert_close, assert_same

SHAPES = [(7,), (300,), (5, 9), (30, 100), (100, 3), (4, 5, 6), (3, 50, 4), (2, 3, 4, 5), (0, 3), (1, 1)]
FUNCTIONS = [sg.softmax, partial(sg.log_softmax, temperature=0.7), sg.logsumexp]


def unknown(function):
    """A function that has to be given whole slices."""
    return lambda block, axis: function(block, axis=axis)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks so small that every array above is cut, and some slices are longer than a block."""
    monkeypatch.setattr(blocks, "BYTES", 400)
    monkeypatch.setattr(blocks, "BYTES_READ", 900)
    monkeypatch.setattr(blocks, "RUN", 32)
    monkeypatch.setattr(blocks, "BATCH", 8)
    monkeypatch.setattr(blocks, "ROWS_READ", 32)
    monkeypatch.setattr(blocks, "ENTRIES", 64)


def logits(shape, dtype="f8", order="C"):
    values = np.random.default_rng(len(shape)).normal(scale=5, size=shape)
    return np.asarray(values.astype(dtype), order=order)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", SHAPES)
def test_npy_has_the_bits_of_the_whole_array(tmp_path, small_blocks, shape, order, function):
    x = logits(shape, order=order)
    np.save(tmp_path / "x.npy", x)
    for axis in range(-x.ndim, x.ndim):
        if shape[axis] == 0:
            continue
        apply_blocks(unknown(function), tmp_path / "x.npy", tmp_path / "y.npy", axis=axis, force=True)
        expected = function(x, axis=axis)
        assert_same(np.load(tmp_path / "y.npy"), expected)
        apply_blocks(function, tmp_path / "x.npy", tmp_path / "y.npy", axis=axis, force=True)
        assert_close(np.load(tmp_path / "y.npy"), expected)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("function", [sg.softmax, sg.log_softmax])
def test_long_slices_are_computed_in_the_dtype_of_the_result(tmp_path, small_blocks, function, temperature):
    for given, dtype in (("f2", "float32"), ("f2", "float64"), ("f4", "float64"), ("f8", "float32"), ("f4", "f4")):
        x = logits((2, 3000), given)
        np.save(tmp_path / "x.npy", x)
        called = partial(function, temperature=temperature, dtype=dtype)
        apply_blocks(called, tmp_path / "x.npy", tmp_path / "y.npy", force=True)
        assert_close(np.load(tmp_path / "y.npy"), called(x))


@pytest.mark.parametrize("axis", [0, 1])
def test_a_function_may_know_the_length_of_its_slices(tmp_path, small_blocks, axis):
    x = logits((30, 50))
    np.save(tmp_path / "x.npy", x)
    b = np.expand_dims(np.arange(1.0, x.shape[axis] + 1), 1 - axis)
    weighted = partial(sg.logsumexp, b=b)
    apply_blocks(weighted, tmp_path / "x.npy", tmp_path / "y.npy", axis=axis)
    assert_same(np.load(tmp_path / "y.npy"), weighted(x, axis=axis))


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f4", ">f8", "i1", "u8", "?", "g"])
def test_every_real_dtype(tmp_path, small_blocks, dtype):
    x = logits((40, 30), dtype)
    np.save(tmp_path / "x.npy", x)
    apply_blocks(sg.softmax, tmp_path / "x.npy", tmp_path / "y.npy", axis=0)
    y = np.load(tmp_path / "y.npy")
    assert_close(y, sg.softmax(x, axis=0))


def test_fortran_order_is_kept(tmp_path):
    np.save(tmp_path / "x.npy", logits((30, 20), order="F"))
    apply_blocks(sg.softmax, tmp_path / "x.npy", tmp_path / "y.npy")
    assert np.load(tmp_path / "y.npy").flags.f_contiguous


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("target", ["y.npy", "y.csv"])
@pytest.mark.parametrize("source", ["x.npy", "x.csv", "F.npy"])
@pytest.mark.usefixtures("small_blocks")
def test_text_and_npy_in_any_combination(tmp_path, source, target, axis, function):
    x = logits((100, 5))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "F.npy", np.asfortranarray(x))
    (tmp_path / "x.csv").write_text("".join(",".join(map(repr, row)) + "\n" for row in x.tolist()))
    apply_blocks(unknown(function), tmp_path / source, tmp_path / target, axis=axis)
    expected = function(x, axis=axis)
    if target == "y.npy":
        y = np.load(tmp_path / target)
    else:
        y = np.loadtxt(tmp_path / target, delimiter=",", ndmin=2)
        expected = expected if expected.ndim == 2 else np.expand_dims(expected, axis)
    assert_same(y, expected)
    apply_blocks(function, tmp_path / source, tmp_path / target, axis=axis, force=True)
    again = np.load(tmp_path / target) if target == "y.npy" else np.loadtxt(tmp_path / target, delimiter=",", ndmin=2)
    assert_close(again, expected)


@pytest.mark.parametrize("text", ["a,b\n1,2\n3,4\n", "\ufeffa,b\r\n1,2\r\n\r\n 3 , 4", '"a",b\n"1","2"\n3,4\n\n'])
def test_headers_blank_lines_quotes_and_line_ends(tmp_path, text):
    (tmp_path / "x.csv").write_bytes(text.encode())
    apply_blocks(sg.softmax, tmp_path / "x.csv", tmp_path / "y.csv")
    header, *rows = (tmp_path / "y.csv").read_text().splitlines()
    assert header.replace('"', "") == "a,b"
    np.testing.assert_array_equal([row.split(",") for row in rows], sg.softmax([[1, 2], [3, 4]]).astype(str))


def test_a_header_stays_while_its_columns_do(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n3,4\n")
    apply_blocks(sg.logsumexp, tmp_path / "x.csv", tmp_path / "y.csv", axis=0)
    assert (tmp_path / "y.csv").read_text().splitlines()[0] == "a,b"
    apply_blocks(sg.logsumexp, tmp_path / "x.csv", tmp_path / "y.csv", axis=1, force=True)
    assert (tmp_path / "y.csv").read_text() == "2.313261687518223\n4.313261687518223\n"


def test_names_that_are_numbers_are_data(tmp_path):
    """Which was meant is unknowable: the documentation says so."""
    (tmp_path / "x.csv").write_text("0,1\n3,3\n")
    apply_blocks(sg.softmax, tmp_path / "x.csv", tmp_path / "y.npy")
    assert_same(np.load(tmp_path / "y.npy"), sg.softmax([[0.0, 1.0], [3.0, 3.0]]))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_text_can_be_read_back_exactly(tmp_path, dtype):
    x = logits((50, 4))
    np.save(tmp_path / "x.npy", x)
    apply_blocks(partial(sg.softmax, dtype=dtype), tmp_path / "x.npy", tmp_path / "y.csv")
    rows = [line.split(",") for line in (tmp_path / "y.csv").read_text().splitlines()]
    np.testing.assert_array_equal(np.array(rows).astype(dtype), sg.softmax(x, dtype=dtype))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"", "x.csv: the file is empty"),
        (b"\n\n", "x.csv: the file is empty"),
        (b"a,b\n", "x.csv: no rows of numbers under the header"),
        (b"a,b\n1,2\n\n3,x\n", r"x.csv, line 4, column 2 \('b'\): expected a number; got 'x'"),
        (b"1,2\n3,\n", "x.csv, line 2, column 2: expected a number; got ''"),
        (b"1,b\n3,4\n", "x.csv, line 1, column 2: expected a number; got 'b'"),
        (b"1,1_0\n", "x.csv, line 1, column 2: expected a number; got '1_0'"),
        (b"1,2\n3\n", "x.csv, line 2: expected 2 columns, as in the first row; got 1"),
        (b"a,b\n1,2,3\n1,2,3\n", "x.csv, line 2: expected 2 columns, as in the first row; got 3"),
        (b"1,\xff\n", r"x.csv, line 1, column 2: expected a number; got '\\udcff'"),
        (b"1\n" + b"z" * 200_000, "x.csv, line 2, column 1: expected a number; got 'zz"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(tmp_path, monkeypatch, text, complaint):
    (tmp_path / "x.csv").write_bytes(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"^{complaint}"):
        apply_blocks(sg.softmax, "x.csv", "y.npy")
    assert os.listdir() == ["x.csv"]


def test_a_ragged_row_is_found_where_whole_blocks_have_another_width(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "ROWS_READ", 2)
    (tmp_path / "x.csv").write_text("1,2\n1,2\n1,2,3\n")
    with pytest.raises(ValueError, match="line 3: expected 2 columns"):
        apply_blocks(sg.softmax, tmp_path / "x.csv", tmp_path / "y.npy")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not a NumPy array file"),
        (b"plain text, no array", "not a NumPy array file"),
        (b"\x93NUMPY\x01\x00\x76\x00{'descr'", "not a NumPy array file"),
    ],
)
def test_files_that_are_no_arrays(tmp_path, content, complaint):
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(ValueError, match=complaint):
        apply_blocks(sg.softmax, tmp_path / "x.npy", tmp_path / "y.npy")


@pytest.mark.parametrize("x", [np.array([1, "a"], object), np.ones(3, complex), np.array(["a"]), np.zeros(2, "i4,f4")])
def test_arrays_that_hold_no_real_numbers(tmp_path, x):
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(TypeError, match=r"x\.npy: the array must hold real numbers; got dtype"):
        apply_blocks(sg.softmax, tmp_path / "x.npy", tmp_path / "y.npy")


def test_a_file_shorter_than_its_header_promises(tmp_path):
    np.save(tmp_path / "x.npy", logits((10, 10)))
    with open(tmp_path / "x.npy", "r+b") as file:
        file.truncate(file.seek(0, 2) - 3)
    with pytest.raises(ValueError, match=r"truncated: float64 of shape \(10, 10\) takes 800 bytes, the file has 797"):
        apply_blocks(sg.softmax, tmp_path / "x.npy", tmp_path / "y.npy")
    assert os.listdir(tmp_path) == ["x.npy"]


@pytest.mark.parametrize("name", ["x.npy", "x.csv"])
def test_a_file_that_shrinks_while_it_is_read(tmp_path, small_blocks, name):
    source = tmp_path / name
    np.save(source, logits((3000, 10))) if name == "x.npy" else source.write_text("1,2\n" * 50_000)

    def cut(done, total):
        os.truncate(source, 1000)

    with pytest.raises(ValueError, match="became shorter while it was read"):
        apply_blocks(sg.softmax, source, tmp_path / "y.npy", progress=cut)
    assert os.listdir(tmp_path) == [name]


def test_tables_have_two_dimensions(tmp_path):
    np.save(tmp_path / "x.npy", logits((2, 3, 4)))
    with pytest.raises(ValueError, match=r"at most 2 dimensions; the result has shape \(2, 3, 4\)"):
        apply_blocks(sg.softmax, tmp_path / "x.npy", tmp_path / "y.csv")
    apply_blocks(sg.logsumexp, tmp_path / "x.npy", tmp_path / "y.csv")
    np.testing.assert_array_equal(
        np.loadtxt(tmp_path / "y.csv", delimiter=","), sg.logsumexp(np.load(tmp_path / "x.npy"))
    )


@pytest.mark.parametrize("name", ["x.npy", "x.csv"])
def test_a_file_can_be_its_own_target(tmp_path, small_blocks, name):
    x = np.round(logits((200, 5)), 3)
    path = tmp_path / name
    np.save(path, x) if name == "x.npy" else np.savetxt(path, x, delimiter=",", fmt="%.3f")
    with pytest.raises(FileExistsError):
        apply_blocks(sg.softmax, path, path)
    apply_blocks(sg.softmax, path, path, force=True)
    y = np.load(path) if name == "x.npy" else np.loadtxt(path, delimiter=",")
    np.testing.assert_array_equal(y, sg.softmax(x))
    assert os.listdir(tmp_path) == [name]


def test_an_existing_file_survives_a_failure(tmp_path, small_blocks):
    np.save(tmp_path / "x.npy", logits((1000, 10)))
    (tmp_path / "y.npy").write_bytes(b"precious")

    def fail(block, axis):
        if len(block) > 1:
            raise RuntimeError("in the middle")
        return sg.softmax(block, axis=axis)

    with pytest.raises(RuntimeError, match="in the middle"):
        apply_blocks(fail, tmp_path / "x.npy", tmp_path / "y.npy", force=True)
    assert (tmp_path / "y.npy").read_bytes() == b"precious"
    assert sorted(os.listdir(tmp_path)) == ["x.npy", "y.npy"]


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path):
    np.save(tmp_path / "x.npy", logits((10, 10)))
    with pytest.raises(FileExistsError):
        apply_blocks(
            sg.softmax,
            tmp_path / "x.npy",
            tmp_path / "y.npy",
            progress=lambda done, total: (tmp_path / "y.npy").touch(),
        )
    assert (tmp_path / "y.npy").read_bytes() == b""


def test_the_target_of_a_link_is_replaced_and_the_link_stays(tmp_path):
    np.save(tmp_path / "x.npy", logits((4, 4)))
    (tmp_path / "real.npy").touch()
    (tmp_path / "link.npy").symlink_to("real.npy")
    apply_blocks(sg.softmax, tmp_path / "x.npy", tmp_path / "link.npy", force=True)
    assert (tmp_path / "link.npy").is_symlink()
    np.testing.assert_array_equal(np.load(tmp_path / "real.npy"), sg.softmax(np.load(tmp_path / "x.npy")))


def test_progress_rises_to_the_size_of_the_source(tmp_path, small_blocks):
    np.save(tmp_path / "x.npy", logits((200, 20)))
    seen = []
    apply_blocks(sg.softmax, tmp_path / "x.npy", tmp_path / "y.npy", progress=lambda *step: seen.append(step))
    assert len(seen) > 10
    assert sorted(seen) == seen
    assert seen[-1] == (32_000, 32_000)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("order", ["C", "F"])
def test_blocks_cover_an_array_once_and_stay_small(axis, order):
    shape = (200, 300, 90)
    seen = np.zeros(shape, int)
    for region in blocks.array_regions(shape, axis, order):
        assert blocks.shape_of(region)[axis] == shape[axis]
        assert np.prod(blocks.shape_of(region)) <= blocks.ENTRIES
        seen[region] += 1
    assert (seen == 1).all()


def test_another_format_is_a_row_in_the_table(tmp_path, monkeypatch):
    monkeypatch.setitem(FORMATS, ".logits", FORMATS[".npy"])
    np.save(tmp_path / "x.npy", logits((3, 4)))
    os.rename(tmp_path / "x.npy", tmp_path / "x.logits")
    apply_blocks(sg.softmax, tmp_path / "x.logits", tmp_path / "y.NPY")
    with pytest.raises(ValueError, match=r"y\.txt: the suffix must be \.arrow, \.csv, .*\.zarr or \.logits; got \.txt"):
        apply_blocks(sg.softmax, tmp_path / "x.logits", Path(tmp_path) / "y.txt")
