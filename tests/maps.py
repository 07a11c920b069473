"""The table of maps: every public function as a function of logits, so that one set of edge tests drives them all."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, nan

import ml_dtypes
import numpy as np
import pytest

import softgrad as sg

from .rows import LENGTHS

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOATS = tuple(np.dtype(d) for d in (np.float16, BFLOAT16, np.float32, np.float64, np.longdouble))
INTEGERS = tuple(np.dtype(d) for d in (np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64, np.bool))


@dataclass(frozen=True)
class Map:
    """A public function of logits x, and of directions g where it takes some."""

    name: str
    compute: Callable
    result: str
    """What comes back for a slice: "slice" (as many entries), "value" (one) or "matrix" (one per pair of entries)."""
    masked: float
    """The result where nothing is valid: for a masked entry, and for a slice that is masked entirely."""
    posinf: float = nan
    """The result of a slice that contains +inf."""
    neginf: float = nan
    """The result of a slice of nothing but −inf."""
    options: frozenset = frozenset({"where", "temperature"})
    has_kernel: bool = True

    def __call__(self, x, g=None, **options):
        g = directions(x) if g is None else g
        return self.compute(x, g, **options)

    def shape(self, x_shape):
        """The shape of the result for slices along the last axis."""
        *batch, n = x_shape
        return {"slice": (*batch, n), "value": tuple(batch), "matrix": (*batch, n, n)}[self.result]

    def expand(self, result, read, n):
        """The result of the entries `read` of one slice, put where it belongs in the result of the whole slice."""
        if self.result == "value":
            return result
        whole = np.full((n,) if self.result == "slice" else (n, n), self.masked, dtype=result.dtype)
        whole[read if self.result == "slice" else np.outer(read, read)] = np.ravel(result)
        return whole

    def last(self, result, axis, ndim):
        """The result for slices along `axis`, laid out as that for slices along the last axis."""
        if self.result != "slice" or not isinstance(axis, int | tuple):
            return result
        axes = tuple(sorted(a % ndim for a in (axis if isinstance(axis, tuple) else (axis,))))
        return np.moveaxis(result, axes, tuple(range(ndim - len(axes), ndim)))


def directions(x):
    """One direction for each slice: depends on the shape only."""
    return np.random.default_rng(5).normal(size=np.shape(x)).astype(result_dtype(np.asarray(x).dtype))


def result_dtype(dtype):
    return np.dtype(np.float64) if dtype in INTEGERS else dtype.newbyteorder("=")


def logits(shape, dtype, seed=0):
    """Logits that any dtype can hold; integers fill their type's range as far as int8 reaches."""
    rng = np.random.default_rng([seed, *shape])
    if dtype == np.bool:
        return rng.random(shape) < 0.5
    if dtype.kind in "iu":
        return rng.integers(-128 if dtype.kind == "i" else 0, 128, shape).astype(dtype)
    return (rng.normal(size=shape) * 5).astype(dtype)


def _of_p(function):
    def compute(x, g, *, axis=-1, where=None, temperature=1.0, out=None):
        p = sg.softmax(x, axis=axis, where=where, temperature=temperature)
        return function(p, g, axis=axis, out=out)

    return compute


def _of_y(function):
    def compute(x, g, *, axis=-1, where=None, temperature=1.0, out=None):
        y = sg.log_softmax(x, axis=axis, where=where, temperature=temperature)
        return function(y, g, axis=axis, out=out)

    return compute


def _of_sparse(map_, function):
    def compute(x, g, *, axis=-1, where=None, temperature=1.0, out=None):
        return function(map_(x, axis=axis, where=where, temperature=temperature), g, axis=axis, out=out)

    return compute


def _diagonal(x, g, *, axis=-1, **options):
    diagonal = sg.softmax_jacobian(x, axis=axis, **options).diagonal()
    return diagonal if isinstance(axis, tuple) or axis is None else np.moveaxis(diagonal, -1, axis)


MAPS = (
    Map("softmax", lambda x, g, **o: sg.softmax(x, **o), "slice", 0.0),
    Map("log_softmax", lambda x, g, **o: sg.log_softmax(x, **o), "slice", -inf),
    Map("logsumexp", lambda x, g, **o: sg.logsumexp(x, **o), "value", -inf, inf, -inf, frozenset({"where"})),
    Map("softmax_vjp", _of_p(sg.softmax_vjp), "slice", 0.0),
    Map("log_softmax_vjp", _of_y(sg.log_softmax_vjp), "slice", 0.0),
    Map("log_softmax_jvp", _of_y(sg.log_softmax_jvp), "slice", 0.0),
    Map("softmax_second", _of_p(lambda p, g, **o: sg.softmax_second(p, g, 1 - g, **o)), "slice", 0.0),
    Map("jacobian", lambda x, g, **o: sg.softmax_jacobian(x, **o).toarray(), "matrix", 0.0),
    Map("diagonal", _diagonal, "slice", 0.0),
    Map("sparsemax", lambda x, g, **o: sg.sparsemax(x, **o), "slice", 0.0),
    Map("entmax", lambda x, g, **o: sg.entmax(x, **o), "slice", 0.0),
    Map("entmax_vjp", _of_sparse(sg.entmax, sg.entmax_vjp), "slice", 0.0, has_kernel=False),
    Map("entmax_jacobian", lambda x, g, **o: sg.entmax_jacobian(x, **o).toarray(), "matrix", 0.0, has_kernel=False),
    Map("entmax 3", lambda x, g, **o: sg.entmax(x, alpha=3, **o), "slice", 0.0),
)


every_map = pytest.mark.parametrize("f", MAPS, ids=lambda f: f.name)
every_float = pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)


def lengths(f):
    """Row lengths for a map: n² numbers come back from a Jacobian."""
    return [n for n in LENGTHS if n <= 100 or f.result != "matrix"]


def some_valid(n, seed=0):
    """A mask of one slice: some entries are valid, one of them for certain."""
    valid = np.random.default_rng([n, seed]).random(n) < 0.6
    valid[n // 2] = True
    return valid


def maps_with(option):
    """The maps that take an option."""
    return pytest.mark.parametrize("f", [f for f in MAPS if option in f.options], ids=lambda f: f.name)


def assert_same(got, expected, case=""):
    """The same dtype, shape and bits; every NaN counts as the same. `case` is named where it fails."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.dtype == expected.dtype, case
    assert got.shape == expected.shape, case
    if got.dtype == BFLOAT16:
        got, expected = got.astype(np.float32), expected.astype(np.float32)
    np.testing.assert_array_equal(got, expected, case, strict=True)
    numbers = ~np.isnan(got)
    np.testing.assert_array_equal(np.signbit(got)[numbers], np.signbit(expected)[numbers], case)


def assert_close(got, expected, ulp=8, case=""):
    """As near as two ways of rounding come: `ulp` of each slice's largest entry, and the same infinities and NaNs."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.dtype == expected.dtype, case
    eps = float(ml_dtypes.finfo(got.dtype).eps if got.dtype == BFLOAT16 else np.finfo(got.dtype).eps)
    wide = np.longdouble if got.dtype == np.longdouble else np.float64
    got, expected = got.astype(wide), expected.astype(wide)
    largest = np.max(np.abs(expected), initial=0, where=np.isfinite(expected))
    np.testing.assert_allclose(got, expected, rtol=ulp * eps, atol=ulp * eps * float(largest), err_msg=case)
