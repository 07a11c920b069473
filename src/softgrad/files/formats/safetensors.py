"""Tensors in .safetensors files: the length of a header in JSON, the header, and the numbers as in memory."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np

from softgrad.files.blocks import Contents
from softgrad.files.formats.flat import FlatReader, FlatWriter
from softgrad.files.selection import Selection

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
"""The format's names of what NumPy has; BF16 is that of ml_dtypes."""

DEFAULT = "values"
"""The name of a tensor that comes from a file without names."""

LONGEST_HEADER = 100_000_000
"""The format's own limit."""


class SafetensorsReader(FlatReader):
    """One tensor of a .safetensors file: the one that is named, or the only one."""

    def _describe(self) -> tuple[Contents, int]:
        header, start = self._header()
        names = sorted(name for name in header if name != "__metadata__")
        name = self._choose(names)
        try:
            entry = header[name]
            shape, code = tuple(map(_count, entry["shape"])), str(entry["dtype"])
            first, last = map(_count, entry["data_offsets"])
        except (KeyError, TypeError, ValueError):
            self._refuse(f"the header does not describe tensor {name!r}")
        dtype = self._dtype(name, code)
        needed = math.prod(shape) * dtype.itemsize
        if last - first != needed:
            self._refuse(
                f"tensor {name!r}, {code} of shape {shape}, takes {needed} bytes; the header gives {last - first}"
            )
        return Contents(shape, dtype, tensor=name), start + first

    def _header(self) -> tuple[dict[str, Any], int]:
        size = self._path.stat().st_size
        length = int.from_bytes(self._file.read(8), "little")
        if size < 8 or length > min(size - 8, LONGEST_HEADER):
            self._refuse(f"the header would take {length} bytes, the file has {size}")
        try:
            header = json.loads(self._file.read(length))
        except (ValueError, RecursionError):
            header = None
        if not isinstance(header, dict):
            self._refuse("the header is not JSON")
        for name in header:
            if any("\ud800" <= letter <= "\udfff" for letter in name):
                self._refuse(f"the name {name!r} is not valid Unicode")
        return header, 8 + length

    def _choose(self, names: list[str]) -> str:
        try:
            return self._selection.array(names, "tensor")
        except ValueError as error:
            raise ValueError(f"{self._path}: {error}") from None

    def _dtype(self, name: str, code: str) -> np.dtype[Any]:
        if code == "BF16":
            return bfloat16()
        if code not in DTYPES:
            raise TypeError(f"{self._path}: tensor {name!r} must hold real numbers that NumPy has; got dtype {code}")
        return np.dtype(DTYPES[code])

    def _refuse(self, reason: str) -> NoReturn:
        raise ValueError(f"{self._path}: not a safetensors file ({reason})")


def of_index(path: Path, selection: Selection) -> SafetensorsReader:
    """The reader of a tensor that an index file (.safetensors.index.json) says to be in another file beside it."""
    text = path.read_bytes()
    try:
        files = json.loads(text)["weight_map"]
        places = {str(name): path.parent / file for name, file in files.items()}
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        raise ValueError(f'{path}: not the index of safetensors files: no "weight_map" of tensors to files') from None
    try:
        tensor = selection.array(sorted(places), "tensor")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return SafetensorsReader(places[tensor], replace(selection, tensor=tensor))


class SafetensorsWriter(FlatWriter):
    """A .safetensors file with one tensor, under the name that it had where it was read."""

    any_order: ClassVar[bool] = False

    def _header(self, contents: Contents) -> bytes:
        codes = {np.dtype(kind): code for code, kind in DTYPES.items()}
        code = "BF16" if contents.dtype.name == "bfloat16" else codes.get(contents.dtype)
        if code is None:
            raise TypeError(f"a .safetensors file holds no {contents.dtype}; pass another dtype (--dtype float64)")
        entry = {"dtype": code, "shape": contents.final_shape, "data_offsets": [0, contents.nbytes]}
        text = json.dumps({contents.tensor or DEFAULT: entry}, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # so that the numbers are aligned
        return len(text).to_bytes(8, "little") + text


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(value)
    return value


def bfloat16() -> np.dtype[Any]:
    """The dtype of ml_dtypes; ModuleNotFoundError that names the extra if it is not installed."""
    try:
        import ml_dtypes  # noqa: PLC0415  only BF16 needs it
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'BF16 needs ml_dtypes: pip install "softgrad[safetensors]"', name="ml_dtypes"
        ) from None
    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype
