"""Compare the speed of two builds of softgrad, in turns, on the cases of benchmarks/compare.py.

python tools/compare_speed.py --old FOLDER [--new FOLDER] [--only "vjp float32"] [--level x86-64-v3]

FOLDER holds softgrad, as `pip install --target FOLDER` leaves it; the new build is the installed one by default. Each
build runs in a process of its own, both on the same CPU, one sample of each in turn; what counts is the median of the
ratios of paired samples. A case that seems slower than --tolerance is measured again, four times as long, and only that
result counts. The exit status is 1 if a case is slower then. With two folders of the same build the ratios show how
much of a difference is noise.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import quantiles
from typing import Any

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SAMPLE = 1e-3
"""Seconds that a sample lasts at least: shorter calls are repeated within it."""


class Build:
    """A process that has imported one build and times its calls when asked."""

    def __init__(self, folder: Path, level: str | None) -> None:
        environment = os.environ | {"PYTHONPATH": str(folder)} | ({"SOFTGRAD_ISA": level} if level else {})
        command = [sys.executable, __file__, "--serve"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self._process = subprocess.Popen(command, env=environment, **pipes)
        self.package, self.level = self.ask("where")
        if not Path(self.package).resolve().is_relative_to(folder.resolve()):
            sys.exit(f"{folder} does not hold softgrad: {self.package} was imported")

    def ask(self, *request: Any) -> Any:
        print(json.dumps(request), file=self._process.stdin)
        answer = self._process.stdout.readline()
        return json.loads(answer) if answer else sys.exit(f"{request}: {self.package} failed")

    def sample(self, repeats: int) -> float:
        return self.ask("sample", repeats)


def main() -> int:
    options = parse()
    builds = Build(options.old, options.level), Build(options.new, options.level)
    for name, build in zip(("old", "new"), builds, strict=True):
        print(f"{name}: {build.package}, level {build.level}")
    slower, words = [], options.only.replace("×", "x").split()
    for i, case in enumerate(builds[0].ask("cases")):
        if not all(word in case.replace("×", "x") for word in words):
            continue
        for build in builds:
            build.ask("prepare", i)
        low, median, high = ratios(builds, options.seconds)
        if median > 1 + options.tolerance:
            low, median, high = ratios(builds, 4 * options.seconds)
        late = median > 1 + options.tolerance
        slower += [case] * late
        print(f"{median:6.3f}  [{low:.3f}, {high:.3f}]  {case}{'  SLOWER' if late else ''}", flush=True)
    print(f"{len(slower)} cases are slower by more than {options.tolerance:.0%}")
    return 1 if slower else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--new", type=Path, metavar="FOLDER")
    parser.add_argument("--only", default="", metavar="WORDS", help="the cases whose name has all of these words")
    parser.add_argument("--level", help="SOFTGRAD_ISA; default: the best of this machine")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each case")
    parser.add_argument("--tolerance", type=float, default=0.03, help="by which a case may be slower")
    options = parser.parse_args()
    installed = importlib.util.find_spec("softgrad")
    if options.new is None and (installed is None or installed.origin is None):
        parser.error("softgrad is not installed here: give --new FOLDER")
    options.new = options.new or Path(installed.origin).parents[1]
    return options


def ratios(builds: tuple[Build, Build], seconds: float) -> list[float]:
    """Quartiles of new ÷ old over pairs of samples, the first of each pair drawn by lot."""
    once = max(min(build.sample(1) for _ in range(3)) for build in builds)
    repeats, found, start = max(1, round(SAMPLE / once)), [], time.perf_counter()
    shuffle = random.Random(0).shuffle
    while len(found) < 7 or time.perf_counter() - start < seconds:
        turn = [0, 1]
        shuffle(turn)
        taken = {i: builds[i].sample(repeats) for i in turn}
        found.append(taken[1] / taken[0])
    return quantiles(found, n=4, method="inclusive")


def serve() -> None:
    """Answer the requests of a `Build`: a line of JSON for each."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # so softgrad uses one thread, too
    sys.path.insert(0, str(BENCHMARKS))
    softgrad = importlib.import_module("softgrad")
    calls, call = list(own_calls()), None
    for line in sys.stdin:
        what, *given = json.loads(line)
        if what == "prepare":
            call, answer = calls[given[0]][1](), None
        elif what == "sample":
            answer = timed(call, given[0])
        else:
            answer = [softgrad.__file__, softgrad.backend()] if what == "where" else [name for name, _ in calls]
        print(json.dumps(answer), flush=True)


def own_calls() -> Iterator[tuple[str, Callable[[], Callable[[], Any]]]]:
    """For each case of the benchmark, with and without `out`: its name, and what makes the call."""
    own = importlib.import_module("own_calls")
    makes = dict.fromkeys(("forward", "derivatives", "small_calls"), (own.plain, own.plain_out))
    makes |= {"losses": (own.loss, own.loss_out), "masks_and_temperatures": (own.with_option, own.with_option_out)}
    for name, (plain, out) in makes.items():
        family = importlib.import_module(name)
        for case in family.CASES:
            yield str(case), lambda case=case, make=plain, family=family: make(case, *family.prepare(case)[:2])
            if case.function not in ("jacobian", "cross_entropy"):  # these take no buffers
                yield f"{case} out=", lambda case=case, make=out, family=family: make(case, *family.prepare(case)[:2])


def timed(call: Callable[[], Any], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["--serve"] else sys.exit(main())
