"""How the package is configured where there is no compiler, or one that does not work."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "meson.build").exists(), reason="needs the sources"),
    pytest.mark.skipif(not (find_spec("mesonbuild") and find_spec("ninja")), reason="needs meson and ninja"),
    pytest.mark.skipif(sys.platform == "win32", reason="links to programs"),
]


def configure(folder, *options, **environment):
    """What meson says with no programs but Python and ninja."""
    programs = folder / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to(sys.executable)
    (programs / "ninja").symlink_to(Path(sys.executable).with_name("ninja"))
    kept = {k: v for k, v in os.environ.items() if k not in ("CC", "CXX", "CXXFLAGS")}
    return subprocess.run(
        [sys.executable, "-m", "mesonbuild.mesonmain", "setup", *options, folder / "build", ROOT],
        env={**kept, "PATH": str(programs), **environment},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_without_a_compiler_there_are_no_kernels(tmp_path):
    done = configure(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "WARNING: no C++ compiler: softgrad is installed without kernels" in done.stdout
    assert "Build targets in project: 0" in done.stdout


def test_a_compiler_that_fails_is_an_error_with_a_way_out(tmp_path):
    done = configure(tmp_path, CXX="/bin/false")
    assert done.returncode != 0
    assert "-Csetup-args=-Dkernels=disabled installs softgrad without kernels" in done.stdout


def test_kernels_that_are_disabled_need_no_compiler(tmp_path):
    done = configure(tmp_path, "-Dkernels=disabled", CXX="/bin/false")
    assert done.returncode == 0, done.stdout
