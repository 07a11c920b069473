"""evaluate: scikit-learn's numbers, exact where rows are saturated, the same for any split; mistakes by their place."""

import itertools
import json
import pickle
import re

import dask.array as da
import ml_dtypes
import mpmath
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from sklearn import metrics
from sklearn.calibration import calibration_curve

import softgrad as sg
from softgrad.calibration import (
    expected_calibration_error,
    reliability_curve,
    smooth_calibration_error,
)
from softgrad.calibration.reliability import Cells

MEANS = (
    "accuracy",
    "nll",
    "brier",
    "entropy",
    "confidence",
    "perplexity",
    "bits",
    "constant_nll",
    "ece",
    "debiased_ece",
)


def problem(rows=700, n=12, seed=0, lead=2.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n, rows)
    return rng.normal(size=(rows, n)) + lead * np.eye(n)[labels] * rng.random((rows, 1)), labels


def near(a, b, ulps=2):
    """Whether two numbers are equal to a few ulp."""
    return abs(a - b) <= ulps * np.spacing(max(abs(a), abs(b)))


def same(a, b, ulps=4):
    """Whether two evaluations have the same counts and, to a few ulp, the same means."""
    assert a.count == b.count
    np.testing.assert_array_equal(a.bins.count, b.bins.count)
    for name in MEANS:
        if name != "debiased_ece":  # a difference of squares
            assert near(getattr(a, name), getattr(b, name), ulps), name
    for k, share in a.top_k_accuracy.items():
        assert near(share, b.top_k_accuracy[k], ulps), k
    for name in ("quantile_ece", "smooth_ece", "debiased_ece"):
        assert getattr(a, name) == pytest.approx(getattr(b, name), rel=1e-12), name


@pytest.mark.parametrize("weighted", [False, True])
def test_scikit_learns_numbers(level, weighted):
    logits, labels = problem()
    weight = np.random.default_rng(1).random(len(labels)) if weighted else None
    found = sg.evaluate(logits, labels, sample_weight=weight)
    p = sg.softmax(logits)
    correct, confidence = p.argmax(1) == labels, p.max(1)
    expected = {
        "nll": metrics.log_loss(labels, p, sample_weight=weight),
        "brier": metrics.brier_score_loss(labels, p, sample_weight=weight, scale_by_half=False),
        "accuracy": metrics.accuracy_score(labels, p.argmax(1), sample_weight=weight),
        "entropy": np.average(-(p * np.log(p)).sum(1), weights=weight),
        "confidence": np.average(confidence, weights=weight),
        "ece": expected_calibration_error(confidence, correct, sample_weight=weight),
    }
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-12), name
    for k, share in found.top_k_accuracy.items():
        assert share == pytest.approx(metrics.top_k_accuracy_score(labels, p, k=k, sample_weight=weight), abs=1e-12)
    if not weighted:
        accuracy, mean = calibration_curve(correct, confidence, n_bins=15)
        used = found.bins.count > 0
        np.testing.assert_allclose(found.bins.accuracy[used], accuracy, atol=1e-12)
        np.testing.assert_allclose(found.bins.confidence[used], mean, atol=1e-12)
        frequency = np.bincount(labels) / len(labels)
        assert found.constant_nll == pytest.approx(metrics.log_loss(labels, np.tile(frequency, (len(labels), 1))))


def test_saturated_rows_have_their_small_losses(level):
    logits, labels = np.array([[0.0, 40.0, -3.0], [41.0, 0.0, 1.0], [0.0, 0.0, 90.0]]), np.array([1, 0, 2])
    found = sg.evaluate(logits, labels)
    with mpmath.workprec(200):
        losses, briers, entropies = [], [], []
        for row, y in zip(logits.tolist(), labels.tolist(), strict=True):
            e = [mpmath.exp(v) for v in row]
            p = [v / mpmath.fsum(e) for v in e]
            losses.append(-mpmath.log(p[y]))
            briers.append(mpmath.fsum((q - (j == y)) ** 2 for j, q in enumerate(p)))
            entropies.append(-mpmath.fsum(q * mpmath.log(q) for q in p))
        for name, exact in (("nll", losses), ("brier", briers), ("entropy", entropies)):
            mean = float(mpmath.fsum(exact) / 3)
            assert getattr(found, name) == pytest.approx(mean, rel=1e-14), name
    assert found.accuracy == 1


