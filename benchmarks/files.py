"""Time and memory of softmax from file to file beside copying the file: a table and JSON.

python benchmarks/files.py                   files of 1 GB in the page cache: a few minutes
python benchmarks/files.py --gigabytes 8     another size; the disk is used where memory does not hold two of them
python benchmarks/files.py --quick           64 MB
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

import machine
import report
import softgrad as sg
from timing import Timed, interleaved

FORMATS = (".npy", ".safetensors", ".zarr", ".parquet")
COLUMNS = 4096
PATHS = {
    "rows": "rows, each in one run of the file: read once",
    "long rows": "8 rows, each larger than a block: read twice",
    "columns": "axis 0, slices across all blocks: read twice",
}
WAYS = ("copy", "rewrite", "softgrad")
HOW_TO_READ = (
    "float32, source and target in the page cache where it holds them; medians of interleaved repeats in one process. "
    "Copy is shutil.copyfile, which does not bring the bytes to the process, or copytree. Rewrite brings them there, "
    "uncompresses and compresses them where the format does, and changes nothing. Memory is the peak memory of a new "
    "process over what it had after importing softgrad and the format's library."
)


def main() -> None:
    options = parse()
    if options.memory:
        print(growth(Path(options.memory[0]), int(options.memory[1])))
        return
    gigabytes = 0.064 if options.quick else options.gigabytes
    work = [(".npy", path) for path in PATHS] + [(form, "rows") for form in FORMATS[1:]]
    records = []
    with tempfile.TemporaryDirectory(dir=options.directory) as folder, Progress(console=report.console) as progress:
        for form, path in progress.track(work, description="Measuring"):
            records.append(measure(form, path, round(gigabytes * 1e9), Path(folder), 4 if options.quick else 40))
    table = report.Table(
        f"softmax of {gigabytes:g} GB",
        ["format, slices", "copy (GB/s)", "rewrite (GB/s)", "softgrad (GB/s)", "of copy", "of rewrite", "memory (MB)"],
        [
            [
                f"{r['format']}, {r['slices']}",
                *(report.number(r["bytes"] / r[way] / 1e9) for way in WAYS),
                *(report.ratio(r[way] / r["softgrad"]) for way in WAYS[:2]),
                "unknown" if r["memory"] is None else f"{r['memory'] / 1e6:.0f}",
            ]
            for r in records
        ],
    )
    report.show(table)
    libraries = ("numpy", "safetensors", "zarr", "pyarrow")
    about = machine.describe({name: importlib.metadata.version(name) for name in libraries})
    slices = " ".join(f"{name.capitalize()}: {text}." for name, text in PATHS.items())
    directory = options.into or machine.results_directory(options.quick)
    data = {"machine": about, "results": records}
    report.write(directory, "files", "Files", [machine.summary(about), f"{HOW_TO_READ} {slices}"], [table], data)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0, help="the size of a file (default: 1)")
    parser.add_argument("--directory", type=Path, help="where files of this size may lie (default: temporary files)")
    parser.add_argument("--quick", action="store_true", help="64 MB, few repeats")
    parser.add_argument("--into", type=Path, metavar="DIR", help="default: results/<date>-<cpu>")
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(form: str, path: str, nbytes: int, folder: Path, seconds: float) -> dict[str, Any]:
    """Seconds of the copy and of softmax, and the memory that softmax takes."""
    source, target = folder / f"source{form}", folder / f"target{form}"
    shape = (8, nbytes // 32) if path == "long rows" else (nbytes // 4 // COLUMNS, COLUMNS)
    axis = 0 if path == "columns" else -1
    make(source, shape)
    copy = shutil.copytree if source.is_dir() else shutil.copyfile

    def remove() -> None:
        erase(target)

    calls = {
        "copy": Timed(lambda: copy(source, target), remove),
        "rewrite": Timed(lambda: sg.apply_blocks(unchanged, source, target), remove),
        "softgrad": Timed(lambda: sg.apply_blocks(sg.softmax, source, target, axis=axis), remove),
    }
    times = interleaved(calls, seconds=seconds)
    erase(target)
    command = [sys.executable, __file__, "--memory", str(source), str(axis)]
    memory = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    erase(source)
    medians = {name: time.median for name, time in times.items()}
    return {"format": form, "slices": path, "bytes": 4 * shape[0] * shape[1], **medians, "memory": memory}


def make(source: Path, shape: tuple[int, int]) -> None:
    """A file of random logits, written in blocks."""
    raw = source.with_name("raw.npy")
    logits = np.lib.format.open_memmap(raw, "w+", np.float32, shape)
    random = np.random.default_rng(0)
    flat = logits.reshape(-1)
    for start in range(0, flat.size, 2**22):
        block = flat[start : start + 2**22]
        random.standard_normal(out=block, dtype=np.float32)
    del logits, flat, block
    if source.suffix == ".npy":
        raw.rename(source)
    else:
        sg.apply_blocks(unchanged, raw, source)
        raw.unlink()


def unchanged(block: Any, axis: int) -> Any:
    """The block itself, with which apply_blocks converts a file."""
    del axis
    return block


def erase(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def growth(source: Path, axis: int) -> str:
    """By how many bytes the peak memory of this process grows, as JSON; null where the system does not report it."""
    few = source.with_name(f"few{source.suffix}")
    start = source.with_name("few.npy")
    np.save(start, np.zeros((2, 4), np.float32))
    sg.apply_blocks(unchanged, start, few, force=True)
    sg.apply_blocks(sg.softmax, few, few, force=True)  # imports the format's library
    erase(few)
    erase(start)
    before = machine.peak_memory()
    target = source.with_name(f"target{source.suffix}")
    sg.apply_blocks(sg.softmax, source, target, axis=axis)
    erase(target)
    after = machine.peak_memory()
    return json.dumps(None if before is None or after is None else after - before)


if __name__ == "__main__":
    main()
