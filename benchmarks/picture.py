"""One picture: how many times as long each library takes as softgrad, a bar for each case, which is named."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

from cases import Case
from peers import Peer
from timing import Time

AHEAD, BEHIND = "#8db8e8", "#eda49d"
FULL = 100.0
"""The ratio whose bar fills its column; bars are logarithmic."""


def draw(results: dict[Case, dict[str, Time]], entries: list[Peer], path: Path) -> None:
    """Panels of functions by dtypes, in each a row per case and a column per library."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  after the choice of backend

    single = [peer for peer in entries if peer.threads == 1 and not peer.library.startswith("softgrad")]
    libraries = list(dict.fromkeys(peer.library for peer in single))
    shown = [case for case in results if shows(case)]
    functions = list(dict.fromkeys(case.function for case in shown))
    dtypes = list(dict.fromkeys(case.dtype for case in shown))
    heights = [max(sum((c.function, c.dtype) == (f, d) for c in shown) for d in dtypes) + 1.5 for f in functions]
    size = (1.3 + 8.2 * len(dtypes), 0.8 + 0.27 * sum(heights))
    figure, grid = plt.subplots(
        len(functions), len(dtypes), figsize=size, height_ratios=heights, squeeze=False, layout="constrained"
    )
    for function, row in zip(functions, grid, strict=True):
        for dtype, axes in zip(dtypes, row, strict=True):
            cases = [case for case in shown if (case.function, case.dtype) == (function, dtype)]
            axes.set(xlim=(0, len(libraries)), ylim=(len(cases) - 0.5, -0.5), title=f"{function}, {dtype}")
            axes.set_xticks(np.arange(len(libraries)) + 0.05, libraries, ha="left", fontsize=9)
            axes.set_yticks(range(len(cases)), [case.shape_name for case in cases])
            axes.tick_params(length=0, labeltop=True, labelbottom=False)
            axes.spines[:].set_visible(False)
            for column, library in enumerate(libraries):
                peers = [peer for peer in single if peer.library == library]
                for line, case in enumerate(cases):
                    value = ratio(results[case], peers)
                    if value is not None:
                        length = 0.9 * min(1.0, abs(np.log(value)) / np.log(FULL))
                        axes.barh(line, length, left=column, height=0.8, color=AHEAD if value >= 1 else BEHIND)
                        axes.text(column + 0.03, line, f"{value:.3g}×", va="center", fontsize=9)
    figure.suptitle("time ÷ softgrad's time in the same use, one thread; blue: softgrad is faster, red: the other is")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def shows(case: Case) -> bool:
    """Calls on 10 numbers, with options and in half precision are left to the tables."""
    return case.shape != (10,) and case.dtype != "float16" and " " not in case.function


def ratio(times: dict[str, Time], peers: list[Peer]) -> float | None:
    """The time of a library's first entry that was measured, over softgrad's in the same use."""
    for peer in peers:
        own = times.get(peer.versus) or times["softgrad"]
        if peer.name in times:
            return times[peer.name].median / own.median
    return None
