"""softgrad.compat.scipy against SciPy: the same signatures, types, shapes, values and warnings, but for its list."""

import inspect
import re
import subprocess
import sys
import warnings
from math import inf, nan, pi
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest
import scipy
import scipy.special
from hypothesis import assume, given
from hypothesis import strategies as st

import softgrad as sg
from softgrad.compat import scipy as compat

from .maps import BFLOAT16, assert_close, assert_same, every_float, logits
from .reference import number

if tuple(map(int, scipy.__version__.split(".")[:2])) < (1, 17):
    pytest.skip("SciPy 1.17 is what the behaviour is of", allow_module_level=True)

NAMES = ("softmax", "log_softmax", "logsumexp")
every_name = pytest.mark.parametrize("name", NAMES)


def outcome(function, *arguments, **options):
    """What a call returns or the kind of error that it raises, and its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = function(*arguments, **options)
        except Exception as error:  # whatever SciPy raises
            # An AxisError is a ValueError and an IndexError, of which SciPy has one or the other.
            result = ValueError if isinstance(error, ValueError | IndexError) else type(error)
    return result, {(w.category, str(w.message).replace("scalar ", "")) for w in caught}


def assert_like(got, expected, ulp=64):
    """The same type, dtype and shape, and values that are as near as SciPy's are to the exact ones."""
    if isinstance(expected, type | tuple):
        assert type(got) is type(expected)
    if isinstance(expected, type):
        assert got is expected
    elif isinstance(expected, tuple):
        for one, other in zip(got, expected, strict=True):
            assert_like(one, other, ulp)
    else:
        assert type(got) is type(expected)
        assert got.dtype == expected.dtype
        assert got.shape == expected.shape
        if got.dtype.kind == "c":
            tolerance = ulp * max(np.finfo(got.dtype).eps, np.finfo(np.float64).eps)  # SciPy's π is that of float64
            for one, other in ((got.real, expected.real), (got.imag, expected.imag)):
                np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
        else:
            assert_close(got, expected, ulp)


def check(name, *arguments, **options):
    """The same outcome as SciPy's."""
    expected, wanted_warnings = outcome(getattr(scipy.special, name), *arguments, **options)
    got, warned = outcome(getattr(compat, name), *arguments, **options)
    assert_like(got, expected)
    assert warned == wanted_warnings


@every_name
def test_signatures(name):
    assert (
        inspect.signature(getattr(compat, name)).parameters.keys()
        == inspect.signature(getattr(scipy.special, name)).parameters.keys()
    )
    ours, theirs = (
        [(p.name, p.kind, p.default) for p in inspect.signature(getattr(module, name)).parameters.values()]
        for module in (compat, scipy.special)
    )
    assert ours == theirs


INPUTS = {
    "list": [1, 2, 3],
    "nested list": [[1.0, 2], [3, 4]],
    "float": 3.0,
    "int": 3,
    "float32 scalar": np.float32(3),
    "0-d": np.array(3.0),
    "three axes": logits((2, 3, 4), np.dtype(np.float64)),
    "strided": logits((6, 8), np.dtype(np.float32))[::2, ::-1],
    "read-only": np.broadcast_to(np.float32(2), (3, 4)),
    "swapped": np.arange(4, dtype=">f8"),
    "int64": np.arange(4),
    "complex": np.array([[1 + 2j, 3 - 1j], [0, 4j]]),
    "complex64": np.array([1 + 2j, 3 - 1j], np.complex64),
    "clongdouble": np.array([1 + 2j, 3 - 1j], np.clongdouble),
    "complex scalar": 1 + 8j,
    "no rows": np.empty((0, 3)),
    "no columns": np.empty((3, 0)),
    "neither": np.empty((0, 0)),
    "nothing": [],
    "-inf": [-inf, 1.0, -inf],
    "all -inf": [-inf, -inf],
    "one slice -inf": [[-inf, -inf], [0.0, 1.0]],
    "scalar -inf": -inf,
    "nan": [[nan, 1.0], [0.0, 1.0]],
    "nan and inf": [nan, inf, -inf],
    "two inf": [inf, inf],
    "scalar inf": inf,
    "large": [1e308, 1e308, -7e307],
}


