"""evaluate compared with torchmetrics and netcal, where they are installed: the same numbers of the same data."""

import numpy as np
import pytest
import torch

import softgrad as sg

IN_FLOAT32 = 1e-6
"""What torchmetrics keeps in float32, whatever the logits are."""


def problem():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 12, 700)
    logits = rng.normal(size=(700, 12)) + 2 * np.eye(12)[labels] * rng.random((700, 1))
    return logits, labels


def test_torchmetrics():
    text = pytest.importorskip("torchmetrics.text")
    classification = pytest.importorskip("torchmetrics.classification")
    logits, labels = problem()
    labels[::9] = -100
    found = sg.evaluate(logits, labels, ignore_index=-100)
    x, y = torch.tensor(logits), torch.tensor(labels)
    perplexity = text.Perplexity(ignore_index=-100).set_dtype(torch.float64)
    assert float(perplexity(x[None], y[None])) == pytest.approx(found.perplexity, rel=1e-12)
    for k, share in found.top_k_accuracy.items():
        accuracy = classification.MulticlassAccuracy(12, top_k=k, average="micro", ignore_index=-100)
        assert float(accuracy(x, y)) == pytest.approx(share, abs=IN_FLOAT32)
    for norm in ("l1", "l2", "max"):
        error = classification.MulticlassCalibrationError(12, n_bins=15, norm=norm, ignore_index=-100)
        assert float(error(x.softmax(-1), y)) == pytest.approx(found.bins.error(norm), abs=IN_FLOAT32)


def test_torchmetrics_mean_over_classes_is_the_recall_per_class():
    classification = pytest.importorskip("torchmetrics.classification")
    logits, labels = problem()
    found = sg.evaluate(logits, labels, per_class=True)
    accuracy = classification.MulticlassAccuracy(12)(torch.tensor(logits), torch.tensor(labels))
    assert float(accuracy) == pytest.approx(found.per_class.recall.mean(), abs=IN_FLOAT32)


def test_netcal():
    metrics = pytest.importorskip("netcal.metrics")
    logits, labels = problem()
    found = sg.evaluate(logits, labels)
    p = sg.softmax(logits)
    assert metrics.ECE(15).measure(p, labels) == pytest.approx(found.ece, abs=1e-12)
    assert metrics.MCE(15).measure(p, labels) == pytest.approx(found.bins.error("max"), abs=1e-12)
