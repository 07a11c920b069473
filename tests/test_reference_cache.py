"""References kept between runs: computed once for the same inputs and source, and computed again for others."""

import mpmath as mp
import pytest

from . import reference_cache


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """`stored` in a folder of its own, and how often it computed."""
    monkeypatch.setattr(reference_cache, "FOLDER", tmp_path / "new")
    calls = []

    def stored(*inputs):
        return reference_cache.stored(lambda: calls.append(inputs) or mp.exp(1), *inputs)

    return stored, calls


def test_the_same_inputs_are_computed_once(counted):
    stored, calls = counted
    assert stored(b"row", 0.5) == stored(b"row", 0.5) == mp.exp(1)
    assert len(calls) == 1
    for other in ((b"row", 0.25), (b"ro", b"w", 0.5), (b"row",), ("row", 0.5)):
        stored(*other)
    assert len(calls) == 5


def test_another_source_is_another_reference(counted, monkeypatch):
    stored, calls = counted
    stored(b"row")
    monkeypatch.setattr(reference_cache, "origin", lambda: b"a formula that was changed")
    stored(b"row")
    assert len(calls) == 2
