"""Files and directories that appear under their name only when they are complete."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

try:
    import fcntl
except ImportError:  # Windows does not delete an open file anyway
    fcntl = None  # type: ignore[assignment]

JOURNAL = "softgrad.jsonl"
"""The file that marks the directory of an unfinished run as softgrad's; the run that writes it holds its lock."""


@contextmanager
def replacing(path: Path, force: bool) -> Iterator[Path]:
    """Make a file that becomes `path` when the block ends, and vanishes if anything at all interrupts it.

    Files that killed runs of the same output have left are removed. Like a copy, the file is not forced to the disk:
    after a power failure it may be short, which every reader notices.
    """
    _check_file(path, force)
    final = _final(path)
    _remove_stale(final)
    part, file = _created(final, path)
    try:
        with file:
            yield part
            _check_file(path, force)  # somebody may have been faster
            if fcntl is not None:  # the lock lasts until the file has its name
                os.replace(part, final)
        if fcntl is None:
            os.replace(part, final)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def replacing_directory(path: Path, force: bool, not_replaced: Callable[[Path], str | None]) -> Iterator[Path]:
    """Name a directory that becomes `path` when the block ends; interrupted, it stays, so that it can be resumed.

    `not_replaced` says why an existing directory must stay; only one for which it has no reason is replaced.
    """
    _check_directory(path, force, not_replaced)
    final = _final(path)
    part = _part(final)
    with _owned(part, path):
        _finish_replacing(final)
        _check_directory(path, force, not_replaced)
        try:
            yield part
        except BaseException:
            if (part / JOURNAL).read_bytes().count(b"\n") <= 1:  # nothing is finished
                shutil.rmtree(part, ignore_errors=True)
            raise
        _check_directory(path, force, not_replaced)
        if final.exists():
            old = final.with_name(f".{final.name}.{secrets.token_hex(8)}.old")
            os.rename(final, old)
            os.rename(part, final)
            shutil.rmtree(old)
        else:
            os.rename(part, final)
        (final / JOURNAL).unlink()


def unfinished(path: Path) -> Path | None:
    """The directory of an unfinished run whose output is `path`, which can be resumed; None if there is none."""
    part = _part(Path(os.path.realpath(path)))
    return path.with_name(part.name) if (part / JOURNAL).is_file() else None


def _part(final: Path) -> Path:
    return final.with_name(f".{final.name}.part")


@contextmanager
def _owned(part: Path, path: Path) -> Iterator[None]:
    """Hold the directory of an unfinished run, new or as an earlier run of the same output has left it."""
    if os.path.lexists(part) and (part.is_symlink() or not (part / JOURNAL).is_file()):
        raise FileExistsError(
            errno.EEXIST, "Exists and was not left by an unfinished run of softgrad; move it away", str(part)
        )
    try:
        part.mkdir(exist_ok=True)
        file = (part / JOURNAL).open("ab")
    except OSError as error:  # in the name of the directory that the caller knows
        raise type(error)(error.errno, error.strerror, str(path)) from None
    with file:
        if not _lock(file):
            raise OSError(errno.EBUSY, "Another run is writing it", str(path))
        yield


def _final(path: Path) -> Path:
    try:
        final = path.resolve()  # a link stays a link: what it points to is replaced
    except RuntimeError:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from None
    if not final.parent.is_dir():
        folder = final.parent if path.is_symlink() else path.parent
        raise FileNotFoundError(errno.ENOENT, "No such directory", str(folder))
    return final


def _check_file(path: Path, force: bool) -> None:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    _check_force(path, force)


def _check_directory(path: Path, force: bool, not_replaced: Callable[[Path], str | None]) -> None:
    _check_force(path, force)
    reason = not_replaced(path) if path.exists() else None
    if reason is not None:
        raise FileExistsError(errno.EEXIST, f"Not replaced, since {reason}", str(path))


def _check_force(path: Path, force: bool) -> None:
    if path.exists() and not force:
        raise FileExistsError(errno.EEXIST, "the file exists; force=True replaces it", str(path))


def _created(final: Path, path: Path) -> tuple[Path, BinaryIO]:
    """A new file in the folder of `final`, locked."""
    while True:
        part = final.with_name(f".{final.name}.{secrets.token_hex(8)}.part")
        try:
            file = part.open("xb")
        except OSError as error:  # in the name of the file that the caller knows
            raise type(error)(error.errno, error.strerror, str(path)) from None
        if _lock(file) and part.exists():
            return part, file
        file.close()  # another run took it for stale before it was locked


def _remove_stale(final: Path) -> None:
    """Remove what killed runs of the same output have left: files of our name that no run holds the lock of."""
    own = re.compile(rf"\.{re.escape(final.name)}\.[0-9a-f]{{16}}\.part")
    for part in final.parent.glob(".*.part"):
        if own.fullmatch(part.name) is None or part.is_symlink() or not part.is_file():
            continue
        try:
            with part.open("r+b") as file:
                if not _lock(file):
                    continue
            part.unlink()
        except OSError:  # not ours to remove, or in use on Windows
            continue


def _finish_replacing(final: Path) -> None:
    """Complete a replacement that was killed between two renames: the old directory comes back, or goes."""
    own = re.compile(rf"\.{re.escape(final.name)}\.[0-9a-f]{{16}}\.old")
    for old in final.parent.glob(".*.old"):
        if own.fullmatch(old.name) is not None and not old.is_symlink():
            if final.exists():
                shutil.rmtree(old)
            else:
                os.rename(old, final)


def _lock(file: Any) -> bool:
    """Lock an open file for as long as it is open; False if another run holds the lock."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EACCES)  # a file system without locks holds none
    return True
