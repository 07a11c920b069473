"""The blocks of a file with what belongs to them, for computations of one's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any, NamedTuple

import numpy as np

from softgrad.files.blocks import MORE_FOR_PYTHON, regions, shape_of, whole_slices
from softgrad.files.formats.table import Reader
from softgrad.files.operands import Operand, Slices, separated, slices_of
from softgrad.files.overlap import read_ahead
from softgrad.files.selection import Selection, selected
from softgrad.files.sources import open_source

__all__ = ["read_blocks"]

Array = np.ndarray[Any, Any]


class Block(NamedTuple):
    """Some slices of a source, and what belongs to them."""

    place: tuple[slice, ...]
    """Where they are in the array of the source."""
    values: Array
    """Their entries."""
    arrays: dict[str, Any]
    """The entries of the other arrays that belong to them, and the options that all slices share."""


class Blocks:
    """The blocks of a source, read again by every loop over them; made by `read_blocks`.

    Attributes
    ----------
    shape, dtype : tuple of int, numpy.dtype
        The array of the source.
    names : tuple of str or None
        The names of the columns of a table.
    axis : int
        The axis of the slices, at least 0.
    nbytes : int
        The bytes of the source.
    """

    def __init__(self, source: Any, axis: int, selection: Selection, arrays: dict[str, Any]) -> None:
        self._source, self._selection, self._arrays = source, selection, arrays
        self.axis = axis
        with ExitStack() as files:
            slices, _, _ = self._opened(files)
            self.axis = slices.axis
            contents = slices.contents
            self.shape, self.dtype, self.names = contents.shape, contents.dtype, contents.names
            self.nbytes = slices.reader.nbytes
            self._located: Callable[[int], tuple[str, int]] | None = getattr(slices.reader, "located", None)

    def __iter__(self) -> Iterator[Block]:
        """Open the files, and read one block while the one before is used."""
        with ExitStack() as files:
            slices, operands, options = self._opened(files)
            contents = slices.contents
            by_rows = slices.reader.by_rows or any(operand.reader.by_rows for operand in operands.values())
            lengths = whole_slices(contents, slices.axis, by_rows, MORE_FOR_PYTHON)

            def read(region: tuple[slice, ...]) -> Block:
                values = slices.reader.read(region)
                everything = tuple(slice(0, n) for n in shape_of(region))
                given = {name: operand.taken(operand.read(region), everything) for name, operand in operands.items()}
                return Block(region, values, options | given)

            places = regions(contents.shape, lengths, contents.order, slices.axis)
            yield from (block for _, block in read_ahead(read, places))

    def located(self, row: int) -> tuple[str, int] | None:
        """The shard of a row along the first axis, and which row of that it is; None where there are no shards."""
        return None if self._located is None else self._located(row)

    def _opened(self, files: ExitStack) -> tuple[Slices, dict[str, Operand], dict[str, Any]]:
        def opened(reader: Reader) -> Reader:
            return files.enter_context(closing(reader))

        slices = slices_of(self._source, opened(open_source(self._source, self._selection)), self.axis)
        return slices, *separated(self._arrays, slices, opened)


def read_blocks(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Any,
    /,
    *,
    axis: int = -1,
    tensor: str | None = None,
    columns: Sequence[str] | None = None,
    **arrays: Any,
) -> Blocks:
    """Read a file that may be larger than memory in blocks of whole slices, with what belongs to them.

    Parameters
    ----------
    source : path, sequence of paths, or array
        As `apply_blocks` takes it.
    axis : int, default: -1
        The axis of the slices, each of which is in one block.
    tensor : str, optional
        The name of the array to read, where a file holds several.
    columns : sequence of str, optional
        The names of the columns to read from a table.

    **arrays
        What belongs to the slices, as `apply_blocks` takes it: arrays or files, such as ``labels``, ``targets`` or
        ``where``. Labels are integers, masks boolean.

    Returns
    -------
    Blocks
        An iterable of ``(place, values, arrays)``: the slices of the array of the source that a block is, its entries,
        and for each name of `arrays` the entries that belong to it. It can be gone through several times; it has
        attributes ``shape``, ``dtype``, ``names``, ``axis`` and ``nbytes``.

    Raises
    ------
    OSError, TypeError, ValueError, ModuleNotFoundError
        At once, if a file is missing, damaged, no array of real numbers, or does not fit `source`; from the loop, if
        what is wrong is only seen there.

    See Also
    --------
    apply_blocks : where a file is written.
    LogSumExpState : the softmax of blocks.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import softgrad as sg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     logits, labels = os.path.join(folder, "logits.npy"), os.path.join(folder, "labels.npy")
    ...     np.save(logits, [[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    ...     np.save(labels, [0, 0, 0])
    ...     correct = 0
    ...     for place, x, arrays in sg.read_blocks(logits, labels=labels):
    ...         correct += np.sum(x.argmax(-1) == arrays["labels"])
    >>> int(correct)
    2
    """
    return Blocks(source, axis, selected(tensor, columns), arrays)
