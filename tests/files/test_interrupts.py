"""Runs that end before their time: by signals, one or several, and by SIGKILL; what they leave, and who removes it."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zarr

import softgrad as sg

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

COMMAND = [sys.executable, "-m", "softgrad.cli"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write_zeros(name, shape):
    """A .npy file of zeros that takes no space on the disk."""
    with open(name, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + int(np.prod(shape)) * 8)


def started(*arguments, until, source_shape=(2_000_000, 1000)):
    """The command in a process of its own, at work: 16 GB are not done before the signal."""
    write_zeros("in.npy", source_shape)
    handlers = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM)}
    process = subprocess.Popen([*COMMAND, "apply", *arguments], stderr=subprocess.PIPE, text=True)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    deadline = time.monotonic() + 60
    while not until():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    return process


def ended(process):
    try:
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    return process.returncode, err


def is_written():
    return any(part.stat().st_size > 2**24 for part in Path().glob(".out.npy.*.part"))


def is_journalled():
    journal = Path(".out.zarr.part/softgrad.jsonl")
    return journal.exists() and journal.read_text().count("\n") > 3


ENDED = {signal.SIGINT: "softgrad: interrupted\n", signal.SIGTERM: "softgrad: terminated\n"}


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.001, 0.01, 0.03, 0.1, 0.3])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_changes_nothing(delay, second):
    process = started("softmax", "in.npy", "out.npy", until=is_written)
    process.send_signal(signal.SIGINT)
    for _ in range(3):
        time.sleep(delay)
        process.send_signal(second)
    # Two signals that wait together arrive in any order: either one may be the first.
    assert ended(process) in [(128 + number, ENDED[number]) for number in (signal.SIGINT, second)]
    assert os.listdir() == ["in.npy"]


def test_an_interrupted_zarr_run_says_how_to_go_on():
    process = started("softmax", "in.npy", "out.zarr", until=is_journalled)
    process.send_signal(signal.SIGINT)
    code, err = ended(process)
    assert code == 130
    kept = r"\.out\.zarr\.part keeps the finished blocks, (\d+) of them; --resume goes on with them"
    found = re.fullmatch(f"softgrad: interrupted; {kept}\n", err)
    assert int(found[1]) == Path(".out.zarr.part/softgrad.jsonl").read_text().count("\n") - 1
    assert sorted(os.listdir()) == [".out.zarr.part", "in.npy"]


def test_a_later_run_removes_what_a_killed_one_has_left():
    process = started("softmax", "in.npy", "out.npy", until=is_written)
    process.kill()
    ended(process)
    (stale,) = Path().glob(".out.npy.*.part")
    others = [Path(".other.npy.0123456789abcdef.part"), Path(".out.npy.part"), Path(".out.npy.0123.part")]
    for other in others:
        other.write_bytes(b"not of this output")
    np.save("small.npy", np.zeros((2, 3)))
    sg.apply_blocks(sg.softmax, "small.npy", "out.npy")
    assert not stale.exists()
    assert all(other.read_bytes() == b"not of this output" for other in others)


def test_what_another_run_is_writing_stays():
    process = started("softmax", "in.npy", "out.npy", until=is_written)
    (part,) = Path().glob(".out.npy.*.part")
    np.save("small.npy", np.zeros((2, 3)))
    sg.apply_blocks(sg.softmax, "small.npy", "out.npy")
    assert part.exists()
    process.terminate()
    assert ended(process) == (143, "softgrad: terminated\n")
    assert not part.exists()
    assert np.load("out.npy").shape == (2, 3)


def test_a_link_of_that_name_stays():
    Path("mine").write_bytes(b"precious")
    link = Path(".y.npy.0123456789abcdef.part")
    link.symlink_to("mine")
    np.save("x.npy", np.zeros((2, 3)))
    sg.apply_blocks(sg.softmax, "x.npy", "y.npy")
    assert link.is_symlink()
    assert Path("mine").read_bytes() == b"precious"


def test_two_runs_do_not_share_a_part():
    process = started("softmax", "in.npy", "out.zarr", until=is_journalled)
    np.save("small.npy", np.zeros((2, 3)))
    for resume in (False, True):
        with pytest.raises(OSError, match="Another run is writing it"):
            sg.apply_blocks(sg.softmax, "small.npy", "out.zarr", resume=resume)
    assert is_journalled()
    process.kill()
    ended(process)
    sg.apply_blocks(sg.softmax, "small.npy", "out.zarr")
    assert sorted(os.listdir()) == ["in.npy", "out.zarr", "small.npy"]


def test_a_replacement_that_was_killed_is_completed(monkeypatch):
    np.save("x.npy", np.zeros((2, 3)))
    sg.apply_blocks(sg.softmax, "x.npy", "y.zarr")
    rename = os.rename

    def killed(source, target):
        rename(source, target)
        if str(target).endswith(".old"):
            raise SystemExit

    monkeypatch.setattr(os, "rename", killed)
    with pytest.raises(SystemExit):
        sg.apply_blocks(sg.log_softmax, "x.npy", "y.zarr", force=True)
    monkeypatch.setattr(os, "rename", rename)
    assert not os.path.exists("y.zarr")
    with pytest.raises(FileExistsError, match="force=True replaces it"):  # what it was about to replace is back
        sg.apply_blocks(sg.log_softmax, "x.npy", "y.zarr")
    np.testing.assert_array_equal(zarr.open_array("y.zarr", mode="r")[...], sg.softmax(np.zeros((2, 3))))
    sg.apply_blocks(sg.log_softmax, "x.npy", "y.zarr", force=True)
    assert sorted(os.listdir()) == ["x.npy", "y.zarr"]
