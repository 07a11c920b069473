"""Every function at every edge of docs/edges.md, on the arrays of every library, as NumPy has it."""

from math import inf, nan

import numpy as np
import pytest

import softgrad as sg
from softgrad import _dispatch as dispatch

from ..maps import assert_close, directions, logits
from .cases import CASES, assert_results_close, every_case, has_rows
from .libraries import ARRAYS, DASK_CUT, JAX, JAX_64, LIBRARIES

SLOW = {JAX, JAX_64, DASK_CUT}  # they compile, or plan, again for every shape
every_library = pytest.mark.parametrize(
    "library",
    [pytest.param(library, marks=pytest.mark.slow if library in SLOW else ()) for library in LIBRARIES],
    ids=lambda library: library.name,
)
every_unlabelled = pytest.mark.parametrize("library", ARRAYS, ids=lambda library: library.name)  # see test_labels.py


def _with(value, *index):
    def changed(x):
        x = x.copy()
        x[index] = value
        return x

    return changed


def _mask(x):
    mask = np.random.default_rng(3).random(x.shape) < 0.7
    mask[..., 1], mask[0] = True, False
    return mask


# name: what becomes of logits of shape (3, 5), or the shape of others; options
EDGES = {
    "plain": (None, {}),
    "first axis": (None, {"axis": 0}),
    "several axes": ((2, 3, 4), {"axis": (2, 0)}),
    "all axes": (None, {"axis": None}),
    "vector": ((5,), {}),
    "0-d": ((), {"axis": None}),
    "NaN": (_with(nan, 0, 2), {}),
    "−inf": (_with(-inf, 0, 2), {}),
    "+inf": (_with(inf, 1, 3), {}),
    "all −inf": (_with(-inf, 2), {}),
    "saturated": (_with(40.0, 1, 1), {}),
    "masked": (None, {"where": _mask}),
    "masked NaN": (_with(nan, ~_mask(np.empty((3, 5)))), {"where": _mask}),
    "empty axis": ((3, 0), {}),
    "empty batch": ((0, 5), {}),
    "temperatures": (None, {"temperature": np.array([0.5, 0.0, inf])}),
}


@every_library
@every_case
def test_every_function_at_every_edge(library, case):
    for edge, (_, options) in EDGES.items():
        needed = options.keys() - {"axis", "where"}
        if needed <= case.takes:
            for dtype in library.dtypes:
                _check_edge(library, case, edge, dtype)


def _check_edge(library, case, edge, dtype):
    change, options = EDGES[edge]
    x = np.asarray(logits(change if isinstance(change, tuple) else (3, 5), dtype), dtype)
    x = change(x) if callable(change) else x
    where = options["where"](x) if "where" in options else None
    axis = options.get("axis", -1)
    operands = tuple(map(np.asarray, case.operands(x, axis, where)))
    if not has_rows(case, x, axis) or not library.has(x):
        return
    given = {**case.options, **options}
    given = {**given, "where": where} if where is not None else given
    given = {k: v for k, v in given.items() if k != "where" or "where" in case.takes}
    refused = given.keys() & library.without
    for option in refused:
        with pytest.raises(TypeError, match=option):
            case(tuple(map(library.given, operands)), given)
    if refused:
        return
    expected = case(operands, given)
    if library is DASK_CUT and dispatch.FUNCTIONS[case.name].whole and _entries_of_longest(x, axis) > 2:
        with pytest.raises(ValueError, match="must lie in one chunk"):
            case(tuple(map(library.given, operands)), {k: library.given(v) for k, v in given.items()})
        return
    with library.context():
        got = case(tuple(map(library.given, operands)), {k: library.given(v) for k, v in given.items()})
        assert_results_close(library.result(got), expected, f"{edge}, {dtype}")


def _entries_of_longest(x, axis):
    """The longest of the axes of the slices."""
    return max(x.shape[a] for a in (range(x.ndim) if axis is None else np.atleast_1d(axis))) if x.ndim else 1


def test_the_table_has_every_function():
    public = {name for name in sg.__all__ if getattr(sg, name) and name in dispatch.FUNCTIONS}
    operators = {name for name in public if "n,n" in dispatch.FUNCTIONS[name].results}
    decoding = {"sample_log_prob", *(name for name in public if dispatch.FUNCTIONS[name].constant)}  # test_decoding.py
    assert public == {case.name for case in CASES} | operators | decoding


@pytest.mark.slow
@every_unlabelled
def test_the_layers(library):
    x, labels = logits((3, 5), np.dtype(np.float32)), np.array([1, 0, 2])
    with library.context():
        for layer in (sg.Softmax(), sg.LogSoftmax(), sg.Sparsemax(), sg.Entmax(1.25)):
            if library is DASK_CUT and isinstance(layer, sg.Entmax):
                continue  # a slice must lie in one chunk
            output, vjp, dense = layer(x), layer.backward(directions(x)), layer.backward()
            assert_close(library.back(layer(library.to(x))), output)
            assert_close(library.back(layer.backward(library.to(directions(x)))), vjp)
            if library is not DASK_CUT:
                assert_close(library.back(layer.backward()), dense)
        loss = sg.SoftmaxCrossEntropy()
        output, grad = loss(x, labels), loss.backward(np.array([0.5, 1, 2], np.float32))
        assert_close(library.back(loss(library.to(x), library.to(labels))), output)
        assert_close(library.back(loss.backward(library.to(np.array([0.5, 1, 2], np.float32)))), grad)


@pytest.mark.slow
@every_unlabelled
def test_operators(library):
    x = logits((3, 5), np.dtype(np.float64 if library is JAX_64 else np.float32))
    v = directions(x)
    with library.context():
        ours, theirs = sg.softmax_jacobian(x), sg.softmax_jacobian(library.to(x))
        for product in (lambda J, a: J.matvec(a), lambda J, a: J.sqrt().matvec(a), lambda J, a: J.quadratic(a)):
            assert_close(library.back(product(theirs, library.to(v))), product(ours, v))
        assert_close(library.back(theirs @ library.to(v.T.copy())), ours @ v.T)
        assert_close(library.back(theirs.diagonal()), ours.diagonal())
        if library is not DASK_CUT:  # see test_dask.py for the error
            assert_close(library.back(theirs.toarray()), ours.toarray())
