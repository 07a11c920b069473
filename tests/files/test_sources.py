"""Sources of several files or arrays: shards, indexes, archives, groups, arrays in memory; and their blocks."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
import safetensors.numpy
import zarr

import softgrad as sg
from softgrad import cli
from softgrad.files import blocks

from ..maps import assert_same

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(scale=3, size=(40, 7))
LABELS = RANDOM.integers(0, 7, 40)
NAMES = list("abcdefg")
CUTS = [0, 9, 9, 26, 40]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=[False, True], ids=["large blocks", "small blocks"])
def sizes(request, monkeypatch):
    if request.param:
        values = {"BYTES": 400, "BYTES_READ": 900, "RUN": 32, "BATCH": 8, "ROWS_READ": 60, "ENTRIES": 30}
        for name, value in values.items():
            monkeypatch.setattr(blocks, name, value)


def in_shards(save, suffix, x):
    """Write an array in shards, one of which is empty."""
    paths = [f"{save.__name__}{k}{suffix}" for k in range(len(CUTS) - 1)]
    for path, start, stop in zip(paths, CUTS, CUTS[1:], strict=False):
        save(path, x[start:stop])
    return paths


def npy(path, x):
    np.save(path, x)


def fortran(path, x):
    np.save(path, np.asfortranarray(x))


def tensors(path, x):
    safetensors.numpy.save_file({"logits": np.ascontiguousarray(x), "other": np.zeros(3)}, path)


def compressed(path, x):
    np.savez_compressed(path, x)


def chunks(path, x):
    zarr.create_array(path, data=x, chunks=(4, *x.shape[1:])) if len(x) else npy_zarr(path, x)


def npy_zarr(path, x):
    zarr.create_array(path, shape=x.shape, dtype=x.dtype, chunks=(4, *x.shape[1:]))


def table(path, x):
    pd.DataFrame(x, columns=NAMES).to_parquet(path, index=False)


def text(path, x):
    pd.DataFrame(x, columns=NAMES).to_csv(path, index=False)


# Shards

KINDS = [
    (npy, ".npy"), (fortran, ".npy"), (compressed, ".npz"), (tensors, ".safetensors"), (chunks, ".zarr"),
    (table, ".parquet"),
]  # fmt: skip


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("save", "suffix"), KINDS)
def test_shards_are_one_array(save, suffix, axis, sizes):
    paths = in_shards(save, suffix, X)
    options = {"tensor": "logits"} if save is tensors else {}
    for function in (sg.softmax, sg.logsumexp):
        for target in ("y.npy", "y.zarr", "y.csv"):
            found = sg.apply_blocks(function, paths, target, axis=axis, force=True, **options)
            assert found.final_shape == function(X, axis=axis).shape
            y = {".npy": np.load, ".csv": lambda path: np.loadtxt(path, delimiter=",", skiprows=int(save is table))}
            if target == "y.npy" or (target == "y.csv" and function is sg.softmax):
                np.testing.assert_allclose(y[target[1:]](target), function(X, axis=axis), rtol=1e-14)
            elif target == "y.zarr":
                np.testing.assert_allclose(zarr.open_array(target)[...], function(X, axis=axis), rtol=1e-14)


@pytest.mark.parametrize("source", ["x.npy", "shards"])
def test_operands_are_cut_elsewhere_than_the_source(source, sizes):
    np.save("x.npy", X)
    given = in_shards(npy, ".npy", X) if source == "shards" else source
    where = X > -4
    np.save("w1.npy", where[:33]), np.save("w2.npy", where[33:])
    pd.DataFrame({"labels": LABELS[:20]}).to_csv("l1.csv", index=False)
    pd.DataFrame({"labels": LABELS[20:]}).to_csv("l2.csv", index=False)
    where[np.arange(40), LABELS] = True
    np.save("w1.npy", where[:33]), np.save("w2.npy", where[33:])
    sg.apply_blocks(sg.cross_entropy, given, "y.npy", labels=("l1.csv", "l2.csv"), where=[Path("w1.npy"), "w2.npy"])
    assert_same(np.load("y.npy"), sg.cross_entropy(X, LABELS, where=where))


def test_the_index_of_tables_in_shards():
    index = pd.Index([f"row {i}" for i in range(40)])
    df = pd.DataFrame(X, index=index, columns=NAMES)
    for suffix in ("parquet", "csv"):
        for k, (start, stop) in enumerate([(0, 11), (11, 40)]):
            getattr(df[start:stop], f"to_{suffix}")(f"{k}.{suffix}")
        for target in ("y.parquet", "y.csv"):
            sg.apply_blocks(sg.softmax, [f"0.{suffix}", f"1.{suffix}"], target, force=True)
            found = pd.read_parquet(target) if target == "y.parquet" else pd.read_csv(target, index_col=0)
            np.testing.assert_allclose(found, sg.softmax(X), rtol=1e-13)
            assert list(found.index) == list(index)


def test_a_range_is_no_index_of_shards():
    paths = []
    for k, (start, stop) in enumerate([(0, 11), (11, 40)]):
        paths.append(f"{k}.parquet")
        pd.DataFrame(X[start:stop], columns=NAMES).to_parquet(paths[-1])
    sg.apply_blocks(sg.softmax, paths, "y.parquet")
    found = pd.read_parquet("y.parquet")
    assert list(found.index) == list(range(40))
    np.testing.assert_allclose(found, sg.softmax(X), rtol=1e-13)


def test_many_shards_are_not_open_at_once(monkeypatch):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    paths = [f"{k}.npy" for k in range(300)]
    for path in paths:
        np.save(path, X[:2])
    open_now = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 60
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 40, hard))
    try:
        sg.apply_blocks(sg.softmax, paths, "y.npy")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert_same(np.load("y.npy"), np.tile(sg.softmax(X[:2]), (300, 1)))


@pytest.mark.parametrize(
    ("shards", "error", "message"),
    [
        (["0.npy", "gone.npy"], FileNotFoundError, "gone.npy"),
        (
            ["0.npy", "narrow.npy"],
            ValueError,
            r"^narrow\.npy: shards must have the same dtype and slices as the first, 0",
        ),
        (["0.npy", "single.npy"], ValueError, r"^single\.npy: shards must have the same dtype .*float64 .*float32"),
        (["0.npy", "scalar.npy"], ValueError, r"^scalar\.npy: a shard has at least one axis"),
        (["0.npy", "bad.npy"], ValueError, r"^bad\.npy: not a NumPy array file"),
        (
            ["a.csv", "b.csv"],
            ValueError,
            r"^b\.csv: shards must have the same columns as the first, a\.csv: .*'a'.*'b'",
        ),
        (["0.npy", "x.txt"], ValueError, r"^x\.txt: the suffix must be"),
    ],
)
def test_shards_that_do_not_fit(shards, error, message):
    np.save("0.npy", X)
    np.save("narrow.npy", X[:, :3])
    np.save("single.npy", X.astype("f4"))
    np.save("scalar.npy", 1.0)
    Path("bad.npy").write_bytes(b"no array")
    Path("a.csv").write_text("a\n1\n")
    Path("b.csv").write_text("b\n1\n")
    before = sorted(os.listdir())
    with pytest.raises(error) as caught:
        sg.apply_blocks(sg.softmax, shards, "y.npy")
    assert re.search(message, str(caught.value) if error is ValueError else caught.value.filename)
    assert sorted(os.listdir()) == before


def test_what_is_wrong_in_a_shard_is_named_there(sizes):
    paths = in_shards(npy, ".npy", X)
    labels = LABELS.copy()
    labels[33] = 17
    np.save("l1.npy", labels[:30]), np.save("l2.npy", labels[30:])
    for given, message in (
        (labels, r"^npy3\.npy, slice \[7\]: labels must lie in \[0, 7\); labels\[33\] is 17$"),
        (["l1.npy", "l2.npy"], r"^l2\.npy: labels must lie in \[0, 7\); labels\[3\] is 17$"),
    ):
        with pytest.raises((IndexError, ValueError), match=message):
            sg.apply_blocks(sg.cross_entropy, paths, "y.npy", labels=given)
    np.save("l1.npy", LABELS[:30] * 1.0)
    np.save("l2.npy", LABELS[30:] + 0.5 * (np.arange(10) == 4))
    with pytest.raises(ValueError, match=r"^l2\.npy: labels must be integers; labels\[4\] is "):
        sg.apply_blocks(sg.cross_entropy, paths, "y.npy", labels=["l1.npy", "l2.npy"])
    np.save("nan.npy", np.where(np.arange(40) == 38, np.nan, LABELS))
    with pytest.raises(ValueError, match=r"^nan\.npy: labels must be integers; labels\[38\] is nan$"):
        sg.apply_blocks(sg.cross_entropy, paths, "y.npy", labels="nan.npy")
    assert not os.path.exists("y.npy")


@pytest.mark.parametrize("labels", ["l.npy", "l.csv", "l.zarr", "l.npz", "l.arrow"])
def test_a_label_out_of_range_far_into_a_file(labels, monkeypatch):
    monkeypatch.setattr(blocks, "ENTRIES", 2**12)
    x, given = np.zeros((70_000, 3), "f4"), np.zeros(70_000, np.int64)
    given[[65_017, 69_999]] = 3
    save = {"npy": npy, "npz": compressed}
    if labels[2:] in save:
        save[labels[2:]](labels, given)
    elif labels == "l.zarr":
        zarr.create_array(labels, data=given, chunks=(9000,))
    elif labels == "l.csv":
        pd.DataFrame({"label": given}).to_csv(labels, index=False)
    else:
        pd.DataFrame({"label": given}).to_feather(labels)
    message = rf"^{re.escape(labels)}: labels must lie in \[0, 3\); labels\[65017\] is 3: classes are numbered from 0$"
    with pytest.raises((IndexError, ValueError), match=message):
        sg.apply_blocks(sg.cross_entropy, x, "y.npy", labels=labels)
    assert not os.path.exists("y.npy")


def test_other_operands_are_named_with_file_and_entry(sizes):
    np.save("x.npy", X)
    weights = np.ones(40)
    weights[33] = -2
    np.save("w.npy", weights)
    messages = {
        "sample_weight": (sg.cross_entropy, r"^w\.npy: sample_weight must be .*; sample_weight\[33\] is -2\.0$"),
        "temperature": (sg.softmax, r"^w\.npy, temperature\[33\]: temperature must be at least 0"),
    }
    for name, (function, message) in messages.items():
        labels = {"labels": LABELS} if function is sg.cross_entropy else {}
        with pytest.raises(ValueError, match=message):
            sg.apply_blocks(function, "x.npy", "y.npy", **labels, **{name: "w.npy"})
    choices = np.zeros((40, 2), int)
    choices[33, 1] = 7
    np.save("k.npy", choices)
    with pytest.raises((IndexError, ValueError), match=r"^k\.npy: index must lie in \[0, 7\); index\[33, 1\] is 7$"):
        sg.apply_blocks(sg.selective_log_softmax, "x.npy", "y.npy", index="k.npy")


def test_a_shard_that_changes_is_noticed(monkeypatch):
    monkeypatch.setattr(blocks, "BYTES", 400)
    paths = in_shards(npy, ".npy", X)

    def change(done, total):
        np.save(paths[-1], X[:3])

    with pytest.raises(ValueError, match=r"npy3\.npy: the file changed while it was read"):
        sg.apply_blocks(sg.softmax, paths, "y.npy", progress=change)


def test_shards_on_the_command_line(capsys):
    paths = in_shards(npy, ".npy", X)
    np.save("l1.npy", LABELS[:30]), np.save("l2.npy", LABELS[30:])
    assert cli.run(["apply", "cross-entropy", *paths, "y.npy", "--labels", "l1.npy", "--labels", "l2.npy"]) == 0
    assert_same(np.load("y.npy"), sg.cross_entropy(X, LABELS))
    capsys.readouterr()
    assert cli.run(["apply", "softmax", *paths[:2], "gone.npy", "z.npy"]) == 2
    assert capsys.readouterr().err == "softgrad: gone.npy: No such file or directory\n"
    assert not os.path.exists("z.npy")


# Index files of safetensors


def write_index(weight_map):
    Path("model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_an_index_file_leads_to_the_file_of_a_tensor(capsys):
    os.mkdir("model")
    safetensors.numpy.save_file({"a": X, "b": X + 1}, "model/1.safetensors")
    safetensors.numpy.save_file({"c": X + 2}, "model/2.safetensors")
    write_index({"a": "model/1.safetensors", "b": "model/1.safetensors", "c": "model/2.safetensors"})
    for name, x in (("a", X), ("b", X + 1), ("c", X + 2)):
        sg.apply_blocks(sg.softmax, "model.safetensors.index.json", "y.npy", tensor=name, force=True)
        assert_same(np.load("y.npy"), sg.softmax(x))
    with pytest.raises(ValueError, match=r"index\.json: tensor must name one of 'a', 'b', 'c'"):
        sg.apply_blocks(sg.softmax, "model.safetensors.index.json", "z.npy")
    with pytest.raises(ValueError, match=r"index\.json: there is no tensor 'd'; there is 'a', 'b', 'c'"):
        sg.apply_blocks(sg.softmax, "model.safetensors.index.json", "z.npy", tensor="d")
    os.remove("model/2.safetensors")
    assert cli.run(["apply", "softmax", "model.safetensors.index.json", "z.npy", "--tensor", "c"]) == 2
    assert capsys.readouterr().err == "softgrad: model/2.safetensors: No such file or directory\n"
    assert not os.path.exists("z.npy")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"weight_map": 3}', '{"weight_map": {"a": null}}', "[" * 9999])
def test_damaged_index_files(text):
    Path("x.safetensors.index.json").write_text(text)
    with pytest.raises(ValueError, match=r"^x\.safetensors\.index\.json: not the index of safetensors files"):
        sg.apply_blocks(sg.softmax, "x.safetensors.index.json", "y.npy", tensor="a")
    assert os.listdir() == ["x.safetensors.index.json"]


@pytest.mark.parametrize("target", ["y.npz", "y.safetensors.index.json"])
def test_formats_that_are_only_read(target):
    np.save("x.npy", X)
    with pytest.raises(
        ValueError, match=rf"^{re.escape(target)}: such files are only read; the suffix of a target must"
    ):
        sg.apply_blocks(sg.softmax, "x.npy", target)
    assert os.listdir() == ["x.npy"]


# Several arrays in one file


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_an_archive(save, sizes):
    save("x.npz", logits=X, labels=LABELS, third=np.ones(3))
    sg.apply_blocks(sg.cross_entropy, "x.npz", "y.npy", tensor="logits", labels="x.npz")
    assert_same(np.load("y.npy"), sg.cross_entropy(X, LABELS))
    with pytest.raises(ValueError, match=r"x\.npz: tensor must name one of 'labels', 'logits', 'third'"):
        sg.apply_blocks(sg.softmax, "x.npz", "z.npy")
    save("x.npz", np.array([1, "a"], object))
    with pytest.raises(TypeError, match=r"x\.npz, array 'arr_0': the array must hold real numbers; got dtype object"):
        sg.apply_blocks(sg.softmax, "x.npz", "z.npy")


def test_labels_beside_logits_in_every_format_of_several_arrays():
    safetensors.numpy.save_file({"logits": X, "label": LABELS}, "x.safetensors")
    sg.apply_blocks(sg.cross_entropy, "x.safetensors", "y.npy", tensor="logits", labels="x.safetensors")
    assert_same(np.load("y.npy"), sg.cross_entropy(X, LABELS))
    group = zarr.open_group("x.zarr", mode="w")
    group.create_array("logits", data=X)
    group.create_array("labels", data=LABELS)
    group.create_array("more/labels.v2", data=(LABELS + 1) % 7)
    for source in ("x.zarr/logits", Path("x.zarr") / "logits"):
        sg.apply_blocks(sg.cross_entropy, source, "y.npy", labels="x.zarr", force=True)
        assert_same(np.load("y.npy"), sg.cross_entropy(X, LABELS))
    sg.apply_blocks(sg.cross_entropy, "x.zarr/logits", "y.npy", labels="x.zarr/more/labels.v2", force=True)
    assert_same(np.load("y.npy"), sg.cross_entropy(X, (LABELS + 1) % 7))
    with pytest.raises(
        ValueError, match=r"x\.zarr: .*there is no array 'nope'; there is 'labels', 'logits', 'more/lab"
    ):
        sg.apply_blocks(sg.softmax, "x.zarr/nope", "z.npy")
    columns = {name: X[:, j] for j, name in enumerate(NAMES)}
    pd.DataFrame({"id": range(40), **columns, "labels": LABELS}).to_parquet("x.parquet", index=False)
    sg.apply_blocks(sg.cross_entropy, "x.parquet", "y.npy", columns=NAMES, labels="x.parquet", force=True)
    assert_same(np.load("y.npy"), sg.cross_entropy(X, LABELS))


@pytest.mark.parametrize("version", [2, 3])
def test_a_group_that_xarray_wrote_has_one_array_besides_coordinates(version, recwarn):
    xarray = pytest.importorskip("xarray")
    coordinates = {"class": np.arange(7), "row": np.arange(40)}
    data = xarray.DataArray(X, dims=("row", "class"), coords=coordinates, name="logits").to_dataset()
    data.to_zarr("x.zarr", zarr_format=version, consolidated=False)
    sg.apply_blocks(sg.softmax, "x.zarr", "y.npy")
    assert_same(np.load("y.npy"), sg.softmax(X))
    data.assign(labels=("row", LABELS)).to_zarr("z.zarr", zarr_format=version, consolidated=False)
    sg.apply_blocks(sg.cross_entropy, "z.zarr", "y.npy", tensor="logits", labels="z.zarr", force=True)
    assert_same(np.load("y.npy"), sg.cross_entropy(X, LABELS))
    with pytest.raises(ValueError, match="tensor must name one of 'class', 'labels', 'logits', 'row'"):
        sg.apply_blocks(sg.softmax, "z.zarr", "w.npy")


def test_arrays_in_memory_and_arrays_that_are_sliced(sizes):
    stored = zarr.create_array("x.zarr", data=X, chunks=(9, 3))
    labels = zarr.create_array("labels.zarr", data=LABELS, chunks=(11,))
    for source in (
        X,
        np.asfortranarray(X),
        X[::-1],
        X.tolist(),
        stored,
        np.load("x.npy", mmap_mode="r") if np.save("x.npy", X) else X,
    ):
        x = np.asarray(source[...] if source is stored else source)
        for given in (LABELS, labels):
            sg.apply_blocks(sg.cross_entropy, source, "y.npy", labels=given, force=True)
            np.testing.assert_allclose(np.load("y.npy"), sg.cross_entropy(x, LABELS), rtol=1e-14)
    kept = X.copy()
    sg.apply_blocks(sg.softmax, X, "y.npy", force=True)
    assert_same(X, kept)  # nothing is computed in place
    for bad, message in ((np.array(["a", "b"]), "source must be an array of numbers"), (object(), "source must be")):
        with pytest.raises(TypeError, match=message):
            sg.apply_blocks(sg.softmax, bad, "z.npy")
    with pytest.raises(ValueError, match="tensor and columns are for files"):
        sg.apply_blocks(sg.softmax, X, "z.npy", tensor="x")


# Labels by the names of classes

CLASSES = np.array(NAMES)[LABELS]


def write_labels(name):
    frame = pd.DataFrame({"id": range(40), "label": CLASSES})
    if name == "bare.csv":
        Path(name).write_text("\n".join(CLASSES) + "\n")
    elif name == "indexed.csv":
        frame.set_index(pd.Index([f"r{i}" for i in range(40)]))[["label"]].to_csv(name)
    elif name.endswith(".csv"):
        frame.to_csv(name, index=False)
    elif name == "category.parquet":
        frame.astype({"label": "category"})[["label"]].to_parquet(name)
    elif name.endswith(".parquet"):
        frame.to_parquet(name)
    else:
        frame.to_feather(name)
    return name


SOURCES = {"x.csv": text, "x.parquet": table}
FILES = ["bare.csv", "indexed.csv", "columns.csv", "x.feather", "category.parquet", "columns.parquet"]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("labels", [*FILES, "list", "array", "series"])
def test_labels_may_be_names_of_columns(source, labels, sizes):
    SOURCES[source](source, X)
    memory = {"list": list(CLASSES), "array": CLASSES, "series": pd.Series(CLASSES, index=range(1, 41))}
    given = memory[labels] if labels in memory else write_labels(labels)
    sg.apply_blocks(sg.cross_entropy, source, "y.npy", labels=given)
    np.testing.assert_allclose(np.load("y.npy"), sg.cross_entropy(X, LABELS), rtol=1e-13)
    with pytest.raises((TypeError, ValueError), match=r"label"):  # along the other axis columns are no classes
        sg.apply_blocks(sg.cross_entropy, source, "z.npy", axis=0, labels=given)


def test_a_header_may_be_the_name_of_a_class():
    text("x.csv", X)
    Path("l.csv").write_text("a\n" + "".join(f"{label}\n" for label in LABELS))
    Path("n.csv").write_text("a\n" + "".join(f"{label}\n" for label in CLASSES[1:]))
    sg.apply_blocks(sg.cross_entropy, "x.csv", "y.npy", labels="l.csv")
    np.testing.assert_allclose(np.load("y.npy"), sg.cross_entropy(X, LABELS), rtol=1e-13)
    sg.apply_blocks(sg.cross_entropy, "x.csv", "y.npy", labels="n.csv", force=True)
    np.testing.assert_allclose(np.load("y.npy")[1:], sg.cross_entropy(X, LABELS)[1:], rtol=1e-13)


@pytest.mark.parametrize("labels", [*FILES, "list"])
def test_a_label_that_is_no_class_is_located(labels, sizes):
    text("x.csv", X)
    CLASSES[33], kept = "z", CLASSES[33]
    try:
        given = list(CLASSES) if labels == "list" else write_labels(labels)
    finally:
        CLASSES[33] = kept
    places = {
        "bare.csv": r"bare\.csv, line 34, column 1",
        "indexed.csv": r"indexed\.csv, line 35, column 2 \('label'\)",
    }
    places |= {"columns.csv": r"columns\.csv, line 35, column 2 \('label'\)", "list": r"labels\[33\]"}
    place = places.get(labels, rf"{re.escape(labels)}: column 'label', row 33")
    with pytest.raises(ValueError, match=rf"^{place}: 'z' is no class; the classes are 'a', 'b', 'c', .*$"):
        sg.apply_blocks(sg.cross_entropy, "x.csv", "y.npy", labels=given)
    assert not os.path.exists("y.npy")


def test_names_need_columns_with_different_names():
    np.save("x.npy", X)
    for labels, error in ((list(CLASSES), TypeError), (write_labels("columns.csv"), ValueError)):
        with pytest.raises(error, match=r"labels must be an array of numbers|expected a number; got"):
            sg.apply_blocks(sg.cross_entropy, "x.npy", "y.npy", labels=labels)
    Path("x.csv").write_text("a,a\n1,2\n")
    with pytest.raises(ValueError, match="names of classes must differ; some columns of the source"):
        sg.apply_blocks(sg.cross_entropy, "x.csv", "y.npy", labels=["a"])
    Path("x.csv").write_text("a,b\n1,2\n")
    pa.parquet.write_table(pa.table({"label": pa.array([None], pa.string())}), "l.parquet")
    with pytest.raises(ValueError, match=r"l\.parquet: column 'label' has missing values, the first in row 0"):
        sg.apply_blocks(sg.cross_entropy, "x.csv", "y.npy", labels="l.parquet")


# Blocks


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("source", ["x.npy", "shards", "x.csv", "x.parquet", "x.zarr", "memory"])
def test_blocks_cover_a_source_with_what_belongs_to_it(source, axis, sizes):
    save = {"x.npy": npy, "x.csv": text, "x.parquet": table, "x.zarr": chunks}
    given = X if source == "memory" else in_shards(npy, ".npy", X) if source == "shards" else source
    if source in save:
        save[source](source, X)
    labels = LABELS if axis == 1 else LABELS[:7] * 4
    np.save("labels.npy", labels)
    found = sg.read_blocks(given, axis=axis - 2, labels="labels.npy", where=X > 0, temperature=2.0, weight=[1.0, 2.0])
    assert (found.shape, found.dtype, found.axis) == (X.shape, X.dtype, axis)
    assert found.names == (tuple(NAMES) if source in ("x.csv", "x.parquet") else None)
    for _ in range(2):  # it can be gone through again
        seen, y, taken = np.zeros(X.shape, int), np.empty(X.shape), np.empty(X.shape[1 - axis], int)
        for place, values, arrays in found:
            seen[place] += 1
            y[place] = values
            taken[place[1 - axis]] = arrays["labels"]
            assert_same(arrays["where"], X[place] > 0)
            assert (arrays["temperature"], list(arrays["weight"])) == (2.0, [1.0, 2.0])
            assert values.shape[axis] == X.shape[axis]
        assert (seen == 1).all()
        np.testing.assert_allclose(y, X, rtol=1e-15)
        assert_same(taken, labels)


def test_mistakes_of_blocks_are_seen_at_once():
    np.save("x.npy", X)
    for options, error, message in (
        ({"labels": LABELS[1:]}, ValueError, r"labels must have shape \(40,\), as x.npy has it; got \(39,\)"),
        ({"labels": "gone.npy"}, FileNotFoundError, "gone.npy"),
        ({"axis": 2}, np.exceptions.AxisError, "axis"),
        ({"axis": (0, 1)}, TypeError, "axis must be one integer"),
        ({"tensor": "x"}, ValueError, "tensor is for"),
    ):
        with pytest.raises(error, match=message):
            sg.read_blocks("x.npy", **options)


def test_a_loop_over_blocks_may_be_left(monkeypatch):
    monkeypatch.setattr(blocks, "BYTES", 400)
    np.save("x.npy", X)
    for block in sg.read_blocks("x.npy"):
        assert block.values.base is None or block.values.size < X.size
        break
    os.remove("x.npy")


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".parquet", ".safetensors"])
def test_a_pipe_is_no_source(suffix):
    """Reading one would wait for somebody to write."""
    os.mkfifo(f"x{suffix}")
    with pytest.raises(ValueError, match="a source must be a file whose size is known; this is a pipe or a device"):
        sg.apply_blocks(sg.softmax, f"x{suffix}", "y.npy")
