"""Compare the times of `import softgrad` and `import numpy`, each in a fresh interpreter, in turns: a table and JSON.

python benchmarks/import_time.py           half a minute
python benchmarks/import_time.py --quick   a few seconds
"""

from __future__ import annotations

import argparse
import importlib.metadata
import subprocess
import sys
from pathlib import Path
from statistics import median

from rich.progress import track

import machine
import report

MODULES = ("numpy", "softgrad", "scipy.special")
LIMIT = 1.3
"""Times NumPy's own import time that softgrad's may take."""


def main() -> None:
    options = parse()
    seconds: dict[str, list[float]] = {module: [] for module in MODULES}
    for turn in track(range(6 if options.quick else 41), "Importing", console=report.console):
        for module in MODULES:
            taken = import_time(module)
            if turn:  # the first one reads files from the disk and compiles them
                seconds[module].append(taken)
    medians = {module: median(taken) for module, taken in seconds.items()}
    ratios = {module: taken / medians["numpy"] for module, taken in medians.items()}
    rows = [[module, f"{1000 * medians[module]:.1f}", f"{ratios[module]:.2f}"] for module in MODULES]
    verdict = f"softgrad's may take {LIMIT} times NumPy's: {'met' if ratios['softgrad'] <= LIMIT else 'missed'}."
    table = report.Table("import time, fresh interpreter, files cached", ["import", "ms", "× NumPy"], rows)
    report.show(table)
    report.console.print(verdict)
    about = machine.describe({name: importlib.metadata.version(name) for name in ("numpy", "scipy")})
    directory = options.into or machine.results_directory(options.quick)
    data = {"machine": about, "seconds": seconds, "ratio": ratios}
    report.write(directory, "import_time", "Import time", [machine.summary(about), verdict], [table], data)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5 turns instead of 40")
    parser.add_argument("--into", type=Path, metavar="DIR", help="default: results/<date>-<cpu>")
    return parser.parse_args()


def import_time(module: str) -> float:
    """Seconds that importing takes in a fresh interpreter, without starting the interpreter."""
    code = f"import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
