"""One picture: how far each library is from moving the bytes and nothing else, by shape."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.ticker import LogLocator, NullLocator

from cases import Case
from peers import Peer
from timing import Time

COLOURS = ("#d62728", "#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#bcbd22", "#7f7f7f")
MARKERS = "oo^sDvPX*"


def draw(results: dict[Case, dict[str, Time]], entries: list[Peer], path: Path) -> None:
    """A diagram for each function and dtype; a line per library, its fastest single-threaded entry."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  after the choice of backend

    single = [peer for peer in entries if peer.threads == 1]
    libraries = list(dict.fromkeys(peer.library for peer in single))
    shown = [case for case in results if shows(case)]
    functions = list(dict.fromkeys(case.function for case in shown))
    dtypes = list(dict.fromkeys(case.dtype for case in shown))
    size = (7 * len(dtypes), 3.6 * len(functions) + 1)
    figure, grid = plt.subplots(len(functions), len(dtypes), figsize=size, squeeze=False, layout="constrained")
    for function, row in zip(functions, grid, strict=True):
        for dtype, axes in zip(dtypes, row, strict=True):
            cases = [c for c in shown if (c.function, c.dtype) == (function, dtype)]
            for library, colour, marker in zip(libraries, COLOURS, MARKERS, strict=False):
                names = [peer.name for peer in single if peer.library == library]
                ratios = [_to_baseline(results[c], names) for c in cases]
                style = {"color": colour, "marker": marker, "label": library, "linewidth": 1.2, "markersize": 5}
                if library == "softgrad":
                    style |= {"linewidth": 2.5, "zorder": 3}
                elif library.startswith("softgrad"):
                    style |= {"linestyle": ":", "markersize": 3, "zorder": 3}
                axes.plot(range(len(cases)), ratios, **style)
            axes.axhline(1, color="black", linestyle="--", linewidth=1)
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}×")
            axes.yaxis.set_minor_locator(NullLocator())
            axes.grid(axis="y", alpha=0.3)
            axes.set_xticks(range(len(cases)), [_tick(c) for c in cases], fontsize=8)
            axes.set_title(f"{function}, {dtype}", fontsize=11)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5 if len(dtypes) > 1 else 3, frameon=False)
    figure.supylabel("time ÷ time of moving the same bytes (dashed: 1); one thread, each library's fastest way")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def shows(case: Case) -> bool:
    """Calls on 10 numbers, with options and in half precision are left to the tables."""
    return case.shape != (10,) and case.dtype != "float16" and " " not in case.function


def _tick(case: Case) -> str:
    return case.shape_name.replace("×", "\n×").replace(" axis", "\naxis")


def _to_baseline(times: dict[str, Time], names: list[str]) -> float:
    found = [times[name].median for name in names if name in times]
    return min(found) / times["baseline"].median if found else float("nan")
