"""Type checkers accept good calls, with the right types, and refuse bad ones: the two files of `typing/`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "tests" / "typing"
CHECKERS = {
    "mypy": ["--strict", "--config-file", "pyproject.toml"],
    "pyright": ["--pythonpath", sys.executable],  # no part of the extra `test`: it brings Node.js
}


def refused(checker, name):
    """The lines of a file that a type checker refuses, and its report."""
    command = [sys.executable, "-m", checker, *CHECKERS[checker], str(FOLDER / name)]
    report = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert report.returncode < 2, report.stderr
    errors = [line for line in report.stdout.splitlines() if re.search(r":\d+(:\d+ -|:) error", line)]
    assert all(name in line for line in errors), report.stdout
    return {int(re.search(rf"{name}:(\d+):", line)[1]) for line in errors}, report.stdout


@pytest.mark.slow
@pytest.mark.parametrize("checker", CHECKERS)
def test_good_and_bad_calls(checker):
    pytest.importorskip(checker)
    lines, report = refused(checker, "good.py")
    assert not lines, report
    text = (FOLDER / "bad.py").read_text(encoding="utf-8").splitlines()
    expected = {number for number, line in enumerate(text, 1) if line.endswith("# no")}
    assert len(expected) > 30
    lines, report = refused(checker, "bad.py")
    assert lines == expected, report