def test_a_million_equal_losses_have_their_mean_exactly():
    found = sg.evaluate(np.tile([[0.0, -0.1, -3.0]], (300_000, 1)), np.zeros(300_000, int))
    one = sg.evaluate([[0.0, -0.1, -3.0]], [0])
    for name in ("nll", "brier", "entropy", "confidence", "ece"):
        assert near(getattr(found, name), getattr(one, name), 1), name


@pytest.mark.parametrize("weighted", [False, True])
def test_any_split_gives_the_same(weighted, tmp_path):
    logits, labels = problem(900, 7)
    weight = 10.0 ** np.random.default_rng(2).normal(size=900) if weighted else None
    whole = sg.evaluate(logits, labels, sample_weight=weight)

    def part(rows):
        return sg.evaluate(logits[rows], labels[rows], sample_weight=None if weight is None else weight[rows])

    for step in (9, 90, 401):
        same(sum(part(slice(i, i + step)) for i in range(0, 900, step)), whole)
    backwards = [part(slice(i, i + 100)) for i in range(800, -1, -100)]
    same(sum(backwards[1:], backwards[0]), whole)
    same(
        pickle.loads(pickle.dumps(part(slice(0, 5)))).update(
            logits[5:], labels[5:], sample_weight=None if weight is None else weight[5:]
        ),
        whole,
    )
    for chunk in (50, 333, 900):
        lazy = da.from_array(logits, chunks=(chunk, 7))
        same(sg.evaluate(lazy, labels, sample_weight=weight), whole)
    np.save(tmp_path / "logits.npy", logits)
    np.save(tmp_path / "labels.npy", labels)
    if weight is not None:
        np.save(tmp_path / "weight.npy", weight)
        weight = tmp_path / "weight.npy"
    same(sg.evaluate(tmp_path / "logits.npy", tmp_path / "labels.npy", sample_weight=weight), whole)


def test_threads_change_no_bit():
    logits, labels = problem(40_000, 60)
    one, two = (sg.evaluate(logits, labels, workers=workers) for workers in (1, 2))
    assert one == two
    assert one != sg.evaluate(logits[1:], labels[1:])


@pytest.mark.parametrize("n", [3, 130, 4500])
def test_a_row_has_the_same_bits_in_any_batch(n):
    logits, labels = problem(9, n, lead=6.0)
    for dtype in (np.float32, np.float64):
        x = logits.astype(dtype)
        alone = [sg.evaluate(x[i], labels[i]) for i in range(9)]
        for i in range(9):
            batch = np.concatenate([x[i : i + 1], x[::-1]])[::-1]
            beside = sg.evaluate(batch, [-1] * 9 + [labels[i]], ignore_index=-1)
            assert [getattr(alone[i], name) for name in ("nll", "brier", "entropy")] == [
                getattr(beside, name) for name in ("nll", "brier", "entropy")
            ], (dtype, i)
        total = sum(alone)
        for name in ("nll", "brier", "entropy", "confidence"):
            assert near(getattr(total, name), getattr(sg.evaluate(x, labels), name)), (dtype, name)