@every_name
@pytest.mark.parametrize("x", INPUTS.values(), ids=INPUTS)
def test_every_input_and_axis(name, x):
    for axis in (None, 0, -1, 1, 2, (0, 1), (), (0, 0), [0], 1.0):
        if np.size(x) or name != "logsumexp" or isinstance(axis, int):  # a listed difference
            check(name, x, axis=axis)
            check(name, x, axis)


@every_name
@every_float
def test_dtypes_are_kept(name, dtype):
    got = getattr(compat, name)(logits((3, 5), dtype))
    assert got.dtype == dtype
    if dtype != BFLOAT16:
        assert_like(got, getattr(scipy.special, name)(logits((3, 5), dtype)))


@every_name
@pytest.mark.parametrize("x", [np.array([1, 2], object), [None], ["a"], np.array(["2026"], "datetime64[Y]")], ids=str)
def test_what_is_no_number_is_a_type_error(name, x):
    with pytest.raises(TypeError) as error:
        getattr(compat, name)(x)
    assert str(error.value).endswith(f"must hold numbers; got dtype {np.asarray(x).dtype}")
    for function in (lambda: getattr(compat, name)([[1.0], [1.0, 2.0]]), lambda: compat.logsumexp(1.0, b=[[1.0], []])):
        with pytest.raises(ValueError, match="inhomogeneous"):
            function()
    with pytest.raises(TypeError, match=r"^b must hold numbers; got dtype "):
        compat.logsumexp(1.0, b=x)


WEIGHTS = {
    "both signs": [1, -1, 0.5],
    "negative sum": [1, 1, -3.0],
    "cancelling": [[1.0, -1, 0]],
    "zeros": [0, 0, 0],
    "some zeros": [0, 1.0, 0],
    "integers": np.array([3, 2, 1], np.int8),
    "scalar": 2,
    "negative scalar": -2.0,
    "float32": np.array([1, 2, 3], np.float32),
    "nan": [nan, 1, 1],
    "inf": [inf, 1, 1],
    "-inf": [1, -inf, 1],
    "opposite infinities": [inf, -inf, 1],
    "a column": [[1.0], [-2.0]],
    "complex": [1j, 1, 2 - 1j],
    "more rows": np.array([[1.0, 2, 3], [3, 4, -5]]),
    "other shape": [1.0, 2.0],
}
VALUES = {
    "finite": [1.0, 1.0, 2.0],
    "float32": np.array([1, 1, 2], np.float32),
    "float16": np.array([1, 1, 2], np.float16),
    "integers": np.array([1, 1, 2], np.int16),
    "-inf": [-inf, 1.0, 2.0],
    "rows": [[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]],
    "complex": [1 + 3j, 1 - 1j, 2 + 7j],
    "complex64": np.array([1 + 3j, 1 - 1j, 2 + 7j], np.complex64),
    "python number": 3.0,
}


@pytest.mark.parametrize("return_sign", [False, True], ids=["", "sign"])
@pytest.mark.parametrize("b", WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize("a", VALUES.values(), ids=VALUES)
def test_weights(a, b, return_sign):
    for options in ({}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"keepdims": True}):
        check("logsumexp", a, b=b, return_sign=return_sign, **options)


@pytest.mark.parametrize("b", [[1, -1], [1, -2], [-1, 1], [2, 1], None], ids=str)
def test_infinities_with_weights(b):
    for a in ([inf, 1], [inf, inf], [-inf, inf], [-inf, -inf], [nan, 1], [nan, inf]):
        for return_sign in (False, True):
            check("logsumexp", a, b=b, return_sign=return_sign)


