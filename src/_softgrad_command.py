"""Where the command `softgrad` starts: outside the package, which Python imports before any module in it.

An import that fails, as it does for an unknown SOFTGRAD_ISA, is one line on stderr here, as every other mistake.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run `softgrad.cli.main`; exit with 2 if softgrad cannot be imported."""
    try:
        from softgrad import cli  # noqa: PLC0415  this is what may fail
    except ImportError as error:
        print(f"softgrad: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    cli.main()
