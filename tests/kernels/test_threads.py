"""Threads and forks change no bit: eight callers at once, workers inside a thread, a forked child."""

import hashlib
import os
import subprocess
import sys
import sysconfig
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import softgrad as sg
from softgrad._numpy import long_rows, threads

from ..maps import assert_same
from ..rows import row

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
        sg.softmax_vjp(p, x, workers=workers),
        sg.log_softmax_vjp(y, x, workers=workers),
        sg.log_softmax_jvp(y, x, axis=0, workers=workers),
        sg.calculate_gradient(x[:, :20]),
    )
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


@pytest.mark.slow
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


def test_many_small_calls_at_once():
    """Those that keep the GIL, where there is one."""
    x = np.random.default_rng(1).normal(size=(4, 7)) * 10
    labels, where, temperature = [3, 0, 6, 1], x > -5, [[0.5], [1.0], [2.0], [4.0]]

    def results():
        p = sg.softmax(x, where=where, temperature=temperature)
        loss, grad = sg.cross_entropy_grad(x, labels)
        return p, sg.softmax(x.tolist(), axis=0), sg.softmax_vjp(p, x, out=np.empty_like(x)), loss, grad

    def differences(_):
        return sum(a.tobytes() != b.tobytes() for _ in range(30) for a, b in zip(results(), alone, strict=True))

    alone = results()
    with ThreadPoolExecutor(CALLERS) as pool:
        assert list(pool.map(differences, range(CALLERS))) == [0] * CALLERS


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has a GIL")
def test_the_gil_stays_off():
    script = "import softgrad._kernels, sys; print(sys._is_gil_enabled())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("False\n", "")


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
        warnings.simplefilter("ignore", RuntimeWarning)  # so does JAX, where another test has imported it
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


