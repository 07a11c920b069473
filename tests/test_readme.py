"""The README as a newcomer reads it: every example gives the output below it, every link leads somewhere."""

import re

import pytest

import softgrad as sg

from .docs.documents import ROOT, languages, local_links, run_examples

README = ROOT / "README.md"


@pytest.fixture
def terminal(tmp_path, monkeypatch):
    """An empty folder and a plain terminal of 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    for variable in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(variable, raising=False)


def test_every_example_gives_the_output_below_it(level, terminal, capsys):
    run_examples(README, capsys)


def test_no_example_escapes_the_test_above():
    assert languages(README) <= {"pycon", "console", "sh"}


def test_it_is_read_to_the_end():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 180


def test_every_public_name_is_in_the_table():
    table = README.read_text(encoding="utf-8").split("## Public names")[1].split("\n## ")[0]
    assert set(sg.__all__) <= set(re.findall(r"\w+", table))


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_and_commands_lead_somewhere(name):
    for link in local_links(ROOT / name):
        assert (ROOT / link).exists(), link
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE)) <= set(targets)


def test_the_files_that_are_named_exist():
    """CONTRIBUTING leads through the sources by their paths."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = re.findall(r"\b(?:src|tests)/[\w/.]+\.\w+", text)
    assert paths
    for path in paths:
        assert (ROOT / path).exists(), path
