"""Run the examples of a Markdown document as its reader types them: from top to bottom, in one session."""

import doctest
import re
import shlex
from pathlib import Path

from softgrad import cli

ROOT = Path(__file__).parents[2]


def blocks(path):
    """Number of the first line, language and text of every fenced block."""
    text = path.read_text(encoding="utf-8")
    for fence in re.finditer(r"^```([^\n]*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        yield text.count("\n", 0, fence.start(2)), fence[1], fence[2]


def run_examples(path, capsys):
    """Run the Python sessions of a document as doctests, and its `$ softgrad ...` lines."""
    names = {}
    for line, language, text in blocks(path):
        if language == "pycon":
            _run_python(path, text, line, names)
        elif language == "console":
            _run_softgrad(text, capsys)


def languages(path):
    """The language of every block; a block that is not run must hold neither Python nor the command."""
    found = set()
    for line, language, text in blocks(path):
        found.add(language)
        if language not in ("pycon", "console"):
            assert ">>> " not in text, f"{path.name}, line {line}"
            assert "$ softgrad" not in text, f"{path.name}, line {line}"
    return found


def local_links(path):
    """Targets of links and pictures that are files."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [link for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if "://" not in link]


def _run_python(path, text, line, names):
    example = doctest.DocTestParser().get_doctest(text, names, path.name, str(path), line)
    report = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    runner.run(example, out=report.append, clear_globs=False)
    names.update(example.globs)
    assert not report, "".join(report)


def _run_softgrad(text, capsys):
    """Run the command in this process; compare what a terminal of 80 columns would show."""
    for session in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, shown = session.split("\n", 1)
        name, *arguments = shlex.split(command)
        assert name == "softgrad"
        capsys.readouterr()
        assert cli.run(arguments) == 0
        assert _comparable("".join(capsys.readouterr())) == _comparable(shown), command


def _comparable(shown):
    """Text without spaces at the ends of lines, and without the time that a run took."""
    lines = "\n".join(line.rstrip() for line in shown.rstrip().splitlines())
    return re.sub(r"in \d+\.\d s$", "in 0.0 s", lines, flags=re.MULTILINE)
