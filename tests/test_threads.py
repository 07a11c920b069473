"""Threads and forks change no bit: eight callers at once, workers inside a thread, a forked child."""

import hashlib
import os
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import softgrad as sg

pytestmark = pytest.mark.usefixtures("level")
CALLERS = 8


def batch():
    return np.random.default_rng(0).normal(size=(60, 2001)).astype(np.float32) * 10


def digest(x, workers):
    """The bits of every kind of result."""
    p = sg.softmax(x, workers=workers)
    y = sg.log_softmax(x, workers=workers)
    parts = (
        p,
        y,
        sg.logsumexp(x, workers=workers),
        sg.softmax(x, axis=0, workers=workers),
        sg.softmax(x, where=x > 0, temperature=0.7, workers=workers),
        sg.softmax_vjp(p, x),
        sg.log_softmax_vjp(y, x),
        sg.calculate_gradient(x[:, :20]),
    )
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


@pytest.mark.parametrize("workers", [None, 1, 2])
def test_eight_callers_at_once(workers):
    x = batch()
    alone = digest(x, 1)
    barrier = threading.Barrier(CALLERS)

    def call(_):
        barrier.wait()
        return [digest(x, workers) for _ in range(2)]

    with ThreadPoolExecutor(CALLERS) as pool:
        assert {d for many in pool.map(call, range(CALLERS)) for d in many} == {alone}


def test_callers_write_into_parts_of_one_array():
    x = batch()
    out = np.empty_like(x)
    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(lambda i: sg.softmax(x[i::CALLERS], out=out[i::CALLERS], workers=2), range(CALLERS)))
    np.testing.assert_array_equal(out, sg.softmax(x))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_gives_the_same_bits():
    x = batch()
    before = digest(x, 2)  # threads were used
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of any fork beside threads
        child = os.fork()
    if child == 0:
        try:
            os.write(write, digest(x, 2).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert pipe.read() == before
    assert os.waitpid(child, 0)[1] == 0
    assert digest(x, 2) == before


def test_an_error_in_a_worker_reaches_the_caller():
    x = batch()
    with pytest.raises(ValueError, match="out"):
        sg.softmax(x, out=np.empty((60, 2000), np.float32), workers=2)
    assert threading.active_count() <= 1 + CALLERS
