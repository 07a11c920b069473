"""Files and directories that appear under their name only when they are complete."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path, force: bool) -> Iterator[Path]:
    """Make a file that becomes `path` when the block ends, and vanishes if anything at all interrupts it.

    Like a copy, it is not forced to the disk: after a power failure it may be short, which every reader notices.
    """
    _check_file(path, force)
    final = _final(path)
    part = final.with_name(f".{final.name}.{secrets.token_hex(8)}.part")
    try:
        _create(part, path)
        yield part
        _check_file(path, force)  # somebody may have been faster
        os.replace(part, final)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def replacing_directory(path: Path, force: bool, marker: str) -> Iterator[Path]:
    """Name a directory that becomes `path` when the block ends; interrupted, it stays, so that it can be resumed.

    An existing directory is replaced only if it holds a file called `marker`: it is of the kind that takes its place.
    """
    _check_directory(path, force, marker)
    final = _final(path)
    part = partial_directory(path)
    yield part
    _check_directory(path, force, marker)
    if final.exists():
        old = final.with_name(f".{final.name}.{secrets.token_hex(8)}.old")
        os.rename(final, old)
        os.rename(part, final)
        shutil.rmtree(old)
    else:
        os.rename(part, final)


def partial_directory(path: Path) -> Path:
    """Where a directory grows until it is complete."""
    final = path.resolve()
    return final.with_name(f".{final.name}.part")


def _final(path: Path) -> Path:
    final = path.resolve()  # a link stays a link: what it points to is replaced
    if not final.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "No such directory", str(path.parent))
    return final


def _check_file(path: Path, force: bool) -> None:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not force:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def _check_directory(path: Path, force: bool, marker: str) -> None:
    if path.exists() and not force:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    if path.exists() and not (path / marker).is_file():
        raise FileExistsError(errno.EEXIST, f"Not replaced, since it holds no {marker}", str(path))


def _create(part: Path, path: Path) -> None:
    try:
        part.open("xb").close()
    except OSError as error:  # in the name of the file that the caller knows
        raise type(error)(error.errno, error.strerror, str(path)) from None