def test_many_blocks_are_merged_in_files(tmp_path):
    logits, labels = problem(90_000, 60)
    np.save(tmp_path / "logits.npy", logits)  # six blocks of 8 MiB
    seen = []
    found = sg.evaluate(tmp_path / "logits.npy", labels, progress=lambda done, total: seen.append((done, total)))
    same(found, sg.evaluate(logits, labels))
    assert len(seen) > 4
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".parquet", ".safetensors", ".zarr"])
def test_files_of_every_format(suffix, tmp_path):
    logits, labels = problem(60, 4)
    np.save(tmp_path / "x.npy", logits)
    for name in ("logits", "copy"):
        sg.apply_blocks(_same, tmp_path / "x.npy", tmp_path / f"{name}{suffix}")
    table = tmp_path / "labels.csv"
    table.write_text("label\n" + "\n".join(map(str, labels)), encoding="utf-8")
    same(sg.evaluate(tmp_path / f"logits{suffix}", table), sg.evaluate(logits, labels))


def test_shards_are_one_file(tmp_path):
    logits, labels = problem(90, 4)
    np.save(tmp_path / "labels.npy", labels)
    (tmp_path / "bytes.csv").write_text("n\n" + "3\n" * 90, encoding="utf-8")
    shards = [tmp_path / f"{i}.npy" for i in range(3)]
    for shard, part in zip(shards, np.split(logits, 3), strict=True):
        np.save(shard, part)
    found = sg.evaluate(shards, tmp_path / "labels.npy", n_bytes=tmp_path / "bytes.csv")
    same(found, sg.evaluate(logits, labels))
    assert found.bits_per_byte == pytest.approx(found.bits / 3, rel=1e-14)
    assert sg.fit_temperature(shards, labels) == pytest.approx(sg.fit_temperature(logits, labels), rel=1e-14)
    same(sg.evaluate(logits, tmp_path / "labels.npy"), found)  # an array, and labels from a file


def _same(block, axis):
    return block.copy()


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.longdouble])
def test_sums_are_of_float64_for_every_dtype(dtype, level):
    logits, labels = problem(12_000, 10)
    narrow = logits.astype(dtype)
    found, expected = sg.evaluate(narrow, labels), sg.evaluate(narrow.astype(np.float64), labels)
    assert found.count == expected.count
    for name in ("nll", "brier", "entropy", "confidence"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=2e-7), name
    assert found.accuracy == expected.accuracy


def test_options_of_rows():
    logits, labels = problem(200, 6)
    reference = sg.evaluate(logits[labels != 3], labels[labels != 3])
    same(sg.evaluate(logits, labels, ignore_index=3), reference)
    same(sg.evaluate(logits, np.where(labels == 3, -100, labels), ignore_index=-100), reference)
    same(sg.evaluate(logits * 2, labels), sg.evaluate(logits, labels, temperature=0.5))
    per_row = np.linspace(0.5, 3, 200)
    same(sg.evaluate(logits / per_row[:, None], labels), sg.evaluate(logits, labels, temperature=per_row))
    cold = sg.evaluate([[1.0, 3.0, 3.0], [5.0, 0.0, 0.0]], [1, 0], temperature=0)
    assert (cold.nll, cold.confidence) == (np.log(2) / 2, 0.75)
    wide = np.concatenate([logits, np.full((200, 2), np.nan)], axis=1)
    valid = np.arange(8) < 6
    same(sg.evaluate(wide, labels, where=valid[None]), sg.evaluate(logits, labels))
    same(sg.evaluate(np.ma.MaskedArray(wide, np.broadcast_to(~valid, wide.shape)), labels), sg.evaluate(logits, labels))
    hidden = np.ones(logits.shape, bool)
    hidden[5] = False
    assert sg.evaluate(logits, labels, where=hidden).count == 199
    boxes = logits.reshape(4, 50, 6)
    for axis, moved in ((-1, boxes), (1, np.moveaxis(boxes, -1, 1)), (0, np.moveaxis(boxes, -1, 0))):
        same(sg.evaluate(moved, labels.reshape(4, 50), axis=axis), sg.evaluate(logits, labels))
    assert sg.evaluate(np.asfortranarray(logits), labels) == sg.evaluate(logits, labels)
    assert sg.evaluate(logits[0], labels[0]).count == 1


