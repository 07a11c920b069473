"""The commands of `softgrad` and their options."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

import softgrad
from softgrad.calibration import table
from softgrad.cli import terminal
from softgrad.cli.draws import filtered
from softgrad.cli.functions import DTYPES, FUNCTIONS, bound
from softgrad.files import FORMATS, apply_blocks

app = typer.Typer(
    name="softgrad",
    help="Softmax, its logarithm and its derivatives: exact, at memory speed.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


class CommandError(Exception):
    """What the user gave cannot be carried out; the message is for the user."""


def _function(text: str) -> str:
    return _one_of(FUNCTIONS, text.replace("_", "-"), text)


def _dtype(text: str) -> str:
    return _one_of(DTYPES, text, text)


def _one_of(known: tuple[str, ...], name: str, text: str) -> str:
    if name not in known:
        raise typer.BadParameter(f"must be one of {', '.join(known)}; got {text!r}")
    return name


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"must be an integer; got {text!r}") from None


def _float(text: str) -> float:
    """The number that is written; one that would become an infinity is an error."""
    number = float(text)
    if math.isinf(number) and "inf" not in text.lower():
        raise CommandError(f"the number is too large for float64; got {text!r}")
    return number


def _real(text: str) -> float:
    try:
        return _float(text)
    except ValueError:
        raise typer.BadParameter(f"must be a number; got {text!r}") from None


def _number_or_file(text: str) -> float | str:
    try:
        return _float(text)
    except ValueError:
        if Path(text).suffix.lower() in FORMATS:
            return text
        raise typer.BadParameter(f"must be a number or a file; got {text!r}") from None


def _names(text: str) -> list[str]:
    return next(csv.reader([text], skipinitialspace=True), [])


def run(arguments: list[str]) -> int | None:
    """Run the command; every expected error comes out as a `CommandError`."""
    try:
        code: int | None = typer.main.get_command(app)(arguments or ["--help"], "softgrad", standalone_mode=False)
        return code
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise CommandError(f"{where}{error.strerror or error}") from error
    except (IndexError, TypeError, ValueError) as error:
        raise CommandError(str(error)) from error
    except ModuleNotFoundError as error:
        if error.name not in ("ml_dtypes", "pyarrow", "zarr"):
            raise
        raise CommandError(str(error)) from error
    except MemoryError as error:
        raise CommandError(f"not enough memory: {error}") from error
    except Exception as error:
        # Usage errors of the command line; typer has had two homes for their class.
        if not hasattr(error, "format_message"):
            raise
        raise CommandError(_usage_error(error)) from error


def _usage_error(error: Any) -> str:
    """What is wrong with a command line."""
    # Where the last argument is missing, the parser names the one before it that takes several values: show both.
    context = getattr(error, "ctx", None)
    if context is None or not str(error.format_message()).startswith("Missing argument"):
        return str(error.format_message())
    arguments = [p for p in context.command.params if p.param_type_name == "argument"]
    names = [p.metavar.removesuffix("...") + "..." * (p.nargs == -1) for p in arguments]
    return " ".join(["an argument is missing; expected", context.command_path, *names])


def _version(wanted: bool) -> None:
    if wanted:
        print(f"softgrad {softgrad.__version__} (backend {softgrad.backend()}, NumPy {np.__version__})")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


# Without the setting, -1 would be taken for an option.
@app.command(context_settings={"ignore_unknown_options": True})
def show(
    logits: Annotated[list[str], typer.Argument(metavar="LOGIT...", help="Numbers: 2, -1.5, 1e3, -inf.")],
    jacobian: Annotated[bool, typer.Option("--jacobian", help="Print the Jacobian of softmax, too.")] = False,
    temperature: Annotated[float, typer.Option(parser=_real, metavar="T", help="Divide the logits by T.")] = 1.0,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw logits, probabilities, Jacobian: .png, .pdf or .svg.")
    ] = None,
) -> None:
    """Show the softmax of some logits: probabilities, entropy, Jacobian.

    Example: `softgrad show 1 2 3 --jacobian`
    """
    x = np.array([_number(text) for text in logits])
    if plot:
        plots = _plots()
        plots.check_suffix(plot)
    p = softgrad.softmax(x, temperature=temperature)
    log_p = softgrad.log_softmax(x, temperature=temperature)
    entropy = float(softgrad.entropy(log_p))
    J = softgrad.softmax_jacobian(x, temperature=temperature) if jacobian or plot else None
    console = Console(highlight=False)
    terminal.print_probabilities(console, x, p, log_p)
    console.print(f"Entropy: {entropy:.6g} nats = {entropy / np.log(2):.6g} bits")
    if jacobian and J is not None:
        terminal.print_jacobian(console, p, J)
    if plot and J is not None:
        plots.save_figure(plot, x, p, J.toarray())
        _report(f"wrote {plot}")


ABOUT_FUNCTION, ABOUT_FILES = "Options of the function", "Files"
"""The groups of options in the help."""


def _given(help_text: str, *names: str, **options: Any) -> Any:
    """An option of the function."""
    return typer.Option(*names, help=help_text, rich_help_panel=ABOUT_FUNCTION, **options)


def _about_file(help_text: str, *names: str, **options: Any) -> Any:
    """An option about the files."""
    return typer.Option(*names, help=help_text, rich_help_panel=ABOUT_FILES, **options)


@app.command(name="apply")
def apply_(
    function: Annotated[
        str, typer.Argument(parser=_function, metavar="FUNCTION", help=f"One of {', '.join(FUNCTIONS)}.")
    ],
    sources: Annotated[
        list[str], typer.Argument(metavar="IN", help=f"The file to read, or shards: {', '.join(FORMATS)}.")
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write, of any but .npz and .json.")],
    *,
    labels: Annotated[
        list[str] | None,
        _given("The label of every slice, a number or the name of a column; or indices.", metavar="FILE"),
    ] = None,
    targets: Annotated[
        list[str] | None, _given("Target probabilities, or the logits of q of kl-divergence.", metavar="FILE")
    ] = None,
    where: Annotated[list[str] | None, _given("The mask of valid entries, of 0 and 1.", metavar="FILE")] = None,
    temperature: Annotated[
        Any,
        _given("Divide the logits by T, or by one number for each slice.", parser=_number_or_file, metavar="T|FILE"),
    ] = None,
    sample_weight: Annotated[list[str] | None, _given("The weight of every slice.", metavar="FILE")] = None,
    weight: Annotated[str | None, _given("The weight of every class.", metavar="FILE")] = None,
    ignore_index: Annotated[int | None, _given("The label that stands for none.", parser=_integer, metavar="N")] = None,
    label_smoothing: Annotated[
        float | None, _given("Probability spread over all classes.", parser=_real, metavar="X")
    ] = None,
    z_loss: Annotated[float | None, _given("The factor of logsumexp².", parser=_real, metavar="X")] = None,
    gamma: Annotated[float | None, _given("The exponent of the focal loss.", parser=_real, metavar="X")] = None,
    alpha: Annotated[Any, _given("The α of entmax.", parser=_number_or_file, metavar="X|FILE")] = None,
    k: Annotated[int | None, _given("How many entries top-k-mask keeps.", parser=_integer, metavar="K")] = None,
    p: Annotated[Any, _given("The P of top-p-mask and min-p-mask.", parser=_number_or_file, metavar="P|FILE")] = None,
    dtype: Annotated[
        str | None, _given(f"{', '.join(DTYPES)}. Default: that of the function.", parser=_dtype, metavar="TYPE")
    ] = None,
    axis: Annotated[
        int,
        _about_file("The axis of the slices; sums reduce it.", parser=_integer, metavar="N"),
    ] = -1,
    grad: Annotated[
        Path | None,
        _about_file("Where functions called …-grad write the gradient.", metavar="FILE"),
    ] = None,
    tensor: Annotated[
        str | None,
        _about_file("The array of a file or group that holds several.", metavar="NAME"),
    ] = None,
    columns: Annotated[
        list[Any] | None,
        _about_file("The columns of a table. Default: all but an index.", parser=_names, metavar="A,B,…"),
    ] = None,
    force: Annotated[
        bool,
        _about_file("Replace OUT if it exists, even if it is IN.", "--force"),
    ] = False,
    resume: Annotated[
        bool,
        _about_file("Keep what an interrupted run has finished; OUT is .zarr.", "--resume"),
    ] = False,
) -> None:
    """Apply a function to a file that may be larger than memory.

    The file is read, computed and written block by block. OUT appears under its name when it is complete; an
    interrupted run leaves nothing behind, or the finished chunks of a .zarr array.

    Several files IN are shards of one array, one after the other. Of an operand, such as labels, shards are given by
    repeating its option; of a file with several arrays or columns that of the name of the option is taken.

    A .csv file holds numbers separated by commas. A first row without any number is a header. Names that are numbers
    are taken for data, but not over an index: columns at the left without a name, which are no data. The entries of a
    row of a .parquet or .arrow file are its columns, or those of one column of lists.

    For example:

    `softgrad apply softmax logits.npy probabilities.npy`

    `softgrad apply cross-entropy logits.zarr loss.npy --labels y.csv`

    `softgrad apply cross-entropy-grad x.npy loss.npy --grad g.npy --labels y.npy`

    `softgrad apply entropy a.safetensors b.safetensors h.npy --dtype float32`
    """
    began = time.monotonic()
    options = {
        "labels": _shards(labels), "targets": _shards(targets), "where": _shards(where), "temperature": temperature,
        "sample_weight": _shards(sample_weight), "weight": weight, "ignore_index": ignore_index,
        "label_smoothing": label_smoothing, "z_loss": z_loss, "gamma": gamma, "alpha": alpha,
        "k": k, "p": p,
    }  # fmt: skip
    if function.endswith("-grad") != (grad is not None):
        raise CommandError(
            f"{function} needs --grad FILE, for its second result"
            if grad is None
            else f"--grad is for functions with a gradient, called …-grad; {function} has none"
        )
    call, arrays = bound(function, options)
    with _progress(function) as advance:
        found = apply_blocks(
            call,
            _shards(sources),
            target if grad is None else (target, grad),
            axis=axis,
            tensor=tensor,
            columns=None if columns is None else [name for names in columns for name in names],
            dtype=dtype,
            force=force,
            resume=resume,
            progress=advance,
            **arrays,
        )
    written = [(target, found)] if grad is None else zip((target, grad), found, strict=True)
    for path, result in written:
        shape = " x ".join(map(str, result.final_shape)) or "1"
        _report(f"wrote {path}: {shape} {result.dtype} in {time.monotonic() - began:.1f} s")


def _shards(files: list[str] | None) -> str | list[str] | None:
    """One file, or a list of several; None for none."""
    return files[0] if files and len(files) == 1 else files or None


@app.command()
def sample(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The file of logits: .npy, .csv, .parquet and so on.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write: the index of each draw.")],
    *,
    size: Annotated[int | None, _given("Draws from each slice. Default: one.", parser=_integer, metavar="K")] = None,
    seed: Annotated[
        int | None, _given("The seed of the draws. Default: another each time.", parser=_integer, metavar="N")
    ] = None,
    temperature: Annotated[
        Any,
        _given("Divide the logits by T, or by one number for each slice.", parser=_number_or_file, metavar="T|FILE"),
    ] = 1.0,
    where: Annotated[str | None, _given("The mask of valid entries, of 0 and 1.", metavar="FILE")] = None,
    top_k: Annotated[int | None, _given("Keep the K largest entries.", parser=_integer, metavar="K")] = None,
    top_p: Annotated[
        float | None, _given("Keep the most probable entries that reach P.", parser=_real, metavar="P")
    ] = None,
    min_p: Annotated[
        float | None, _given("Keep what is P times as probable as the largest.", parser=_real, metavar="P")
    ] = None,
    without_replacement: Annotated[bool, _given("Draw no entry twice.", "--without-replacement")] = False,
    axis: Annotated[int, _about_file("The axis of the slices.", parser=_integer, metavar="N")] = -1,
    tensor: Annotated[str | None, _about_file("The array of a file that holds several.", metavar="NAME")] = None,
    force: Annotated[bool, _about_file("Replace OUT if it exists.", "--force")] = False,
) -> None:
    """Draw entries of a file of logits that may be larger than memory, with the probabilities of softmax.

    Filters keep entries in the order top-k, top-p, min-p, each of what the one before keeps, at the temperature of the
    draws. The draws depend on the seed alone, not on how the file is read. -1 stands for a slice without anything to
    draw, with NaN for example.

    For example: `softgrad sample logits.npy tokens.npy --temperature 0.8 --top-p 0.95 --seed 1`
    """
    began = time.monotonic()
    arrays = {"size": size, "where": where, "top_k": top_k, "top_p": top_p, "min_p": min_p, "temperature": temperature}
    given = {name: value for name, value in arrays.items() if value is not None}
    call = partial(filtered, rng=seed, replace=not without_replacement)
    with _progress("sample") as advance:
        result = apply_blocks(call, source, target, axis=axis, tensor=tensor, force=force, progress=advance, **given)
    shape = " x ".join(map(str, result.final_shape)) or "1"
    _report(f"wrote {target}: {shape} {result.dtype} in {time.monotonic() - began:.1f} s")


@app.command()
def evaluate(
    logits: Annotated[list[str], typer.Argument(metavar="LOGITS", help="The file of logits, or shards.")],
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="The file of labels, one for every slice.")],
    *,
    temperature: Annotated[
        Any,
        _given("Divide the logits by T, or by one for each slice.", parser=_number_or_file, metavar="T|FILE"),
    ] = 1.0,
    fit_temperature: Annotated[
        bool, _given("Find the temperature of the smallest loss, and compare.", "--fit-temperature")
    ] = False,
    sample_weight: Annotated[str | None, _given("The weight of every slice.", metavar="FILE")] = None,
    where: Annotated[str | None, _given("The mask of valid logits, of 0 and 1.", metavar="FILE")] = None,
    ignore_index: Annotated[int | None, _given("The label that stands for none.", parser=_integer, metavar="N")] = None,
    top_k: Annotated[str, _given("Accuracies among the first k.", metavar="K,K,…")] = "1,5",
    bins: Annotated[int, _given("Bins of the calibration errors.", parser=_integer, metavar="N")] = 15,
    n_bytes: Annotated[
        Any,
        _given("Bytes of text, in total or for each slice: bits per byte.", parser=_number_or_file, metavar="N|FILE"),
    ] = None,
    per_class: Annotated[bool, _given("A row for each class, too.", "--per-class")] = False,
    axis: Annotated[int, _about_file("The axis of the classes.", parser=_integer, metavar="N")] = -1,
    tensor: Annotated[str | None, _about_file("The array of a file that holds several.", metavar="NAME")] = None,
    columns: Annotated[
        list[Any] | None,
        _about_file("The columns of a table. Default: all but an index.", parser=_names, metavar="A,B,…"),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the reliability diagram: .png, .pdf or .svg.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; what is no number is null.")] = False,
) -> None:
    """Compare logits with labels: losses, accuracies, calibration.

    The files may be larger than memory; they are read block by block, with --fit-temperature several times.

    For example:

    `softgrad evaluate logits.npy labels.npy --plot reliability.png`

    `softgrad evaluate a.safetensors b.safetensors labels.csv --fit-temperature`
    """
    if plot:
        _plots().check_suffix(plot)
    if fit_temperature and temperature != 1:
        raise CommandError("--fit-temperature finds the temperature itself; leave --temperature out")
    chosen = None if columns is None else [name for names in columns for name in names]
    common: dict[str, Any] = {
        "axis": axis, "where": where, "sample_weight": sample_weight, "ignore_index": ignore_index, "tensor": tensor,
        "columns": chosen,
    }  # fmt: skip
    options: dict[str, Any] = {
        "top_k": [_integer(k) for k in top_k.split(",")], "bins": bins, "n_bytes": n_bytes, "per_class": per_class,
    }  # fmt: skip
    source = _shards(logits)
    with _progress("evaluate") as advance:
        found = softgrad.evaluate(source, labels, temperature=temperature, progress=advance, **options, **common)
    evaluations, report = {"": found}, found.to_dict()
    if fit_temperature:
        with _progress("fit-temperature") as advance:
            fit = softgrad.fit_temperature(source, labels, progress=advance, **common)
        with _progress("evaluate") as advance:
            after = softgrad.evaluate(
                source, labels, temperature=fit.temperature, progress=advance, **options, **common
            )
        evaluations = {"T = 1": found, f"T = {fit.temperature:.5g}": after}
        report["fit_temperature"] = {**fit._asdict(), "evaluation": after.to_dict()}
    typer.echo(json.dumps(_without_nan(report), indent=2, allow_nan=False) if as_json else table.text(evaluations))
    if plot:
        axes = None
        for name, evaluation in evaluations.items():
            figure = evaluation.plot(axes, label=name)
            axes = figure.axes[:2]
        figure.savefig(plot)
        _report(f"wrote {plot}")


def _without_nan(value: Any) -> Any:
    """What JSON can hold: null for what is no finite number."""
    if isinstance(value, dict):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(text: str) -> float:
    try:
        return _float(text)
    except ValueError:
        what = "no such option" if text.startswith("--") else "a logit must be a number; got"
        raise CommandError(f"{what} {text!r}") from None


def _plots() -> Any:
    try:
        from softgrad.cli import figure  # noqa: PLC0415  its library may be absent, and takes a second to load
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise CommandError('--plot needs matplotlib: pip install "softgrad[plot]"') from None
    return figure


@contextmanager
def _progress(description: str) -> Iterator[Callable[[int, int], None]]:
    """Draw a bar with rate and time left on stderr, where that is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, total: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _report(message: str) -> None:
    typer.echo(message, err=True)
