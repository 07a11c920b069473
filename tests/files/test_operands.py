"""Labels, targets, masks, temperatures and weights beside the source: the bits of the call on whole arrays."""

import os
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import zarr

import softgrad as sg
from softgrad.files import blocks

from ..maps import assert_close, assert_same

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(scale=3, size=(40, 7))
LABELS = RANDOM.integers(0, 7, 40)
LABELS0 = RANDOM.integers(0, 40, 7)
TARGETS = sg.softmax(RANDOM.normal(size=(40, 7)))
WHERE = RANDOM.random((40, 7)) < 0.8
WEIGHT = RANDOM.uniform(0.5, 2, 40)
CLASS_WEIGHT = RANDOM.uniform(0.5, 2, 7)
CHOICES = RANDOM.integers(0, 7, (40, 3))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)


@pytest.fixture(params=[False, True], ids=["large blocks", "small blocks"])
def sizes(request, monkeypatch):
    if request.param:
        values = {"BYTES": 400, "BYTES_READ": 900, "RUN": 32, "BATCH": 8, "ROWS_READ": 60, "ENTRIES": 30}
        for name, value in values.items():
            monkeypatch.setattr(blocks, name, value)


def save(name, x):
    x = np.asarray(x)
    if name.endswith(".npy"):
        np.save(name, x)
    elif name.endswith(".zarr"):
        zarr.create_array(name, data=x, chunks=tuple(max(1, n // 3) for n in x.shape))
    elif name.endswith(".safetensors"):
        safetensors.numpy.save_file({"values": x}, name)
    else:
        columns = x.T if x.ndim == 2 else [x]
        table = pd.DataFrame({f"c{j}": column for j, column in enumerate(columns)})
        if name.endswith(".csv") and x.dtype == bool:
            table = table.astype(int)
        table.to_csv(name, index=False) if name.endswith(".csv") else table.to_parquet(name)
    return name


CALLS = {
    "cross_entropy": (sg.cross_entropy, {"labels": LABELS}),
    "weighted": (
        sg.cross_entropy,
        {"labels": LABELS, "sample_weight": WEIGHT, "where": WHERE | (np.arange(7) == LABELS[:, None])},
    ),
    "soft_cross_entropy": (sg.soft_cross_entropy, {"targets": TARGETS}),
    "kl_divergence": (sg.kl_divergence, {"logits_q": TARGETS}),
    "focal_loss": (partial(sg.focal_loss, gamma=1.5), {"labels": LABELS}),
    "selective": (sg.selective_log_softmax, {"index": LABELS}),
    "choices": (sg.selective_log_softmax, {"index": CHOICES}),
    "masked softmax": (sg.softmax, {"where": WHERE}),
    "temperatures": (sg.softmax, {"temperature": WEIGHT}),
    "logsumexp": (sg.logsumexp, {"b": TARGETS}),
    "entropy": (sg.entropy, {}),
}


@pytest.mark.parametrize("kind", ["memory", ".npy", ".zarr", ".csv", ".parquet", ".safetensors"])
@pytest.mark.parametrize("name", CALLS)
def test_operands_from_anywhere(name, kind, sizes):
    function, arrays = CALLS[name]
    given = {key: value if kind == "memory" else save(key + kind, value) for key, value in arrays.items()}
    sg.apply_blocks(function, "x.npy", "y.npy", **given)
    order = ["labels", "targets", "logits_q", "index"]
    operands = [arrays[key] for key in order if key in arrays]
    options = {key: value for key, value in arrays.items() if key not in order}
    assert_same(np.load("y.npy"), function(X, *operands, **options))


@pytest.mark.parametrize("source", ["x.npy", "F.npy", "x.csv", "x.parquet", "x.zarr"])
@pytest.mark.parametrize("labels", ["memory", "l.npy", "l.csv"])
@pytest.mark.parametrize("axis", [0, 1])
def test_every_source_and_axis(source, labels, axis, sizes):
    x, values = (X, LABELS0) if axis == 0 else (X, LABELS)
    np.save("F.npy", np.asfortranarray(x)) if source == "F.npy" else source == "x.npy" or save(source, x)
    given = values if labels == "memory" else save(labels, values)
    sg.apply_blocks(sg.cross_entropy, source, "y.npy", axis=axis, labels=given)
    assert_close(np.load("y.npy"), sg.cross_entropy(x, values, axis=axis))


def test_three_dimensions(sizes):
    x = np.random.default_rng(1).normal(size=(4, 6, 5))
    labels = np.random.default_rng(2).integers(0, 5, (4, 6))
    np.save("cube.npy", x)
    np.save("labels.npy", labels)
    sg.apply_blocks(sg.cross_entropy, "cube.npy", "y.npy", labels="labels.npy")
    assert_same(np.load("y.npy"), sg.cross_entropy(x, labels))
    sg.apply_blocks(sg.softmax, "cube.npy", "z.npy", where=np.arange(5) < 3, temperature=np.arange(1.0, 7.0))
    assert_same(np.load("z.npy"), sg.softmax(x, where=np.arange(5) < 3, temperature=np.arange(1.0, 7.0)))


def test_options_that_all_slices_share(sizes):
    labels = np.where(LABELS == 3, -100, LABELS)
    options = {"weight": CLASS_WEIGHT, "ignore_index": -100, "label_smoothing": 0.1, "z_loss": 1e-3}
    sg.apply_blocks(sg.cross_entropy, "x.npy", "y.npy", labels=labels, **options)
    assert_same(np.load("y.npy"), sg.cross_entropy(X, labels, **options))
    options["weight"] = save("weight.csv", CLASS_WEIGHT)
    sg.apply_blocks(sg.cross_entropy, "x.npy", "y.npy", labels=labels, **options, force=True)
    assert_same(np.load("y.npy"), sg.cross_entropy(X, labels, **(options | {"weight": CLASS_WEIGHT})))


def test_class_weights_are_not_taken_for_one_per_row():
    square = X[:7]
    np.save("square.npy", square)
    sg.apply_blocks(sg.cross_entropy, "square.npy", "y.npy", labels=LABELS[:7], weight=CLASS_WEIGHT)
    assert_same(np.load("y.npy"), sg.cross_entropy(square, LABELS[:7], weight=CLASS_WEIGHT))


def test_functions_of_ones_own(sizes):
    def scaled(block, axis, by, rows):
        return sg.softmax(block * by, axis=axis) * np.expand_dims(rows, axis)

    sg.apply_blocks(scaled, "x.npy", "y.npy", by=TARGETS, rows=WEIGHT)
    assert_same(np.load("y.npy"), sg.softmax(X * TARGETS) * WEIGHT[:, None])


# Several results


@pytest.mark.parametrize("suffix", [".npy", ".zarr", ".csv", ".parquet", ".safetensors"])
def test_several_results_go_to_several_targets(suffix, sizes):
    contents = sg.apply_blocks(sg.cross_entropy_grad, "x.npy", (f"loss{suffix}", "grad.npy"), labels=LABELS)
    assert [result.final_shape for result in contents] == [(40,), (40, 7)]
    expected = sg.cross_entropy_grad(X, LABELS)
    assert_same(np.load("grad.npy"), expected.grad)
    sg.apply_blocks(lambda x, axis: x + 0.0, f"loss{suffix}", "again.npy", axis=0)
    assert_same(np.load("again.npy").reshape(-1), expected.loss)


def test_a_result_may_be_left_out(sizes):
    sg.apply_blocks(sg.cross_entropy_grad, "x.npy", (None, "grad.npy"), labels=LABELS)
    assert sorted(os.listdir()) == ["grad.npy", "x.npy"]
    assert_same(np.load("grad.npy"), sg.cross_entropy_grad(X, LABELS).grad)


def test_an_index_is_carried_to_every_target():
    index = pd.Index([f"row {i}" for i in range(40)], name="id")
    pd.DataFrame(X, index=index, columns=list("abcdefg")).to_parquet("x.parquet")
    sg.apply_blocks(sg.cross_entropy_grad, "x.parquet", ("loss.parquet", "grad.parquet"), labels=LABELS)
    assert pd.read_parquet("loss.parquet").index.equals(index)
    pd.testing.assert_frame_equal(
        pd.read_parquet("grad.parquet"),
        pd.DataFrame(sg.cross_entropy_grad(X, LABELS).grad, index=index, columns=list("abcdefg")),
        rtol=1e-13,
    )


# Mistakes


@pytest.mark.parametrize(
    ("function", "options", "error", "message"),
    [
        (sg.cross_entropy, {}, TypeError, "cross_entropy needs labels: an array or a file"),
        (
            sg.cross_entropy,
            {"labels": LABELS[1:]},
            ValueError,
            r"labels must have shape \(40,\), as x.npy has it; got \(39,\)",
        ),
        (sg.cross_entropy, {"labels": "short.npy"}, ValueError, r"short.npy: labels must have shape \(40,\)"),
        (sg.cross_entropy, {"labels": "missing.npy"}, FileNotFoundError, "missing.npy"),
        (sg.cross_entropy, {"labels": "labels.txt"}, ValueError, "labels.txt: the suffix must be"),
        (
            sg.cross_entropy,
            {"labels": "half.csv"},
            ValueError,
            r"half.csv: labels must be integers; labels\[0\] is 0.5",
        ),
        (
            sg.cross_entropy,
            {"labels": ["a"] * 40},
            TypeError,
            "labels must be an array of numbers or the path of a file",
        ),
        (sg.soft_cross_entropy, {"targets": TARGETS[:, :6]}, ValueError, r"targets must have shape \(40, 7\)"),
        (
            sg.softmax,
            {"where": "half.csv"},
            ValueError,
            r"half.csv: where must be 0 or 1, or of dtype bool; where\[0, 0\] is 0.5",
        ),
        (sg.softmax, {"temperature": WEIGHT[:3]}, ValueError, r"temperature must have shape \(40,\)"),
        (sg.softmax, {"nonsense": 1}, TypeError, "nonsense"),
    ],
)
def test_mistakes(function, options, error, message):
    np.save("short.npy", LABELS[:-1])
    Path("half.csv").write_text("0.5\n" * 40)
    before = sorted(os.listdir())
    with pytest.raises(error, match=message):
        sg.apply_blocks(function, "x.npy", "y.npy", **options)
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(
    ("targets", "message"),
    [(["y.npy"], "returns 2 results"), ("y.npy", "returns 2 results"), (["y.npy"] * 2, "different paths")],
)
def test_targets_that_do_not_fit(targets, message):
    with pytest.raises(ValueError, match=message):
        sg.apply_blocks(sg.cross_entropy_grad, "x.npy", targets, labels=LABELS)
    with pytest.raises(ValueError, match="returns one result"):
        sg.apply_blocks(sg.softmax, "x.npy", ("y.npy", "z.npy"))
    assert os.listdir() == ["x.npy"]


def test_a_label_out_of_range_is_located(sizes):
    labels = LABELS.copy()
    labels[33] = 17
    np.save("labels.npy", labels)
    message = r"^labels\.npy: labels must lie in \[0, 7\); labels\[33\] is 17$"
    with pytest.raises((IndexError, ValueError), match=message):
        sg.apply_blocks(sg.cross_entropy, "x.npy", "y.npy", labels="labels.npy")
    assert sorted(os.listdir()) == ["labels.npy", "x.npy"]


def test_operands_are_part_of_what_is_resumed(monkeypatch):
    monkeypatch.setattr(blocks, "BYTES", 8 * 7 * 4)
    np.save("labels.npy", LABELS)

    def stop(done, total):
        if done > 0.6 * total:
            raise KeyboardInterrupt

    def run(**options):
        sg.apply_blocks(sg.cross_entropy, "x.npy", "y.zarr", **({"labels": "labels.npy"} | options))

    for changed, resumed in ((np.where(np.arange(40) == 2, (LABELS + 1) % 7, LABELS), False), (LABELS, True)):
        with pytest.raises(KeyboardInterrupt):
            run(progress=stop)
        if resumed:
            run(labels=changed, resume=True)
            assert_close(np.asarray(zarr.open_array("y.zarr")[...]), sg.cross_entropy(X, LABELS))
        else:
            with pytest.raises(ValueError, match="was begun with another source or labels: entries"):
                run(labels=changed, resume=True)