def test_bytes():
    logits, labels = problem(100, 5)
    found = sg.evaluate(logits, labels, n_bytes=450)
    assert found.bits_per_byte == pytest.approx(found.bits * 100 / 450, rel=1e-15)
    lengths = np.arange(100) % 7 + 1
    each = sg.evaluate(logits, labels, n_bytes=lengths, ignore_index=0)
    kept = labels != 0
    assert each.bits_per_byte == pytest.approx(each.bits * kept.sum() / lengths[kept].sum(), rel=1e-14)
    assert sg.evaluate(logits, labels).bits_per_byte is None


def test_libraries():
    logits, labels = problem(50, 4)
    expected = sg.evaluate(logits, labels)
    same(sg.evaluate(torch.tensor(logits, requires_grad=True), torch.tensor(labels)), expected)
    same(sg.evaluate(pd.DataFrame(logits), pd.Series(labels)), expected)
    same(sg.evaluate(xr.DataArray(logits), xr.DataArray(labels)), expected)
    same(sg.evaluate(logits.tolist(), labels.tolist()), expected)
    half = torch.tensor(logits).bfloat16()
    same(sg.evaluate(half, labels), sg.evaluate(half.float().numpy(), labels))
    lazy = da.from_array(logits.reshape(2, 25, 4), chunks=(1, 5, 4))
    same(sg.evaluate(lazy, da.from_array(labels.reshape(2, 25), chunks=(2, 7))), expected)


def test_of_equal_logits_the_first_counts_as_larger():
    logits = np.array([[1.0, 2.0, 2.0, 0.0]] * 4 + [[0.0] * 4])
    found = sg.evaluate(logits, [1, 2, 0, 3, 2], top_k=(1, 2, 3))
    assert found.top_k_accuracy == {1: 0.2, 2: 0.4, 3: 0.8}
    assert found.accuracy == metrics.accuracy_score([1, 2, 0, 3, 2], logits.argmax(1))


def test_a_label_without_probability_is_an_infinite_loss():
    found = sg.evaluate([[0.0, -np.inf], [1.0, 0.0]], [1, 0])
    assert (found.nll, found.perplexity, found.accuracy) == (np.inf, np.inf, 0.5)
    assert (found + found).nll == np.inf
    assert found.brier == pytest.approx((2 + 2 * (1 - sg.softmax([1.0, 0.0])[0]) ** 2) / 2)


def test_rows_without_weight_are_not_read():
    logits, labels = problem(50, 4)
    logits[3], logits[7, labels[7]] = np.nan, -np.inf
    weight = np.ones(50)
    weight[[3, 7]] = 0
    kept = weight > 0
    same(sg.evaluate(logits, labels, sample_weight=weight), sg.evaluate(logits[kept], labels[kept]))


def test_logits_near_the_largest_number(level):
    for dtype in (np.float32, np.float64):
        huge = np.finfo(dtype).max
        found = sg.evaluate(np.array([[huge, -huge, 0], [1, 2, 3]], dtype), [0, 2])
        expected = sg.evaluate(np.array([[1000, -1000, 0], [1, 2, 3]], dtype), [0, 2])
        assert (found.nll, found.entropy, found.brier) == (expected.nll, expected.entropy, expected.brier)
    assert sg.evaluate(np.float32([[3e38, -3e38]]), [1]).nll == 2 * float(np.float32(3e38))


def test_nothing_to_count():
    for found in (
        sg.evaluate(np.zeros((0, 3)), []),
        sg.evaluate(np.zeros((0, 0)), []),
        sg.evaluate(np.zeros((2, 3)), [-1, -1], ignore_index=-1),
    ):
        assert found.count == 0
        assert np.isnan(
            [found.nll, found.ece, found.smooth_ece, *found.interval("accuracy"), *found.interval("nll")]
        ).all()
        assert "rows" in str(found)


