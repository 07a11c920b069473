"""Functions of arrays, applied to files that are larger than memory.

A file is processed block by block: read a block, call the function, write the result.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from softgrad._validation.axis import normalize_axis
from softgrad.files.blocks import Contents, Selection
from softgrad.files.formats.table import Format, Reader, Writer, format_of
from softgrad.files.journal import Journal, NoJournal, clear, identity
from softgrad.files.operands import Call, call_of
from softgrad.files.passes import Normalization, Plan, as_results
from softgrad.files.run import Run

__all__ = ["apply_blocks"]


def apply_blocks(
    function: Callable[..., Any],
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | Sequence[str | os.PathLike[str] | None],
    /,
    *,
    axis: int = -1,
    tensor: str | None = None,
    columns: Sequence[str] | None = None,
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
    source, target : path
        Files, several targets for a function with several results, such as loss and gradient (None for one to leave
        out); their suffixes name their formats: ``.npy``, ``.csv``, ``.parquet``, ``.safetensors``, or the directory
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

    **arrays
        Operands and options of the function, by the names of its parameters: ``labels``, ``targets``, ``where``,
        ``temperature``, ``sample_weight`` and so on. An array, or the path of a file of any of these formats, that has
        one entry for each slice, or as many as `source`, is taken block by block with it, and so is a file larger than
        memory. A number is the same for all slices; ``weight`` has one for each class. Labels in tables may be written
        as floating numbers, masks as 0 and 1.

    Returns
    -------
    Contents
        The result: ``final_shape`` and ``dtype``; a tuple of these for several targets.

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
    A block takes about 2 MiB, 32 MiB where a slice is not one run of the file, or one chunk of a Zarr array. Longer
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
    if isinstance(axis, tuple) or not hasattr(axis, "__index__"):
        raise TypeError(f"axis must be one integer: files hold slices along one axis; got {axis!r}")
    source = Path(source)
    selection = Selection(tensor, None if columns is None else _names(columns))
    source_format, outputs = format_of(source), _outputs(target)
    _check_options(selection, resume, source_format, outputs)
    with ExitStack() as files:
        outputs = [output and output.entered(files, force) for output in outputs]
        opened = partial(_opened, files)

        def open_reader() -> Reader:
            return opened(source_format.reader(source, selection))

        reader = open_reader()
        (sliced,) = normalize_axis(axis, len(reader.contents.shape))
        call = call_of(function, arrays, source, reader.contents.shape, sliced, opened)
        plan = _plan(call, reader, outputs, sliced)
        journal = _journal(plan, outputs, resume)
        files.callback(journal.close)
        writers = tuple(
            None if output is None or result is None else output.writer(files, result)
            for output, result in zip(outputs, plan.results, strict=True)
        )
        count = _counter(progress, reader.nbytes, math.prod(plan.given.shape) * plan.passes)
        unused = [reader]
        Run(plan, lambda: unused.pop() if unused else open_reader(), writers, journal, count)()
    return plan.result if len(plan.results) == 1 else plan.results


class _Output(NamedTuple):
    """A file to write, and where it is written until it is complete."""

    path: Path
    form: Format

    def entered(self, files: ExitStack, force: bool) -> _Output:
        return self._replace(path=files.enter_context(self.form.replacing(self.path, force)))

    def writer(self, files: ExitStack, result: Contents) -> Writer:
        if result.index is not None:
            files.callback(result.index.close)
        return files.enter_context(closing(self.form.writer(self.path, result)))


def _outputs(target: Any) -> list[_Output | None]:
    targets = [target] if isinstance(target, str | os.PathLike) else list(target)
    written = [os.path.realpath(path) for path in targets if path is not None]
    if not written or len(set(written)) < len(written):
        raise ValueError(f"target must be a path, or a sequence of different paths; got {target!r}")
    return [None if path is None else _Output(Path(path), format_of(Path(path))) for path in targets]


def _opened(files: ExitStack, reader: Reader) -> Reader:
    return files.enter_context(closing(reader))


def _names(columns: Sequence[str]) -> tuple[str, ...]:
    names = (columns,) if isinstance(columns, str) else tuple(columns)
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f"columns must be names of columns; got {columns!r}")
    return names


def _plan(call: Call, reader: Reader, outputs: list[_Output | None], axis: int) -> Plan:
    given = reader.contents
    found = _results(call, given, axis)
    if len(found) != len(outputs):
        what = "one result" if len(found) == 1 else f"{len(found)} results"
        raise ValueError(f"the function returns {what}: give as many targets, None for those to leave out")
    results = [
        None if output is None else _written(result, output.form) for output, result in zip(outputs, found, strict=True)
    ]
    by_rows = reader.by_rows or any(operand.by_rows for operand in call.operands)
    by_rows = by_rows or any(output.form.writer.by_rows for output in outputs if output is not None)
    return Plan.of(call, given, tuple(results), axis, by_rows)


def _written(result: Contents, form: Format) -> Contents:
    """A result as a format holds it, with an index of its own."""
    index = None if result.index is None else result.index.again()
    return replace(result, index=index, order=result.order if form.writer.any_order else "C")


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


def _check_options(selection: Selection, resume: bool, source: Format, outputs: list[_Output | None]) -> None:
    if selection.tensor is not None and not source.has_tensors:
        raise ValueError(
            f"tensor is for .safetensors files and .zarr groups, which hold several; got {selection.tensor!r}"
        )
    if selection.columns is not None and not source.has_columns:
        raise ValueError(f"columns is for tables, .csv and .parquet files; got {list(selection.columns)}")
    if resume and [output is not None and output.form.resumable for output in outputs] != [True]:
        raise ValueError("resume is for .zarr targets, one at a time, whose finished chunks can be recognised")


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
