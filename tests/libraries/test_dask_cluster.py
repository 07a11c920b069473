"""Dask on a cluster of two processes, each with less memory than the array takes."""

import os
import signal
import sys

import cloudpickle
import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster

import softgrad as sg
from softgrad._numpy import threads
from softgrad.regression import SoftmaxRegression

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import the tests

pytestmark = pytest.mark.slow

MIB = 2**20
LIMIT = 300 * MIB
ROWS, COLUMNS = 40, 2**20
"""320 MiB of float64."""


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """Two worker processes on the loopback interface, without a dashboard."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 5}),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            worker_dashboard_address=None,
            memory_limit=LIMIT,
            local_directory=tmp_path_factory.mktemp("workers"),
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def entries(start, stop, first=0, last=COLUMNS):
    """Some of the rows, and some of their columns, of one array that is made from the positions alone."""
    rows, columns = np.arange(start, stop, dtype=np.float64), np.arange(first, last, dtype=np.float64)
    return (rows[:, None] + 1) * 1e-5 * (columns % 99991)


def made(chunks):
    """That array, made by the workers block by block."""

    def block(block_info):
        (start, stop), (first, last) = block_info[None]["array-location"]
        return entries(start, stop, first, last)

    return da.map_blocks(block, chunks=chunks, dtype=np.float64, meta=np.empty((0, 0)))


@pytest.mark.parametrize("columns", [COLUMNS, 2**17], ids=["whole", "cut"])
def test_arrays_larger_than_a_worker(client, columns):
    x = made(((1,) * ROWS if columns == COLUMNS else (8,) * (ROWS // 8), (columns,) * (COLUMNS // columns)))
    assert x.nbytes > LIMIT
    found = sg.logsumexp(x).compute()
    expected = np.concatenate([sg.logsumexp(entries(i, i + 4)) for i in range(0, ROWS, 4)])
    np.testing.assert_array_max_ulp(found, expected, maxulp=1)


def test_losses_of_larger_arrays(client):
    x = made(((1,) * ROWS, (COLUMNS,)))
    labels = np.arange(ROWS) * 1000
    loss, grad = sg.cross_entropy_grad(x, da.from_array(labels, chunks=8))
    found, largest = dask.compute(loss, abs(grad).max(axis=1))
    for i in range(0, ROWS, 20):
        plain = sg.cross_entropy_grad(entries(i, i + 4), labels[i : i + 4])
        np.testing.assert_array_equal(found[i : i + 4], plain.loss)
        np.testing.assert_array_equal(largest[i : i + 4], abs(plain.grad).max(axis=1))


@pytest.mark.parametrize("chunks", [(4, 1000), (20, 300)], ids=["whole", "cut"])
def test_a_worker_that_is_killed_changes_nothing(client, tmp_path, chunks):
    """The first worker that comes to the block in the middle dies of it; the others never do."""
    died = tmp_path / "died"

    def deadly(block, block_info):
        if block_info[0]["chunk-location"][0] * chunks[0] == 20:
            try:
                died.touch(exist_ok=False)
            except FileExistsError:
                return block
            os.kill(os.getpid(), signal.SIGKILL)
        return block

    x = np.random.default_rng(0).normal(size=(40, 1000))
    lazy = da.from_array(x, chunks=chunks).map_blocks(deadly, dtype=x.dtype, meta=np.empty((0, 0)))
    np.testing.assert_allclose(sg.softmax(lazy).compute(), sg.softmax(x), rtol=1e-15)
    assert died.exists()


def test_regression_on_the_blocks_of_workers(client):
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 3))
    y = (x @ random.normal(size=(3, 4)) + random.gumbel(size=(400, 4))).argmax(axis=1)
    plain = SoftmaxRegression(tol=1e-10).fit(x, y)
    lazy = client.persist(da.from_array(x, chunks=(100, 3)))
    model = SoftmaxRegression(tol=1e-10).fit(lazy, y)
    np.testing.assert_allclose(model.coef_, plain.coef_, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(model.predict(lazy).compute(), plain.predict(x))


def test_workers_do_not_split_what_is_split_already(client):
    """A worker runs several tasks at once, on threads: the kernels take none of their own."""
    assert client.submit(threads.count, None, 2**30).result() == 1