def test_classes():
    logits, labels = problem(400, 5)
    weight = np.random.default_rng(3).random(400)
    found = sg.evaluate(logits, labels, per_class=True, sample_weight=weight)
    p = sg.softmax(logits)
    precision, recall, _, _ = metrics.precision_recall_fscore_support(
        labels, p.argmax(1), sample_weight=weight, labels=range(5)
    )
    np.testing.assert_allclose(found.per_class.precision, precision, atol=1e-12)
    np.testing.assert_allclose(found.per_class.recall, recall, atol=1e-12)
    np.testing.assert_array_equal(found.per_class.support, np.bincount(labels))
    for j in range(5):
        rows = labels == j
        loss = sg.cross_entropy(logits[rows], labels[rows])
        assert found.per_class.nll[j] == pytest.approx(np.average(loss, weights=weight[rows]), rel=1e-12)
        error = expected_calibration_error(p[:, j], labels == j, sample_weight=weight)
        assert found.per_class.ece[j] == pytest.approx(error, rel=1e-12)
    assert found.classwise_ece == pytest.approx(found.per_class.ece.mean())
    halves = [
        sg.evaluate(logits[r], labels[r], per_class=True, sample_weight=weight[r])
        for r in (slice(150), slice(150, 400))
    ]
    np.testing.assert_allclose((halves[0] + halves[1]).per_class.ece, found.per_class.ece, rtol=1e-14)
    assert sg.evaluate(logits, labels).per_class is None


def test_errors_of_calibration_by_their_definitions():
    rng = np.random.default_rng(4)
    confidence = rng.random(500) ** 0.3
    correct = rng.random(500) < confidence**1.5
    edges = np.linspace(0, 1, 11)
    gaps, shares, debiased = [], [], []
    for low, high in itertools.pairwise(edges):
        rows = (confidence > low) & (confidence <= high)
        if rows.any():
            accuracy = correct[rows].mean()
            gaps.append(abs(accuracy - confidence[rows].mean()))
            shares.append(rows.mean())
            debiased.append(gaps[-1] ** 2 - accuracy * (1 - accuracy) / max(rows.sum() - 1, 1))
    shares, gaps = np.array(shares), np.array(gaps)
    found = {norm: expected_calibration_error(confidence, correct, bins=10, norm=norm) for norm in ("l1", "l2", "max")}
    assert found["l1"] == pytest.approx(shares @ gaps, abs=1e-12)
    assert found["l2"] == pytest.approx(np.sqrt(shares @ gaps**2), abs=1e-12)
    assert found["max"] == pytest.approx(gaps.max(), abs=1e-12)
    unbiased = expected_calibration_error(confidence, correct, bins=10, norm="l2", debiased=True)
    assert unbiased == pytest.approx(np.sqrt(max(0, shares @ debiased)), abs=1e-12)
    for strategy in ("uniform", "quantile"):
        curve = reliability_curve(confidence, correct, bins=8, strategy=strategy)
        accuracy, mean = calibration_curve(correct, confidence, n_bins=8, strategy=strategy)
        np.testing.assert_allclose(curve.accuracy[curve.count > 0], accuracy, atol=1e-12)
        np.testing.assert_allclose(curve.confidence[curve.count > 0], mean, atol=1e-12)


def test_a_debiased_error_of_calibrated_predictions_is_near_zero():
    rng = np.random.default_rng(5)
    confidence = rng.random(20_000)
    errors = []
    for _ in range(20):
        correct = rng.random(20_000) < confidence
        curve = reliability_curve(confidence, correct, bins=50)
        share = curve.weight / curve.weight.sum()
        errors.append((share @ (curve.accuracy - curve.confidence) ** 2, curve.error("l2", debiased=True) ** 2))
    biased, debiased = np.mean(errors, axis=0)
    assert debiased < biased / 3


