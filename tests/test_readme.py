"""The README as a newcomer reads it: every example, typed from top to bottom, gives the output that stands below it."""

import doctest
import re
import shlex
from pathlib import Path

import pytest

from softgrad import cli

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def blocks():
    """Number of the first line, language and text of every fenced block."""
    text = README.read_text(encoding="utf-8")
    for fence in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        yield text.count("\n", 0, fence.start(2)), fence[1], fence[2]


def run_python(text, line, names):
    """Run a console session of Python as a doctest; what it defines stays in `names`."""
    example = doctest.DocTestParser().get_doctest(text, names, README.name, str(README), line)
    report = []
    doctest.DocTestRunner(verbose=False).run(example, out=report.append, clear_globs=False)
    names.update(example.globs)
    assert not report, "".join(report)


def run_softgrad(text, capsys):
    """Run `$ softgrad ...` lines in this process; compare what a terminal of 80 columns would show."""
    for session in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, shown = session.split("\n", 1)
        name, *arguments = shlex.split(command)
        assert name == "softgrad"
        capsys.readouterr()
        assert cli.run(arguments) == 0
        assert comparable("".join(capsys.readouterr())) == comparable(shown), command


def comparable(shown):
    """Text without spaces at the ends of lines, and without the time that a run took."""
    lines = "\n".join(line.rstrip() for line in shown.rstrip().splitlines())
    return re.sub(r"in \d+\.\d s$", "in 0.0 s", lines, flags=re.MULTILINE)


def test_every_example_gives_the_output_below_it(level, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    for variable in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(variable, raising=False)
    names = {}
    for line, language, text in blocks():
        if language == "pycon":
            run_python(text, line, names)
        elif language == "console":
            run_softgrad(text, capsys)


def test_no_example_escapes_the_test_above():
    """Python and softgrad's command stand in blocks that are run; `sh` is installation, `text` is output."""
    for line, language, text in blocks():
        assert language in ("pycon", "console", "sh", "text"), f"line {line}"
        if language in ("sh", "text"):
            assert ">>> " not in text, f"line {line}"
            assert "$ softgrad" not in text, f"line {line}"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_and_commands_lead_somewhere(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("https://") or (ROOT / link).exists(), link
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE)) <= set(targets)


def test_the_files_that_are_named_exist():
    """CONTRIBUTING leads through the sources by their paths."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = re.findall(r"\b(?:src|tests)/[\w/.]+\.\w+", text)
    assert paths
    for path in paths:
        assert (ROOT / path).exists(), path
