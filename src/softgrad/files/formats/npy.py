"""NumPy's .npy files."""

from __future__ import annotations

import io

import numpy as np

from softgrad.files.blocks import Contents
from softgrad.files.formats.flat import FlatReader, FlatWriter


class NpyReader(FlatReader):
    """An array in a .npy file, of either order."""

    def _describe(self) -> tuple[Contents, int]:
        try:
            version = np.lib.format.read_magic(self._file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(self._file)
        except ValueError as error:
            raise ValueError(f"{self._path}: not a NumPy array file ({str(error).splitlines()[0]})") from None
        if dtype.kind not in "fiub":
            raise TypeError(f"{self._path}: the array must hold real numbers; got dtype {dtype}")
        return Contents(shape, dtype, "F" if fortran else "C"), self._file.tell()


class NpyWriter(FlatWriter):
    """A .npy file."""

    def _header(self, contents: Contents) -> bytes:
        if contents.dtype.kind == "V":  # bfloat16, whose name the format does not know
            raise TypeError(f"a .npy file holds no {contents.dtype}; choose another dtype")
        shape = contents.final_shape
        header = {
            "descr": np.lib.format.dtype_to_descr(contents.dtype),
            "fortran_order": contents.order == "F" and len(shape) > 1,
            "shape": shape,
        }
        text = io.BytesIO()
        np.lib.format.write_array_header_1_0(text, header)
        return text.getvalue()
