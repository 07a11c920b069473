"""One block is computed while the next is read and the one before written, since all three wait for memory in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self


def read_ahead(read: Any, regions: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Each of `regions` with what `read` returns for it, the next one on its way."""
    with ThreadPoolExecutor(1) as pool:
        pending: tuple[Any, Future[Any]] | None = None
        for region in regions:
            following = region, pool.submit(read, region)
            if pending is not None:
                yield pending[0], pending[1].result()
            pending = following
        if pending is not None:
            yield pending[0], pending[1].result()


class Behind:
    """Tasks that are done one after the other in another thread; to submit one waits for the one before.

    An error of a task is raised by the next one that is submitted, or at the end.
    """

    def __init__(self) -> None:
        self._pending: Future[None] | None = None

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(1)
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()
        if error[0] is None:
            self._wait()

    def submit(self, task: Callable[..., None], *arguments: Any) -> None:
        """Do a task with arguments that must not change any more."""
        self._wait()
        self._pending = self._pool.submit(task, *arguments)

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()
