"""Masks and draws of arrays of other libraries: those of NumPy's, and no obstacle to a gradient."""

import dask
import dask.array as da
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import softgrad as sg

from ..maps import assert_close, logits
from .libraries import JAX, JAX_64, PANDAS, STRICT, TORCH, XARRAY

MASKS = {
    "top_k": lambda x, **options: sg.top_k_mask(x, 3, **options),
    "top_p": lambda x, **options: sg.top_p_mask(x, 0.7, **options),
    "min_p": lambda x, **options: sg.min_p_mask(x, 0.1, **options),
}
every_mask = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)


def rows(dtype):
    x = logits((7, 6), dtype)
    x[1, 2], x[2, 2], x[3], x[4, 1] = np.nan, np.inf, -np.inf, -np.inf
    return x


@pytest.mark.parametrize("library", [STRICT, TORCH, JAX, JAX_64, PANDAS, XARRAY], ids=lambda library: library.name)
def test_masks_and_draws_are_those_of_numpy(library):
    with library.context():
        for dtype in library.dtypes:
            x = rows(dtype)
            for mask in MASKS.values():
                for axis in (-1, 0):
                    got = library.back(mask(library.to(x), axis=axis))
                    np.testing.assert_array_equal(got, mask(x, axis=axis), strict=True)
            for options in ({}, {"temperature": 0.5}, {"replace": False}, {"axis": 0}):
                for size in (None, 3):
                    got = library.back(sg.sample(library.to(x), size, rng=1, **options))
                    np.testing.assert_array_equal(got, sg.sample(x, size, rng=1, **options), str(options))
            index = sg.sample(x, 3, rng=1, replace=False)
            for replace in (True, False):
                got = library.back(sg.sample_log_prob(library.to(x), index, replace=replace))
                assert_close(got, sg.sample_log_prob(x, index, replace=replace), ulp=16)
            got = library.back(sg.gumbel_softmax(library.to(x), rng=1, temperature=0.5))
            if library is not JAX:  # which has no float64 to add the noise in
                assert_close(got, sg.gumbel_softmax(x, rng=1, temperature=0.5))


def test_options_for_each_slice():
    x = logits((4, 6), np.dtype(np.float32))
    k, p = np.array([1, 2, 3, 9]), np.array([0.0, 0.3, 0.9, 1.0])
    for to in (torch.from_numpy, jnp.asarray, lambda a: da.from_array(a, chunks=2 if a.ndim == 1 else (2, 6))):
        for values in (to, lambda a: a):
            np.testing.assert_array_equal(sg.top_k_mask(to(x), values(k)), sg.top_k_mask(x, k))
            np.testing.assert_array_equal(sg.top_p_mask(to(x), p=values(p)), sg.top_p_mask(x, p))
    frame, series = pd.DataFrame(x, index=list("abcd")), pd.Series(k, index=list("abcd"))
    np.testing.assert_array_equal(sg.top_k_mask(frame, series), sg.top_k_mask(x, k))
    with pytest.raises(ValueError, match="k must have the index of x"):
        sg.top_k_mask(frame, series[::-1])


