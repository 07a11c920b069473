"""Dask arrays: lazy results in the blocks of their operands, with the bits that NumPy's arrays give."""

import dask
import dask.array as da
import numpy as np
import pytest

import softgrad as sg

from .maps import assert_same, directions, logits

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


def test_errors_in_values_come_with_the_computation(no_compute):
    labels = da.from_array(np.array([0, 1, 2, 3, 17, 0]), chunks=2)
    loss = sg.cross_entropy(MANY, labels)
    with pytest.raises(IndexError, match=r"labels must lie in \[0, 5\); labels\[0\] is 17"):
        loss.compute(scheduler="synchronous")
    with pytest.raises(ValueError, match="temperature must be at least 0 everywhere"):
        sg.softmax(MANY, temperature=da.from_array(np.arange(-1, 5), chunks=2)).compute(scheduler="synchronous")
