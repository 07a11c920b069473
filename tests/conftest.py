"""What all tests share: instruction-set levels, tiers, Hypothesis profiles, the table of measured errors."""

from collections import Counter, defaultdict

import pytest
from hypothesis import HealthCheck, settings

from softgrad._numpy import kernels

from . import reference

collect_ignore = ["narrow_longdouble.py"]  # a plugin: importing it changes what longdouble is
collect_ignore_glob = ["typing/*.py"]  # what tests/test_typing.py shows to type checkers

# One fixed sequence of examples, so that a run means the same tomorrow. `pytest --hypothesis-profile=deep` searches.
_common = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("quick", derandomize=True, max_examples=40, **_common)
settings.register_profile("deep", max_examples=2000, **_common)
settings.register_profile("nightly", max_examples=100_000, **_common)
settings.load_profile("quick")

QUICK_LEVELS = {kernels.LEVELS[0], "generic"}
QUICK_CASES = 3  # of each test, about
MIDDLE_STEP = 3  # of the cases at a level between the best and `generic`


@pytest.fixture(params=kernels.LEVELS)
def level(request, monkeypatch):
    """Run the test on every instruction-set level of this machine, in one process."""
    monkeypatch.setattr(kernels, "table", kernels.load(request.param))
    monkeypatch.setattr(kernels, "level", request.param)
    return request.param


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="the best level and `generic`, some cases of each test")
    parser.addoption("--every-case", action="store_true", help="of the levels in between, too, not each third")


@pytest.hookimpl(trylast=True)  # after -m
def pytest_collection_modifyitems(config, items):
    kept = [item for item in items if _depends_on_level(item) or _level_of(item) == kernels.LEVELS[0]]
    if config.getoption("quick"):
        kept = _some_of_each_test(item for item in kept if _level_of(item) in QUICK_LEVELS)
    elif not config.getoption("every_case"):
        kept = list(_fewer_of_middle_levels(kept))
    dropped = set(items) - set(kept)
    items[:] = kept
    config.hook.pytest_deselected(items=list(dropped))


def _some_of_each_test(items):
    """Cases spread evenly over those of each test; an odd step meets every level and dtype."""
    tests = defaultdict(list)
    for item in items:
        tests[item.nodeid.partition("[")[0]].append(item)
    return [case for cases in tests.values() for case in cases[:: len(cases) // QUICK_CASES | 1]]


def _fewer_of_middle_levels(items):
    """Their kernels are the best level's, compiled for other vectors: each third case meets every dtype."""
    met = Counter()
    for item in items:
        level = _level_of(item)
        test = item.nodeid.partition("[")[0], level
        if level in QUICK_LEVELS or met[test] % MIDDLE_STEP == 0 or item.get_closest_marker("exhaustive"):
            yield item
        met[test] += 1


def _depends_on_level(item):
    """Whether what is tested has kernels: formulas alone are the same on every level."""
    values = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return all(getattr(value, "has_kernel", True) for value in values)


def _level_of(item):
    """The instruction-set level that a test is for; any other test counts as one for the best."""
    values = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return next((v for v in values if isinstance(v, str) and v in kernels.LEVELS), kernels.LEVELS[0])


# Under pytest-xdist the errors are measured in the workers and reported by the controller.


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["worst"] = [[*key, error] for key, error in reference.worst.items()]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    for *key, error in getattr(node, "workeroutput", {}).get("worst", ()):
        reference.worst[tuple(key)] = max(reference.worst.get(tuple(key), 0.0), error)


def pytest_terminal_summary(terminalreporter):
    if not reference.worst:
        return
    terminalreporter.section("largest errors seen, in ulp (what: level, dtype)")
    for (what, level, dtype), error in sorted(reference.worst.items()):
        terminalreporter.write_line(f"{what:20} {level:12} {dtype:12} {error:8.3f}")
