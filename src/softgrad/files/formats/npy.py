"""NumPy's .npy files."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np

from softgrad.files.blocks import OTHER_DTYPE, Contents
from softgrad.files.formats.flat import FlatReader, FlatWriter

VERSIONS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,  # as 2.0, but for names of fields
}
"""How the header of each version is read."""


def contents_of(file: Any, where: str) -> Contents:
    """What the header at this place of a file says of the array after it; `where` names the file in messages."""
    try:
        version = np.lib.format.read_magic(file)
        with warnings.catch_warnings():  # a header of Python 2 warns
            warnings.simplefilter("ignore")
            shape, fortran, dtype = VERSIONS[version](file)
    except OSError:
        raise
    except Exception as error:  # a damaged header is evaluated as Python, with any error of its parser
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{where}: not a NumPy array file ({reason})") from None
    if dtype.kind not in "fiub":
        raise TypeError(f"{where}: the array must hold real numbers; got dtype {dtype}")
    if min(shape, default=0) < 0:
        raise ValueError(f"{where}: not a NumPy array file (its header gives shape {shape})")
    return Contents(tuple(map(int, shape)), dtype, "F" if fortran else "C")


class NpyReader(FlatReader):
    """An array in a .npy file, of either order."""

    def _describe(self) -> tuple[Contents, int]:
        return contents_of(self._file, str(self._path)), self._file.tell()


class NpyWriter(FlatWriter):
    """A .npy file."""

    def _header(self, contents: Contents) -> bytes:
        if contents.dtype.kind == "V":  # bfloat16, whose name the format does not know
            raise TypeError(f"a .npy file holds no {contents.dtype}; {OTHER_DTYPE}")
        shape = contents.final_shape
        header = {
            "descr": np.lib.format.dtype_to_descr(contents.dtype),
            "fortran_order": contents.order == "F" and len(shape) > 1,
            "shape": shape,
        }
        text = io.BytesIO()
        np.lib.format.write_array_header_1_0(text, header)
        return text.getvalue()
