"""A row has the same bits in any batch and with any number of workers (docs/edges.md)."""

import numpy as np
import pytest

import softgrad as sg

from ..maps import FLOATS, MAPS, assert_same, directions, every_float, every_map, lengths, logits, maps_with

pytestmark = pytest.mark.usefixtures("level")


@every_map
@every_float
def test_a_row_has_the_same_bits_in_any_batch(f, dtype):
    for n in lengths(f):
        x = logits((19, n), dtype)
        g = directions(x)
        whole = f(x, g)
        for row in (0, 7, 18):
            assert_same(whole[row], f(x[row], g[row]))
            assert_same(whole[row], f(x[row : row + 1], g[row : row + 1])[0])
        assert_same(whole[3:11], f(x[3:11], g[3:11]))
        assert_same(whole, f(x, g))


@maps_with("where")
def test_a_masked_row_has_the_same_bits_in_any_batch(f):
    for n in lengths(f):
        x = logits((7, n), np.dtype(np.float32))
        g = directions(x)
        read = np.random.default_rng(n).random((7, n)) < 0.7
        whole = f(x, g, where=read)
        for row in range(7):
            assert_same(whole[row], f(x[row], g[row], where=read[row]))


@maps_with("temperature")
@every_float
def test_a_tempered_row_has_the_same_bits_in_any_batch(f, dtype):
    """T = 1 is no temperature to a row of its own, and 1e-150 is none that vectors take."""
    temperatures = np.array([1.0, 0.7, 2.0, 1.0, 3.3, 1.0, 0.1, 1.0, 1.0, 1e-150, 5.0])
    for n in lengths(f)[::2]:
        x = logits((11, n), dtype)
        g = directions(x)
        for options in ({}, {"where": np.random.default_rng(n).random((11, n)) < 0.7}):
            whole = f(x, g, temperature=temperatures, **options)
            for row, T in enumerate(temperatures):
                own = {name: mask[row] for name, mask in options.items()}
                assert_same(whole[row], f(x[row], g[row], temperature=T, **own))
            some = {name: mask[:8] for name, mask in options.items()}
            assert_same(whole[:8], f(x[:8], g[:8], temperature=temperatures[:8], **some))


@pytest.mark.parametrize("dtype", FLOATS[2:4], ids=lambda d: d.name)
@pytest.mark.parametrize("f", MAPS[:3], ids=lambda f: f.name)
@pytest.mark.parametrize("shape", [(7, 1000), (1, 5000), (5000,), (100, 3), (2, 3, 257)], ids=str)
def test_any_number_of_workers_gives_the_same_bits(f, dtype, shape):
    x = logits(shape, dtype)
    mask = np.random.default_rng(1).random(shape) < 0.8
    for options in ({}, {"where": mask}, {"axis": 0}, {"axis": None}):
        expected = f(x, workers=1, **options)
        assert_same(f(x, **options), expected)
        for workers in (2, 3, 8, -1):
            assert_same(f(x, workers=workers, **options), expected)


def test_large_arrays_are_split_without_changing_bits():
    x = np.random.default_rng(0).normal(size=(40, 2**14 + 3)).astype(np.float32)
    for function in (sg.softmax, sg.log_softmax, sg.logsumexp):
        automatic = function(x)
        assert_same(automatic, function(x, workers=1))
        assert_same(automatic[17], function(x[17]))