def test_smooth_error_by_its_definition():
    rng = np.random.default_rng(6)
    confidence = rng.random(300) ** 0.5
    correct = rng.random(300) < confidence**2
    t = (np.arange(2000) + 0.5) / 2000

    def smoothed(width):
        kernel = np.zeros((len(t), len(confidence)))
        for k in range(-2, 3):  # images of the Gaussian in the mirrors at 0 and 1
            for place in (2 * k + confidence, 2 * k - confidence):
                kernel += np.exp(-(((t[:, None] - place) / width) ** 2) / 2) / (width * np.sqrt(2 * np.pi))
        return np.abs(kernel @ (correct - confidence)).mean() / len(confidence)

    found = smooth_calibration_error(confidence, correct)
    assert smoothed(found) == pytest.approx(found, rel=1e-4)
    assert found > 0.05
    assert np.isnan(smooth_calibration_error([], []))


def test_smooth_and_quantile_errors_from_cells_are_close_to_those_of_all_predictions():
    logits, labels = problem(5000, 10, lead=9.0)
    found = sg.evaluate(logits, labels)
    p = sg.softmax(logits)
    confidence, correct = p.max(1), p.argmax(1) == labels
    assert found.smooth_ece == pytest.approx(smooth_calibration_error(confidence, correct), rel=1e-3)
    assert found.quantile_ece == pytest.approx(
        expected_calibration_error(confidence, correct, strategy="quantile"), abs=2e-3
    )
    counts = found.quantile_bins.count
    assert counts.sum() == 5000
    assert counts.max() < 5000 / 15 * 1.2
    assert (found.quantile_bins.lower[1:] <= found.quantile_bins.confidence[1:]).all()
    assert (found.quantile_bins.confidence <= found.quantile_bins.upper + 1 / 256).all()


@pytest.mark.parametrize("bins", [1, 2, 7, 10, 16, 64, 1000])
def test_confidences_at_the_bounds_of_bins(bins):
    edges = np.linspace(0, 1, bins + 1)[1:]
    confidence = np.concatenate([edges, np.nextafter(edges, 0), np.nextafter(edges[:-1], 1)])
    confidence = confidence[confidence >= 0.5]
    logits = np.log(np.stack([confidence, 1 - confidence], axis=1).clip(1e-300))
    found = sg.evaluate(logits, np.zeros(len(logits), int), bins=bins)
    expected = np.bincount(
        np.searchsorted(edges[:-1], np.asarray(1 / (1 + np.exp(-np.abs(logits[:, 0] - logits[:, 1]))))), minlength=bins
    )
    assert np.abs(np.cumsum(found.bins.count - expected)).max() <= 3  # rounding of the logits
    assert found.bins.count.sum() == len(confidence)
    cells = Cells(bins)
    every = np.concatenate(
        [edges, np.nextafter(edges, 0), np.nextafter(edges[:-1], 1), np.random.default_rng(0).random(500)]
    )
    np.testing.assert_array_equal(cells.uniform[cells.places(every)], np.searchsorted(edges[:-1], every))


def test_intervals():
    logits, labels = problem(400, 5)
    found = sg.evaluate(logits, labels)
    z = 1.959963984540054
    for name, mean in (("accuracy", found.accuracy), ("top_5", 1.0)):
        for end in found.interval(name):
            assert abs(mean - end) == pytest.approx(z * np.sqrt(end * (1 - end) / 400), rel=1e-9, abs=1e-8)
    losses = sg.cross_entropy(logits, labels)
    low, high = found.interval("nll")
    assert (high - low) / 2 == pytest.approx(z * losses.std() / 20, rel=1e-9)
    assert found.interval("perplexity") == pytest.approx((np.exp(low), np.exp(high)))
    assert found.interval("bits") == pytest.approx((low / np.log(2), high / np.log(2)))
    narrow = found.interval("nll", 0.5)
    assert low < narrow[0] < narrow[1] < high
    doubled = sg.evaluate(logits, labels, sample_weight=np.full(400, 3.0))  # equal weights are none
    assert doubled.interval("nll") == pytest.approx((low, high), rel=1e-9)
    with pytest.raises(ValueError, match="name must be one of nll, brier"):
        found.interval("ece")
    with pytest.raises(ValueError, match="level must be between 0 and 1; got 95"):
        found.interval("nll", 95)


