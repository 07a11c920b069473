"""Draws from files: those of the array in memory, however the file is divided into blocks."""

from functools import partial

import numpy as np
import pytest

import softgrad as sg
from softgrad.files import blocks


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A file of 300 rows, read in blocks of some of them."""
    monkeypatch.setattr(blocks, "BYTES", 2**15)
    monkeypatch.setattr(blocks, "BYTES_READ", 2**16)
    x = np.random.default_rng(1).normal(size=(300, 100)).astype(np.float32)
    x[7] = np.nan
    np.save(tmp_path / "x.npy", x)
    return tmp_path / "x.npy", x, tmp_path / "drawn.npy"


@pytest.mark.parametrize("size", [None, 3])
@pytest.mark.parametrize("replace", [True, False])
def test_draws_are_those_of_the_array(source, size, replace):
    path, x, target = source
    sg.apply_blocks(partial(sg.sample, rng=5, temperature=0.5), path, target, size=size, replace=replace)
    expected = sg.sample(x, size, rng=5, temperature=0.5, replace=replace)
    np.testing.assert_array_equal(np.load(target), expected, strict=True)


def test_operands_generators_and_formats(source, tmp_path):
    path, x, target = source
    where = x > 0
    rng = np.random.default_rng(2)
    sg.apply_blocks(sg.sample, path, target, where=where, rng=rng)
    np.testing.assert_array_equal(np.load(target), sg.sample(x, rng=2, where=where))
    assert rng.random() == np.random.default_rng(2).random(301)[-1]
    for name in ("drawn.csv", "drawn.parquet"):
        contents = sg.apply_blocks(sg.sample, path, tmp_path / name, size=2, rng=1)
        assert (contents.final_shape, contents.dtype) == ((300, 2), np.int64)
    table = np.loadtxt(tmp_path / "drawn.csv", delimiter=",")
    np.testing.assert_array_equal(table, sg.sample(x, 2, rng=1))


@pytest.mark.parametrize("axis", [0, 1])
def test_any_axis(source, axis):
    path, x, target = source
    sg.apply_blocks(sg.sample, path, target, axis=axis, rng=3)
    np.testing.assert_array_equal(np.load(target), sg.sample(x, rng=3, axis=axis))
    sg.apply_blocks(partial(sg.gumbel_softmax, rng=3, hard=True), path, target, axis=axis, force=True)
    np.testing.assert_array_equal(np.load(target), sg.gumbel_softmax(x, rng=3, axis=axis, hard=True))


def test_masks_of_files(source):
    path, x, target = source
    sg.apply_blocks(sg.top_k_mask, path, target, k=3)
    np.testing.assert_array_equal(np.load(target), sg.top_k_mask(x, 3), strict=True)
    p = np.linspace(0, 1, 300)
    sg.apply_blocks(partial(sg.top_p_mask, temperature=0.5), path, target, p=p, force=True)
    np.testing.assert_array_equal(np.load(target), sg.top_p_mask(x, p, temperature=0.5), strict=True)


def test_mistakes(source):
    path, _, target = source
    with pytest.raises(ValueError, match="size is for slices along the last axis of a file; got axis 0"):
        sg.apply_blocks(sg.sample, path, target, axis=0, size=2)
    with pytest.raises(TypeError, match="rng must be a seed or a Generator of PCG64 or PCG64DXSM"):
        sg.apply_blocks(sg.sample, path, target, rng=np.random.Generator(np.random.MT19937(1)))
    assert not target.exists()
