"""Time softgrad, other libraries, and moving the same bytes: tables, JSON and a picture.

python benchmarks/compare.py                      everything, 5 to 8 minutes
python benchmarks/compare.py --quick              a minute or two
python benchmarks/compare.py --only "vjp float32" the cases whose name has all of these words
"""

from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.progress import track

import derivatives
import forward
import loss_peers
import losses
import machine
import masks_and_temperatures
import option_peers
import peers
import picture
import report
import small_calls
import targets
from cases import Case
from timing import Time, Timed, interleaved

FAMILIES = (forward, derivatives, losses, masks_and_temperatures, small_calls)
MAKES = {losses: loss_peers.MAKES, masks_and_temperatures: option_peers.MAKES}
"""By the entry's name, where the cases of a family are called in their own ways."""
QUICK_SHAPES = ((10,), (1000,), (64, 1000), (100_000, 10), (4096, 4096))
HEADINGS = {
    "softgrad 2 threads": "softgrad 2 thr",
    "torch 2 threads": "torch 2 thr",
    "scikit-learn": "sk learn",
    "scikit-learn out=": "sk learn out=",
    "ONNX Runtime": "ONNX RT",
}
TARGETS = ["case", "target", "measured", "× baseline: target", "× baseline: softgrad", ""]
HOW_TO_READ = (
    "Medians of interleaved repeats, single-threaded unless marked (2 thr). The columns *baseline* and *softgrad* are "
    "times; the others show how many times as long as softgrad that library takes, used in the same way: `out=`, ONNX "
    "Runtime and numba, which write into a given array, against softgrad with `out=`; the others, which return a new "
    "array, against softgrad returning one; 2 threads against 2 threads. The baseline is NumPy moving the same bytes: "
    "a copy; for logsumexp reading alone (an integer maximum); for the VJP two reads and a write (an integer sum); "
    "for the Jacobian filling a new array; for losses a copy for each derivative; for masked and tempered calls the "
    "plain call. Losses: the frameworks run forward and backward; scikit-learn's gradient and Hessian come without "
    "the loss. What a target allows is given in baselines, too: near 1 the call is bound by memory bandwidth."
)


def main() -> None:
    options = parse()
    families = chosen(options)
    entries, versions, missing = peers.installed(peers.OWN + peers.PEERS)
    about = machine.describe(versions)
    results: dict[Case, dict[str, Time]] = {}
    work = [(family, case) for family in FAMILIES for case in families[family]]
    for family, case in track(work, "Measuring", console=report.console):
        results[case] = measure(family, case, entries, 0.5 if options.quick else 2.0)
    tables = [table for family in FAMILIES for table in tabulate(family, families[family], results, entries)]
    reached = targets.rows(results)
    if reached:
        tables.append(report.Table("what the project set out to reach", TARGETS, reached))
    ratios = cells(results, entries)
    ahead = sorted((ratio, case, peer) for case, peer, ratio in ratios if ratio < 1)
    if ahead:
        rows = [[case, peer, report.ratio(ratio)] for ratio, case, peer in ahead]
        tables.append(report.Table("where a peer is ahead", ["case", "peer", "time ÷ softgrad's"], rows))
    standing = f"A peer is ahead in {len(ahead)} of {len(ratios)} cells."
    for table in tables:
        report.show(table)
    pictured = any(map(picture.shows, results))
    notes = [f"Not installed, so not measured: {', '.join(missing)}."] if missing else []
    for note in notes:
        report.console.print(note)
    directory = options.into or machine.results_directory(options.quick)
    directory.mkdir(parents=True, exist_ok=True)
    text = [machine.summary(about), HOW_TO_READ, standing, *notes]
    if pictured:
        text.append("![time over softgrad's time, by case](compare.png)")
        picture.draw(results, entries, directory / "compare.png")
    data = {"machine": about, "results": records(results), "targets": reached}
    report.write(directory, "compare", "Speed", text, tables, data)
    report.console.print(standing)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="float32, few shapes, few repeats")
    parser.add_argument("--only", default="", metavar="WORDS", help='such as "logsumexp 4096x4096 float64"')
    parser.add_argument("--into", type=Path, metavar="DIR", help="default: results/<date>-<cpu>")
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> dict[ModuleType, list[Case]]:
    """The cases of each family that the options leave."""
    words = options.only.replace("×", "x").split()

    def wanted(case: Case) -> bool:
        quick = case.dtype == "float32" and case.shape in QUICK_SHAPES
        return (quick or not options.quick) and all(word in str(case).replace("×", "x") for word in words)

    families = {family: [case for case in family.CASES if wanted(case)] for family in FAMILIES}
    if not any(families.values()):
        raise SystemExit(f"--only: no case has all of the words {words}; a case is named {forward.CASES[1]}")
    return families


