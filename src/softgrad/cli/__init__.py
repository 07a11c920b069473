"""The command `softgrad`."""

from softgrad.cli.main import FAILURE, main, run

__all__ = ["FAILURE", "main", "run"]
