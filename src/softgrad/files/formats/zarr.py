"""Zarr arrays in a directory (.zarr), chunk by chunk; written in version 3 of the format, read in any."""

from __future__ import annotations

import itertools
import math
import shutil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from softgrad.files.blocks import Contents, Region

Array = np.ndarray[Any, Any]

MARKER = "zarr.json"
"""The file that makes a directory a Zarr array."""

ORIGIN = "softgrad"
"""The attribute that says, until the array is complete, what it is computed from."""


class ZarrReader:
    """A Zarr array."""

    by_rows: ClassVar[bool] = False

    def __init__(self, path: Path, tensor: str | None = None) -> None:
        del tensor  # an array has no name of its own
        self._path = path
        zarr = _library()
        if not path.is_dir():
            path.open("rb").close()  # if it does not exist
            raise NotADirectoryError(20, "Not a directory", str(path))
        try:
            self._array: Any = zarr.open_array(zarr.storage.LocalStore(path, read_only=True), mode="r")
        except Exception as error:  # whatever the metadata makes of it
            raise ValueError(f"{path}: not a Zarr array ({_first_line(error)})") from None
        dtype = np.dtype(self._array.dtype)
        if dtype.kind not in "fiub":
            raise TypeError(f"{path}: the array must hold real numbers; got dtype {dtype}")
        chunks = self._array.shards or self._array.chunks
        self.contents = Contents(tuple(self._array.shape), dtype, chunks=tuple(chunks))
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


class ZarrWriter:
    """A Zarr array in the grid of `contents.chunks`; finished chunks are recognised and not written again."""

    by_rows: ClassVar[bool] = False
    any_order: ClassVar[bool] = False

    def __init__(self, path: Path, contents: Contents, origin: dict[str, Any], resume: bool) -> None:
        zarr = _library()
        self._path, self._contents = path, contents
        if resume and (path / MARKER).exists():
            self._array: Any = zarr.open_array(zarr.storage.LocalStore(path), mode="r+")
            begun = self._array.attrs.get(ORIGIN)
            if begun != origin:
                changed = [key for key in origin if not isinstance(begun, dict) or begun.get(key) != origin[key]]
                raise ValueError(
                    f"{path}: was begun with another {', '.join(changed)}; run without resume to start again"
                )
            return
        if path.exists():
            shutil.rmtree(path)
        shape = contents.final_shape
        chunks = contents.without_reduced(contents.chunks or contents.shape)
        try:
            self._array = zarr.create_array(
                zarr.storage.LocalStore(path),
                shape=shape,
                dtype=contents.dtype,
                chunks=tuple(max(1, min(c, n)) for c, n in zip(chunks, shape, strict=True)),
                zarr_format=3,
                attributes={ORIGIN: origin},
                config={"write_empty_chunks": True},  # a chunk that exists is finished
            )
        except (ValueError, TypeError) as error:
            raise TypeError(f"a .zarr array holds no {contents.dtype} ({_first_line(error)})") from None

    def has(self, region: Region) -> bool:
        """Whether every chunk of `region` is there. A chunk is renamed into its place, so that it is complete."""
        grid = zip(self._contents.without_reduced(region), self._array.chunks, strict=True)
        keys = itertools.product(*(range(p.start // c, math.ceil(p.stop / c)) for p, c in grid))
        return all((self._path / self._array.metadata.encode_chunk_key(key)).exists() for key in keys)

    def write(self, region: Region, values: Array) -> None:
        """Put `values` at `region`, whose edges are those of chunks."""
        place = self._contents.without_reduced(region)
        self._array[place] = values.reshape([part.stop - part.start for part in place])

    def close(self) -> None:
        """Do nothing: what is written stays for a later run."""

    def finish(self) -> None:
        """Remove the attribute that says what the array is computed from, since it is complete."""
        attributes = dict(self._array.attrs)
        attributes.pop(ORIGIN, None)
        self._array.attrs.put(attributes)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _library() -> Any:
    try:
        import zarr  # noqa: PLC0415  only these files need it
        import zarr.storage  # noqa: PLC0415
    except ModuleNotFoundError:
        raise ModuleNotFoundError('.zarr arrays need zarr: pip install "softgrad[zarr]"', name="zarr") from None
    return zarr
