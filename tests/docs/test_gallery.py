"""Every example is in the gallery, with a picture."""

import re

from .documents import ROOT

TEXT = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))


def test_every_example_is_shown():
    assert sorted(re.findall(r"\]\(\.\./examples/(\w+)\.py\)", TEXT)) == EXAMPLES


def test_every_example_has_a_picture():
    assert sorted(re.findall(r":img-top: images/gallery/(\w+)\.png", TEXT)) == EXAMPLES
    for name in EXAMPLES:
        assert (ROOT / "docs" / "images" / "gallery" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
