"""The command `softgrad`, as a process: exit codes, one line on stderr for whatever goes wrong, no tracebacks."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType

FAILURE = 2
"""Exit code of a command that cannot be carried out as it was given."""


PYTHON_NAMES = re.compile(r"\b(force|resume|tensor)(?:=True\b|(?<=tensor)(?= must name))")
"""Options as messages of Python spell them."""


class Stopped(BaseException):
    """A signal asked the command to end; on the way out, open files are cleaned up."""

    def __init__(self, signum: int, frame: FrameType | None) -> None:
        super().__init__(signum)
        self.signum = signum


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit.

    Parameters
    ----------
    arguments : sequence of str, optional
        What follows the command's name. Default: from the command line.

    Raises
    ------
    SystemExit
        Always: 0, 2 for any mistake in what was given, 128 + the signal's number (130 for Ctrl-C) when stopped.
    """
    _stop_on_signals()
    try:
        code = run(sys.argv[1:] if arguments is None else arguments)
    except Stopped as stopped:
        words = "interrupted" if stopped.signum == signal.SIGINT else "terminated"
        _report(words, stopped)
        for number in _signals():  # Python's own end, which restores the defaults, is not to be interrupted
            signal.signal(number, signal.SIG_IGN)
        code = 128 + stopped.signum
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit code, after one line on stderr if it is not 0."""
    try:
        from softgrad.cli import commands  # noqa: PLC0415  its libraries may be absent
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("typer", "rich"):
            raise
        _report('the command needs typer and rich: pip install "softgrad[cli]"')
        return FAILURE
    try:
        return int(commands.run(list(arguments)) or 0)
    except commands.CommandError as error:
        _report(str(error), error.__cause__)
        return FAILURE


def _signals() -> Iterator[int]:
    """The signals that ask a command to end, but for those that nohup or `&` ignore on purpose."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            yield number


def _stop_on_signals() -> None:
    stop = _Stop()
    for number in _signals():
        signal.signal(number, stop)


class _Stop:
    """Raise `Stopped` at the first signal; further ones, which would interrupt the cleaning up, change nothing."""

    def __init__(self) -> None:
        self._stopped = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if not self._stopped:
            self._stopped = True
            raise Stopped(signum, frame)


def _report(message: str, error: BaseException | None = None) -> None:
    """Print one line: a message, and the notes of the error that it is about."""
    line = " ".join("; ".join([message, *getattr(error, "__notes__", ())]).split())
    print("softgrad:", PYTHON_NAMES.sub(r"--\1", line), file=sys.stderr)