def test_dask_draws_the_same_in_any_chunks():
    x = logits((6, 7, 5), np.dtype(np.float64))
    for chunks in ((2, 3, 5), (6, 7, 5), (1, 1, 5), (4, 7, 5)):
        lazy = da.from_array(x, chunks=chunks)
        for options in ({}, {"replace": False}, {"temperature": 0.3}):
            got = sg.sample(lazy, 3, rng=0, **options)
            assert (got.shape, got.dtype) == ((6, 7, 3), np.int64)
            np.testing.assert_array_equal(got, sg.sample(x, 3, rng=0, **options))
        with dask.config.set({"array.chunk-size": 64}):  # which cuts the numbers along the draws, too
            np.testing.assert_array_equal(
                sg.sample(lazy, 5, rng=0, replace=False), sg.sample(x, 5, rng=0, replace=False)
            )
        rng = np.random.default_rng(4)
        np.testing.assert_array_equal(sg.sample(lazy, rng=rng), sg.sample(x, rng=4))
        assert rng.random() == np.random.default_rng(4).random(43)[-1]
        np.testing.assert_array_equal(sg.gumbel_softmax(lazy, rng=0), sg.gumbel_softmax(x, rng=0))
        across = da.from_array(np.moveaxis(x, -1, 0), chunks=(5, *chunks[:2]))
        np.testing.assert_array_equal(sg.sample(across, 2, rng=0, axis=0), sg.sample(x, 2, rng=0))
        relaxed = np.moveaxis(np.asarray(sg.gumbel_softmax(across, rng=0, axis=0)), 0, -1)
        np.testing.assert_array_equal(relaxed, sg.gumbel_softmax(x, rng=0))
        labelled = xr.DataArray(lazy, dims=list("abc"))
        assert isinstance(sg.sample(labelled, rng=0).data, da.Array)
        np.testing.assert_array_equal(sg.sample(labelled, rng=0, axis="c"), sg.sample(x, rng=0))
        index = sg.sample(x, 3, rng=0, replace=False)
        got = sg.sample_log_prob(lazy, da.from_array(index, chunks=2), replace=False)
        assert_close(np.asarray(got), sg.sample_log_prob(x, index, replace=False))
    cut = da.from_array(x, chunks=(6, 7, 2))
    for call in (lambda: sg.sample(cut, rng=0), lambda: sg.top_k_mask(cut, 2), lambda: sg.top_p_mask(cut, 0.5)):
        with pytest.raises(ValueError, match="must lie in one chunk"):
            call()
    np.testing.assert_array_equal(sg.min_p_mask(cut, 0.1), sg.min_p_mask(x, 0.1))
    with pytest.raises(TypeError, match="rng must be a seed or a Generator of PCG64"):
        sg.sample(lazy, rng=np.random.Generator(np.random.MT19937(0)))
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        sg.sample(lazy[lazy[:, 0, 0] > 0], rng=0)


def test_labels_stay():
    x = logits((3, 4), np.dtype(np.float64))
    frame = pd.DataFrame(x, index=list("abc"), columns=list("wxyz"))
    assert sg.top_k_mask(frame, 2).columns.equals(frame.columns)
    drawn = sg.sample(frame, rng=0)
    assert isinstance(drawn, pd.Series)
    assert drawn.index.equals(frame.index)
    assert sg.sample(frame, 2, rng=0).shape == (3, 2)
    np.testing.assert_array_equal(sg.sample(frame, rng=0, axis="index"), sg.sample(x, rng=0, axis=0))
    array = xr.DataArray(x, dims=("row", "word"))
    assert sg.sample(array, rng=0, axis="row").dims == ("word",)
    np.testing.assert_array_equal(sg.sample(array, rng=0, axis="row"), sg.sample(x, rng=0, axis=0))
    assert sg.gumbel_softmax(array, rng=0, axis="row").dims == array.dims


@pytest.mark.slow
@every_mask
def test_masks_of_what_is_differentiated_are_constants(mask):
    x = logits((3, 6), np.dtype(np.float64))
    p = sg.softmax(x, where=mask(x))
    expected = sg.softmax_vjp(p, x)

    def loss(x, g):
        return (sg.softmax(x, where=mask(x)) * g).sum()

    with JAX_64.context():
        for transform in (lambda f: f, jax.jit):
            assert_close(np.asarray(transform(jax.grad(loss))(jnp.asarray(x), jnp.asarray(x))), expected)
        batched = jax.vmap(mask)(jnp.asarray(x))
        np.testing.assert_array_equal(batched, mask(x))
    tensor = torch.from_numpy(x).requires_grad_()
    loss(tensor, torch.from_numpy(x)).backward()
    assert_close(tensor.grad.numpy(), expected)
    assert not mask(tensor).requires_grad
    plain = torch.from_numpy(x)
    assert_close(torch.func.grad(lambda t: loss(t, plain))(plain).numpy(), expected)
    np.testing.assert_array_equal(torch.func.vmap(mask)(plain), mask(x))


