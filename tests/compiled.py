"""What the tests compile: targets of meson, built as the kernels are, in a folder of their own."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def build(folder, targets):
    """Build `targets`, paths in `folder`; the test is skipped where there is no compiler or no meson."""
    if not any(map(shutil.which, filter(None, (os.environ.get("CXX"), "c++", "g++", "clang++")))):
        pytest.skip("no C++ compiler")
    if not (find_spec("mesonbuild") and find_spec("ninja")):
        pytest.skip("meson and ninja are not installed (extra test)")
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    for command in (
        [sys.executable, "-m", "mesonbuild.mesonmain", "setup", folder, ROOT],
        [sys.executable, "-m", "ninja", "-C", folder, *(target.relative_to(folder) for target in targets)],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
