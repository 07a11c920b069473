"""Where and with what a measurement was made, and the directory that its results go to."""

from __future__ import annotations

import datetime
import os
import platform
import re
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def describe(versions: dict[str, str]) -> dict[str, Any]:
    """The machine, the date and the versions of everything that was measured."""
    import softgrad  # noqa: PLC0415  what is measured is imported after the threads are set
    from softgrad._numpy import kernels  # noqa: PLC0415

    return {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu(),
        "logical_cpus": os.cpu_count(),
        "caches": caches(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "softgrad_backend": softgrad.backend(),
        "softgrad_levels": list(kernels.LEVELS),
        "versions": versions,
    }


def summary(machine: dict[str, Any]) -> str:
    """The same in one paragraph."""
    caches = ", ".join(f"{name} {size}" for name, size in machine["caches"].items())
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['date']}, {machine['cpu']}, {machine['logical_cpus']} logical CPUs, {caches or 'caches unknown'}, "
        f"{machine['system']}, softgrad at level {machine['softgrad_backend']}; Python {machine['python']}, {versions}."
    )


def cpu() -> str:
    """The CPU's name as the system gives it; with its family and model, since virtual machines name no product."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(re.split(r"\s*:\s*", line, maxsplit=1) for line in lines if ":" in line)
    if "model name" not in fields:
        return platform.machine()
    return f"{fields['model name']} (family {fields['cpu family']}, model {fields['model']})"


def caches() -> dict[str, str]:
    """Sizes by level, of the first CPU."""
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction":
            found[f"L{level}"] = f"{size.rstrip('K')} KiB"
    return found


def peak_memory() -> int | None:
    """The most memory that this process has ever had; other than ru_maxrss it starts again with a new program."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def results_directory(quick: bool) -> Path:
    """results/<date>-<cpu>."""
    name = re.sub(r"\((r|tm)\)|\(.*|\b(cpu|processor)\b|@.*", "", cpu().lower())
    slug = re.sub(r"[^a-z0-9]+", "-", name).strip("-")
    return RESULTS / f"{datetime.date.today().isoformat()}-{slug}{'-quick' if quick else ''}"
