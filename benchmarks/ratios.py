"""A line for each case of a small benchmark: softgrad's time, and how many times as long other ways take."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from timing import Timed, interleaved


def print_ratios(
    description: str, shapes: tuple[Any, ...], calls: Callable[[Any], dict[str, dict[str, Callable[[], Any]]]]
) -> None:
    """Time `calls(shape)`, a table of cases and of the ways to compute each, of which one is called softgrad."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seconds", type=float, default=5, help="for each case (default: 5)")
    parser.add_argument("--json", type=Path, help="where to write the results, too")
    options = parser.parse_args()
    lines = []
    for shape in shapes:
        for name, ways in calls(shape).items():
            times = interleaved({way: Timed(call) for way, call in ways.items()}, options.seconds)
            own = times["softgrad"].median
            others = {way: round(time.median / own, 2) for way, time in times.items() if way != "softgrad"}
            lines.append({"shape": shape, "case": name, "ms": round(own * 1e3, 3), "others / softgrad": others})
            print(json.dumps(lines[-1], ensure_ascii=False), flush=True)
    if options.json:
        rows = ",\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
        options.json.write_text(f"[\n{rows}\n]\n", encoding="utf-8")
