"""Dask arrays: lazy results in the blocks of their operands, with the bits that NumPy's arrays give."""

import dask
import dask.array as da
import numpy as np
import pytest

import softgrad as sg

from ..maps import assert_close, assert_same, directions, logits
from ..rows import KINDS, row

FLOAT = np.dtype(np.float32)
LABELS = np.random.default_rng(0).integers(0, 5, (6, 4))
MASK = np.random.default_rng(1).random((6, 4, 5)) < 0.7
WEIGHT = np.random.default_rng(2).random(5)

CALLS = {
    "softmax": lambda x, g, labels, where: sg.softmax(x),
    "softmax of float64": lambda x, g, labels, where: sg.softmax(x, dtype=np.float64),
    "softmax, masked": lambda x, g, labels, where: sg.softmax(x, where=where),
    "softmax, tempered": lambda x, g, labels, where: sg.softmax(x, temperature=0.5 + labels),
    "softmax, textbook": lambda x, g, labels, where: sg.softmax(x, normalization=False),
    "log_softmax": lambda x, g, labels, where: sg.log_softmax(x, temperature=2.0, where=where),
    "logsumexp": lambda x, g, labels, where: sg.logsumexp(x),
    "logsumexp, weighted": lambda x, g, labels, where: sg.logsumexp(x, b=abs(g), where=where, keepdims=True),
    "softmax_vjp": lambda x, g, labels, where: sg.softmax_vjp(sg.softmax(x), g),
    "softmax_vjp of one row": lambda x, g, labels, where: sg.softmax_vjp(sg.softmax(x), g[0, 0]),
    "log_softmax_vjp": lambda x, g, labels, where: sg.log_softmax_vjp(sg.log_softmax(x), g),
    "log_softmax_jvp": lambda x, g, labels, where: sg.log_softmax_jvp(sg.log_softmax(x[0]), g),
    "softmax_second": lambda x, g, labels, where: sg.softmax_second(sg.softmax(x), g, 1 - g),
    "entropy": lambda x, g, labels, where: sg.entropy(x, where=where),
    "entropy_grad": lambda x, g, labels, where: sg.entropy_grad(x, where=where),
    "kl_divergence": lambda x, g, labels, where: sg.kl_divergence(x, g, where=where),
    "kl_divergence_grad": lambda x, g, labels, where: sg.kl_divergence_grad(x, g),
    "selective_log_softmax": lambda x, g, labels, where: sg.selective_log_softmax(x, labels, where=where),
    "selective_log_softmax of two": lambda x, g, labels, where: sg.selective_log_softmax(
        x, np.stack([LABELS, 1 + LABELS // 2], -1)
    ),
    "cross_entropy": lambda x, g, labels, where: sg.cross_entropy(x, labels),
    "cross_entropy with options": lambda x, g, labels, where: sg.cross_entropy(
        x,
        labels,
        where=where,
        weight=WEIGHT,
        sample_weight=labels,
        label_smoothing=0.1,
        ignore_index=2,
        z_loss=0.1,
    ),
    "cross_entropy_grad": lambda x, g, labels, where: sg.cross_entropy_grad(x, labels),
    "cross_entropy_grad with options": lambda x, g, labels, where: sg.cross_entropy_grad(
        x, labels, where=where, weight=WEIGHT, sample_weight=labels, label_smoothing=0.1, ignore_index=2, z_loss=0.1
    ),
    "cross_entropy_grad_hess": lambda x, g, labels, where: sg.cross_entropy_grad_hess(
        x, labels, where=where, curvature="friedman"
    ),
    "soft_cross_entropy": lambda x, g, labels, where: sg.soft_cross_entropy(x, abs(g), weight=WEIGHT),
    "soft_cross_entropy_grad": lambda x, g, labels, where: sg.soft_cross_entropy_grad(x, abs(g), label_smoothing=0.1),
    "focal_loss": lambda x, g, labels, where: sg.focal_loss(x, labels, gamma=1.5),
    "focal_loss_grad": lambda x, g, labels, where: sg.focal_loss_grad(x, labels, sample_weight=labels),
}
every_call = pytest.mark.parametrize("name", CALLS)


def arguments():
    """Operands in memory, for every call."""
    x = logits((6, 4, 5), FLOAT)
    return x, directions(x), LABELS, MASK


def lazy(chunks):
    """The same operands as Dask arrays, those of one value per slice in chunks of their own."""
    x, g, labels, where = arguments()
    return (
        da.from_array(x, chunks=chunks),
        da.from_array(g, chunks=chunks),
        da.from_array(labels, chunks=(3, 2)),
        da.from_array(where, chunks=(6, 1, 5)),
    )


def parts(result):
    """The arrays of a result."""
    return result if isinstance(result, tuple) else (result,)


@pytest.fixture
def no_compute():
    """Nothing is computed until the test asks for it."""

    def refuse(*args, **options):
        raise AssertionError("computed before it was asked for")

    with dask.config.set(scheduler=refuse):
        yield


@every_call
def test_every_function_has_the_bits_of_numpy(name, no_compute):
    expected = CALLS[name](*arguments())
    found = CALLS[name](*lazy((2, 2, 5)))
    assert type(found) is da.Array or type(found) is type(expected)
    for array, plain in zip(parts(found), parts(expected), strict=True):
        assert isinstance(array, da.Array)
        assert array.dtype == array._meta.dtype == plain.dtype
        assert array._meta.ndim == array.ndim
        assert array.shape == plain.shape
        for scheduler in ("synchronous", "threads"):
            assert_same(array.compute(scheduler=scheduler), plain)


@every_call
def test_slices_over_several_blocks(name, no_compute):
    expected = CALLS[name](*arguments())
    operands = [da.from_array(a, chunks=((2, 4), (4,), (1, 2, 0, 2))[: a.ndim]) for a in arguments()]
    found = CALLS[name](*operands)
    results = dask.compute(*parts(found), scheduler="synchronous")
    for again, result in zip(dask.compute(*parts(found), scheduler="threads"), results, strict=True):
        assert_same(again, result)
    for array, plain, result in zip(parts(found), parts(expected), results, strict=True):
        assert array.shape == plain.shape
        assert array.dtype == array._meta.dtype == plain.dtype
        assert array.chunks == operands[0].chunks[: array.ndim] or array.shape != operands[0].shape[: array.ndim]
        assert_close(result, plain)


EDGES = {
    "softmax": lambda x, where, labels, g, **o: sg.softmax(x, where=where, **o),
    "softmax of all": lambda x, where, labels, g, **o: sg.softmax(x, **o),
    "log_softmax": lambda x, where, labels, g, **o: sg.log_softmax(x, where=where, **o),
    "logsumexp": lambda x, where, labels, g, **o: sg.logsumexp(x, where=where, **o),
    "logsumexp of all": lambda x, where, labels, g, **o: sg.logsumexp(x, **o),
    "entropy_grad": lambda x, where, labels, g, **o: sg.entropy_grad(x, where=where, **o),
    "cross_entropy_grad": lambda x, where, labels, g, **o: sg.cross_entropy_grad(x, labels, where=where, **o),
    "softmax_vjp": lambda x, where, labels, g, **o: sg.softmax_vjp(sg.softmax(x, where=where, **o), g, **o),
    "log_softmax_vjp": lambda x, where, labels, g, **o: sg.log_softmax_vjp(sg.log_softmax(x, where=where, **o), g, **o),
    "log_softmax_jvp": lambda x, where, labels, g, **o: sg.log_softmax_jvp(sg.log_softmax(x, where=where, **o), g, **o),
}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.longdouble, np.int8])
def test_edges_over_several_blocks(dtype, no_compute):
    """The rows of the edge table, in one array with the others, in blocks of two entries, and as NumPy's."""
    dtype = np.dtype(dtype)
    x = logits((8, 9), dtype)
    where = np.random.default_rng(3).random((8, 9)) < 0.6
    where[5] = False
    if dtype.kind == "f":
        x[0, 4], x[1, 5], x[2], x[3, 2:7], x[4, 0] = np.nan, np.inf, -np.inf, -np.inf, 90
        x[5], x[6, ~where[6]] = np.nan, np.nan
    labels = np.array([0, 1, 2, 3, 0, 5, 6, 7])
    g = directions(x)
    for axis, rows, chunks in ((-1, slice(None), (8, 4)), ((0, 1), slice(3, 5), (1, 5))):
        operands = x[rows], where[rows]
        lazy = [da.from_array(a, chunks=chunks) for a in operands]
        for name, call in EDGES.items():
            others = (labels if axis == -1 else np.int64(7)), g[rows]
            expected = call(*operands, *others, axis=axis)
            found = dask.compute(*parts(call(*lazy, *others, axis=axis)), scheduler="synchronous")
            for result, plain in zip(found, parts(expected), strict=True):
                assert_close(result, plain), name


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_slices_over_several_blocks_are_as_exact(dtype, no_compute):
    """Each of the two is within 3 ulp of the true value."""
    x = np.stack([row(kind, 257, dtype) for kind in KINDS])
    lazy = da.from_array(x, chunks=(9, 40))
    for f in (sg.softmax, sg.log_softmax):
        found, plain = f(lazy).compute(scheduler="synchronous"), f(x)
        finite = np.isfinite(plain)
        np.testing.assert_array_equal(found[~finite], plain[~finite])
        np.testing.assert_array_max_ulp(found[finite], plain[finite], maxulp=5)


