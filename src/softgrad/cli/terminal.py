"""Probabilities and Jacobians as tables in a terminal."""

from __future__ import annotations

import decimal
import math
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from softgrad._api.operators import SimplexJacobian

Array = np.ndarray[Any, Any]

BAR = 40
"""Characters of the bar that stands for probability 1."""

ROWS = 100
"""Logits up to which each has a row."""

NEGATIVE, ZERO, POSITIVE = (33, 102, 172), (247, 247, 247), (178, 24, 43)
"""Blue, white and red, as RGB, for entries from −max|J| to max|J|."""


def print_probabilities(console: Console, x: Array, p: Array, log_p: Array) -> None:
    """Print one row for each logit, or for the most probable: index, logit, probability as a number and as a bar."""
    shown = np.arange(len(p)) if len(p) <= ROWS else np.sort(np.argsort(-p, kind="stable")[:ROWS])
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("", "logit", "probability"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    plain = not console.encoding.startswith("utf")
    for i, logit, probability, log in zip(
        *(a.tolist() for a in (shown, x[shown], p[shown], log_p[shown])), strict=True
    ):
        bar = Text(_bar(probability, plain), "cyan")
        table.add_row(Text(str(i), "dim"), f"{logit:.10g}", _probability(probability, log), bar)
    console.print(table)
    if len(shown) < len(p):
        others = np.delete(p, shown)
        console.print(f"The other {len(others)} of {len(p)} logits have {others.sum():.6g} together.", style="dim")


def print_jacobian(console: Console, p: Array, J: SimplexJacobian) -> None:
    """Print J, or as much of it, for the largest probabilities, as the console has room for."""
    n = len(p)
    for k in range(min(n, console.width // 6), 0, -1):
        shown = np.sort(np.argsort(-p, kind="stable")[:k])
        cells = _entries(J, shown)
        width = max(len(f"{entry:#.3g}") for entry in cells.flat) + 1
        if len(str(n)) + k * width <= console.width:
            break
    console.print("\nJacobian: d probability (row) / d logit (column)", style="bold")
    if k < n:
        console.print(f"There is room for the {k} largest of {n} probabilities; --plot draws all.", style="dim")
    console.print(_heatmap(shown, cells, width))


def _probability(p: float, log_p: float) -> str:
    """Six digits, also of what underflows."""
    if p != 0 or math.isinf(log_p):
        return f"{p:#.6g}"
    with decimal.localcontext(prec=20, Emin=-decimal.MAX_EMAX, Emax=decimal.MAX_EMAX) as context:
        if log_p < -1e15:  # no digit of the mantissa is known
            return f"{p:#.6g}"
        return f"{context.create_decimal_from_float(log_p).exp():.5e}"


def _bar(probability: float, plain: bool) -> str:
    if math.isnan(probability):
        return ""
    if plain:
        return "#" * round(BAR * probability)
    whole, eighths = divmod(round(8 * BAR * probability), 8)
    return "█" * whole + " ▏▎▍▌▋▊▉"[eighths].strip()


def _entries(J: SimplexJacobian, shown: Array) -> Array:
    """Compute the rows and columns `shown` of J, without the other n²."""
    units = np.zeros((J.shape[-1], len(shown)))
    units[shown, np.arange(len(shown))] = 1
    return np.asarray(J @ units)[shown] + 0.0  # no −0


def _heatmap(indices: Array, cells: Array, width: int) -> Table:
    table = Table(box=None, padding=0, header_style="dim")
    table.add_column(justify="right", style="dim", no_wrap=True)
    for i in indices:
        table.add_column(str(i), justify="right", no_wrap=True, width=width)
    largest = float(np.max(np.abs(cells)))
    for i, row in zip(indices, cells.tolist(), strict=True):
        table.add_row(str(i), *(Text(f"{entry:#.3g}".rjust(width), _colour(entry, largest)) for entry in row))
    return table


def _colour(entry: float, largest: float) -> str:
    """Black or white on a ground between blue (negative), white (zero) and red (positive)."""
    if not largest > 0:
        return ""
    strength = abs(entry) / largest
    end = POSITIVE if entry > 0 else NEGATIVE
    ground = (round(zero + strength * (full - zero)) for zero, full in zip(ZERO, end, strict=True))
    return f"{'white' if strength > 0.6 else 'black'} on rgb({','.join(map(str, ground))})"
