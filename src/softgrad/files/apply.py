"""Functions of arrays, applied to files that are larger than memory.

A file is processed block by block: read a block, call the function, write the result.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from softgrad._validation.axis import normalize_axis
from softgrad.files.blocks import Contents, Selection
from softgrad.files.formats.table import Format, Reader, Writer, format_of
from softgrad.files.journal import Journal, NoJournal, clear, identity
from softgrad.files.passes import Normalization, Plan
from softgrad.files.run import Run

__all__ = ["apply_blocks"]


def apply_blocks(
    function: Callable[..., Any],
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    /,
    *,
    axis: int = -1,
    tensor: str | None = None,
    columns: Sequence[str] | None = None,
    force: bool = False,
    resume: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Contents:
    """Apply a function of slices to a file that may be larger than memory, and write the result to another file.

    Parameters
    ----------
    function : callable
        Called as ``function(block, axis=axis)``; returns an array of the block's shape, or one value per slice.
        `softmax`, `log_softmax` and `logsumexp` (options bound with `functools.partial`) may also be called with
        ``out``, and where slices are long are computed from their `LogSumExpState` instead, in two passes.
    source, target : path
        Files; their suffixes name their formats: ``.npy``, ``.csv``, ``.parquet``, ``.safetensors``, or the directory
        of a Zarr array, ``.zarr``. They may be the same file if `force` is given.
    axis : int, default: -1
        The axis of the slices.
    tensor : str, optional
        The name of the array to read from a ``.safetensors`` file or a ``.zarr`` group that holds several.
    columns : sequence of str, optional
        The names of the columns to read from a table. Default: all but those of an index.
    force : bool, default: False
        Whether an existing `target` is replaced.
    resume : bool, default: False
        Whether to go on with what an interrupted run of the same call has left of a ``.zarr`` target: blocks that are
        finished are not computed again. They are read again, from `source` and from what was written, and compared by
        digests: if `source`, `function`, its options, `axis`, `tensor` or `columns` are others, the run is refused; a
        damaged block is computed again. `function` must be one that can be imported, its options bound by
        `functools.partial`: a lambda, a local function or an object cannot be recognised.
    progress : callable, optional
        Called as ``progress(done, total)`` after each block, in bytes of `source`.

    Returns
    -------
    Contents
        The result: ``final_shape`` and ``dtype``.

    Raises
    ------
    OSError
        If a file cannot be read or written; FileExistsError if `target` exists and `force` is not given.
    TypeError, ValueError, numpy.exceptions.AxisError
        If `source` is damaged, truncated or no array of real numbers, if a suffix is unknown, if `target` cannot hold
        the result, and what `function` raises.
    ModuleNotFoundError
        If the library of a format is not installed.

    See Also
    --------
    LogSumExpState : blocks that come from elsewhere.

    Notes
    -----
    A block takes about 2 MiB, 32 MiB where its slices are scattered over the file, or one chunk of a Zarr array. Longer
    slices than that are held in memory only for other functions than those named above.

    The rows of a table, in text or Parquet, are those of an array of two dimensions; so is one column of lists. Names
    of columns stay while the columns do. An array without them becomes one column of lists in Parquet. The index of a
    table that pandas wrote, which is the columns that Parquet's metadata names or those of text whose header is empty,
    is no part of the array; it is carried to a table that has the same rows.

    The first row of text is names if no field of it is a number. Names that are numbers, such as the 0, 1, 2, … of
    pandas' own, are names over an index; without one they cannot be distinguished from data and are taken for data.

    `target` appears under its name when it is complete; whatever interrupts the work leaves nothing behind, but for a
    Zarr array the finished chunks, in ``.NAME.part`` in the same folder.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import softgrad as sg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     logits, result = os.path.join(folder, "logits.npy"), os.path.join(folder, "result.npy")
    ...     np.save(logits, np.zeros((3, 4)))
    ...     contents = sg.apply_blocks(sg.softmax, logits, result)
    ...     np.load(result)[0]
    array([0.25, 0.25, 0.25, 0.25])
    """
    if not callable(function):
        raise TypeError(f"function must be callable, such as softgrad.softmax; got {function!r}")
    source, target = Path(source), Path(target)
    selection = Selection(tensor, None if columns is None else _names(columns))
    source_format, target_format = format_of(source), format_of(target)
    _check_options(selection, resume, source_format, target_format)
    with target_format.replacing(target, force) as path, ExitStack() as files:

        def open_reader() -> Reader:
            return files.enter_context(closing(source_format.reader(source, selection)))

        reader = open_reader()
        plan = _plan(function, reader, target_format.writer, axis)
        if plan.result.index is not None:
            files.callback(plan.result.index.close)
        journal = files.enter_context(closing(_journal(plan, path, resume) if target_format.resumable else NoJournal()))
        writer = files.enter_context(closing(target_format.writer(path, plan.result)))
        count = _counter(progress, reader.nbytes, math.prod(plan.given.shape) * plan.passes)
        unused = [reader]
        Run(plan, lambda: unused.pop() if unused else open_reader(), writer, journal, count)()
    return plan.result


def _names(columns: Sequence[str]) -> tuple[str, ...]:
    names = (columns,) if isinstance(columns, str) else tuple(columns)
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f"columns must be names of columns; got {columns!r}")
    return names


def _plan(function: Callable[..., Any], reader: Reader, writer: type[Writer], axis: int) -> Plan:
    given = reader.contents
    if isinstance(axis, tuple) or not hasattr(axis, "__index__"):
        raise TypeError(f"axis must be one integer: files hold slices along one axis; got {axis!r}")
    result = _result(function, given, axis)
    if not writer.any_order:
        result = replace(result, order="C")
    (sliced,) = normalize_axis(axis, len(given.shape))
    return Plan.of(function, given, result, sliced, reader.by_rows or writer.by_rows)


def _journal(plan: Plan, folder: Path, resume: bool) -> NoJournal:
    """The journal of a run; one that records nothing where a later run could not recognise the function."""
    try:
        function = identity(plan.function)
    except TypeError as error:
        if resume:
            raise ValueError(f"resume: {error}") from None
        clear(folder)
        return NoJournal()
    return Journal(folder, {"function": function, **plan.origin}, resume)


def _counter(progress: Callable[[int, int], None], nbytes: int, entries: int) -> Callable[[int], None]:
    """Report entries that are done as bytes of the source."""
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        progress(nbytes * done // max(1, entries), nbytes)

    return count


def _check_options(selection: Selection, resume: bool, source: Format, target: Format) -> None:
    if selection.tensor is not None and not source.has_tensors:
        raise ValueError(
            f"tensor is for .safetensors files and .zarr groups, which hold several; got {selection.tensor!r}"
        )
    if selection.columns is not None and not source.has_columns:
        raise ValueError(f"columns is for tables, .csv and .parquet files; got {list(selection.columns)}")
    if resume and not target.resumable:
        raise ValueError("resume is for .zarr targets, whose finished chunks can be recognised")


def _result(function: Callable[..., Any], given: Contents, axis: int) -> Contents:
    """Describe what `function` makes of a file: call it on zeros, so that it checks dtype and axis itself."""
    ndim = len(given.shape)
    lengths = [1] * ndim
    if Normalization.of(function) is None and -ndim <= axis < ndim:  # it may know the length, by weights for example
        lengths[axis] = max(1, given.shape[axis])
    sample = np.asarray(function(np.zeros(lengths, given.dtype), axis=axis))
    if sample.ndim == ndim:
        return replace(given, dtype=sample.dtype)
    (reduced,) = normalize_axis(axis, ndim)
    shape = tuple(1 if a == reduced else n for a, n in enumerate(given.shape))
    names = None if reduced == ndim - 1 else given.names  # the columns that they name are summed
    index = None if reduced == 0 else given.index  # the rows that it names are summed
    return replace(given, shape=shape, dtype=sample.dtype, names=names, reduced=reduced, index=index)
