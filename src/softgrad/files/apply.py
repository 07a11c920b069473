"""Functions of arrays, applied to files that are larger than memory.

A file is processed block by block: read a block, call the function, write the result.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from softgrad.files.atomic import unfinished
from softgrad.files.blocks import Contents
from softgrad.files.formats.safetensors import bfloat16
from softgrad.files.formats.table import Format, Reader, Writer, format_of, writer_of
from softgrad.files.journal import Journal, NoJournal, clear, identity
from softgrad.files.operands import Call, Slices, call_of, slices_of
from softgrad.files.passes import Normalization, Plan, as_results
from softgrad.files.run import Run
from softgrad.files.selection import selected
from softgrad.files.sources import open_source

__all__ = ["apply_blocks"]


def apply_blocks(
    function: Callable[..., Any],
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Any,
    target: str | os.PathLike[str] | Sequence[str | os.PathLike[str] | None],
    /,
    *,
    axis: int = -1,
    tensor: str | None = None,
    columns: Sequence[str] | None = None,
    dtype: Any = None,
    force: bool = False,
    resume: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    **arrays: Any,
) -> Any:
    """Apply a function of slices to a file that may be larger than memory, and write the result to another file.

    Parameters
    ----------
    function : callable
        Called as ``function(block, axis=axis)``, with what `arrays` hold for the block; returns an array of the
        block's shape, one value per slice, or several of these.
        `softmax`, `log_softmax` and `logsumexp` (options bound with `functools.partial`) may also be called with
        ``out``, and where slices are long are computed from their `LogSumExpState` instead, in two passes.
    source : path, sequence of paths, or array
        A file whose suffix names its format: ``.npy``, ``.npz``, ``.csv``, ``.parquet``, ``.arrow`` or ``.feather``,
        ``.safetensors`` or the ``.safetensors.index.json`` of several, or the directory of a Zarr array or group,
        ``.zarr`` (``data.zarr/name`` is an array in it). Several files, shards, are one array: its first axis goes
        through one after the other. An array is taken as it is; Zarr arrays and HDF5 data sets are read in blocks.
    target : path, or sequence of paths
        A file of these formats except ``.npz`` and ``.json``; several for a function with several results, such as
        loss and gradient, None for one to leave out. It may be `source` if `force` is given.
    axis : int, default: -1
        The axis of the slices.
    tensor : str, optional
        The name of the array to read from an ``.npz`` or ``.safetensors`` file or a ``.zarr`` group that holds several.
        Not needed for a group with one array besides the coordinates that xarray writes.
    columns : sequence of str, optional
        The names of the columns to read from a table. Default: all but those of an index.
    dtype : data type, optional
        The type of the results, in which functions of softgrad compute them; those of others are rounded to it. For a
        target that does not hold the type of `source`, such as bfloat16.
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

    **arrays
        Operands and options of the function, by the names of its parameters: ``labels``, ``targets``, ``where``,
        ``temperature``, ``sample_weight`` and so on. An array, a file or shards of any of these formats, which has
        one entry for each slice, or as many as `source`, is taken block by block with it, and so is a file larger than
        memory. A number is the same for all slices; ``weight`` has one for each class.
        Of a file with several arrays, or a table with several columns, that of the name of the parameter is taken
        (``label`` for ``labels``). Labels in tables may be written as floating numbers, masks as 0 and 1. Where the
        columns of `source` name the classes, labels may be these names: text in a table, or a sequence of strings.

    Returns
    -------
    Contents
        The result: ``final_shape`` and ``dtype``; a tuple of these for several targets.

    Raises
    ------
    OSError
        If a file cannot be read or written; FileExistsError if `target` exists and `force` is not given.
    TypeError, ValueError, numpy.exceptions.AxisError
        If `source` is damaged, truncated or no array of real numbers, if a suffix is unknown, if an operand does not
        fit `source` (before work begins), if `target` cannot hold the result, and what `function` raises, with the file
        and the place in it.
    ModuleNotFoundError
        If the library of a format is not installed.

    See Also
    --------
    read_blocks : blocks of files, for computations of one's own.
    LogSumExpState : blocks that come from elsewhere.

    Notes
    -----
    A block takes about 2 MiB, 32 MiB where a slice is not one run of the file, or one chunk of a Zarr array or record
    batch of an Arrow file. Longer
    slices than that are held in memory only for other functions than those named above.

    The rows of a table, in text, Parquet or Arrow, are those of an array of two dimensions; one column of lists,
    nested or tensors of one shape, may have more. Names of columns stay while the columns do. An array without them
    becomes one column of lists in Parquet. The index of a table that pandas wrote, which is the columns that
    Parquet's metadata names or those of text whose header is empty, is no part of the array; it is carried to a table
    that has the same rows.

    The first row of text is names if no field of it is a number. The numbers 0, 1, 2, …, as pandas names columns, are
    names over an index; without one, and for other numbers, they cannot be distinguished from data and are taken for
    data. A header of several lines is a ValueError.

    `target` appears under its name when it is complete; whatever interrupts the work leaves nothing behind, but for a
    Zarr array the finished chunks, in ``.NAME.part`` in the same folder; a note of the error says so.

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

    One loss for each row, and its gradient:

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     logits, loss, grad = (os.path.join(folder, name) for name in ("logits.npy", "loss.npy", "grad.npy"))
    ...     np.save(logits, np.zeros((2, 4)))
    ...     contents = sg.apply_blocks(sg.cross_entropy_grad, logits, (loss, grad), labels=[0, 3])
    ...     np.load(grad)
    array([[-0.75,  0.25,  0.25,  0.25],
           [ 0.25,  0.25,  0.25, -0.75]])
    """
    if not callable(function):
        raise TypeError(f"function must be callable, such as softgrad.softmax; got {function!r}")
    selection, outputs = selected(tensor, columns), _outputs(target)
    dtype = None if dtype is None else _dtype(dtype)
    if resume and [output is not None and output.form.resumable for output in outputs] != [True]:
        raise ValueError("resume is for .zarr targets, one at a time, whose finished chunks can be recognised")
    with ExitStack() as files:
        outputs = [output and output.entered(files, force) for output in outputs]
        opened = partial(_opened, files)

        def open_reader() -> Reader:
            return opened(open_source(source, selection))

        reader = open_reader()
        slices = slices_of(source, reader, axis)
        call = call_of(function, arrays, slices, opened, dtype)
        plan = _plan(call, slices, outputs, dtype)
        journal = _journal(plan, outputs, resume)
        files.callback(journal.close)
        writers = tuple(
            None if output is None or result is None else output.opened(files, result)
            for output, result in zip(outputs, plan.results, strict=True)
        )
        count = _counter(progress, reader.nbytes, math.prod(plan.given.shape) * plan.passes)
        unused = [reader]
        with _says_what_is_kept(target, journal):
            Run(plan, lambda: unused.pop() if unused else open_reader(), writers, journal, count)()
    return plan.result if len(plan.results) == 1 else plan.results


def _dtype(dtype: Any) -> np.dtype[Any]:
    return bfloat16() if isinstance(dtype, str) and dtype == "bfloat16" else np.dtype(dtype)


@contextmanager
def _says_what_is_kept(target: Any, journal: NoJournal) -> Iterator[None]:
    """Note with whatever ends a run that its finished blocks are kept."""
    try:
        yield
    except BaseException as error:
        part = unfinished(Path(target)) if isinstance(target, str | os.PathLike) else None
        if part is not None and journal.kept and "resume=True" not in str(error):
            error.add_note(f"{part} keeps the finished blocks, {journal.kept} of them; resume=True goes on with them")
        raise


class _Output(NamedTuple):
    """A file to write, and where it is written until it is complete."""

    path: Path
    form: Format
    writer: type[Writer]

    @classmethod
    def of(cls, path: Path) -> _Output:
        form = format_of(path)
        return cls(path, form, writer_of(path))

    def entered(self, files: ExitStack, force: bool) -> _Output:
        return self._replace(path=files.enter_context(self.form.replacing(self.path, force)))

    def opened(self, files: ExitStack, result: Contents) -> Writer:
        if result.index is not None:
            files.callback(result.index.close)
        return files.enter_context(closing(self.writer(self.path, result)))


def _outputs(target: Any) -> list[_Output | None]:
    targets = [target] if isinstance(target, str | os.PathLike) else list(target)
    written = [os.path.realpath(path) for path in targets if path is not None]
    if not written or len(set(written)) < len(written):
        raise ValueError(f"target must be a path, or a sequence of different paths; got {target!r}")
    return [None if path is None else _Output.of(Path(path)) for path in targets]


def _opened(files: ExitStack, reader: Reader) -> Reader:
    return files.enter_context(closing(reader))


def _plan(call: Call, slices: Slices, outputs: list[_Output | None], dtype: np.dtype[Any] | None) -> Plan:
    found = _results(call, slices.contents, slices.axis)
    if dtype is not None:
        found = [replace(result, dtype=dtype) for result in found]
    if len(found) != len(outputs):
        what = "one result" if len(found) == 1 else f"{len(found)} results"
        raise ValueError(f"the function returns {what}: give as many targets, None for those to leave out")
    results = [
        None if output is None else _written(result, output.writer)
        for output, result in zip(outputs, found, strict=True)
    ]
    by_rows = slices.reader.by_rows or any(operand.reader.by_rows for operand in call.operands)
    by_rows = by_rows or any(output.writer.by_rows for output in outputs if output is not None)
    return Plan.of(call, slices, tuple(results), by_rows)


def _written(result: Contents, writer: type[Writer]) -> Contents:
    """A result as a format holds it, with an index of its own."""
    index = None if result.index is None else result.index.again()
    return replace(result, index=index, order=result.order if writer.any_order else "C")


def _journal(plan: Plan, outputs: list[_Output | None], resume: bool) -> NoJournal:
    """The journal of a run; one that records nothing where no later run could go on with it."""
    folders = [output.path for output in outputs if output is not None and output.form.resumable]
    if len(outputs) == len(folders) == 1:
        try:
            return Journal(folders[0], {"function": identity(plan.call.function), **plan.origin}, resume)
        except TypeError as error:
            if resume:
                raise ValueError(f"resume: {error}") from None
    for folder in folders:
        clear(folder)
    return NoJournal()


def _counter(progress: Callable[[int, int], None], nbytes: int, entries: int) -> Callable[[int], None]:
    """Report entries that are done as bytes of the source."""
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        progress(nbytes * done // max(1, entries), nbytes)

    return count


def _results(call: Call, given: Contents, axis: int) -> list[Contents]:
    """Describe what a function makes of a file: call it on zeros, so that it checks dtype and options itself."""
    lengths = [1] * len(given.shape)
    if call.operands or Normalization.of(call.function) is None:  # it may know the length, by weights for example
        lengths[axis] = max(1, given.shape[axis])
    operands = [operand.sample(lengths) for operand in call.operands]
    found = as_results(call(np.zeros(lengths, given.dtype), operands, axis=axis))
    return [_described(np.asarray(sample), given, axis, lengths) for sample in found]


def _described(sample: Any, given: Contents, axis: int, lengths: list[int]) -> Contents:
    ndim = len(given.shape)
    if sample.ndim == ndim and sample.shape[axis] == lengths[axis]:
        return replace(given, dtype=sample.dtype)
    if sample.ndim not in (ndim - 1, ndim):
        raise ValueError(f"function must return slices, or one value for each; got shape {sample.shape} for {lengths}")
    resized = axis if sample.ndim == ndim else None
    shape = tuple(n if a != axis else 1 if resized is None else sample.shape[a] for a, n in enumerate(given.shape))
    names = None if axis == ndim - 1 else given.names  # the columns that they name are summed
    index = None if axis == 0 else given.index  # the rows that it names are summed
    reduced = axis if resized is None else None
    return replace(given, shape=shape, dtype=sample.dtype, names=names, reduced=reduced, index=index, resized=resized)