def test_saturated_slices_keep_what_is_small(no_compute):
    x = np.zeros((2, 6))
    x[0, 3], x[1, 0] = 40, 50
    g = np.eye(6)[:2]
    lazy = da.from_array(x, chunks=(2, 2))
    p, y = sg.softmax(x), sg.log_softmax(x)
    lazy_p, lazy_y = sg.softmax(lazy), sg.log_softmax(lazy)
    for found, plain in (
        (lazy_y, y),
        (sg.softmax_vjp(lazy_p, g), sg.softmax_vjp(p, g)),
        (sg.softmax_second(lazy_p, g, g), sg.softmax_second(p, g, g)),
        (sg.log_softmax_vjp(lazy_y, g), sg.log_softmax_vjp(y, g)),
        (sg.log_softmax_jvp(lazy_y, g), sg.log_softmax_jvp(y, g)),
        (sg.cross_entropy_grad(lazy, [3, 0]).loss, sg.cross_entropy(x, [3, 0])),
        (sg.cross_entropy_grad(lazy, [3, 0]).grad, sg.cross_entropy_grad(x, [3, 0]).grad),
        (sg.softmax_jacobian(lazy).diagonal(), sg.softmax_jacobian(x).diagonal()),
    ):
        np.testing.assert_allclose(found.compute(scheduler="synchronous"), plain, rtol=1e-14, atol=0)