@pytest.mark.parametrize(
    "z",
    [
        [1000 + 3j, 1000 - 2j],
        [-inf + 0j, 1],
        [complex(-inf, nan), 1],
        [complex(-inf, inf), 1],
        [-inf + 0j, -inf + 1j],
        [complex(nan, 0), 1],
        [complex(0, inf), 1],
        [complex(0, nan), 1],
        [1 + pi * 1j, 1],
        [0, 4j],
        [3 + 7j],
        [1e-20j],
    ],
    ids=str,
)
def test_complex_edges(z):
    z = np.array(z)
    for return_sign in (False, True):
        check("logsumexp", z, return_sign=return_sign)


# listed differences


def test_integers_do_not_wrap_and_bool_counts():
    x = np.array([-128, 127], np.int8)
    for name in NAMES:
        assert_same(getattr(compat, name)(x), getattr(compat, name)(x.astype(float)))
    assert_same(compat.softmax([True, False]), compat.softmax([1.0, 0.0]))


def test_masks_count():
    x = np.ma.array([[1.0, 2.0, inf], [5.0, nan, 3.0], [1.0, 2.0, 3.0]], mask=[[0, 0, 1], [0, 1, 0], [1, 1, 1]])
    for name in ("softmax", "log_softmax"):
        got = getattr(compat, name)(x, axis=1)
        assert got.mask.tolist() == x.mask.tolist()
        np.testing.assert_array_equal(got[0, :2], getattr(compat, name)([1.0, 2.0]))
    for got, sign in (
        compat.logsumexp(x, axis=1, return_sign=True),
        compat.logsumexp(x + 0j, axis=1, return_sign=True),
    ):
        assert got.mask.tolist() == sign.mask.tolist() == [False, False, True]
        np.testing.assert_allclose(got[:2], [np.logaddexp(1, 2), np.logaddexp(5, 3)], rtol=1e-15)
    got = compat.logsumexp(np.zeros(3), b=np.ma.array([1.0, -5.0, 2.0], mask=[0, 1, 0]))
    assert got == np.log(3.0)
    assert compat.logsumexp(x.astype(np.float32), axis=1).dtype == np.float32


def test_infinite_logits():
    with pytest.warns(RuntimeWarning, match="invalid value encountered in subtract"):
        got = compat.log_softmax([inf, 1.0])
    assert np.isnan(got).all()
    assert compat.logsumexp([inf, nan, 1.0], b=[0, 0, 1]) == 1.0
    assert compat.logsumexp([inf, nan], b=[0, 0], return_sign=True) == (-inf, 0)


@pytest.mark.parametrize("return_sign", [False, True])
def test_infinite_complex_entries_have_the_phase_that_numpy_gives(return_sign):
    for z, b in (
        ([inf + 1j, 1], None),
        ([inf + 1j, inf + 1j], [1, 2]),
        ([inf + 7j, 1], None),
        ([inf, 1], [1j, 1]),
        ([inf + 1j, inf - 1j], None),
        ([[complex(inf, 2.4), 3j], [1, 2]], None),
        ([[complex(-inf, 2.4), 3j], [-inf, complex(-inf, 4)]], None),
        ([complex(1, inf), 2], None),
        ([nan, 2j], [1j, 2]),
    ):
        check("logsumexp", np.array(z, complex), axis=-1, b=b, return_sign=return_sign)
    assert compat.logsumexp(np.array([complex(inf, 0.7533), 1])) == complex(inf, pi / 4)


SCIPYS_OWN_TESTS = """
import sys
from pathlib import Path

import pytest
import scipy.special
from scipy._lib._array_api import xp_capabilities_table as table

import softgrad.compat.scipy as compat

for name in compat.__all__:
    table[getattr(compat, name)] = table[getattr(scipy.special, name)]
    setattr(scipy.special, name, getattr(compat, name))
tests = Path(scipy.special.__file__).parent / "tests" / "test_logsumexp.py"
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-c", sys.argv[1], str(tests)]))
"""


