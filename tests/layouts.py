"""Ways for an array to be stored: the values are the same, strides, order or bytes are not."""

import numpy as np

from .maps import BFLOAT16


def _unaligned(x):
    buffer = np.zeros(x.nbytes + 1, np.uint8)
    y = buffer[1:].view(x.dtype).reshape(x.shape)
    y[...] = x
    return y


def _readonly(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def _every_other(x, axis):
    wide = np.repeat(x, 2, axis=axis)
    index = [slice(None)] * x.ndim
    index[axis] = slice(None, None, 2)
    return wide[tuple(index)]


LAYOUTS = {
    "strided": lambda x: _every_other(x, -1),
    "strided rows": lambda x: _every_other(x, 0),
    "negative strides": lambda x: np.ascontiguousarray(x[..., ::-1])[..., ::-1],
    "negative rows": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "Fortran": np.asfortranarray,
    "axes swapped": lambda x: np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1),
    "rows broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
    "entries broadcast": lambda x: np.broadcast_to(x[..., :1], x.shape),
    "byte-swapped": lambda x: x if x.dtype == BFLOAT16 else x.astype(x.dtype.newbyteorder("S")),
    "unaligned": _unaligned,
    "read-only": _readonly,
    "offset": lambda x: np.concatenate([x[..., :1], x], axis=-1)[..., 1:],
}
