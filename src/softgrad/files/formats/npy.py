"""NumPy's .npy files."""

from __future__ import annotations

import io
import warnings

import numpy as np

from softgrad.files.blocks import OTHER_DTYPE, Contents
from softgrad.files.formats.flat import FlatReader, FlatWriter

VERSIONS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,  # as 2.0, but for names of fields
}
"""How the header of each version is read."""


class NpyReader(FlatReader):
    """An array in a .npy file, of either order."""

    def _describe(self) -> tuple[Contents, int]:
        try:
            version = np.lib.format.read_magic(self._file)
            with warnings.catch_warnings():  # a header of Python 2 warns
                warnings.simplefilter("ignore")
                shape, fortran, dtype = VERSIONS[version](self._file)
        except OSError:
            raise
        except Exception as error:  # a damaged header is evaluated as Python, with any error of its parser
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(f"{self._path}: not a NumPy array file ({reason})") from None
        if dtype.kind not in "fiub":
            raise TypeError(f"{self._path}: the array must hold real numbers; got dtype {dtype}")
        if min(shape, default=0) < 0:
            raise ValueError(f"{self._path}: not a NumPy array file (its header gives shape {shape})")
        return Contents(tuple(map(int, shape)), dtype, "F" if fortran else "C"), self._file.tell()


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
