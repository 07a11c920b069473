"""The exponential and the logarithm of the kernels, by the programs of tests/kernels: each level, each kind of row.

`pytest -m exhaustive tests/kernels/test_exp.py` sends all 2³² numbers of float32 through them, and many of float64.
"""

import csv
import io
import subprocess

import pytest

from softgrad._numpy import kernels

from .. import reference
from ..compiled import build

NATIVE = [level for level in kernels.LEVELS if level != "generic"]

TABLES = {
    ("x86-64-v3", "float32"): 8,
    ("x86-64-v3", "float64"): 4,
    ("x86-64-v4", "float32"): 16,
    ("x86-64-v4", "float64"): 16,
}
"""How many entries the levels look up 2^(k/N) among; elsewhere N is 1."""
BOUNDS = {
    ("float32", 16): (0.59, 0.12),
    ("float32", 8): (0.59, 0.12),
    ("float32", 1): (0.72, 0.24),
    ("float64", 16): (0.65, 0.17),
    ("float64", 4): (0.69, 0.25),
    ("float64", 1): (0.77, 0.26),
}
"""Of the exponential, by dtype and N: of the value and of the value in two parts, in ulp."""
RELATIVE_BOUNDS = 1.12, 0.36
"""ρ and σ of src/kernels/kernels/softmax.h: the errors relative to the value, in units of half the spacing at 1."""
LOG1P_BOUND = 0.75, 0.28


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Where the programs are, one for each level, built as the kernels are."""
    folder = tmp_path_factory.mktemp("build")
    build(folder, [program(folder, level) for level in NATIVE])
    return folder


def program(folder, level):
    return folder / "tests" / "kernels" / f"exp_errors_{level.removeprefix('x86-64-')}"


def check(programs, level, dtype, effort, timeout):
    """Run one program; hold every kind of row that it measured to its bounds."""
    command = [program(programs, level), dtype, effort]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout), delimiter="\t"))
    assert {row["what"] for row in rows} == {"unshifted", "unshifted, tempered", "near", "far", "tempered", "log1p"}
    for row in rows:
        name = "log1p" if row["what"] == "log1p" else "exp"
        bound, bound_of_parts = LOG1P_BOUND if name == "log1p" else BOUNDS[dtype, TABLES.get((level, dtype), 1)]
        worst, parts = float(row["worst"]), float(row["worst_parts"])
        key = name, level, dtype
        reference.worst[key] = max(reference.worst.get(key, 0.0), worst)
        assert int(row["count"]) > 0, row
        assert worst <= bound, row
        assert parts <= bound_of_parts, row
        assert float(row["relative"]) <= RELATIVE_BOUNDS[0], row
        assert float(row["parts_relative"]) <= RELATIVE_BOUNDS[1], row


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("level", NATIVE)
def test_a_sample(programs, level, dtype):
    check(programs, level, dtype, "sample", timeout=120)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("dtype", "effort"), [("float32", "all"), ("float64", "many")])
@pytest.mark.parametrize("level", NATIVE)
def test_all(programs, level, dtype, effort):
    check(programs, level, dtype, effort, timeout=3600)
