"""Rows over threads: a kernel releases the GIL, so blocks of rows run side by side, each row as it would alone."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import os
import re
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from softgrad._formulas.namespace import NDArray as Array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor, Future

__all__ = ["set_workers"]

AUTOMATIC_FROM = 3 * 2**20
"""Bytes of the type that is computed in from which `workers=None` uses more than one thread.

To hand a part to another thread takes 65 µs, and an entry 0.1 to 0.15 ns for each byte: here the call takes five times
as long as that. A second thread then saves a third of it, and costs a fifth where its CPU is busy.
"""

BLOCKS = 4
"""Blocks of rows for each thread: who is done early takes another, for cores are seldom equally idle."""

BLOCK_BYTES = 2**23
"""Bytes of a block at least, unless a thread gets less: large calls use non-temporal stores, as their blocks must."""


class RowFunction(Protocol):
    """A generalized ufunc, or what is called as one."""

    @property
    def signature(self) -> str | None:
        """What belongs to a row."""

    def __call__(self, *operands: Any, out: tuple[Array, ...]) -> Any:
        """Write the results."""


def cpu_count() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Setting:
    """The most threads of a call that names none; None for as many as there are CPUs."""

    most: int | None = None


def set_workers(workers: int) -> contextlib.AbstractContextManager[None]:
    """Limit the threads of calls without `workers`, in the whole process, until the end of a ``with`` block.

    Parameters
    ----------
    workers : int
        Threads that a call without `workers` may use; -1 for every CPU.

    Returns
    -------
    context manager
        On leaving it the limit is what it was before.

    Raises
    ------
    TypeError
        If `workers` is not an integer.
    ValueError
        If it is below 1 and not -1.

    See Also
    --------
    softmax : whose `workers` is for one call.

    Notes
    -----
    The environment variable ``SOFTGRAD_WORKERS`` sets the same limit from outside, as jobs on shared machines want it.
    Bits never depend on the number of threads. Small calls, on fewer than 800 000 entries of float32 or 400 000 of
    float64, use one in any case.

    Examples
    --------
    >>> import numpy as np
    >>> import softgrad as sg
    >>> with sg.set_workers(1):
    ...     p = sg.softmax(np.zeros((1024, 1024)))  # on the caller's thread alone
    """
    return _limited(_checked(workers, "workers", "an integer"))


@contextlib.contextmanager
def _limited(most: int) -> Iterator[None]:
    before, _Setting.most = _Setting.most, most
    try:
        yield
    finally:
        _Setting.most = before


def _most() -> int:
    """Threads of a call that names none."""
    if _Setting.most is not None:
        return _Setting.most
    given = os.environ.get("SOFTGRAD_WORKERS")
    if not given:
        return cpu_count()
    try:
        return _checked(int(given), "SOFTGRAD_WORKERS", "an integer")
    except ValueError:
        raise ValueError(f"SOFTGRAD_WORKERS must be an integer of at least 1, or -1; got {given!r}") from None


def _checked(workers: int, name: str, kind: str) -> int:
    """A number of threads; `kind` says what may be given."""
    if isinstance(workers, bool) or not hasattr(workers, "__index__"):
        raise TypeError(f"{name} must be {kind}; got {workers!r}")
    workers = int(workers.__index__())
    if workers == -1:
        return cpu_count()
    if workers < 1:
        raise ValueError(f"{name} must be at least 1, or -1 for every CPU; got {workers}")
    return workers


def count(workers: int | None, size: int, dtype: Any = np.float32) -> int:
    """How many threads `workers` means for a call on `size` entries of `dtype` (half precision counts as float32)."""
    if workers is not None:
        return _checked(workers, "workers", "an integer or None")
    # Somebody else's thread is already one of several: splitting it again would only oversubscribe the machine.
    size *= max(np.dtype(dtype).itemsize, 4)
    alone = size >= AUTOMATIC_FROM and threading.current_thread() is threading.main_thread()
    return _most() if alone else 1


def over_rows(
    ufunc: RowFunction, operands: tuple[Any, ...], outs: tuple[Array, ...], workers: int, most: float = math.inf
) -> None:
    """`ufunc(*operands, out=outs)`, its batch cut into blocks along the longest axis for `workers` threads.

    Blocks have no more than `most` entries, unless one row along that axis has.
    """
    if (workers == 1 and operands[0].size <= most) or operands[0].ndim < 2 or operands[0].size == 0:
        ufunc(*operands, out=outs)
        return
    arrays = [np.asarray(a) for a in operands]
    cores = _core_dimensions(ufunc.signature or "")[: len(operands)]
    batch = np.broadcast_shapes(*(a.shape[: a.ndim - core] for a, core in zip(arrays, cores, strict=True)))
    arrays = [np.broadcast_to(a, batch + a.shape[a.ndim - core :]) for a, core in zip(arrays, cores, strict=True)]
    axis = batch.index(max(batch))
    before = (slice(None),) * axis

    def run(start: int, stop: int) -> None:
        rows = (*before, slice(start, stop))
        ufunc(*(a[rows] for a in arrays), out=tuple(o[rows] for o in outs))

    each = min(BLOCKS, max(1, arrays[0].nbytes // (workers * BLOCK_BYTES)))
    parts = min(max(each * workers, math.ceil(arrays[0].size / most)), batch[axis])
    edges = [batch[axis] * part // parts for part in range(parts + 1)]
    side_by_side(run, list(itertools.pairwise(edges)), workers)


def overlap(x: Any, out: Array) -> bool:
    """Whether a block of rows of `out` may be stored where another block of `x` is read."""
    shared = isinstance(x, np.ndarray) and np.may_share_memory(x, out)
    return shared and x.__array_interface__ != out.__array_interface__


def side_by_side(run: Callable[..., None], blocks: list[tuple[Any, ...]], workers: int) -> None:
    """Call `run` with each of `blocks`, on this thread and as many others of the process's as `workers` allows.

    This one does not wait for another to begin: what no other has taken it does itself.
    """
    waiting = deque(blocks)

    def work() -> None:
        while True:
            try:
                block = waiting.popleft()
            except IndexError:
                return
            run(*block)

    others: list[Future[None]] = []
    with contextlib.suppress(RuntimeError):  # an interpreter that is ending starts nothing new
        others.extend(_pool().submit(work) for _ in range(min(workers, len(blocks)) - 1))
    try:
        work()
    finally:
        waiting.clear()
        for other in others:
            if not other.cancel():
                other.result()


@functools.cache
def _pool() -> Executor:
    """The threads of this process: to wake one takes a quarter of the time that it takes to start one."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  importing it costs a third of importing NumPy

    return ThreadPoolExecutor(max(2, cpu_count()), thread_name_prefix="softgrad")


if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


@functools.cache
def _core_dimensions(signature: str) -> tuple[int, ...]:
    """How many trailing axes of each operand, inputs first, belong to one row: "(n),()->(n,n)" gives 1, 0, 2."""
    return tuple(len(core.split(",")) if core else 0 for core in re.findall(r"\(([^)]*)\)", signature))
