"""The boundaries of the kernels follow the caches of the machine: as measured, and less where caches are smaller."""

from pathlib import Path

import pytest

_kernels = pytest.importorskip("softgrad._kernels")


def cache_size(level):
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        found = {name: (index / name).read_text().strip() for name in ("level", "type", "size")}
        if found["level"] == str(level) and found["type"] != "Instruction":
            return int(found["size"].removesuffix("K")) * 1024
    return None


@pytest.mark.parametrize(
    ("index", "level", "default", "share", "most"),
    [(0, 2, 2**20, 1, 2**20), (1, 3, 2**25, 4, 2**23)],
    ids=["scratch", "stream"],
)
def test_a_boundary(index, level, default, share, most):
    size = cache_size(level) or default
    assert _kernels.boundaries()[index] == min(size // share, most)
