"""The commands of `softgrad` and their options."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
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
from softgrad.cli import terminal
from softgrad.files import apply_blocks

app = typer.Typer(
    name="softgrad",
    help="Softmax, its logarithm and its derivatives: exact, at memory speed.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


class CommandError(Exception):
    """What the user gave cannot be carried out; the message is for the user."""


class Function(StrEnum):
    """The functions that `apply` knows, as the command line spells them."""

    SOFTMAX = "softmax"
    LOG_SOFTMAX = "log-softmax"
    LOGSUMEXP = "logsumexp"


class Dtype(StrEnum):
    """The floating types that a file can hold."""

    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    LONGDOUBLE = "longdouble"


def run(arguments: list[str]) -> int | None:
    """Run the command; every expected error comes out as a `CommandError`."""
    try:
        code: int | None = typer.main.get_command(app)(arguments or ["--help"], "softgrad", standalone_mode=False)
        return code
    except FileExistsError as error:
        raise CommandError(f"{error.filename}: the file exists; --force replaces it") from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise CommandError(f"{where}{error.strerror or error}") from error
    except (TypeError, ValueError) as error:
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
        raise CommandError(error.format_message()) from error


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
    temperature: Annotated[float, typer.Option(metavar="T", help="Divide the logits by T.")] = 1.0,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw probabilities and Jacobian: .png, .pdf or .svg.")
    ] = None,
) -> None:
    """Show the softmax of some logits: probabilities, entropy, Jacobian.

    Example: `softgrad show 1 2 3 --jacobian`
    """
    x = np.array([_number(text) for text in logits])
    p = softgrad.softmax(x, temperature=temperature)
    entropy = float(softgrad.entropy(softgrad.log_softmax(x, temperature=temperature)))
    J = softgrad.softmax_jacobian(x, temperature=temperature) if jacobian or plot else None
    console = Console(highlight=False)
    terminal.print_probabilities(console, x, p)
    console.print(f"Entropy: {entropy:.6g} nats = {entropy / np.log(2):.6g} bits")
    if jacobian and J is not None:
        terminal.print_jacobian(console, p, J)
    if plot and J is not None:
        _plots().save_figure(plot, p, J.toarray())
        _report(f"wrote {plot}")


@app.command(name="apply")
def apply_(
    function: Annotated[Function, typer.Argument(metavar="FUNCTION", help="softmax, log-softmax or logsumexp.")],
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="The file to read: .npy, .csv, .parquet, .safetensors or .zarr.")
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write, of any of these.")],
    *,
    axis: Annotated[int, typer.Option(help="The axis of the slices; logsumexp reduces it.")] = -1,
    temperature: Annotated[
        float | None, typer.Option(metavar="T", help="Divide the logits by T; not for logsumexp.")
    ] = None,
    dtype: Annotated[
        Dtype | None, typer.Option(metavar="TYPE", help="float16, float32, float64 or longdouble. Default: that of IN.")
    ] = None,
    tensor: Annotated[str | None, typer.Option(metavar="NAME", help="The tensor of a .safetensors file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it exists, even if it is IN.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the finished chunks of an interrupted run; OUT is .zarr.")
    ] = False,
) -> None:
    """Apply a function to a file that may be larger than memory.

    The file is read, computed and written block by block. OUT appears under its name when it is complete; an
    interrupted run leaves nothing behind, or the finished chunks of a .zarr array.

    A .csv file holds numbers separated by commas. A first row without any number is a header; names that are numbers
    are taken for data. The entries of a row of a .parquet file are its columns, or those of one column of lists.

    Example: `softgrad apply softmax logits.npy probabilities.npy`
    """
    began = time.monotonic()
    with _progress(function.value) as advance:
        result = apply_blocks(
            _function(function, temperature, dtype),
            source,
            target,
            axis=axis,
            tensor=tensor,
            force=force,
            resume=resume,
            progress=advance,
        )
    shape = " x ".join(map(str, result.final_shape)) or "1"
    _report(f"wrote {target}: {shape} {result.dtype} in {time.monotonic() - began:.1f} s")


def _number(text: str) -> float:
    try:
        return float(text)
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


def _function(function: Function, temperature: float | None, dtype: Dtype | None) -> Callable[..., Any]:
    """Bind the options to the function of arrays."""
    options: dict[str, Any] = {} if dtype is None else {"dtype": dtype.value}
    if temperature is not None:
        if function is Function.LOGSUMEXP:
            raise CommandError("--temperature is for softmax and log-softmax; logsumexp has none")
        options["temperature"] = temperature
    return partial(getattr(softgrad, function.value.replace("-", "_")), **options)


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
