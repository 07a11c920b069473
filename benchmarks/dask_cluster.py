"""Time softgrad on a Dask cluster of two processes beside the plain call with two threads: a table and JSON.

python benchmarks/dask_cluster.py           1 GB of logits: a few minutes, and 6 GB of memory
python benchmarks/dask_cluster.py --quick   64 MB
"""

from __future__ import annotations

import argparse
import importlib.metadata
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait

import machine
import report
import softgrad as sg

COLUMNS = 4096
FUNCTIONS = {
    "softmax": sg.softmax,
    "logsumexp": sg.logsumexp,
    "cross_entropy_grad": lambda x: sg.cross_entropy_grad(x, np.arange(x.shape[0]) % COLUMNS).grad,
}
HOW_TO_READ = (
    "Medians of calls that take turns, float32. NumPy: the call with two threads, its result a new array. Dask: two "
    "processes of one thread; the logits are on the workers already, and the result stays there, as in a longer "
    "computation on a cluster; what is timed is from the call to the last block of the result, scheduling included. "
    "Whole: rows in one block each; cut: in four."
)


def main() -> None:
    options = parse()
    rows, repeats = (4096, 3) if options.quick else (2**16, 7)
    x = np.random.default_rng(0).normal(size=(rows, COLUMNS)).astype(np.float32)
    layouts = {"whole": (rows // 16, COLUMNS), "cut": (rows // 4, COLUMNS // 4)}
    records = []
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster,
        Client(cluster),
    ):
        for layout, chunks in layouts.items():
            logits = da.random.default_rng(0).normal(size=x.shape, chunks=chunks).astype(np.float32).persist()
            wait(logits)
            records += [measure(name, layout, x, logits, repeats) for name in FUNCTIONS]
            del logits
    table = report.Table(
        f"{x.nbytes / 1e9:.2f} GB",
        ["function, rows", "NumPy (ms)", "Dask / NumPy"],
        [
            [f"{r['function']}, {r['rows']}", report.number(1000 * r["numpy"]), f"{r['dask'] / r['numpy']:.2f}"]
            for r in records
        ],
    )
    report.show(table)
    about = machine.describe({name: importlib.metadata.version(name) for name in ("numpy", "dask", "distributed")})
    directory = options.into or machine.results_directory(options.quick)
    data = {"machine": about, "bytes": x.nbytes, "results": records}
    report.write(directory, "dask_cluster", "Dask", [machine.summary(about), HOW_TO_READ], [table], data)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="64 MB, few repeats")
    parser.add_argument("--into", type=Path, metavar="DIR", help="default: results/<date>-<cpu>")
    return parser.parse_args()


def measure(name: str, layout: str, x: Any, logits: Any, repeats: int) -> dict[str, Any]:
    """Seconds of the plain call and of the cluster."""
    function = FUNCTIONS[name]
    times: dict[str, list[float]] = {"numpy": [], "dask": []}
    for _ in range(repeats + 1):  # the first of each warms up
        times["numpy"].append(seconds(lambda: function(x)))
        times["dask"].append(seconds(lambda: wait(function(logits).persist())))
    return {"function": name, "rows": layout, **{k: statistics.median(v[1:]) for k, v in times.items()}, "all": times}


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":  # the workers are started by importing this file
    main()