@pytest.mark.slow
def test_traced_draws():
    x = logits((3, 6), np.dtype(np.float32))
    for options in ({}, {"replace": False}, {"temperature": 0.5}):
        drawn = jax.jit(lambda x, options=options: sg.sample(x, 3, rng=1, **options))(jnp.asarray(x))
        np.testing.assert_array_equal(drawn, sg.sample(x, 3, rng=1, **options))
    for rng in (None, np.random.default_rng(0)):
        with pytest.raises(TypeError, match="rng must be a seed where logits are traced"):
            jax.jit(lambda x, rng=rng: sg.sample(x, rng=rng))(jnp.asarray(x))
    tensor = torch.from_numpy(x).requires_grad_()
    assert sg.sample(tensor, rng=1).tolist() == sg.sample(x, rng=1).tolist()


@pytest.mark.slow
def test_log_probabilities_of_draws_have_derivatives():
    x = logits((3, 6), np.dtype(np.float64))
    index = sg.sample(x, 4, rng=2, replace=False)
    for replace in (True, False):

        def log_prob(t, replace=replace):
            return sg.sample_log_prob(t, index, replace=replace, temperature=0.7)

        tensor = torch.from_numpy(x).requires_grad_()
        assert_close(log_prob(tensor).detach().numpy(), log_prob(x))
        assert torch.autograd.gradcheck(log_prob, (tensor,))
        assert torch.autograd.gradgradcheck(log_prob, (tensor,))
        log_prob(tensor).sum().backward()
        with JAX_64.context():
            for transform in (lambda f: f, jax.jit):
                grad = transform(jax.grad(lambda t: log_prob(t).sum()))(jnp.asarray(x))
                assert_close(np.asarray(grad), tensor.grad.numpy(), ulp=64)


def test_relaxed_draws_have_the_derivative_of_softmax():
    x = logits((3, 6), np.dtype(np.float64))
    y = sg.gumbel_softmax(x, rng=2, temperature=0.5)
    expected = sg.softmax_vjp(y, x) / 0.5
    for hard in (False, True):
        value = sg.gumbel_softmax(x, rng=2, temperature=0.5, hard=hard)
        tensor, g = torch.from_numpy(x).requires_grad_(), torch.from_numpy(x)
        relaxed = sg.gumbel_softmax(tensor, rng=2, temperature=0.5, hard=hard)
        assert_close(relaxed.detach().numpy(), value, ulp=16)  # each library has a logarithm of its own
        (relaxed * g).sum().backward()
        assert_close(tensor.grad.numpy(), expected, ulp=16)
        with JAX_64.context():
            grad = jax.grad(lambda t, hard=hard: (sg.gumbel_softmax(t, rng=2, temperature=0.5, hard=hard) * x).sum())
            assert_close(np.asarray(grad(jnp.asarray(x))), expected, ulp=16)
    assert torch.autograd.gradcheck(lambda t: sg.gumbel_softmax(t, rng=2, temperature=0.5), (tensor,))
    assert torch.autograd.gradgradcheck(lambda t: sg.gumbel_softmax(t, rng=2, temperature=0.5), (tensor,))


def test_shares_and_temperatures_that_track_a_gradient_warn_of_nothing():
    """A mask has no derivative with respect to them, and PyTorch warned that one was dropped."""
    x = np.array([[0.5, -1.0, 2.0], [1.0, 0.0, -2.0]])
    p, T = torch.tensor([0.5, 0.9]).requires_grad_(), torch.tensor([2.0, 0.5]).requires_grad_()
    for given in (x, torch.tensor(x), torch.tensor(x, requires_grad=True)):
        for function in (sg.top_p_mask, sg.min_p_mask):
            got = function(given, p, temperature=T)
            np.testing.assert_array_equal(got, function(x, p.detach().numpy(), temperature=T.detach().numpy()))
        np.testing.assert_array_equal(
            sg.sample(given, rng=0, temperature=T), sg.sample(x, rng=0, temperature=[2.0, 0.5])
        )
