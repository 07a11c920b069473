"""Resuming an interrupted run: only the same call goes on, and only with blocks that are still what they were."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import safetensors.numpy
import zarr

import softgrad as sg
from softgrad.files import blocks

from ..maps import assert_close, assert_same

X = np.random.default_rng(5).normal(scale=5, size=(100, 5)).astype(np.float32)
OTHER = np.random.default_rng(6).normal(scale=5, size=(100, 5)).astype(np.float32)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder to be in, and blocks of ten rows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(blocks, "BYTES", 4 * 5 * 10)
    monkeypatch.setattr(blocks, "ROWS_READ", 5 * 10)


class Stop(BaseException):
    pass


def interrupted(function, source, *, after=0.6, **options):
    """Run until a share of the source is done."""

    def stop(done, total):
        if done >= after * total:
            raise Stop

    with pytest.raises(Stop):
        sg.apply_blocks(function, source, "y.zarr", progress=stop, **options)


def load(name="y.zarr"):
    return np.asarray(zarr.open_array(name, mode="r")[...])


def assert_is_whole(function, source, **options):
    """The result has the bits of a run that nobody interrupted, and is right."""
    contents = sg.apply_blocks(function, source, "whole.zarr", force=True, **options)
    assert_same(load(), load("whole.zarr"))
    assert contents.final_shape == load().shape


CALLS = []


def counted(block, axis):
    """softmax of blocks, which are counted: of one slice alone it is asked what its result is like."""
    if len(block) > 1:
        CALLS.append(len(block))
    return sg.softmax(block, axis=axis)


def shifted(block, axis, by):
    return sg.softmax(block + by, axis=axis)


def ignoring(block, axis, by):
    return sg.softmax(block, axis=axis)


def shift_of(by):
    return lambda block, axis: sg.softmax(block * by, axis=axis)


def save(source, x):
    if source.endswith(".npy"):
        np.save(source, x)
    elif source.endswith(".zarr"):
        zarr.create_array(source, data=x, chunks=(10, 2), overwrite=True)
    elif source.endswith(".csv"):
        Path(source).write_text("".join(",".join(map(repr, row)) + "\n" for row in x.tolist()))
    elif source.endswith(".parquet"):
        pa.parquet.write_table(pa.table({f"c{j}": column for j, column in enumerate(x.T)}), source, row_group_size=7)
    else:
        safetensors.numpy.save_file({"x": x}, source)


SOURCES = ["x.npy", "x.zarr", "x.csv", "x.parquet", "x.safetensors"]


@pytest.mark.parametrize("source", SOURCES)
def test_finished_blocks_are_not_computed_again(source):
    save(source, X)
    interrupted(counted, source)
    assert sorted(os.listdir()) == [".y.zarr.part", source]
    CALLS.clear()
    seen = []
    sg.apply_blocks(counted, source, "y.zarr", resume=True, progress=lambda *step: seen.append(step))
    assert 3 <= len(CALLS) <= 5
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]
    assert sorted(os.listdir()) == [source, "y.zarr"]
    assert sorted(os.listdir("y.zarr")) == ["c", "zarr.json"]
    assert dict(zarr.open_array("y.zarr").attrs) == {}
    assert_close(load(), sg.softmax(np.float64(X) if source == "x.csv" else X))
    assert_is_whole(counted, source)


@pytest.mark.parametrize("function", [sg.softmax, sg.log_softmax, sg.logsumexp])
@pytest.mark.parametrize("source", SOURCES)
def test_slices_that_are_read_in_parts_are_resumed(source, function, monkeypatch):
    monkeypatch.setattr(blocks, "BYTES_READ", 900)
    monkeypatch.setattr(blocks, "RUN", 32)
    monkeypatch.setattr(blocks, "BATCH", 1)
    save(source, X)
    expected = function(np.float64(X) if source.endswith(".csv") else X, axis=0)
    interrupted(function, source, axis=0, after=0.5)
    sg.apply_blocks(function, source, "y.zarr", axis=0, resume=True)
    assert_close(load(), expected)
    assert_is_whole(function, source, axis=0)


def test_a_run_can_be_interrupted_again_and_again():
    save("x.npy", X)
    interrupted(counted, "x.npy", after=0.3)
    for after in (0.5, 0.8):
        interrupted(counted, "x.npy", after=after, resume=True)
    CALLS.clear()
    sg.apply_blocks(counted, "x.npy", "y.zarr", resume=True)
    assert len(CALLS) <= 3
    assert_close(load(), sg.softmax(X))


def test_nothing_to_resume_is_a_whole_run():
    save("x.npy", X)
    sg.apply_blocks(sg.softmax, "x.npy", "y.zarr", resume=True)
    assert_close(load(), sg.softmax(X))


def test_without_resume_all_is_computed_again():
    save("x.npy", X)
    interrupted(counted, "x.npy")
    CALLS.clear()
    sg.apply_blocks(counted, "x.npy", "y.zarr")
    assert len(CALLS) == 10


# Another call is refused


def replaced_with_its_times_kept(source):
    before = os.stat(source)
    save(source, OTHER)
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_that_was_replaced(source):
    save(source, X)
    interrupted(sg.softmax, source)
    replaced_with_its_times_kept(source)
    with pytest.raises(ValueError, match="was begun with another source"):
        sg.apply_blocks(sg.softmax, source, "y.zarr", resume=True)
    assert not os.path.exists("y.zarr")
    sg.apply_blocks(sg.softmax, source, "y.zarr")
    assert_close(load(), sg.softmax(np.float64(OTHER) if source == "x.csv" else OTHER))


@pytest.mark.parametrize("version", [2, 3])
def test_chunks_of_the_source_that_were_overwritten_in_place(version):
    array = zarr.create_array("x.zarr", data=X, chunks=(10, 5), zarr_format=version)
    interrupted(sg.softmax, "x.zarr")
    array[:10] = OTHER[:10]
    with pytest.raises(ValueError, match=r"was begun with another source: entries \[0:10,0:5\] have changed"):
        sg.apply_blocks(sg.softmax, "x.zarr", "y.zarr", resume=True)


def test_an_array_of_version_2_made_again():
    zarr.create_array("x.zarr", data=X, chunks=(10, 5), zarr_format=2)
    interrupted(sg.softmax, "x.zarr")
    zarr.create_array("x.zarr", data=OTHER, chunks=(10, 5), zarr_format=2, overwrite=True)
    with pytest.raises(ValueError, match="was begun with another source"):
        sg.apply_blocks(sg.softmax, "x.zarr", "y.zarr", resume=True)


def test_blocks_that_are_not_finished_may_change():
    """What was not read yet cannot mix: the result is that of the source as it is."""
    save("x.npy", X)
    interrupted(sg.softmax, "x.npy", after=0.3)
    late = np.concatenate([X[:80], OTHER[80:]])
    save("x.npy", late)
    sg.apply_blocks(sg.softmax, "x.npy", "y.zarr", resume=True)
    assert_is_whole(sg.softmax, "x.npy")


def test_a_source_that_was_only_touched_or_moved():
    save("x.npy", X)
    interrupted(counted, "x.npy")
    os.utime("x.npy", (0, 0))
    os.rename("x.npy", "z.npy")
    CALLS.clear()
    sg.apply_blocks(counted, "z.npy", "y.zarr", resume=True)
    assert len(CALLS) <= 5


def test_another_tensor_of_the_same_file():
    safetensors.numpy.save_file({"a": X, "b": OTHER, "c": X}, "x.safetensors")
    interrupted(sg.softmax, "x.safetensors", tensor="a")
    for name in "bc":
        with pytest.raises(ValueError, match="was begun with another tensor; run without resume=True"):
            sg.apply_blocks(sg.softmax, "x.safetensors", "y.zarr", tensor=name, resume=True)


def test_other_columns_of_the_same_table():
    save("x.parquet", X)
    interrupted(sg.softmax, "x.parquet", columns=["c0", "c1"])
    with pytest.raises(ValueError, match="was begun with another columns"):
        sg.apply_blocks(sg.softmax, "x.parquet", "y.zarr", columns=["c1", "c0"], resume=True)


LONG = np.zeros(5000)
CHANGED = LONG.copy()
CHANGED[2500] = 1  # in the middle, which the repr leaves out


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (sg.softmax, sg.log_softmax),
        (sg.softmax, partial(sg.softmax, temperature=2.0)),
        (partial(sg.softmax, temperature=1), partial(sg.softmax, temperature=1.0)),
        (partial(sg.softmax, dtype="float32"), partial(sg.softmax, dtype="float64")),
        (partial(sg.softmax, dtype=np.float32), partial(sg.softmax, dtype=np.float64)),
        (partial(shifted, by=np.float32(1)), partial(shifted, by=np.float32(2))),
        (partial(shifted, by=1.0), partial(shifted, by=float("nan"))),
        (partial(shifted, by=1.0), counted),
    ],
    ids=["function", "options", "type of a number", "dtype by name", "dtype", "scalar of NumPy", "number", "partial"],
)
def test_another_function_or_option(first, second):
    save("x.npy", X)
    interrupted(first, "x.npy")
    with pytest.raises(ValueError, match="was begun with another function"):
        sg.apply_blocks(second, "x.npy", "y.zarr", resume=True)
    sg.apply_blocks(first, "x.npy", "y.zarr", resume=True)


def test_another_long_array():
    x = np.random.default_rng(0).normal(size=(20, 5000)).astype(np.float32)
    np.save("x.npy", x)
    weighted = [partial(shifted, by=by) for by in (LONG, CHANGED)]
    assert repr(weighted[0]) == repr(weighted[1])
    interrupted(weighted[0], "x.npy")
    with pytest.raises(ValueError, match="was begun with another function"):
        sg.apply_blocks(weighted[1], "x.npy", "y.zarr", resume=True)
    sg.apply_blocks(partial(shifted, by=LONG.copy()), "x.npy", "y.zarr", resume=True)
    assert_same(load(), sg.softmax(x + LONG))


@pytest.mark.parametrize("changed", [{"axis": 0}, {"source": "double.npy"}, {"source": "short.npy"}])
def test_another_axis_dtype_or_shape(changed):
    save("x.npy", X)
    save("double.npy", np.float64(X))
    save("short.npy", X[:90])
    interrupted(counted, "x.npy")
    call = {"source": "x.npy", "axis": -1} | changed
    with pytest.raises(ValueError, match=r"was begun with another (axis|dtype|shape)"):
        sg.apply_blocks(counted, call["source"], "y.zarr", axis=call["axis"], resume=True)


# What cannot be identified


class Number(float):
    """A number with a state that its value does not show."""


class Callable:
    """An object: another instance looks the same."""

    def __init__(self, by):
        self.by = by

    def __call__(self, block, axis):
        return sg.softmax(block + self.by, axis=axis)

    def method(self, block, axis):
        return self(block, axis)


@pytest.mark.parametrize(
    "make",
    [
        shift_of,
        Callable,
        lambda by: Callable(by).method,
        lambda by: partial(Callable(by)),
        lambda by: partial(ignoring, by=np.array(by, object)),
        lambda by: partial(shifted, by=Number(by)),
    ],
    ids=["lambda", "object", "method", "partial of an object", "array of objects", "option of another type"],
)
def test_a_function_that_cannot_be_identified_cannot_be_resumed(make):
    save("x.npy", X)
    first = make(1.0)
    interrupted(first, "x.npy")
    assert os.listdir() == ["x.npy"], "what cannot be resumed is not kept"
    for again in (first, make(2.0)):
        with pytest.raises(ValueError, match=r"resume: .*(cannot be identified in a later run|can compare)"):
            sg.apply_blocks(again, "x.npy", "y.zarr", resume=True)
    assert os.listdir() == ["x.npy"]
    sg.apply_blocks(first, "x.npy", "y.zarr")  # on its own it is fine


def test_a_function_whose_module_has_changed(monkeypatch):
    save("x.npy", X)
    script = """