def test_prints_in_80_columns():
    logits, labels = problem(3000, 40)
    found = sg.evaluate(logits * 1e3, labels, per_class=True, n_bytes=12_345_678, top_k=(1, 2, 5, 10, 20))
    for line in str(found).splitlines():
        assert len(line) <= 80, line
    assert "and 10 more" in str(found)
    html = found._repr_html_()
    assert html.count("<table>") == html.count("</table>") == 2
    assert json.loads(json.dumps(found.to_dict()))["top_k_accuracy"]["20"] == found.top_k_accuracy[20]
    assert "per_class" in found.to_dict()
    assert "per_class" not in sg.evaluate(logits, labels).to_dict()


def test_the_diagram_has_counts_axes_and_a_legend():
    logits, labels = problem(3000, 4)
    found = sg.evaluate(logits, labels)
    figure = found.plot(label="mine")
    above, below = figure.axes
    assert (above.get_ylabel(), below.get_xlabel(), below.get_ylabel()) == ("accuracy", "confidence", "rows")
    assert [text.get_text() for text in above.get_legend().get_texts()] == [
        f"mine: calibration error {found.ece:.3f}",
        "perfect",
    ]
    assert sum(bar.get_height() for bar in below.patches) == 3000
    assert found.plot((above, below), strategy="quantile") is figure
    with pytest.raises(ValueError, match="strategy must be 'uniform' or 'quantile'; got 'even'"):
        found.plot(strategy="even")


def test_mistakes_name_the_place(tmp_path):
    logits, labels = problem(3000, 5)
    wrong = labels.copy()
    wrong[2017] = 5
    with pytest.raises(IndexError, match=re.escape("labels must lie in [0, 5); labels[2017] is 5")):
        sg.evaluate(logits, wrong)
    logits_file, labels_file = tmp_path / "x.npy", tmp_path / "y.npy"
    np.save(logits_file, np.tile(logits, (200, 1)))
    np.save(labels_file, np.tile(wrong, 200))
    with pytest.raises(IndexError, match=re.escape(f"{labels_file}: labels must lie in [0, 5); labels[2017] is 5")):
        sg.evaluate(logits_file, labels_file)
    bad = np.tile(labels, 200)
    bad[500_017] = 7
    np.save(labels_file, bad)
    with pytest.raises(IndexError, match=re.escape(f"{labels_file}: labels must lie in [0, 5); labels[500017] is 7")):
        sg.evaluate(logits_file, labels_file)
    with pytest.raises(IndexError, match=re.escape("labels[500017] is 7")):
        sg.evaluate(da.from_array(np.tile(logits, (200, 1)), chunks=(70_000, 5)), bad)
    np.save(labels_file, labels)
    with pytest.raises(ValueError, match=r"y.npy: labels must have shape \(600000,\)"):
        sg.evaluate(logits_file, labels_file)
    has_nan = np.tile(logits, (200, 1))
    has_nan[400_003, 2] = np.nan
    np.save(logits_file, has_nan)
    message = "the logits must not hold NaN or +inf, nor −inf alone"
    with pytest.raises(ValueError, match=re.escape(f"{logits_file}, slice [400003]: {message}")):
        sg.evaluate(logits_file, np.tile(labels, 200))
    with pytest.raises(ValueError, match=re.escape(f"logits[1, 0]: {message}")):
        sg.evaluate(np.array([[[1.0, 2.0]], [[np.inf, 2.0]]]), [[0], [0]])
    with pytest.raises(ValueError, match=re.escape("logits[2]: ")):
        sg.evaluate([[1.0, 0], [1, 0], [np.nan, 0]], [-1, 1, 1], ignore_index=-1)
    with pytest.raises(
        ValueError, match=re.escape("sample_weight must be finite and at least 0; sample_weight[1] is -1.0")
    ):
        sg.evaluate(logits[:2], labels[:2], sample_weight=[1.0, -1.0])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"bins": 0}, ValueError, "bins must be an integer of at least 1; got 0"),
        ({"top_k": (0,)}, ValueError, "top_k must hold integers of at least 1"),
        ({"top_k": 3}, ValueError, "top_k must be at most the number of classes, 2; got 3"),
        ({"top_k": (1, 3)}, ValueError, "top_k must be at most the number of classes, 2; got"),
        ({"temperature": -1}, ValueError, "temperature must be at least 0; got -1"),
        ({"temperature": None}, TypeError, "temperature must be a number or an array of numbers; got None"),
        ({"n_bytes": 0}, ValueError, "n_bytes must be positive and finite; got 0"),
        ({"tensor": "x"}, TypeError, "tensor is for files"),
        ({"axis": (0, 1)}, TypeError, "axis must be one integer"),
        ({"sample_weight": [1.0, 2.0]}, ValueError, r"sample_weight must have shape \(3,\)"),
    ],
)
def test_mistakes_in_options(options, error, message):
    with pytest.raises(error, match=message):
        sg.evaluate(np.zeros((3, 2)), [0, 1, 0], **options)


