"""Tables, for a terminal of 100 columns and for Markdown, and the files that a measurement leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

console = Console(width=100)


class Table(NamedTuple):
    """A title, headings, and rows of text whose first cell is a name."""

    title: str
    headings: list[str]
    rows: list[list[str]]


def show(table: Table) -> None:
    """Print the table; ratios below 1× and targets missed stand out."""
    rich = RichTable(
        title=table.title, title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0), pad_edge=False
    )
    for i, heading in enumerate(table.headings):
        rich.add_column(heading, justify="right" if i else "left", vertical="bottom", no_wrap=not i)
    for row in table.rows:
        rich.add_row(*(Text(cell, _style(cell)) for cell in row))
    console.print(rich)
    console.print()


def markdown(table: Table) -> str:
    lines = [table.headings, ["---", *["---:"] * (len(table.headings) - 1)], *table.rows]
    return "\n".join([f"### {table.title}", "", *("| " + " | ".join(cells) + " |" for cells in lines), ""])


def write(directory: Path, name: str, title: str, paragraphs: list[str], tables: list[Table], data: Any) -> None:
    """`name`.json with everything, `name`.md with the tables."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.json").write_text(as_json(data))
    text = [f"# {title}", *paragraphs, *map(markdown, tables)]
    (directory / f"{name}.md").write_text("\n\n".join(text))
    console.print(f"Written: {directory.name}/{name}.json and .md", style="dim")


def as_json(data: dict[str, Any]) -> str:
    """One case per line, so that a change of one is a change of one line."""
    return "{\n" + ",\n".join(f"{_compact(key)}: {_by_line(value)}" for key, value in data.items()) + "\n}\n"


def _by_line(value: Any) -> str:
    """Members on lines of their own, if any of them has members itself."""
    members = list(value.values() if isinstance(value, dict) else value) if isinstance(value, dict | list) else []
    if not any(isinstance(member, dict | list | tuple) for member in members):
        return _compact(value)
    if isinstance(value, list):
        return "[\n " + ",\n ".join(map(_compact, value)) + "\n]"
    return "{\n " + ",\n ".join(f"{_compact(key)}: {_compact(member)}" for key, member in value.items()) + "\n}"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _style(cell: str) -> str:
    if cell == "missed":
        return "red"
    if not cell.endswith("×"):
        return ""
    return "green" if float(cell[:-1]) >= 1 else "red"


def number(value: float) -> str:
    """Three significant digits, in five characters up to 99999."""
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def ratio(value: float) -> str:
    """1.84×, 23×."""
    return f"{value:.0f}×" if value >= 99.5 else f"{value:.1f}×" if value >= 9.95 else f"{value:.2f}×"