import sys
import softgrad as sg
from softgrad.files import blocks
import own
blocks.BYTES = 200
def stop(done, total):
    if "first" in sys.argv and done > 0.6 * total:
        raise SystemExit(3)
sg.apply_blocks(own.f, "x.npy", "y.zarr", resume="first" not in sys.argv, progress=stop)
"""

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60, check=False
        )

    text = "import softgrad as sg\n__version__ = '1.0'\n"  # which stays the same
    text += "def f(block, axis):\n    return g(block, axis)\ndef g(block, axis):\n"
    Path("own.py").write_text(text + "    return sg.softmax(block, axis=axis)\n")
    assert run("first").returncode == 3
    Path("own.py").write_text(text + "    return sg.log_softmax(block, axis=axis)\n")
    done = run()
    assert done.returncode == 1
    assert "ValueError" in done.stderr
    assert "was begun with another function" in done.stderr


# Damage


def part_chunks():
    return sorted(path for path in Path(".y.zarr.part/c").rglob("*") if path.is_file())


@pytest.mark.parametrize("damage", ["empty", "cut", "zeros", "flipped", "missing", "random"])
def test_finished_chunks_are_checked_before_they_are_trusted(damage):
    save("x.npy", X)
    interrupted(counted, "x.npy")
    for path in part_chunks()[:2]:
        content = path.read_bytes()
        if damage == "missing":
            path.unlink()
            continue
        path.write_bytes(
            {
                "empty": b"",
                "cut": content[:-5],
                "zeros": bytes(len(content)),
                "flipped": content[:-3] + bytes([content[-3] ^ 1]) + content[-2:],
                "random": np.random.default_rng(0).bytes(len(content)),
            }[damage]
        )
    CALLS.clear()
    sg.apply_blocks(counted, "x.npy", "y.zarr", resume=True)
    assert 6 <= len(CALLS) <= 7  # the two that are damaged, and those that were not finished
    assert_close(load(), sg.softmax(X))


def test_a_chunk_of_another_run_is_not_trusted():
    save("x.npy", X)
    interrupted(sg.softmax, "x.npy")
    first, second, *_ = part_chunks()
    first.write_bytes(second.read_bytes())
    sg.apply_blocks(sg.softmax, "x.npy", "y.zarr", resume=True)
    assert_is_whole(sg.softmax, "x.npy")


@pytest.mark.parametrize(
    "content", ["", "{", "{}", "[]", '{"zarr_format": 3, "node_type": "group"}', "\x00" * 200, None]
)
def test_damaged_metadata_of_the_part(content):
    save("x.npy", X)
    interrupted(counted, "x.npy")
    metadata = Path(".y.zarr.part/zarr.json")
    if content is None:
        metadata.write_text(metadata.read_text().replace("10,", "20,"))
    else:
        metadata.write_text(content)
    with pytest.raises(ValueError, match=r"\.y\.zarr\.part: the interrupted run is damaged.*run without resume=True"):
        sg.apply_blocks(counted, "x.npy", "y.zarr", resume=True)
    sg.apply_blocks(counted, "x.npy", "y.zarr")
    assert_close(load(), sg.softmax(X))


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9])
def test_a_journal_that_was_cut_short(keep):
    save("x.npy", X)
    interrupted(counted, "x.npy")
    journal = Path(".y.zarr.part/softgrad.jsonl")
    first, _, rest = journal.read_text().partition("\n")
    journal.write_text(f"{first}\n{rest[: int(keep * len(rest))]}")
    sg.apply_blocks(counted, "x.npy", "y.zarr", resume=True)
    assert_close(load(), sg.softmax(X))
    interrupted(counted, "x.npy", force=True)
    journal.write_text("\x00" * 10)
    with pytest.raises(ValueError, match="the interrupted run is damaged"):
        sg.apply_blocks(counted, "x.npy", "y.zarr", resume=True, force=True)


@pytest.mark.slow
def test_random_damage_is_never_a_wrong_result():
    save("x.npy", X)
    sg.apply_blocks(sg.softmax, "x.npy", "whole.zarr")
    random = np.random.default_rng(1)
    for _ in range(12):
        interrupted(sg.softmax, "x.npy", force=True)
        files = [*part_chunks(), Path(".y.zarr.part/zarr.json"), Path(".y.zarr.part/softgrad.jsonl")]
        for path in random.choice(files, 2):
            content = bytearray(path.read_bytes())
            if random.integers(2):
                content[random.integers(len(content))] ^= 1 << random.integers(8)
            else:
                del content[random.integers(len(content)) :]
            path.write_bytes(content)
        try:
            sg.apply_blocks(sg.softmax, "x.npy", "y.zarr", resume=True, force=True)
        except ValueError as error:
            assert "run without resume=True to start again" in str(error)  # noqa: PT017  it may also succeed
        else:
            assert_same(load(), load("whole.zarr"))
