"""The reference has a page for every public name, and no other."""

import functools
import importlib
import inspect
import re

import pytest

import softgrad as sg

from .documents import ROOT

TEXT = (ROOT / "docs" / "reference" / "index.md").read_text(encoding="utf-8")


def listed():
    """The names under each `currentmodule`."""
    names = {}
    module = None
    for line in TEXT.splitlines():
        if found := re.match(r"\.\. currentmodule:: (\S+)", line):
            module = found[1]
        elif found := re.match(r"   ([\w.]+)$", line):
            names.setdefault(module, []).append(found[1])
    return names


def test_every_public_name_has_a_page():
    assert sorted(listed()["softgrad"]) == sorted([*sg.__all__, "regression.SoftmaxRegression"])


@pytest.mark.parametrize(
    "module", ["softgrad.boosting", "softgrad.calibration", "softgrad.testing", "softgrad.compat.scipy"]
)
def test_modules_are_complete(module):
    assert sorted(listed()[module]) == sorted(importlib.import_module(module).__all__)


def test_no_name_is_listed_twice():
    for names in listed().values():
        assert len(names) == len(set(names))


@pytest.mark.parametrize("name", sorted(set(sg.__all__) - {"backend"}))
def test_functions_name_their_relatives(name):
    value = getattr(sg, name)
    if inspect.isfunction(value):
        relatives = inspect.getdoc(value).split("See Also\n--------\n")[1].split("\n\n")[0]
        names = [word.strip() for line in relatives.splitlines() for word in line.split(" : ")[0].split(",")]
        for relative in names:
            assert functools.reduce(getattr, relative.removeprefix("softgrad.").split("."), sg)