def test_mistakes_in_arrays():
    with pytest.raises(TypeError, match="labels must be integers; got dtype float64"):
        sg.evaluate(np.zeros((1, 2)), [0.0])
    with pytest.raises(TypeError, match="real numbers"):
        sg.evaluate(np.zeros((1, 2), complex), [0])
    for axis in (0, 1):
        for function in (sg.evaluate, sg.fit_temperature):
            message = f"logits must have one chunk along the classes; got 2: call logits.rechunk({{{axis}: -1}}) before"
            with pytest.raises(ValueError, match=re.escape(message)):
                function(da.zeros((4, 4), chunks=2), [0] * 4, axis=axis)
    with pytest.raises(ValueError, match=r"labels must have shape \(4,\), one per slice of the logits; got \(3,\)"):
        sg.evaluate(da.zeros((4, 4), chunks=(2, 4)), [0] * 3)
    a = sg.evaluate([[1.0, 0.0]], [0])
    for other, name in (
        (sg.evaluate([[1.0, 0.0, 0.0]], [0]), "n_classes"),
        (sg.evaluate([[1.0, 0.0]], [0], bins=3), "bins"),
    ):
        with pytest.raises(ValueError, match=f"the same {name} can be merged"):
            _ = a + other
    with pytest.raises(TypeError):
        _ = a + 1.0
    with pytest.raises(TypeError, match="bins is that of the evaluation, 15; leave it out"):
        a.update([[1.0, 0.0]], [0], bins=15)
    with pytest.raises(TypeError, match="axes must be two, one for the diagram and one for the counts; got 3"):
        a.plot(3)


def test_a_temperature_of_zero_is_the_limit():
    logits, labels = [[2.0, 2.0, 1.0], [0.0, 3.0, 1.0]], [1, 1]
    found = sg.evaluate(logits, labels, temperature=0)
    assert (found.accuracy, found.confidence, found.brier) == (0.5, 0.75, 0.25)
    assert found.nll == found.entropy == pytest.approx(np.log(2) / 2, rel=1e-15)
    assert sg.evaluate(logits, [2, 1], temperature=0).nll == np.inf
    assert sg.evaluate(logits, labels).top_k_accuracy == {1: 0.5}
