"""What an interrupted run has finished: a journal of blocks, by which a later run of the same call goes on.

The first line says what the result is computed from. Each further line is a finished block, with one digest of what was
read and one of what was written: a later run reads both again and trusts the block only if both are the same.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from softgrad.files.atomic import JOURNAL
from softgrad.files.blocks import Region

Array = np.ndarray[Any, Any]

Origin = dict[str, Any]
"""What a result is computed from, but for the contents of the files, in values that JSON knows."""


class Digest:
    """The SHA-256 of arrays, one after the other; None for one that cannot be read."""

    def __init__(self, arrays: Iterable[Array | None] = ()) -> None:
        self._hash = hashlib.sha256()
        for values in arrays:
            self.update(values)

    def update(self, values: Array | None) -> None:
        """Append an array."""
        if values is not None:
            self._hash.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)

    def __str__(self) -> str:
        return self._hash.hexdigest()


class NoDigest(Digest):
    """Nothing is compared later."""

    def update(self, values: Array | None) -> None:
        """Do nothing."""


class NoJournal:
    """The journal of a run that cannot be resumed."""

    digest: type[Digest] = NoDigest

    def __init__(self) -> None:
        self.finished: dict[str, tuple[str, str]] = {}
        """The digests of what was read and written, by region."""

    @property
    def kept(self) -> int:
        """How many blocks are finished, in a file that a later run can read."""
        return 0

    def record(self, unit: Region, read: Digest, written: Digest) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Journal(NoJournal):
    """The journal in the directory of an unfinished run."""

    digest = Digest

    def __init__(self, folder: Path, origin: Origin, resume: bool) -> None:
        super().__init__()
        self.folder = folder
        first = json.dumps(origin)
        if resume and (folder / JOURNAL).stat().st_size:
            self._resume(first)
        else:
            clear(folder)
            (folder / JOURNAL).write_text(first + "\n", encoding="utf-8")
        self._file = (folder / JOURNAL).open("a", encoding="utf-8")

    def record(self, unit: Region, read: Digest, written: Digest) -> None:
        """Add a finished block."""
        self._file.write(json.dumps([key_of(unit), str(read), str(written)]) + "\n")
        self._file.flush()

    @property
    def kept(self) -> int:
        """How many blocks the journal lists as finished."""
        return (self.folder / JOURNAL).read_bytes().count(b"\n") - 1

    def close(self) -> None:
        """Close the journal."""
        self._file.close()

    def _resume(self, first: str) -> None:
        begun, *lines = (self.folder / JOURNAL).read_text(encoding="utf-8", errors="replace").splitlines()
        origin = json.loads(first)
        try:
            found = json.loads(begun)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ValueError(f"{self.folder}: the interrupted run is damaged; run without resume=True to start again")
        if found != origin:
            changed = [key for key in origin if found.get(key) != origin[key]]
            raise ValueError(
                f"{self.folder}: was begun with another {', '.join(changed)}; run without resume=True to start again"
            )
        for line in lines:
            try:
                unit, read, written = json.loads(line)
                self.finished[str(unit)] = str(read), str(written)
            except (TypeError, ValueError):  # a line that was being written when the run ended
                continue


def key_of(unit: Region) -> str:
    """A region as the journal names it."""
    return ",".join(f"{part.start}:{part.stop}" for part in unit)


def identity(value: Any) -> Any:
    """A function or an option by value, such that another run can compare it.

    A function is one that can be imported again: its name, the version of its package and the digest of its module.
    Arrays are digests. TypeError for what has no such identity.
    """
    if isinstance(value, partial):
        options = {name: identity(option) for name, option in sorted(value.keywords.items())}
        return {"function": identity(value.func), "arguments": [*map(identity, value.args)], "options": options}
    if value is None or type(value) in (bool, int, float, str):
        return repr(value)
    if type(value) in (list, tuple):
        return [type(value).__name__, *map(identity, value)]
    if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        return ["array", str(value.dtype), list(value.shape), str(Digest([np.asarray(value)]))]
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return ["dtype", str(np.dtype(value))]
    return _function(value)


def _function(function: Any) -> list[str]:
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if isinstance(function, np.ufunc):
        module, name = "numpy", function.__name__
    found: Any = sys.modules.get(module or "")
    for part in (name or "").split("."):
        found = getattr(found, part, None)
    if found is not function or not isinstance(module, str):
        raise TypeError(
            f"{name or type(function).__name__} cannot be identified in a later run: pass a function that can be"
            " imported, no lambda, local function or object, with its options bound by functools.partial"
        )
    return ["function", f"{module}.{name}", *_version(module)]


def _version(module: str) -> list[str]:
    """The version of the package, if it has one, and the digest of the module: people edit without a new version."""
    version = getattr(sys.modules.get(module.partition(".")[0]), "__version__", "")
    source = getattr(sys.modules[module], "__file__", None)
    if source is None:
        raise TypeError(f"functions of {module}, which has no source file, cannot be identified in a later run")
    return [str(version), hashlib.sha256(Path(source).read_bytes()).hexdigest()]


def clear(folder: Path) -> None:
    """Remove what an earlier run has left, but for the journal, whose lock is held."""
    for path in folder.iterdir():
        if path.name == JOURNAL:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
