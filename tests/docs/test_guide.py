"""Every page of the documentation as its reader types it, and every link in it."""

import pytest

from .documents import ROOT, languages, local_links, run_examples

DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)
TYPED = [page for page in PAGES if "pycon" in languages(page)]


def names(pages):
    return [str(page.relative_to(DOCS)) for page in pages]


@pytest.mark.slow
@pytest.mark.parametrize("page", TYPED, ids=names(TYPED))
def test_every_example_gives_the_output_below_it(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    for variable in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(variable, raising=False)
    run_examples(page, capsys)


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_links_lead_somewhere(page):
    for link in local_links(page):
        assert (page.parent / link).exists(), link
