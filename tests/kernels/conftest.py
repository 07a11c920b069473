"""Kernels as gufuncs and as plain functions, at every level."""

import pytest

from .direct import LIMIT, NATIVE


@pytest.fixture(params=NATIVE)
def tables(request):
    """The gufuncs of a level, and the functions that compute the same without NumPy."""
    from softgrad import _kernels  # noqa: PLC0415  absent where nothing is native

    return _kernels.ufuncs(request.param), _kernels.direct(request.param, 8 * LIMIT)


@pytest.fixture
def direct(tables):
    return tables[1]
