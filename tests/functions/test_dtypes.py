"""Integers, half precision, and what is not a real number (docs/edges.md)."""

import re

import numpy as np
import pytest

import softgrad as sg

from ..maps import FLOATS, INTEGERS, MAPS, assert_close, assert_same, directions, every_float, every_map, logits
from ..rows import LENGTHS

pytestmark = pytest.mark.usefixtures("level")


@every_map
def test_integers_become_float64_first(f):
    for dtype in INTEGERS:
        x = logits((3, 33), dtype)
        assert_same(f(x), f(x.astype(np.float64), directions(x)), dtype.name)


@every_map
@every_float
def test_floating_dtypes_are_kept(f, dtype):
    assert f(logits((3, 33), dtype)).dtype == dtype


def test_small_integers_do_not_wrap():
    assert sg.softmax(np.array([-128, 127], np.int8))[1] == 1.0
    assert sg.logsumexp(np.array([-128, 127], np.int8)) == 127.0


@every_map
def test_what_is_not_real_is_a_type_error(f):
    for x in map(np.array, ([1j], [None], ["a"], [np.datetime64("2026-01-01")], [b"a"])):
        with pytest.raises(TypeError, match=re.escape(str(x.dtype))):
            f(x, np.ones(1))


@pytest.mark.parametrize("dtype", FLOATS[:2], ids=lambda d: d.name)
@pytest.mark.parametrize("f", MAPS[:3], ids=lambda f: f.name)
def test_half_precision_is_computed_wider(f, dtype):
    """Within one rounding of the computation in float32."""
    for n in LENGTHS:
        x = logits((n,), dtype)
        assert_close(f(x), np.asarray(f(x.astype(np.float32))).astype(dtype), ulp=1)
