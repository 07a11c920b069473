"""The table of array libraries: what `test_libraries.py` takes every function and every edge through."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import array_api_strict
import dask
import dask.array as da
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pandas as pd
import torch
import xarray as xr


@dataclass(frozen=True)
class Library:
    """A library whose arrays softgrad takes."""

    name: str
    to: Callable[[np.ndarray], Any]
    """NumPy's array as one of the library's."""
    back: Callable[[Any], np.ndarray]
    """The library's array as NumPy's; fails for anything else, so that a result of another kind is noticed."""
    dtypes: tuple[np.dtype, ...]
    options: frozenset = frozenset()
    """Which of the options that are NumPy's own it takes: "out", "workers"."""
    context: Callable[[], AbstractContextManager] = nullcontext
    """What its tests run in."""
    without: frozenset = frozenset()
    """Options that it does not take: each is a TypeError."""
    has: Callable[[np.ndarray], bool] = lambda a: True
    """Whether it has an array of that shape and dtype."""
    together: Callable[[Any], Any] = lambda results: results
    """What several results have in common is done once."""

    def given(self, value):
        """Arrays as the library's, anything else as it is."""
        return self.to(value) if isinstance(value, np.ndarray) else value

    def result(self, value):
        """A result, or a tuple of them, as NumPy's."""
        value = self.together(value)
        return type(value)(*map(self.back, value)) if isinstance(value, tuple) else self.back(value)


BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
HALVES, SINGLES = (np.dtype(np.float16), BFLOAT16), (np.dtype(np.float32), np.dtype(np.float64))


def _to_torch(a):
    if a.dtype == BFLOAT16:
        return torch.from_numpy(a.astype(np.float32)).to(torch.bfloat16)
    return torch.from_numpy(np.array(a))


def _from_torch(tensor):
    assert type(tensor) is torch.Tensor
    tensor = tensor.detach()
    return tensor.float().numpy().astype(BFLOAT16) if tensor.dtype == torch.bfloat16 else tensor.numpy()


def _from_strict(a):
    assert isinstance(a, type(array_api_strict.asarray(0.0)))
    return np.from_dlpack(a).copy()


def _from_jax(a):
    assert isinstance(a, jax.Array)
    return np.array(a)


STRICT = Library("array-api-strict", lambda a: array_api_strict.asarray(np.array(a, order="C")), _from_strict, SINGLES)
TORCH = Library("torch", _to_torch, _from_torch, HALVES + SINGLES, frozenset({"out", "workers"}))

JAX = Library("jax", jnp.asarray, _from_jax, (*HALVES, SINGLES[0]))
JAX_64 = Library("jax with x64", jnp.asarray, _from_jax, SINGLES[1:], context=lambda: jax.enable_x64(True))


def _to_pandas(a):
    return {1: pd.Series, 2: pd.DataFrame}.get(a.ndim, np.asarray)(a)


def _from_pandas(a):
    assert isinstance(a, pd.Series | pd.DataFrame) or np.ndim(a) == 0
    return np.asarray(a)


def _pandas_has(a):
    """One axis or two; a frame without columns has no dtype."""
    return a.ndim == 1 or (a.ndim == 2 and a.shape[1] > 0)


PANDAS = Library(
    "pandas",
    _to_pandas,
    _from_pandas,
    SINGLES,
    frozenset({"workers"}),
    without=frozenset({"keepdims"}),
    has=_pandas_has,
)


def _to_xarray(a):
    """Dimensions meet by name: here each is named by its length, of which the edges have no two alike."""
    return xr.DataArray(a, dims=[f"of {n}" for n in a.shape])


def _from_xarray(a):
    assert isinstance(a, xr.DataArray)
    return a.to_numpy()


XARRAY = Library("xarray", _to_xarray, _from_xarray, SINGLES, frozenset({"workers"}))


def _from_dask(a):
    assert isinstance(a, da.Array)
    return np.asarray(a.compute(scheduler="synchronous"))


def _persisted(results):
    arrays = results if isinstance(results, tuple) else (results,)
    arrays = dask.persist(*arrays, scheduler="synchronous")
    return type(results)(*arrays) if isinstance(results, tuple) else arrays[0]


# An axis in one block goes to the kernels, in several to the formulas: one dtype for each way is enough here.
DASK = Library("dask", lambda a: da.from_array(a, chunks=-1), _from_dask, SINGLES[:1], together=_persisted)
DASK_CUT = Library(
    "dask in blocks",
    lambda a: da.from_array(a, chunks=(2, 3, 3)[: a.ndim]),
    _from_dask,
    SINGLES[1:],
    together=_persisted,
)

ARRAYS = (STRICT, TORCH, JAX, JAX_64, DASK, DASK_CUT)
LIBRARIES = (*ARRAYS, PANDAS, XARRAY)