@pytest.mark.parametrize("chunks", [(2, 5), (4, 2)], ids=["whole", "cut"])
@pytest.mark.parametrize("temperature", [1.0, 2.0, np.arange(1.0, 7.0)], ids=["1", "2", "array"])
def test_jacobians(chunks, temperature, no_compute):
    x = logits((6, 5), np.dtype(float))
    v, b, V = directions(x), directions(x[::-1]), directions(x[:5, :3])
    J = sg.softmax_jacobian(x, temperature=temperature)
    L = sg.softmax_jacobian(da.from_array(x, chunks=chunks), temperature=temperature)
    assert L.shape == J.shape
    assert L.dtype == J.dtype
    products = [
        (L.matvec(v), J.matvec(v)),
        (L @ V, J @ V),
        (V.T @ L, V.T @ J),
        (L.diagonal(), J.diagonal()),
        (L.trace(), J.trace()),
        (L.quadratic(v), J.quadratic(v)),
        (L.solve(b), J.solve(b)),
        (L.solve(b, damping=0.5), J.solve(b, damping=0.5)),
        (L.logpdet(), J.logpdet()),
        (L.sqrt() @ V, J.sqrt() @ V),
        (L.sqrt().T @ V, J.sqrt().T @ V),
        (L.pinv() @ V, J.pinv() @ V),
    ]
    if chunks == (2, 5):
        products += [(L.toarray(), J.toarray()), (L.eigvalsh(), J.eigvalsh())]
    for found, expected in products:
        assert found.dtype == expected.dtype
        assert_close(found.compute(scheduler="synchronous"), expected, ulp=64)


def test_dense_jacobians_and_hessians(no_compute):
    x = logits((6, 5), np.dtype(float))
    s = np.arange(1.0, 7.0)
    for chunks in ((2, 5), (2, 2)):
        lazy = sg.cross_entropy_hessian(da.from_array(x, chunks=chunks), sample_weight=s).diagonal()
        expected = sg.cross_entropy_hessian(x, sample_weight=s).diagonal()
        assert_close(lazy.compute(scheduler="synchronous"), expected)
    lazy = sg.calculate_gradient(da.from_array(x, chunks=(2, 5)))
    assert lazy.chunks == ((2, 2, 2), (5,), (5,))
    assert_same(lazy.compute(scheduler="synchronous"), sg.calculate_gradient(x))


