"""Evaluations as tables: text of at most 80 columns, HTML."""

from __future__ import annotations

import html as markup
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from softgrad.calibration.evaluation import Evaluation

ROWS = (
    ("rows", "count"),
    ("accuracy", "accuracy"),
    ("negative log-likelihood (nats)", "nll"),
    ("  of a constant predictor", "constant_nll"),
    ("perplexity", "perplexity"),
    ("bits per label", "bits"),
    ("bits per byte", "bits_per_byte"),
    ("Brier score", "brier"),
    ("mean confidence", "confidence"),
    ("mean entropy (nats)", "entropy"),
    ("calibration error, uniform bins", "ece"),
    ("  quantile bins", "quantile_ece"),
    ("  debiased, root mean square", "debiased_ece"),
    ("  smooth", "smooth_ece"),
    ("  classwise", "classwise_ece"),
)
"""What is printed, in order."""

INTERVALS = ("accuracy", "nll", "perplexity", "bits", "brier", "confidence", "entropy")

CLASSES_SHOWN = 30
"""Classes up to which each has a row."""

Cells = list[list[str]]


def text(evaluations: dict[str, Evaluation]) -> str:
    """The table as text; of one evaluation with 95 % intervals, of several side by side."""
    lines = _aligned(_cells(evaluations))
    for evaluation in evaluations.values():
        if len(evaluations) == 1 and evaluation.per_class is not None:
            lines += ["", *_aligned(_classes(evaluation))]
    return "\n".join(lines)


def html(evaluations: dict[str, Evaluation]) -> str:
    """The table as HTML."""
    parts = [_as_html(_cells(evaluations))]
    for evaluation in evaluations.values():
        if len(evaluations) == 1 and evaluation.per_class is not None:
            parts.append(_as_html(_classes(evaluation)))
    return "".join(parts)


def _cells(evaluations: dict[str, Evaluation]) -> Cells:
    """Rows of cells, the first of them the heading."""
    first = next(iter(evaluations.values()))
    single = len(evaluations) == 1
    cells = [["", "value", "95 % interval"] if single else ["", *evaluations]]
    for title, name in _all_rows(first):
        values = [_value(e, name) for e in evaluations.values()]
        if values[0] is None:
            continue
        row = [title, *map(number, values)]
        if single:
            row.append(_interval(first, name))
        cells.append(row)
    return cells


def _all_rows(evaluation: Evaluation) -> list[tuple[str, str]]:
    rows = list(ROWS)
    rows[2:2] = [(f"  among the first {k}", f"top_{k}") for k in evaluation.top_k_accuracy if k > 1]
    return rows


def _value(evaluation: Evaluation, name: str) -> Any:
    if name.startswith("top_"):
        return evaluation.top_k_accuracy[int(name[4:])]
    return getattr(evaluation, name)


def _interval(evaluation: Evaluation, name: str) -> str:
    if name not in INTERVALS and not name.startswith("top_"):
        return ""
    low, high = evaluation.interval(name)
    return "" if math.isnan(low) else f"{number(low)} to {number(high)}"


def _classes(evaluation: Evaluation) -> Cells:
    rows = evaluation.per_class
    assert rows is not None
    shown = range(min(len(rows.support), CLASSES_SHOWN))
    cells = [["class", "rows", "precision", "recall", "nll", "confidence", "ece"]]
    for i in shown:
        values = (rows.precision[i], rows.recall[i], rows.nll[i], rows.confidence[i], rows.ece[i])
        cells.append([str(i), str(rows.support[i]), *(number(float(v), 4) for v in values)])
    if len(rows.support) > CLASSES_SHOWN:
        cells.append([f"and {len(rows.support) - CLASSES_SHOWN} more", *[""] * 6])
    return cells


def number(value: Any, digits: int = 5) -> str:
    """A number for people: counts in groups of three digits."""
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ")
    return f"{value:.{digits}g}"


def _aligned(cells: Cells) -> list[str]:
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = []
    for row in cells:
        padded = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        lines.append("  ".join(padded).rstrip())
    lines.insert(1, "─" * (sum(widths) + 2 * (len(widths) - 1)))
    return lines


def _as_html(cells: Cells) -> str:
    def line(tag: str, row: list[str]) -> str:
        first, *others = (markup.escape(cell) for cell in row)
        indent = "&emsp;" if first.startswith("  ") else ""
        texts = "".join(f'<{tag} style="text-align: right">{cell}</{tag}>' for cell in others)
        return f'<tr><{tag} style="text-align: left">{indent}{first.strip()}</{tag}>{texts}</tr>'

    heading, *rows = cells
    body = "".join(line("td", row) for row in rows)
    return f"<table><thead>{line('th', heading)}</thead><tbody>{body}</tbody></table>"
