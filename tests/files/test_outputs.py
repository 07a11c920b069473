"""What an output replaces: only by force, only what is of its kind, and nothing that belongs to somebody else."""

import os
from pathlib import Path

import numpy as np
import pytest
import zarr

import softgrad as sg
from softgrad import cli

X = np.random.default_rng(0).normal(size=(6, 4))
FOREIGN = ["thesis.txt", "c/notes.txt", "sub/zarr.json", ".hidden", "c/0/0/figure.png", "0.txt", "array/c/0"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)


def load(name):
    return np.asarray(zarr.open_array(name, mode="r")[...])


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("foreign", FOREIGN)
def test_an_array_with_somebodys_files_is_not_replaced(foreign, version):
    zarr.create_array("y.zarr", data=X, chunks=(6, 4), zarr_format=version)
    path = Path("y.zarr", foreign)
    if path.parent.is_file():
        path.parent.unlink()  # a chunk of that name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("precious")
    with pytest.raises(FileExistsError, match=f"Not replaced, since it holds {foreign}"):
        sg.apply_blocks(sg.softmax, "x.npy", "y.zarr", force=True)
    assert path.read_text() == "precious"
    assert sorted(os.listdir()) == ["x.npy", "y.zarr"]


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("separator", [".", "/"])
def test_an_array_is_replaced_whatever_the_names_of_its_chunks(version, separator):
    encoding = {"name": "v2" if version == 2 else "default", "separator": separator}
    zarr.create_array(
        "y.zarr", data=X, chunks=(2, 2), zarr_format=version, chunk_key_encoding=encoding, attributes={"a": 1}
    )
    sg.apply_blocks(sg.softmax, "x.npy", "y.zarr", force=True)
    np.testing.assert_array_equal(load("y.zarr"), sg.softmax(X))


def test_a_group_is_not_replaced():
    group = zarr.open_group("y.zarr", mode="w")
    with pytest.raises(FileExistsError, match="Not replaced, since it is no Zarr array"):
        sg.apply_blocks(sg.softmax, "x.npy", "y.zarr", force=True)
    group.create_array("logits", data=X)
    with pytest.raises(FileExistsError, match="Not replaced, since it is no Zarr array"):
        sg.apply_blocks(sg.softmax, "x.npy", "y.zarr", force=True)
    np.testing.assert_array_equal(group["logits"][...], X)


@pytest.mark.parametrize("kind", ["file", "empty folder", "folder with other files"])
def test_other_things_of_that_name_are_not_replaced(kind):
    path = Path("y.zarr")
    if kind == "file":
        path.write_text("precious")
    else:
        path.mkdir()
        if kind != "empty folder":
            (path / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="Not replaced, since it is no Zarr array"):
        sg.apply_blocks(sg.softmax, "x.npy", "y.zarr", force=True)
    assert path.exists()


@pytest.mark.parametrize("kind", ["folder", "empty folder", "file", "link", "broken link", "array"])
def test_a_part_that_is_not_ours_stays(kind, capsys):
    part = Path(".y.zarr.part")
    if kind.endswith("folder"):
        part.mkdir()
    if kind == "folder":
        (part / "thesis.txt").write_text("precious")
    elif kind == "file":
        part.write_text("precious")
    elif kind == "link":
        Path("elsewhere").mkdir()
        Path("elsewhere/softgrad.jsonl").write_text("{}\n")
        part.symlink_to("elsewhere")
    elif kind == "broken link":
        part.symlink_to("nowhere")
    elif kind == "array":  # of another program
        zarr.create_array(str(part), data=X)
    before = sorted(map(str, Path().rglob("*")))
    for options in ([], ["--resume"], ["--force"]):
        assert cli.run(["apply", "softmax", "x.npy", "y.zarr", *options]) == 2
        err = capsys.readouterr().err
        assert err.startswith("softgrad: ")
        assert err.endswith(".y.zarr.part: Exists and was not left by an unfinished run of softgrad; move it away\n")
        assert sorted(map(str, Path().rglob("*"))) == before


def test_a_link_to_an_array_is_replaced_where_it_points_to():
    os.mkdir("data")
    zarr.create_array("data/real.zarr", data=X)
    os.symlink("data/real.zarr", "y.zarr")
    sg.apply_blocks(sg.softmax, "x.npy", "y.zarr", force=True)
    assert os.path.islink("y.zarr")
    np.testing.assert_array_equal(load("data/real.zarr"), sg.softmax(X))
    assert os.listdir("data") == ["real.zarr"]


@pytest.mark.parametrize("name", ["y.npy", "y.zarr", "y.csv"])
def test_links_that_lead_nowhere(name, capsys):
    os.symlink("missing/real", name)
    assert cli.run(["apply", "softmax", "x.npy", name]) == 2
    assert capsys.readouterr().err.endswith("missing: No such directory\n")
    os.remove(name)
    os.symlink(name, name)  # a circle
    assert cli.run(["apply", "softmax", "x.npy", name]) == 2
    assert capsys.readouterr().err == f"softgrad: {name}: Too many levels of symbolic links\n"
    assert cli.run(["apply", "softmax", name, "z.npy"]) == 2
    assert capsys.readouterr().err == f"softgrad: {name}: Too many levels of symbolic links\n"
    os.remove(name)
    os.symlink(f"real{name}", name)  # to what is still to be made
    assert cli.run(["apply", "softmax", "x.npy", name]) == 0
    assert os.path.islink(name)
    assert os.path.exists(f"real{name}")


def test_a_source_may_be_a_link():
    os.symlink("x.npy", "link.npy")
    sg.apply_blocks(sg.softmax, "link.npy", "link.npy", force=True)
    assert os.path.islink("link.npy")
    np.testing.assert_array_equal(np.load("x.npy"), sg.softmax(X))


def test_a_failure_leaves_nothing_of_a_new_array():
    np.save("x.npy", np.zeros((2, 3), np.longdouble))
    with pytest.raises(TypeError, match=r"a \.zarr array holds no"):
        sg.apply_blocks(sg.softmax, "x.npy", "y.zarr")
    with pytest.raises(np.exceptions.AxisError):
        sg.apply_blocks(sg.softmax, "x.npy", "y.zarr", axis=3)
    assert os.listdir() == ["x.npy"]