def test_a_call_while_the_interpreter_ends():
    script = (
        "import atexit, numpy as np, softgrad as sg\n"
        "x = np.zeros((4, 1000), np.float32)\n"
        "sg.softmax(x, workers=2)\n"
        "atexit.register(lambda: print(sg.softmax(x, workers=2)[0, 0]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("0.001\n", "")


def test_an_error_in_a_worker_reaches_the_caller():
    x = batch()
    before = threading.active_count()  # other libraries' threads among them
    with pytest.raises(ValueError, match="out"):
        sg.softmax(x, out=np.empty((60, 2000), np.float32), workers=2)
    assert threading.active_count() <= before + CALLERS


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("function", [sg.softmax, sg.log_softmax, sg.logsumexp], ids=lambda f: f.__name__)
def test_a_long_row_in_blocks(function, dtype, level, monkeypatch):
    """The rows, and their edges, that a row of its own has, with the same bits for any number of threads."""
    monkeypatch.setattr(long_rows, "BLOCK", 64)
    n = 64 * 7 + 5
    kinds = (
        "normal",
        "wider",
        "saturated",
        "ties",
        "subnormal_tail",
        "impossible",
        "growing",
        "constant",
        "offset_1e6",
    )
    if dtype == np.float16:
        kinds = ("normal", "ties", "constant", "saturated")
    x = np.stack([row(kind, n, dtype) for kind in kinds] + [np.zeros(n, dtype)] * 5)
    x[-1, :100] = -np.inf  # a block of nothing but −inf
    x[-2] = -np.inf
    x[-3, 70] = np.nan
    x[-4, 70] = np.inf
    x[-5, [3, 70]] = -np.inf, np.nan
    whole = function(x)
    monkeypatch.setattr(long_rows, "LONG_ROW", 100)
    blocks = function(x, workers=2)  # with fewer, so small an array goes straight to the kernel
    eps = float(np.finfo(dtype).eps)
    wide = np.float64 if dtype != np.float64 else np.longdouble
    np.testing.assert_allclose(blocks.astype(wide), whole.astype(wide), rtol=3 * eps, atol=float(np.finfo(dtype).tiny))
    assert_same(function(x, workers=3), blocks)
    assert_same(function(np.asfortranarray(x), workers=1), blocks)
    if function is not sg.logsumexp:
        in_place = x.copy()
        assert_same(function(in_place, out=in_place, workers=2), blocks)
        memory = np.concatenate([x.ravel(), np.zeros(9, dtype)])
        assert_same(function(memory[:-9].reshape(x.shape), out=memory[9:].reshape(x.shape), workers=2), blocks)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_long_row_of_softmax_vjp_in_blocks(dtype, level, monkeypatch):
    monkeypatch.setattr(long_rows, "BLOCK", 64)
    n = 64 * 7 + 5
    kinds = ("normal", "saturated", "ties", "constant", "growing")
    p = sg.softmax(np.stack([row(kind, n, dtype) for kind in kinds] + [row("normal", n, dtype)] * 5))
    g = np.random.default_rng(5).normal(size=p.shape).astype(dtype)
    p[-1, 3], g[-1, 3] = 0, np.inf  # not read
    g[-2] = 7  # the mean is 0
    g[-3] *= dtype(0.25) * np.finfo(dtype).smallest_subnormal
    g[-4, 100] = np.nan
    p[-5] = 0
    whole = sg.softmax_vjp(p, g)
    monkeypatch.setattr(long_rows, "LONG_ROW", 100)
    blocks = sg.softmax_vjp(p, g, workers=2)
    wide = np.float64 if dtype != np.float64 else np.longdouble
    with np.errstate(invalid="ignore"):
        distance = np.abs(g.astype(wide) - np.take_along_axis(g, p.argmax(-1)[:, np.newaxis], -1).astype(wide))
        distance[p == 0] = 0
        size = p.astype(wide) * (distance + (p.astype(wide) * distance).sum(-1, keepdims=True))
    finite = np.isfinite(whole)
    np.testing.assert_array_equal(np.isfinite(blocks), finite)
    error = np.abs(blocks.astype(wide) - whole.astype(wide))[finite]
    tiny = float(np.finfo(dtype).smallest_subnormal)
    assert (error <= 4 * np.finfo(dtype).eps * size[finite] + tiny).all()
    assert_same(sg.softmax_vjp(p, g, workers=3), blocks)
    assert_same(sg.softmax_vjp(np.asfortranarray(p), g, workers=1), blocks)
    for place in (0, 1):
        given = [p.copy(), g.copy()]
        assert_same(sg.softmax_vjp(*given, out=given[place], workers=2), blocks)
    memory = np.concatenate([p.ravel(), np.zeros(9, dtype)])
    assert_same(sg.softmax_vjp(memory[:-9].reshape(p.shape), g, out=memory[9:].reshape(p.shape), workers=2), blocks)


def test_a_setting_limits_calls_that_name_no_workers(monkeypatch):
    monkeypatch.delenv("SOFTGRAD_WORKERS", raising=False)
    many = threads.AUTOMATIC_FROM // 4
    assert threads.count(None, many // 2, np.float64) == threads.count(None, many, np.float16) == threads.cpu_count()
    assert threads.count(None, many // 2 - 1, np.float64) == threads.count(None, many - 1, np.float16) == 1
    assert threads.count(None, many) == threads.cpu_count()
    with sg.set_workers(3):
        assert threads.count(None, many) == 3
        assert threads.count(None, many - 1) == 1
        assert threads.count(2, many) == 2
        with sg.set_workers(1):
            assert threads.count(None, many) == 1
        assert threads.count(None, many) == 3
    monkeypatch.setenv("SOFTGRAD_WORKERS", "5")
    assert threads.count(None, many) == 5
    with sg.set_workers(-1):
        assert threads.count(None, many) == threads.cpu_count()
    assert threads.count(None, many) == 5


def test_a_bad_setting_is_an_error(monkeypatch):
    for bad in (0, -2):
        with pytest.raises(ValueError, match="workers must be at least 1"):
            sg.set_workers(bad)
    for bad in (None, True, 1.5, "2"):
        with pytest.raises(TypeError, match="workers must be an integer; got"):
            sg.set_workers(bad)
    for bad in ("many", "0", "1.5"):
        monkeypatch.setenv("SOFTGRAD_WORKERS", bad)
        with pytest.raises(ValueError, match=f"SOFTGRAD_WORKERS must be an integer of at least 1, or -1; got '{bad}'"):
            sg.softmax(np.zeros((1024, 1024)))