@pytest.mark.parametrize("f", [sg.softmax, sg.log_softmax, sg.logsumexp, sg.entropy], ids=lambda f: f.__name__)
def test_blocks_stay_as_they_are(f, no_compute):
    x = logits((6, 4, 5), FLOAT)
    for axis, chunks in (
        (-1, ((1, 5), (3, 1), (5,))),
        (0, ((6,), (2, 2), (4, 1))),
        ((0, 2), (6, 3, 5)),
        (None, (6, 4, 5)),
    ):
        lazy = da.from_array(x, chunks=chunks)
        found = f(lazy, axis=axis)
        reduced = {None: (0, 1, 2), -1: (2,), 0: (0,), (0, 2): (0, 2)}[axis]
        kept = [c for a, c in enumerate(lazy.chunks) if a not in reduced or found.ndim == 3]
        assert found.chunks == tuple(kept)
        assert_same(found.compute(scheduler="synchronous"), f(x, axis=axis))


def test_one_task_for_each_block(no_compute):
    x = da.from_array(logits((8, 5), FLOAT), chunks=(2, 5))
    before = len(dict(x.__dask_graph__()))
    assert len(dict(sg.softmax(x).__dask_graph__())) == before + 4
    assert len(dict(sg.logsumexp(x).__dask_graph__())) == before + 4


def test_results_of_one_call_are_computed_together(no_compute):
    calls = []

    def counted(block):
        calls.append(block.shape)
        return block

    x = da.from_array(logits((8, 5), FLOAT), chunks=(4, 5)).map_blocks(
        counted, dtype=FLOAT, meta=np.empty((0, 0), FLOAT)
    )
    dask.compute(*sg.entropy_grad(x), scheduler="synchronous")
    assert calls == [(4, 5)] * 2


@pytest.mark.parametrize(
    "name", sorted(CALLS.keys() - {"selective_log_softmax of two", "log_softmax_jvp", "softmax_vjp of one row"})
)
def test_unknown_chunk_sizes(name, no_compute):
    """After a selection nobody knows how many rows there are; every operand has lost the same ones."""
    rows = np.array([True, False, True, True, False, False])
    chosen = [a[da.from_array(rows, chunks=2)] for a in lazy((2, 4, 5))[:2]]
    labels, where = (da.from_array(a, chunks=(2, *a.shape[1:]))[da.from_array(rows, chunks=2)] for a in (LABELS, MASK))
    call = CALLS[name]
    found = call(*chosen, labels, where)
    expected = call(*(a[rows] for a in arguments()))
    for array, plain in zip(parts(found), parts(expected), strict=True):
        assert np.isnan(array.shape[0])
        assert_same(array.compute(scheduler="synchronous"), plain)


def test_operands_in_memory_join(no_compute):
    x, g, labels, where = arguments()
    lazy_x, _, lazy_labels, lazy_where = lazy((2, 2, 5))
    for found, expected in (
        (sg.softmax(lazy_x, where=where), sg.softmax(x, where=where)),
        (sg.softmax(x, where=lazy_where), sg.softmax(x, where=where)),
        (sg.softmax(lazy_x, temperature=np.ones((6, 4, 1))), sg.softmax(x, temperature=np.ones((6, 4, 1)))),
        (sg.softmax(lazy_x, temperature=[1.0, 2.0, 3.0, 4.0]), sg.softmax(x, temperature=[1.0, 2.0, 3.0, 4.0])),
        (sg.softmax_vjp(sg.softmax(lazy_x), g), sg.softmax_vjp(sg.softmax(x), g)),
        (sg.cross_entropy(x, lazy_labels), sg.cross_entropy(x, labels)),
        (sg.cross_entropy(lazy_x, labels), sg.cross_entropy(x, labels)),
    ):
        assert_same(found.compute(scheduler="synchronous"), expected)


def test_an_operand_takes_the_blocks_of_the_logits_along_the_axis(no_compute):
    x = da.from_array(logits((6, 5), FLOAT), chunks=(2, 5))
    found = sg.softmax(x, where=da.ones((6, 5), dtype=bool, chunks=(6, 1)))
    assert found.chunks == x.chunks
    assert_same(found.compute(scheduler="synchronous"), sg.softmax(logits((6, 5), FLOAT)))