def measure(family: ModuleType, case: Case, entries: list[peers.Peer], seconds: float) -> dict[str, Time]:
    """The times of all entries on one case, per entry or per call as the family says, in ns."""
    prepared = family.prepare(case)
    calls = {"baseline": Timed(prepared.baseline, peers.run_softgrad())}
    makes = MAKES.get(family)
    for peer in entries:
        pointless = peer.threads > 1 and family is small_calls
        make = makes.get(peer.name) if makes else peer.make
        if make is None or pointless or case.dtype not in peer.dtypes:
            continue
        call = make(case, prepared.inputs, prepared.out)
        if call is not None:
            calls[peer.name] = Timed(call, peer.before)
    times = interleaved(calls, seconds)
    return {name: time.scaled(1e9 / prepared.entries) for name, time in times.items()}


def tabulate(
    family: ModuleType, cases: list[Case], results: dict[Case, dict[str, Time]], entries: list[peers.Peer]
) -> list[report.Table]:
    """The family's tables: the baseline and softgrad's times, and how many times as long the others take."""
    grouped: dict[str, list[Case]] = {}
    for case in cases:
        grouped.setdefault(family.table(case)[0], []).append(case)
    tables = []
    for title, members in grouped.items():
        seen = {name for case in members for name in results[case]}
        own = ["baseline", *(peer.name for peer in peers.OWN if peer.name in seen)]
        others = [peer for peer in entries if peer in peers.PEERS and peer.name in seen]
        headings = [family.UNIT, *(HEADINGS.get(name, name) for name in (*own, *(peer.name for peer in others)))]
        rows = []
        for case in members:
            times = results[case]
            measured = [report.number(times[name].median) if name in times else "" for name in own]
            ratios = (versus_own(times, peer) for peer in others)
            compared = ("" if ratio is None else report.ratio(ratio) for ratio in ratios)
            rows.append([family.table(case)[1], *measured, *compared])
        tables.append(report.Table(title, headings, rows))
    return tables


def versus_own(times: dict[str, Time], peer: peers.Peer) -> float | None:
    """How many times as long as softgrad a peer takes, if it was measured."""
    if peer.name not in times:
        return None
    own = times.get(peer.versus) or times["softgrad"]
    return times[peer.name].median / own.median


def cells(results: dict[Case, dict[str, Time]], entries: list[peers.Peer]) -> list[tuple[str, str, float]]:
    """Case, peer and ratio of every cell of the tables where softgrad is compared with a peer."""
    found = (
        (str(case), peer.name, versus_own(times, peer))
        for case, times in results.items()
        for peer in entries
        if peer in peers.PEERS
    )
    return [(case, peer, ratio) for case, peer, ratio in found if ratio is not None]


def records(results: dict[Case, dict[str, Time]]) -> list[dict[str, Any]]:
    """Everything that was measured, for the JSON file: ns per entry, or per call on 10 numbers."""
    return [
        {
            "function": case.function,
            "shape": case.shape,
            "axis": case.axis,
            "dtype": case.dtype,
            "ns": {name: time._asdict() for name, time in times.items()},
        }
        for case, times in results.items()
    ]


if __name__ == "__main__":
    main()