@pytest.mark.slow
def test_scipys_own_tests_pass(tmp_path):
    tests = Path(scipy.special.__file__).parent / "tests" / "test_logsumexp.py"
    if not tests.exists():
        pytest.skip("SciPy is installed without its tests")
    settings = tmp_path / "pytest.ini"
    settings.write_text("[pytest]\n", encoding="utf-8")
    command = [sys.executable, "-c", SCIPYS_OWN_TESTS, str(settings)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 400


def test_nothing_is_nothing_in_every_shape():
    for shape, axis, expected in (((0,), None, ()), ((0, 3), None, ()), ((0, 3), 0, (3,)), ((2, 0, 3), (0, 1), (3,))):
        for dtype in (np.float32, np.complex64):
            log, sign = compat.logsumexp(np.empty(shape, dtype), axis=axis, return_sign=True)
            assert log.dtype == np.float32
            assert sign.dtype == dtype
            assert log.shape == sign.shape == expected
            assert (log == -inf).all()
            assert (sign == 0).all()


def test_no_overflow_is_reported_where_none_is():
    assert compat.softmax([1e308, -1e308]).tolist() == [1, 0]
    assert compat.log_softmax([1e308, -1e308]).tolist() == [0, -inf]
    assert compat.logsumexp([1e308, -1e308]) == 1e308


def test_arrays_of_other_libraries_are_passed_on():
    xp = pytest.importorskip("array_api_strict")
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    for name in NAMES:
        got = getattr(compat, name)(xp.asarray(x), axis=0)
        assert type(got) is type(xp.asarray(x))
        assert_close(np.asarray(got), getattr(compat, name)(x, axis=0))
    with pytest.raises(TypeError, match="return_sign is for NumPy arrays"):
        compat.logsumexp(xp.asarray(x), return_sign=True)


def test_labelled_arrays_give_plain_ones():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame([[1.0, 2.0], [3.0, 4.0]])
    for name in NAMES:
        assert_same(getattr(compat, name)(frame, axis=0), getattr(compat, name)(frame.to_numpy(), axis=0))


# warnings


@pytest.mark.parametrize("name", NAMES[:2])
def test_warnings_follow_the_error_state(name):
    function = getattr(compat, name)
    for x in ([-inf, -inf], [[inf, 1.0], [0.0, 0.0]], np.array([-inf + 0j, -inf])):
        with np.errstate(invalid="raise"), pytest.raises(FloatingPointError):
            function(x)
        with np.errstate(invalid="ignore"):
            assert np.isnan(function(x)).any()
    with np.errstate(all="raise"):
        function([nan, inf])
        function([-1e4, 1.0])


# drawn inputs


@st.composite
def drawn(draw, dtypes):
    """An array and an axis of it."""
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = rng.normal(size=shape) * draw(st.sampled_from([1e-3, 1.0, 5.0]))
    x = x + draw(st.sampled_from([0.0, 0.0, 100.0, -700.0]))
    x[rng.random(shape) < draw(st.sampled_from([0.0, 0.0, 0.3]))] = draw(st.sampled_from([-inf, -inf, nan]))
    if dtype.kind == "c":
        x = x + 1j * rng.normal(size=shape) * draw(st.sampled_from([0.0, 1.0, 10.0]))
    axis = draw(st.none() | st.integers(-len(shape), len(shape) - 1) | st.just(tuple(range(len(shape)))))
    return x.astype(dtype), axis


REAL, COMPLEX = ("f4", "f8", "g"), ("c8", "c16", "G")


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_drawn_inputs(name, data):
    x, axis = data.draw(drawn(REAL))
    check(name, x, axis=axis)


@given(data=st.data())
def test_drawn_weights(data):
    x, axis = data.draw(drawn(REAL + COMPLEX))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    b = rng.normal(size=x.shape) * (rng.random(x.shape) < 0.9)
    if data.draw(st.booleans()):
        b = b + 1j * rng.normal(size=x.shape)
    with np.errstate(all="ignore"):
        largest = np.max(x.real, axis=axis, keepdims=True, initial=-1e300, where=~np.isnan(x.real))
        terms = b * np.exp(x - largest)
        # ill-conditioned sums have no digits to compare
        assume(not np.any(np.abs(terms.sum(axis=axis)) < 0.03 * np.abs(terms).sum(axis=axis)))
    log, sign = compat.logsumexp(x, axis=axis, b=b, return_sign=True)
    expected = scipy.special.logsumexp(x, axis=axis, b=b, return_sign=True)
    assert_like((log, sign), expected, ulp=512)


# exact arithmetic


def exact_sum(x, b):
    return mp.fsum(
        mp.mpmathify(complex(w)) * mp.exp(mp.mpc(number(t.real), number(t.imag))) for t, w in zip(x, b, strict=True)
    )


@given(data=st.data())
def test_signed_sums_against_exact_arithmetic(data):
    """The logarithm to 1 ulp of max(|result|, |max x|) times the condition of the sum, and its sign."""
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    n = data.draw(st.sampled_from([1, 2, 3, 10, 100]))
    x = (rng.normal(size=n) * data.draw(st.sampled_from([1e-3, 1, 30]))).astype(dtype)
    b = rng.normal(size=n).astype(dtype)
    total, size = exact_sum(x, b).real, exact_sum(x, np.abs(b)).real
    log, sign = compat.logsumexp(x, b=b, return_sign=True)
    assume(abs(total) > size * mp.mpf(2) ** -10)
    assert sign == mp.sign(total)
    scale = max(abs(mp.log(abs(total))), abs(number(x.max())), size / abs(total))
    assert abs(number(log) - mp.log(abs(total))) <= float(scale) * np.finfo(dtype).eps


@given(data=st.data())
def test_complex_sums_against_exact_arithmetic(data):
    """Both parts of the logarithm to 2 eps of 1, |max x| and |log of the sum|, times the condition of the sum."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    n = data.draw(st.sampled_from([1, 2, 3, 10, 100]))
    z = rng.normal(size=n) * data.draw(st.sampled_from([1e-3, 1, 30])) + 1j * rng.normal(size=n) * data.draw(
        st.sampled_from([1e-3, 1, 30])
    )
    b = rng.normal(size=n) + (1j * rng.normal(size=n) if data.draw(st.booleans()) else 0)
    total, size = exact_sum(z, b), exact_sum(z.real, np.abs(b)).real
    assume(abs(total) > size * mp.mpf(2) ** -10)
    value = mp.log(total)
    got = compat.logsumexp(z, b=b)
    scale = float(max(1, abs(value.real), abs(number(z.real.max()))) * size / abs(total))
    eps = np.finfo(np.float64).eps
    assert abs(number(got.real) - value.real) <= 2 * eps * scale
    turn = abs(number(got.imag) - value.imag)
    assert min(turn, abs(turn - 2 * mp.pi)) <= 2 * eps * max(scale, 1)
    log, phase = compat.logsumexp(z, b=b, return_sign=True)
    assert log == got.real
    assert abs(mp.mpmathify(complex(phase)) - total / abs(total)) <= 2 * eps * scale


def test_small_terms_beside_a_saturated_one():
    for z, expected in (
        ([0, -40 + 1j], complex(np.exp(-40) * np.cos(1), np.exp(-40) * np.sin(1))),
        ([0.0, -40.0], np.exp(-40)),
    ):
        got = compat.logsumexp(np.array(z))
        assert got.real == pytest.approx(expected.real, rel=4e-16)
        assert got.imag == pytest.approx(expected.imag, rel=4e-16)
    y = compat.log_softmax(np.array([0, -40 + 1j]))[0]
    assert y.real == pytest.approx(-np.exp(-40) * np.cos(1), rel=4e-16)
    log, sign = compat.logsumexp([0.0, -40.0], b=[-1.0, -1.0], return_sign=True)
    assert (log, sign) == (sg.logsumexp([0.0, -40.0]), -1)
