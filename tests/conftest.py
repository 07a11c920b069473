"""What all tests share: one instruction-set level at a time, Hypothesis profiles, the table of measured errors."""

import pytest
from hypothesis import HealthCheck, settings

from softgrad._numpy import kernels

from . import reference

# One fixed sequence of examples, so that a run means the same tomorrow. `pytest --hypothesis-profile=deep` searches.
_common = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("quick", derandomize=True, max_examples=40, **_common)
settings.register_profile("deep", max_examples=2000, **_common)
settings.load_profile("quick")


@pytest.fixture(params=kernels.LEVELS)
def level(request, monkeypatch):
    """Run the test on every instruction-set level of this machine, in one process."""
    monkeypatch.setattr(kernels, "table", kernels.load(request.param))
    monkeypatch.setattr(kernels, "level", request.param)
    return request.param


def pytest_terminal_summary(terminalreporter):
    if not reference.worst:
        return
    terminalreporter.section("largest errors seen, in ulp (what: level, dtype)")
    for (what, level, dtype), error in sorted(reference.worst.items()):
        terminalreporter.write_line(f"{what:20} {level:12} {dtype:12} {error:8.3f}")
