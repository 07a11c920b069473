"""What importing softgrad does: NumPy and nothing else, at the level that SOFTGRAD_ISA names."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import softgrad as sg
from softgrad._numpy import kernels


def python(code, **environment):
    """A fresh interpreter's output and error output."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout.strip(), done.stderr


def modules(code):
    code, out, err = python(f"import sys, json\n{code}\nprint(json.dumps(sorted(sys.modules)))")
    assert code == 0, err
    return set(json.loads(out))


def test_numpy_is_the_only_library_imported():
    standard = sys.stdlib_module_names | {"__main__", "__mp_main__"}
    extra = modules("import softgrad") - modules("import numpy")
    foreign = {name for name in extra if name.split(".")[0] not in standard}
    assert {name for name in foreign if name.split(".")[0] != "softgrad"} == set()


def test_numpy_functions_import_nothing_more():
    used = """
import numpy as np, softgrad as sg
x = np.ones((3, 4))
p = sg.softmax(x, axis=0, where=x > 0, temperature=[1.0, 2.0, 3.0, 4.0])
sg.logsumexp([1, 2, 3]), sg.log_softmax(1.0, axis=None), sg.softmax_vjp(p, x), sg.softmax_jacobian(x) @ x.T
"""
    standard = sys.stdlib_module_names | {"__main__"}
    extra = modules(used) - modules("import numpy")
    assert {name.split(".")[0] for name in extra} - standard <= {"softgrad", "numpy"}


@pytest.mark.parametrize("level", kernels.LEVELS)
def test_the_environment_forces_a_level(level):
    code = "import softgrad as sg; print(sg.backend(), *(v.hex() for v in sg.softmax([1.0, 2.0, 3.0]).tolist()))"
    status, out, err = python(code, SOFTGRAD_ISA=level)
    assert status == 0, err
    assert out.split()[0] == level
    assert [float.fromhex(v) for v in out.split()[1:]] == pytest.approx(sg.softmax([1.0, 2.0, 3.0]).tolist(), rel=1e-15)


def test_without_the_variable_it_is_the_best_level():
    for value in ({}, {"SOFTGRAD_ISA": ""}):
        environment = {k: v for k, v in os.environ.items() if k != "SOFTGRAD_ISA"} | value
        done = subprocess.run(
            [sys.executable, "-c", "import softgrad; print(softgrad.backend())"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        assert done.stdout.strip() == kernels.LEVELS[0]


USES = [
    "softmax([1.0])",
    "cross_entropy([[1.0, 2.0]], [0])",
    "Softmax()([1.0])",
    "LogSumExpState().update([1.0])",
    "backend()",
]


@pytest.mark.parametrize("bad", ["x86-64-v9", "avx2", "GENERIC "])
@pytest.mark.parametrize("use", USES)
def test_an_unknown_level_is_a_clear_error_when_it_is_used(use, bad):
    status, _, err = python(f"import softgrad; print('imported'); softgrad.{use}", SOFTGRAD_ISA=bad)
    assert status != 0
    last = err.strip().splitlines()[-1]
    assert "SOFTGRAD_ISA" in last
    assert repr(bad) in last
    for level in kernels.LEVELS:
        assert level in last


@pytest.mark.slow
@pytest.mark.parametrize("module", ["softgrad", "softgrad.cli"])
@pytest.mark.parametrize("arguments", [["show", "1"], ["--version"], ["apply", "softmax", "x.npy", "y.npy"]])
def test_an_unknown_level_is_one_line_of_the_command(module, arguments, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 3)))
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, "SOFTGRAD_ISA": "avx2"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("softgrad: SOFTGRAD_ISA must be one of ")
    assert done.stderr.endswith("; got 'avx2'\n")
    assert done.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == ["x.npy"]


def test_without_the_extension_everything_still_works():
    code = """
import sys
sys.modules["softgrad._kernels"] = None
import softgrad as sg
print(sg.backend(), sg.softmax([1.0, 1.0]).tolist(), sg.calculate_gradient([0, 0]).tolist())
"""
    status, out, err = python(code)
    assert status == 0, err
    assert out == "generic [0.5, 0.5] [[0.25, -0.25], [-0.25, 0.25]]"


IMPORT_WITH = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "softgrad._kernels":
            raise {}
sys.meta_path.insert(0, Finder())
import softgrad
print(softgrad.backend())
"""


def test_without_the_extension_the_level_is_generic():
    error = "ModuleNotFoundError(name=name)"
    assert python(IMPORT_WITH.format(error), SOFTGRAD_ISA="") == (0, "generic", "")


def test_an_extension_that_does_not_load_is_an_error():
    status, out, err = python(IMPORT_WITH.format("ImportError('no libstdc++.so.6')"), SOFTGRAD_ISA="")
    assert (status, out) == (1, "")
    assert err.endswith("ImportError: no libstdc++.so.6\n")


@pytest.mark.skipif(sys.version_info < (3, 14), reason="has no concurrent.interpreters")
def test_subinterpreters_are_refused():
    """By NumPy, and by the extension itself should NumPy ever be loaded there."""
    pytest.importorskip("softgrad._kernels")
    code = """
from concurrent import interpreters
from importlib.util import find_spec
kernels = find_spec("softgrad._kernels").origin
for code in (
    "import softgrad",
    "from importlib.util import spec_from_file_location as at, module_from_spec\\n"
    f"module_from_spec(at('softgrad._kernels', {kernels!r}))",
):
    one = interpreters.create()
    try:
        one.exec(code)
    except interpreters.ExecutionFailed as error:
        print(str(error).strip().splitlines()[-1])
    one.close()
"""
    status, out, err = python(code)
    assert status == 0, err
    refusals = out.splitlines()
    assert "does not support loading in subinterpreters" in refusals[0]
    assert refusals[1:] == ["ImportError: module softgrad._kernels does not support loading in subinterpreters"]
