"""Compare every public function, bit by bit, with another build of softgrad: no bit may differ.

python tools/compare_bits.py main~1                      with a revision of the repository, built in 2 to 3 minutes
python tools/compare_bits.py --old FOLDER [--new FOLDER] with what `pip install --target FOLDER` installed

The new build is the installed softgrad unless --new says otherwise. The calls are those of `bit_cases.py`, on every
instruction-set level of this machine. What differs is reported by function, dtype and level, with the shape and the
first entry; the exit status is then 1. Calls and public names that only one build has are listed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import pickle
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from digests import Array, significant

CASES = Path(__file__).with_name("bit_cases.py")
ROOT = Path(__file__).parents[1]
LEVELS = ("x86-64-v4", "x86-64-v3", "x86-64-v2", "neon", "generic")


class Run(NamedTuple):
    """What one build computed on one level."""

    untested: list[str]
    digests: dict[str, str]


def main() -> int:
    options = parse()
    with tempfile.TemporaryDirectory() as scratch:
        old = options.old or build(options.revision, Path(scratch))
        folders = (old.resolve(), options.new.resolve())
        differing = sum(compare_level(level, folders, Path(scratch)) for level in options.levels)
    print(f"{differing} calls differ" if differing else "no bit differs")
    return 1 if differing else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    before = parser.add_mutually_exclusive_group(required=True)
    before.add_argument("revision", nargs="?", help="a revision of this repository, which is built")
    before.add_argument("--old", type=Path, metavar="FOLDER", help="what holds the old softgrad")
    parser.add_argument("--new", type=Path, metavar="FOLDER", help="what holds the new one; default: what is installed")
    parser.add_argument("--levels", nargs="+", default=LEVELS, choices=LEVELS, help="default: all that there are")
    options = parser.parse_args()
    if options.new is None:
        installed = importlib.util.find_spec("softgrad")
        if installed is None or installed.origin is None:
            parser.error("softgrad is not installed here: give --new FOLDER")
        options.new = Path(installed.origin).parents[1]
    return options


def build(revision: str, scratch: Path) -> Path:
    """Install the revision into a folder of its own, from a worktree that is removed again."""
    worktree, target = scratch / "worktree", scratch / "old"
    git = ("git", "-C", str(ROOT), "worktree")
    subprocess.run([*git, "add", "--quiet", "--detach", str(worktree), revision], check=True)
    try:
        pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
        subprocess.run([*pip, "--target", str(target), str(worktree)], check=True)
    finally:
        subprocess.run([*git, "remove", "--force", str(worktree)], check=True)
    return target


def compare_level(level: str, folders: tuple[Path, Path], scratch: Path) -> int:
    """Print what differs between the two builds on this level; return how many calls do."""
    old, new = compute(level, folders, scratch)
    if old is None and new is None:
        print(f"{level}: not on this machine")
        return 0
    if old is None or new is None:
        sys.exit(f"{level}: {folders[old is not None]} does not have this level")
    shared = [name for name in old.digests if name in new.digests]
    errors = sum(new.digests[name].startswith("raises") for name in shared)
    print(f"{level}: {len(shared)} calls, {errors} of them errors that are raised")
    for name in new.untested:
        print(f"  no call of {name}: add one to {CASES.name}")
    for side, only in (("old", old.digests.keys() - set(shared)), ("new", new.digests.keys() - set(shared))):
        for function in sorted({name.split()[0] for name in only}):
            print(
                f"  only the {side} build makes {sum(name.split()[0] == function for name in only)} calls of {function}"
            )
    differing = [name for name in shared if old.digests[name] != new.digests[name]]
    explain(level, differing, folders, scratch)
    return len(differing)


def compute(level: str, folders: tuple[Path, Path], scratch: Path, *arguments: tuple[str, ...]) -> list[Run | None]:
    """What `bit_cases.py` prints for both builds, which run at the same time; None without the level."""
    processes, outputs = [], [scratch / f"output{i}" for i in range(2)]
    for i, folder in enumerate(folders):
        environment = os.environ | {"SOFTGRAD_ISA": level, "PYTHONPATH": str(folder)}
        command = [sys.executable, str(CASES), *(arguments[i] if arguments else ())]
        with outputs[i].open("w") as output:
            processes.append(subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.PIPE))
    errors = [process.communicate()[1].decode() for process in processes]
    runs: list[Run | None] = []
    for process, error, output, folder in zip(processes, errors, outputs, folders, strict=True):
        if process.returncode and "SOFTGRAD_ISA must be" not in error:
            sys.exit(f"{CASES.name} failed with the softgrad of {folder}:\n{error}")
        runs.append(None if process.returncode else parsed(output.read_text(), folder))
    return runs


def parsed(text: str, folder: Path) -> Run:
    first, *lines = text.splitlines()
    package, *untested = first.split("\t")
    if not Path(package).resolve().is_relative_to(folder):
        sys.exit(f"{folder} does not hold softgrad: {package} was imported")
    return Run(untested, dict(line.split("\t") for line in lines))


def explain(level: str, differing: list[str], folders: tuple[Path, Path], scratch: Path) -> None:
    """For each function and dtype, how many calls differ, and the first entry of the first of them."""
    groups = defaultdict(list)
    for name in differing:
        groups[tuple(name.split()[:2])].append(name)
    firsts = [names[0] for names in groups.values()]
    if not firsts:
        return
    (scratch / "only").write_text("\n".join(firsts))
    saved = [scratch / f"{level}-{side}" for side in ("old", "new")]
    for folder in saved:
        folder.mkdir()
    compute(level, folders, scratch, *(("--only", str(scratch / "only"), "--save", str(folder)) for folder in saved))
    for i, names in enumerate(groups.values()):
        old, new = (pickle.loads((folder / f"{i}.pickle").read_bytes()) for folder in saved)
        print(f"  {level}: {len(names)} calls like\n    {names[0]}\n      {first_difference(old, new)}")


def first_difference(old: list[Array], new: list[Array]) -> str:
    """Where the results of one call differ first."""
    if len(old) != len(new):
        return f"{len(old)} results became {len(new)}"
    for i, (a, b) in enumerate(zip(old, new, strict=True)):
        if a.dtype != b.dtype or a.shape != b.shape or a.dtype.kind == "U":
            said = [f"{array.dtype} {array.shape}" if array.dtype.kind != "U" else str(array) for array in (a, b)]
            return f"result {i}: {said[0]} became {said[1]}"
        unequal = (significant(a) != significant(b)).any(axis=1)
        if unequal.any():
            at = np.unravel_index(int(unequal.argmax()), a.shape)
            count = f"{unequal.sum()} of {a.size} entries differ"
            return f"result {i} of shape {a.shape}: {count}, first {list(map(int, at))}: {a[at]!r} became {b[at]!r}"
    return "the results agree now: one of the builds does not repeat itself"


if __name__ == "__main__":
    sys.exit(main())