MANY = da.zeros((6, 5), chunks=(2, 5))
CUT = da.zeros((6, 5), chunks=(2, 2))


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (TypeError, "out is for arrays in memory", lambda: sg.softmax(MANY, out=np.empty((6, 5)))),
        (TypeError, "workers is for arrays in memory", lambda: sg.logsumexp(MANY, workers=2)),
        (TypeError, "grad_out is for arrays", lambda: sg.entropy_grad(MANY, grad_out=np.empty((6, 5)))),
        (TypeError, "unexpected keyword argument 'depth'", lambda: sg.softmax(MANY, depth=3)),
        (TypeError, "complex128", lambda: sg.softmax(MANY.astype(complex))),
        (TypeError, "where must be of dtype bool", lambda: sg.softmax(MANY, where=MANY)),
        (TypeError, "labels must be integers", lambda: sg.cross_entropy(MANY, da.zeros(6))),
        (np.exceptions.AxisError, "axis 2", lambda: sg.softmax(MANY, axis=2)),
        (
            ValueError,
            r"where must broadcast to shape \(6, 5\); got shape \(6,\)",
            lambda: sg.softmax(MANY, where=[True] * 6),
        ),
        (ValueError, r"temperature must broadcast to shape \(6,\)", lambda: sg.softmax(MANY, temperature=np.ones(5))),
        (ValueError, r"labels must have shape \(6,\), one per", lambda: sg.cross_entropy(MANY, np.zeros(5, int))),
        (ValueError, r"g of shape \(3, 5\)", lambda: sg.softmax_vjp(MANY, np.zeros((3, 5)))),
        (ValueError, r"p must lie in one chunk for toarray", lambda: sg.calculate_gradient(CUT)),
        (ValueError, r"p must lie in one chunk for eigvalsh", lambda: sg.softmax_jacobian(CUT).eigvalsh()),
        (ValueError, r"x must lie in one chunk for softmax_jacobian", lambda: sg.softmax_jacobian(CUT, axis=None)),
        (ValueError, r"compute_chunk_sizes", lambda: sg.softmax(CUT[:, CUT[0] > 0])),
        (TypeError, r"blocks of MaskedArray", lambda: sg.softmax(da.ma.masked_greater(CUT, 1))),
        (ValueError, "temperature must be at least 0", lambda: sg.softmax(MANY, temperature=-1.0)),
        (
            ValueError,
            r"weight must broadcast to shape \(5,\)",
            lambda: sg.cross_entropy(MANY, LABELS[:, 0], weight=[1, 2]),
        ),
    ],
)
def test_errors_come_before_a_computation(error, message, call, no_compute):
    with pytest.raises(error, match=message):
        call()


WRONG = da.from_array(np.array([0, 1, 2, 3, 17, 0]), chunks=2)


@pytest.mark.parametrize("columns", [5, 2], ids=["whole", "cut"])
def test_errors_in_values_come_with_the_computation(no_compute, columns):
    """They name the position in the whole array, not in the block."""
    x = MANY.rechunk({1: columns})
    matrix = da.stack([WRONG, WRONG], axis=1).rechunk({1: 2})
    for error, message, call in (
        (IndexError, r"labels must lie in \[0, 5\); labels\[4\] is 17", lambda: sg.cross_entropy(x, WRONG)),
        (IndexError, r"labels\[4\] is 17", lambda: sg.cross_entropy_grad(x, WRONG, ignore_index=3).grad),
        (IndexError, r"index\[4\] is 17", lambda: sg.selective_log_softmax(x, WRONG)),
        (IndexError, r"index\[4, 0\] is 17", lambda: sg.selective_log_softmax(x, matrix)),
        (ValueError, r"sample_weight\[4\] is -1.0", lambda: sg.soft_cross_entropy(x, x, sample_weight=16 - WRONG)),
    ):
        lazy = call()
        with pytest.raises(error, match=message):
            lazy.compute(scheduler="synchronous")


def test_the_position_behind_chunks_of_unknown_sizes_is_that_in_the_block():
    labels = WRONG[WRONG > 0]
    with pytest.raises(IndexError, match=r"labels\[0\] is 17"):
        sg.cross_entropy(MANY[WRONG > 0], labels).compute(scheduler="synchronous")


def test_errors_in_temperatures_come_with_the_computation(no_compute):
    with pytest.raises(ValueError, match="temperature must be at least 0 everywhere"):
        sg.softmax(MANY, temperature=da.from_array(np.arange(-1, 5), chunks=2)).compute(scheduler="synchronous")
