"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path, force: bool) -> Iterator[BinaryIO]:
    """Open a file that becomes `path` when the block ends, and vanishes if anything at all interrupts it."""
    _check_free(path, force)
    final = path.resolve()  # a link stays a link: what it points to is replaced
    if not final.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "No such directory", str(path.parent))
    part = final.with_name(f".{final.name}.{secrets.token_hex(8)}.part")
    try:
        with _create(part, path) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _check_free(path, force)  # somebody may have been faster
        os.replace(part, final)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _check_free(path: Path, force: bool) -> None:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not force:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def _create(part: Path, path: Path) -> BinaryIO:
    try:
        return open(part, "xb")
    except OSError as error:  # in the name of the file that the caller knows
        raise type(error)(error.errno, error.strerror, str(path)) from None
