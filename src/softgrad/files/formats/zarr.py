"""Zarr arrays in a directory (.zarr), chunk by chunk; written in version 3 of the format, read in any."""

from __future__ import annotations

import json
import os
import re
import warnings
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from softgrad.files.blocks import OTHER_DTYPE, Contents, Region
from softgrad.files.selection import Selection

Array = np.ndarray[Any, Any]

OWN_FILES = re.compile(r"(zarr\.json|\.zarray|\.zattrs|(c|\d+)([./]\d+)*)(\.[0-9a-f]{32}\.partial)?")
"""Paths of metadata and chunks, and of those that were being written."""


class ZarrReader:
    """A Zarr array, or one of those in a group: the one that is named, or the only one."""

    by_rows = False

    def __init__(self, path: Path, selection: Selection) -> None:
        self._path = path
        self._zarr = _library()
        if not path.is_dir():
            path.open("rb").close()  # if it does not exist
            raise NotADirectoryError(20, "Not a directory", str(path))
        self._array = self._open(selection)
        dtype = np.dtype(self._array.dtype)
        if dtype.kind not in "fiub":
            raise TypeError(f"{path}: the array must hold real numbers; got dtype {dtype}")
        chunks = self._array.shards or self._array.chunks
        name = self._array.name
        tensor = name.strip("/") if name else None
        self.contents = Contents(tuple(self._array.shape), dtype, tensor=tensor or None, chunks=tuple(chunks))
        self.nbytes = self.contents.nbytes

    def read(self, region: Region) -> Array:
        """Return the entries of `region`."""
        try:
            return np.asarray(self._array[region])
        except Exception as error:  # whatever its codecs make of a chunk
            place = ", ".join(f"{part.start}:{part.stop}" for part in region)
            raise ValueError(f"{self._path}: the chunks of [{place}] cannot be read ({_first_line(error)})") from None

    def close(self) -> None:
        """Do nothing: every chunk is a file that was closed when it was read."""

    def _open(self, selection: Selection) -> Any:
        store = self._zarr.storage.LocalStore(self._path, read_only=True)
        members, tensor = self._members(store), selection.tensor
        if members is None:
            if tensor is not None:
                raise ValueError(
                    f"{self._path}: tensor names an array of a group, and this is no group; got {tensor!r}"
                )
        else:
            names = sorted(members)
            variables = [name for name in names if not _is_coordinate(name, members[name])]
            try:
                tensor = selection.array(variables if tensor is None and len(variables) == 1 else names, "array")
            except ValueError as error:
                raise ValueError(f"{self._path}: not a Zarr array but a group: {error}") from None
        try:
            return self._zarr.open_array(store, path=tensor, mode="r")
        except Exception as error:  # whatever the metadata makes of it
            raise ValueError(f"{self._path}: not a Zarr array ({_first_line(error)})") from None

    def _members(self, store: Any) -> dict[str, Any] | None:
        """The arrays of a group; None if it is none."""
        try:
            with warnings.catch_warnings():  # of types of other arrays in the group
                warnings.simplefilter("ignore")
                members = self._zarr.open_group(store, mode="r").members(max_depth=None)
                return {name: member for name, member in members if hasattr(member, "dtype")}
        except Exception:  # no group, or one that cannot be read: opened as an array, it says why
            return None


class ZarrWriter:
    """A Zarr array in the grid of `contents.chunks`; an array that is there already is filled further."""

    by_rows: ClassVar[bool] = False
    any_order: ClassVar[bool] = False

    def __init__(self, path: Path, contents: Contents) -> None:
        zarr = _library()
        self._contents = contents
        shape = contents.final_shape
        grid = contents.without_reduced(contents.chunks or contents.shape)
        chunks = tuple(max(1, min(c, n)) for c, n in zip(grid, shape, strict=True))
        store = zarr.storage.LocalStore(path)
        if (path / "zarr.json").exists():
            self._array = _reopened(zarr, path, store)
            found = (self._array.shape, self._array.dtype, self._array.chunks)
            if found != (shape, contents.dtype, chunks):
                raise ValueError(f"{path}: the interrupted run is damaged; run without resume=True to start again")
            return
        try:
            self._array = zarr.create_array(
                store, shape=shape, dtype=contents.dtype, chunks=chunks, zarr_format=3,
                config={"write_empty_chunks": True},
            )  # fmt: skip
        except (ValueError, TypeError) as error:
            raise TypeError(f"a .zarr array holds no {contents.dtype} ({_first_line(error)}); {OTHER_DTYPE}") from None

    def read(self, region: Region) -> Array | None:
        """What was written at `region`; None if that is damaged."""
        try:
            return np.asarray(self._array[self._contents.without_reduced(region)])
        except Exception:  # whatever its codecs make of a chunk
            return None

    def write(self, region: Region, values: Array) -> None:
        """Put `values` at `region`, whose edges are those of chunks."""
        place = self._contents.without_reduced(region)
        self._array[place] = values.reshape([part.stop - part.start for part in place])

    def close(self) -> None:
        """Do nothing: every chunk is a file that was closed when it was written."""


def not_replaced(path: Path) -> str | None:
    """Why a directory is not replaced: it is no Zarr array, or holds more than one; None if nothing else is in it."""
    if not _is_array(path):
        return "it is no Zarr array"
    for folder, _, files in os.walk(path):
        for name in files:
            relative = Path(folder, name).relative_to(path).as_posix()
            if OWN_FILES.fullmatch(relative) is None:
                return f"it holds {relative}"
    return None


def _is_array(path: Path) -> bool:
    if (path / ".zarray").is_file():
        return True
    try:
        metadata = json.loads((path / "zarr.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(metadata, dict) and metadata.get("node_type") == "array"


def _reopened(zarr: Any, path: Path, store: Any) -> Any:
    try:
        return zarr.open_array(store, mode="r+")
    except Exception as error:  # whatever the metadata makes of it
        raise ValueError(
            f"{path}: the interrupted run is damaged ({_first_line(error)}); run without resume=True to start again"
        ) from None


def _is_coordinate(name: str, array: Any) -> bool:
    """Whether an array names the entries of others along a dimension: xarray gives it that name."""
    dimensions = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    return list(dimensions or ()) == [name.rpartition("/")[2]]


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _library() -> Any:
    try:
        import zarr  # noqa: PLC0415  only these files need it
        import zarr.storage  # noqa: PLC0415
    except ModuleNotFoundError:
        raise ModuleNotFoundError('.zarr arrays need zarr: pip install "softgrad[zarr]"', name="zarr") from None
    return zarr
