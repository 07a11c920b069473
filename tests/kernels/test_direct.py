"""Kernels as plain functions: the same bits as the gufuncs, for exactly the calls that need nothing else."""

import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import pytest

import softgrad as sg
from softgrad._dispatch import FUNCTIONS
from softgrad._numpy import kernels

NATIVE = [level for level in kernels.LEVELS if level != "generic"]
ONE = ("softmax", "log_softmax", "sparsemax", "logsumexp", "entropy")
TWO = ("softmax_vjp", "log_softmax_vjp", "log_softmax_jvp", "kl_divergence")
NAMES = ONE + TWO
GRADIENTS = ("entropy_grad", "kl_divergence_grad")  # several results
LABELLED = ("cross_entropy", "cross_entropy_grad", "cross_entropy_grad_hess")
INNER = ("entmax15", "log_sum", "signed_logsumexp", "jacobian")  # no public function has their names
REDUCTIONS = ("logsumexp", "entropy", "kl_divergence")
TEMPERED = ("softmax", "log_softmax", "sparsemax")
MASKED = (*TEMPERED, "logsumexp")
LIMIT = 3000  # entries of float64
DTYPES = (np.float16, np.float32, np.float64)

every_dtype = pytest.mark.parametrize("dtype", DTYPES)


@pytest.fixture(params=NATIVE)
def tables(request):
    """The gufuncs of a level, and the functions that compute the same without NumPy."""
    from softgrad import _kernels  # noqa: PLC0415  absent where nothing is native

    return _kernels.ufuncs(request.param), _kernels.direct(request.param, 8 * LIMIT)


@pytest.fixture
def direct(tables):
    return tables[1]


def operands(name, shape, dtype):
    random = np.random.default_rng(sum(shape))
    x = (8 * random.normal(size=shape)).astype(dtype)
    if x.size > 3:
        x.flat[1] = -np.inf
    if name in (*ONE, "entropy_grad"):
        return (x,)
    forward = {"softmax_vjp": sg.softmax, "log_softmax_vjp": sg.log_softmax, "log_softmax_jvp": sg.log_softmax}
    return forward.get(name, np.copy)(x), random.normal(size=shape).astype(dtype)


def same(a, b):
    """Whether type, shape, dtype and every bit agree."""
    return type(a) is type(b) and a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def test_every_kernel_from_slices_of_one_dtype_is_there(direct):
    assert sorted(direct) == sorted(NAMES + GRADIENTS + LABELLED + INNER)
    for name, function in direct.items():
        assert function.__name__ == name


@every_dtype
@pytest.mark.parametrize("name", NAMES)
def test_the_bits_are_the_gufuncs(tables, name, dtype):
    gufunc, direct = (table[name] for table in tables)
    shapes = [(n,) for n in (*range(72), 127, 128, 1000, 1023, 1024, 2999)]
    shapes += [(3, n) for n in (0, 1, 7, 32, 33, 600)] + [(0, 5), (0, 0), (2, 0, 3), (2, 3, 5), (40, 3), (2, 1, 1, 9)]
    for shape in shapes:
        given = operands(name, shape, dtype)
        expected = gufunc(*given)
        assert same(direct(*given), expected), shape
        assert same(direct(*given, axis=-1, out=None), expected)
        assert same(direct(*given, axis=len(shape) - 1), expected)
        out = np.full(expected.shape, 7, dtype)
        assert direct(*given, out=out) is out
        assert same(out, np.asarray(expected))


@every_dtype
@pytest.mark.parametrize("name", MASKED)
def test_the_bits_with_a_mask_and_a_temperature_are_the_gufuncs(tables, name, dtype):
    gufunc, direct = tables[0][f"{name}_where"], tables[1][name]
    for shape in ((1,), (7,), (33,), (1000,), (5, 3), (40, 10), (9, 64), (2, 3, 100), (0, 5), (3, 0)):
        (x,) = operands(name, shape, dtype)
        mask = np.random.default_rng(1).random(shape) < 0.7
        for where in (None, mask, np.zeros(shape, bool)):
            read = np.broadcast_to(True, shape) if where is None else where
            for T in (1.0, 0.7, 0.0, 1e-300, np.inf, np.float64(3)) if name in TEMPERED else (None,):
                options = ({} if where is None else {"where": where}) | ({} if T is None else {"temperature": T})
                expected = gufunc(x, read) if T is None else gufunc(x, read, T)
                assert same(direct(x, **options), expected), (shape, options)
                out = np.full(expected.shape, 7, dtype)
                assert direct(x, axis=-1, out=out, **options) is out
                assert same(out, np.asarray(expected))
                if expected.shape == shape:
                    copy = x.copy()
                    assert same(direct(copy, out=copy, **options), expected)


@every_dtype
@pytest.mark.parametrize("name", MASKED)
def test_masks_of_any_layout(direct, name, dtype):
    """A mask that is broadcast or strided gives the bits of the mask that has an entry for each logit."""
    rng = np.random.default_rng(3)
    for shape in ((3, 7), (2, 40), (3, 4, 5), (1, 6), (2, 1, 3)):
        (x,) = operands(name, shape, dtype)
        mask = rng.random(shape) < 0.6
        masks = [mask, mask[0], mask[..., :1], mask[:1], np.array(True), np.asfortranarray(mask), mask[..., ::-1]]
        masks += [np.repeat(mask, 2, axis=-1)[..., ::2], np.broadcast_to(mask[:1], shape)]
        for where, axis in product(masks, range(len(shape))):
            got = direct[name](x, where=where, axis=axis)
            whole = np.ascontiguousarray(np.broadcast_to(where, shape))
            if len(shape) == 2 or got is not NotImplemented:  # rows of other batches may have no single step
                assert same(got, direct[name](x, where=whole, axis=axis)), (shape, where.shape, where.strides, axis)


@pytest.mark.parametrize("name", MASKED)
def test_other_masks_are_left_to_the_general_path(direct, name):
    (x,) = operands(name, (3, 7), np.float64)
    mask = np.ones((3, 7), bool)
    others = [mask.tolist(), True, np.True_, mask.astype(int), mask.view(np.int8), mask.view(Subclass)]
    others += [mask[np.newaxis], np.ma.MaskedArray(mask), mask[:, :2], mask[:2], mask.T, mask[:, :0]]
    for where in others:
        assert direct[name](x, where=where) is NotImplemented
    out = np.ones(direct[name](x).shape)
    over = out.view(bool).reshape(-1)[:21].reshape(3, 7)
    assert direct[name](x, where=over, out=out) is NotImplemented
    assert (out == 1).all()


@every_dtype
@pytest.mark.parametrize("name", TEMPERED)
def test_a_temperature_for_each_row(tables, name, dtype):
    gufunc, direct = tables[0][f"{name}_where"], tables[1][name]
    rng = np.random.default_rng(4)
    for shape in ((3, 7), (2, 40), (3, 4, 5), (0, 5), (3, 0)):
        (x,) = operands(name, shape, dtype)
        for axis in range(len(shape)):
            moved = np.ascontiguousarray(np.moveaxis(x, axis, -1))
            T = rng.choice([0, 0.5, 1, 7, np.inf], moved.shape[:-1])
            mask = rng.random(moved.shape) < 0.7
            for where in (None, mask):
                expected = gufunc(moved, np.broadcast_to(True, moved.shape) if where is None else where, T)
                option = {} if where is None else {"where": np.moveaxis(where, -1, axis)}
                got = direct(x, axis=axis, temperature=T, **option)
                if len(shape) == 2 or got is not NotImplemented:
                    assert same(got, np.ascontiguousarray(np.moveaxis(expected, -1, axis))), (shape, axis)
    (x,) = operands(name, (3, 7), np.float64)
    T = np.ones(21)
    assert direct(x, temperature=T[:3], out=T.reshape(3, 7)) is NotImplemented
    assert (T == 1).all()


@pytest.mark.parametrize("name", TEMPERED)
def test_other_temperatures_are_left_to_the_general_path(direct, name):
    (x,) = operands(name, (3, 7), np.float64)
    assert same(direct[name](x, temperature=2), direct[name](x, temperature=2.0))
    three = np.ones(3)
    others = [-1.0, -1e-300, -1, np.nan, True, None, "1", np.float32(2), np.ones(()), [1.0, 1.0, 1.0], three[:1]]
    others += [three[:2], three[:, np.newaxis], -three, three * np.nan, three.astype(np.float32), three.astype(int)]
    others += [np.ones(6)[::2], three.view(Subclass), np.ma.MaskedArray(three)]
    for T in others:
        assert direct[name](x, temperature=T) is NotImplemented


@every_dtype
@pytest.mark.parametrize("name", NAMES)
def test_in_place(tables, name, dtype):
    gufunc, direct = (table[name] for table in tables)
    for shape in ((0,), (1,), (5,), (33,), (2, 300), (40, 3)):
        given = operands(name, shape, dtype)
        expected = gufunc(*given)
        if expected.shape != shape:
            if given[0].size:  # one number for each row is not written entry by entry
                first = given[0].reshape(-1)[: expected.size].reshape(expected.shape)
                assert direct(*given, out=first) is NotImplemented
            continue
        for place in range(len(given)):
            copies = [a.copy() for a in given]
            assert direct(*copies, out=copies[place]) is copies[place]
            assert same(copies[place], expected)
        assert same(direct(given[0], *given[:-1]), gufunc(given[0], *given[:-1]))  # one array as both operands


class Subclass(np.ndarray):
    pass


def unaligned(x):
    place = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    place[...] = x
    return place


OTHER_ARRAYS = {
    "list": lambda x: x.tolist(),
    "scalar": lambda x: x.flat[0],
    "subclass": lambda x: x.view(Subclass),
    "masked": np.ma.MaskedArray,
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "unaligned": unaligned,
    "strided": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "reversed": lambda x: x[..., ::-1],
    "Fortran": np.asfortranarray,
    "broadcast": lambda x: np.broadcast_to(x[0], x.shape),
    "longdouble": lambda x: x.astype(np.longdouble),
    "integers": lambda x: np.zeros(x.shape, np.int64),
    "complex": lambda x: x.astype(complex),
    "object": lambda x: x.astype(object),
    "metadata": lambda x: x.astype(np.dtype(x.dtype, metadata={"unit": "nat"})),
    "another dtype": lambda x: x.astype(np.float32 if x.dtype == np.float64 else np.float64),
    "another shape": lambda x: x[:2].copy(),
    "another ndim": lambda x: x.reshape(-1),
}
ALSO_PLAIN = {"another dtype", "another shape", "another ndim"}  # if nothing else comes with them


@pytest.mark.parametrize("name", NAMES)
def test_other_arrays_are_left_to_the_general_path(direct, name):
    for dtype, (kind, other) in product(DTYPES, OTHER_ARRAYS.items()):
        given = operands(name, (3, 7), dtype)
        for place in range(len(given)):
            changed = list(given)
            changed[place] = other(given[place])
            result = direct[name](*changed)
            plain = kind in ALSO_PLAIN and len(given) == 1
            assert (result is not NotImplemented) == plain, (dtype, kind, place)


@pytest.mark.parametrize("name", NAMES)
def test_other_arrays_to_write_to_are_left_alone(direct, name):
    for dtype, (kind, other) in product(DTYPES, OTHER_ARRAYS.items()):
        given = operands(name, (3, 7), dtype)
        if name in REDUCTIONS and kind in ("another ndim", "Fortran", "broadcast"):
            continue  # a vector has one dimension already, is contiguous in either order, and its own broadcast
        out = other(np.ones(np.shape(direct[name](*given)), dtype))
        before = np.array(out)
        assert direct[name](*given, out=out) is NotImplemented, (dtype, kind)
        np.testing.assert_array_equal(np.array(out), before, err_msg=f"{dtype} {kind}")


@pytest.mark.parametrize("name", NAMES)
def test_other_calls_are_left_to_the_general_path(direct, name):
    function, given = direct[name], operands(name, (3, 7), np.float64)
    shape = np.shape(function(*given))
    for bad in (2, -3, True, np.int64(-1), -1.0, None, (-1,), "last", 10**30, -(10**30)):
        assert function(*given, axis=bad) is NotImplemented
    others = [{"where": True}, {"dtype": float}, {"x": 1}, {"normalization": True}, {"workers": 2}, {"workers": -1}]
    others += [{"workers": True}, {"workers": 1.0}, {"keepdims": 1}, {"keepdims": None}, {"ignore_index": None}]
    others += [{"workers": 1}] if name in ("entropy", "kl_divergence") else []
    others += [{"keepdims": True}] if name != "logsumexp" else []
    others += [{"temperature": 2.0}] if name not in TEMPERED else []
    others += [{"where": np.ones((3, 7), bool)}, {"where": None}] if name not in MASKED else []
    for options in others:
        assert function(*given, **options) is NotImplemented
        assert function(*given, axis=-1, **options) is NotImplemented
    for wrong in ((), (*given, given[0]), (None,) * len(given)):
        assert function(*wrong) is NotImplemented
    point = (np.ones(()),) * len(given)
    assert function(*point) is NotImplemented
    readonly = np.ones(shape)
    readonly.flags.writeable = False
    for out in (readonly, 1, [1.0], (np.ones(shape),), np.ones(shape)[np.newaxis]):
        assert function(*given, out=out) is NotImplemented
    assert (readonly == 1).all()


@pytest.mark.parametrize("name", NAMES)
def test_partial_overlap_is_left_to_the_general_path(direct, name):
    given = operands(name, (20,), np.float64)
    shape = np.shape(direct[name](*given))
    for place in range(len(given)):
        buffer = np.zeros(60)
        window = buffer[20:40]
        window[...] = given[place]
        changed = [window if i == place else a for i, a in enumerate(given)]
        size = 20 if shape else 1
        for start in (0, 1, 19, 21, 39, 40):
            out = buffer[start : start + size].reshape(shape)
            overlaps = start + size > 20 and start < 40
            copy = window.copy()
            assert (direct[name](*changed, out=out) is NotImplemented) == overlaps
            window[...] = copy


@every_dtype
@pytest.mark.parametrize("name", NAMES + GRADIENTS)
def test_any_axis_is_the_last_axis_moved(direct, name, dtype):
    for shape in ((4, 10), (3, 5, 7), (2, 3, 4, 5), (33, 40), (0, 5), (5, 0), (3, 1)):
        given = operands(name, shape, dtype)
        for axis in range(-len(shape), len(shape)):
            got = direct[name](*given, axis=axis)
            moved = direct[name](*(np.ascontiguousarray(np.moveaxis(a, axis, -1)) for a in given))
            several = isinstance(got, tuple)
            for a, b in zip(got, moved, strict=True) if several else [(got, moved)]:
                back = np.ascontiguousarray(np.moveaxis(b, -1, axis)) if b.ndim == len(shape) else b
                assert same(a, back), (shape, axis)
            if not several and got.shape == shape:
                place = [a.copy() for a in given]
                assert direct[name](*place, axis=axis, out=place[0]) is place[0]
                assert same(place[0], got)


@every_dtype
def test_options_of_a_loop(direct, dtype):
    (x,) = operands("logsumexp", (3, 4, 5), dtype)
    mask = np.random.default_rng(2).random(x.shape) < 0.7
    for axis in range(3):
        plain = direct["logsumexp"](x, axis=axis, where=mask)
        kept = direct["logsumexp"](x, axis=axis, where=mask, keepdims=True, workers=1)
        assert same(kept, np.expand_dims(plain, axis))
        assert same(direct["logsumexp"](x, axis=axis, where=mask, keepdims=False, workers=None), plain)
        p = direct["softmax"](x, axis=axis, where=mask, temperature=3)
        moved = direct["softmax"](*(np.ascontiguousarray(np.moveaxis(x, axis, -1)),),
                                  where=np.ascontiguousarray(np.moveaxis(mask, axis, -1)), temperature=3.0)  # fmt: skip
        assert same(p, np.ascontiguousarray(np.moveaxis(moved, -1, axis)))
    out = np.ones((3, 1, 5), dtype)
    assert direct["logsumexp"](x, axis=1, keepdims=True, out=out) is out
    assert same(out, direct["logsumexp"](x, axis=1, keepdims=True))
    assert direct["logsumexp"](x, axis=1, out=out) is NotImplemented


@every_dtype
def test_the_jacobian_is_the_gufuncs(tables, dtype):
    gufunc, direct = (table["jacobian"] for table in tables)
    for shape in ((1,), (10,), (40, 3), (2, 3, 33), (0, 5), (3, 0), (50,)):
        p = sg.softmax(operands("softmax", shape, dtype)[0])
        assert same(direct(p), gufunc(p, 1.0)), shape
        assert same(direct(p, axis=-1), gufunc(p, 1.0)), shape
    p = sg.softmax(operands("softmax", (3, 7), dtype)[0])
    assert direct(p, axis=0) is NotImplemented
    assert direct(p, temperature=2.0) is NotImplemented
    out = np.empty((3, 7, 7), dtype)
    assert direct(p, out=out) is out
    assert same(out, gufunc(p, 1.0))
    assert direct(p, out=np.empty((3, 7), dtype)) is NotImplemented


def results(found):
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize("name", LABELLED)
def test_labels_of_any_width(tables, name, dtype):
    gufunc, direct = (table[name] for table in tables)
    factors = (1.0,) * (gufunc.nin - 2)
    for shape in ((7,), (5, 10), (40, 3), (2, 3, 33), (0, 5), (3, 1)):
        x = operands("softmax", shape, dtype)[0]
        labels = np.asarray(np.arange(int(np.prod(shape[:-1]))).reshape(shape[:-1]) % shape[-1])
        expected = results(gufunc(x, labels, *factors))
        for kind in (np.int8, np.uint8, np.int16, np.int32, np.int64):
            got = results(direct(x, labels.astype(kind), axis=-1))
            assert all(map(same, got, expected)), (shape, kind)
        if len(shape) == 1:
            assert all(map(same, results(direct(x, 0)), expected))
        ignored = np.asarray(np.where(np.arange(labels.size).reshape(labels.shape) % 3 == 1, -100, labels))
        weight = np.where(ignored == -100, 0.0, 1.0)
        expected = results(gufunc(x, np.maximum(ignored, 0), weight, *factors[1:]))
        assert all(map(same, results(direct(x, ignored, ignore_index=-100)), expected)), shape
        if len(shape) > 1:
            first = np.ascontiguousarray(np.moveaxis(x, -1, 0))
            for a, b in zip(results(direct(first, labels, axis=0)), results(gufunc(x, labels, *factors)), strict=True):
                assert same(a, np.ascontiguousarray(np.moveaxis(b, -1, 0)) if b.ndim == x.ndim else b)


@pytest.mark.parametrize("name", LABELLED)
def test_other_labels_are_left_to_the_general_path(direct, name):
    x, y = np.zeros((3, 4)), np.array([0, 1, 3])
    assert direct[name](x, y) is not NotImplemented
    bad = [y + 1, y - 1, y[:2], y[:, np.newaxis], y.astype(float), y.astype(bool), y.astype(">i4"), y.astype(np.uint64)]
    bad += [y.tolist(), 1, None, np.int64(1), y.view(Subclass), np.repeat(y, 2)[::2], y.astype(object), np.array(1)]
    for labels in bad:
        assert direct[name](x, labels) is NotImplemented, labels
    for index in (-100.0, "1", True, 10**30):
        assert direct[name](x, y, ignore_index=index) is NotImplemented
    assert direct[name](x, y - 1, ignore_index=-2) is NotImplemented
    for label in (4, -1, True, 1.0, 10**30):
        assert direct[name](x[0], label) is NotImplemented
    assert direct[name](np.zeros((3, 0)), y) is NotImplemented
    others = [{"keepdims": True}, {"where": None}, {"workers": 1}, {"label_smoothing": 0.1, "weight": np.ones(4)}]
    others += [{"label_smoothing": bad} for bad in (-0.1, 1.1, np.nan, None, True, "0", np.float32(0.5))]
    others += [{"z_loss": bad} for bad in (-0.1, np.inf, np.nan, None, True, "0", np.float32(0.5))]
    for options in others:
        assert direct[name](x, y, **options) is NotImplemented
    w = np.ones(3)
    for weight in (
        -w,
        w * np.nan,
        w * np.inf,
        -1.0,
        True,
        w[:2],
        w.tolist(),
        w.astype(int),
        w.astype(np.float16),
        w > 0,
    ):
        assert direct[name](x, y, sample_weight=weight) is NotImplemented


@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize("name", LABELLED)
def test_sample_weights(tables, name, dtype):
    gufunc, direct = (table[name] for table in tables)
    (x,) = operands("softmax", (6, 5), dtype)
    y, w = np.array([0, 1, 2, 3, 4, 0]), np.array([1, 0, 2.5, 1e-3, 1e300, 7])
    factors = (1.0,) * (gufunc.nin - 3)
    with np.errstate(over="ignore"):
        singles = w.astype(np.float32)
    for given, weight in ((w, w), (np.minimum(singles, 9), np.minimum(singles, 9)), (0.5, 0.5), (2, 2.0), (None, 1.0)):
        expected = results(gufunc(x, y, np.asarray(weight, float), *factors))
        assert all(map(same, results(direct(x, y, sample_weight=given)), expected)), given
    expected = results(gufunc(x, y, np.where(y == 1, 0, w), *factors))
    assert all(map(same, results(direct(x, y, sample_weight=w, ignore_index=1)), expected))
    classes = np.array([0, 1, 2.5, 1e-3, 3])
    expected = results(gufunc(x, y, classes[y], *factors))
    assert all(map(same, results(direct(x, y, weight=classes)), expected))
    expected = results(gufunc(x, y, w * classes.astype(np.float32)[y], *factors))
    assert all(map(same, results(direct(x, y, weight=classes.astype(np.float32), sample_weight=w)), expected))
    for bad in (-classes, classes * np.nan, classes[:4], classes.tolist(), 1.0, classes.astype(int), np.ones(10)[::2]):
        assert direct(x, y, weight=bad) is NotImplemented


@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize("name", ["cross_entropy_grad", "cross_entropy_grad_hess", *GRADIENTS])
def test_several_results_are_written_where_they_are_to_go(direct, name, dtype):
    given = (
        operands(name, (4, 6), dtype) if name in GRADIENTS else (operands("softmax", (4, 6), dtype)[0], np.arange(4))
    )
    options = ("out", "grad_p_out", "grad_q_out") if name.startswith("kl") else ("out", "grad_out", "hess_out")
    expected = direct[name](*given)
    for chosen in range(1, 2 ** len(expected)):
        outs = {
            option: np.full_like(result, 7)
            for i, (option, result) in enumerate(zip(options, expected, strict=False))
            if chosen >> i & 1
        }
        for option, got, result in zip(options, direct[name](*given, **outs), expected, strict=False):
            assert same(got, result)
            assert option not in outs or got is outs[option]
    gradient = options[1]
    assert direct[name](*given, **{gradient: given[0]}) is NotImplemented  # others than the only result not in place
    assert direct[name](*given, **{gradient: np.empty((4, 5), dtype)}) is NotImplemented
    both = np.empty((4, 6), dtype)
    if len(expected) == 3:
        assert direct[name](*given, **{gradient: both, options[2]: both}) is NotImplemented


def test_an_array_for_several_threads_is_left_to_the_general_path(direct):
    assert direct["softmax"](np.zeros((2, LIMIT - 1)), workers=1) is not NotImplemented
    assert direct["softmax"](np.zeros((2, LIMIT - 1)), workers=None) is NotImplemented
    assert direct["softmax"](np.zeros(LIMIT), workers=1) is NotImplemented
    assert direct["softmax"](np.zeros(LIMIT - 1)) is not NotImplemented
    assert direct["softmax"](np.zeros(LIMIT)) is NotImplemented
    assert direct["softmax"](np.zeros((LIMIT // 10, 10))) is NotImplemented
    for dtype in (np.float16, np.float32):
        assert direct["softmax"](np.zeros(2 * LIMIT, dtype)) is NotImplemented
        assert direct["softmax"](np.zeros(2 * LIMIT - 1, dtype)) is not NotImplemented


def test_a_stretched_array_to_write_to_warns_as_everywhere(direct):
    stretched, _ = np.broadcast_arrays(np.zeros((5, 1)), np.zeros((5, 3)))
    out = stretched[:, 0]  # contiguous by chance
    with pytest.warns(DeprecationWarning, match="broadcast"):
        assert direct["softmax"](np.zeros(5), out=out) is out
    assert (out == 0.2).all()
    out = np.broadcast_arrays(np.zeros((5, 1)), np.zeros((5, 3)))[0][:, 0]
    with pytest.raises(DeprecationWarning, match="broadcast"):
        direct["softmax"](np.zeros(5), out=out)
    assert (out == 0).all()


@pytest.mark.usefixtures("level")
@every_dtype
def test_public_functions_take_this_way_at_their_own_level(dtype):
    if kernels.table is None:
        pytest.skip("the formulas have no kernels")
    calls = []

    def spy(name):
        function = kernels.table.direct[name]
        return lambda *given, **options: calls.append(name) or function(*given, **options)

    kernels.table.direct = {name: spy(name) for name in NAMES}
    for name in NAMES:
        given = operands(name, (9,), dtype)
        calls.clear()
        result, of_kernel = getattr(sg, name)(*given), getattr(kernels.table, name)(*given)
        if result.dtype == of_kernel.dtype:
            assert same(result, of_kernel)
            assert calls == [name]
        else:  # a value of half precision is float32, and the kernel's own is not
            assert name in ("entropy", "kl_divergence")
            assert result.dtype == np.float32
            assert same(result.astype(of_kernel.dtype), of_kernel)
            assert calls == []


@pytest.mark.usefixtures("level")
@pytest.mark.parametrize("name", ["entropy", "kl_divergence"])
def test_a_function_without_out_takes_none_on_this_way_either(name):
    with pytest.raises(TypeError, match="unexpected keyword argument 'out'"):
        getattr(sg, name)(*operands(name, (9,), np.float64), out=np.empty(()))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_kept(direct, name):
    given = operands(name, (4, 6), np.float64)
    out = np.empty(np.shape(direct[name](*given)))
    other = given[0].astype(np.float16)

    def calls(times):
        for _ in range(times):
            direct[name](*given)
            direct[name](*given, axis=-1, out=out)
            direct[name](*given, where=True)
            direct[name](*given, out=other)
            direct[name](other, *given[1:])

    counted = (*given, out, other, np.dtype(np.float64), direct[name], NotImplemented)
    calls(10)
    before = [sys.getrefcount(a) for a in counted]
    tracemalloc.start()
    try:
        calls(10)
        used = tracemalloc.get_traced_memory()[0]
        calls(1000)
        grown = tracemalloc.get_traced_memory()[0] - used
    finally:
        tracemalloc.stop()
    assert [sys.getrefcount(a) for a in counted] == before
    assert grown < 1000  # bytes: less than one for each call


def test_a_table_of_functions_goes_away():
    if not NATIVE:
        pytest.skip("nothing is native here")
    from softgrad import _kernels  # noqa: PLC0415

    function = _kernels.direct(NATIVE[0], 8 * LIMIT)["softmax"]
    assert function(np.zeros(2)).tolist() == [0.5, 0.5]  # the table itself is gone
    tracemalloc.start()
    try:
        for _ in range(10):
            _kernels.direct(NATIVE[0], LIMIT)
        used = tracemalloc.get_traced_memory()[0]
        for _ in range(200):
            _kernels.direct(NATIVE[0], LIMIT)
        grown = tracemalloc.get_traced_memory()[0] - used
    finally:
        tracemalloc.stop()
    assert grown < 2000


def test_an_unknown_level_is_an_error():
    if not NATIVE:
        pytest.skip("nothing is native here")
    from softgrad import _kernels  # noqa: PLC0415

    with pytest.raises(ValueError, match="no level 'x86-64-v9'"):
        _kernels.direct("x86-64-v9", LIMIT)
    with pytest.raises(TypeError):
        _kernels.direct(NATIVE[0])


def test_threads_of_the_callers_own(direct):
    """Some of these calls keep the GIL and some release it; each computes its own row."""
    rows = [operands("softmax", (n,), np.float32)[0] for n in (10, 1000, 1024, 2900) * 4]
    expected = [direct["softmax"](row) for row in rows]

    def repeatedly(row):
        return [direct["softmax"](row) for _ in range(200)]

    with ThreadPoolExecutor(4) as pool:
        for results, wanted in zip(pool.map(repeatedly, rows), expected, strict=True):
            assert all(same(result, wanted) for result in results)


def drawn_call(rng):
    """A public function of this way, operands of random shape, and options, some of them mistakes."""
    name = str(rng.choice(NAMES + GRADIENTS + LABELLED))
    shape = tuple(rng.integers(rng.random() > 0.1, 9, rng.integers(1, 4)).tolist())
    x = (rng.normal(size=shape) * rng.choice([1, 30])).astype(rng.choice(DTYPES))
    if rng.random() < 0.2 and x.size:
        x.flat[rng.integers(x.size)] = rng.choice([np.nan, np.inf, -np.inf])
    axis = int(rng.integers(-len(shape), len(shape)))
    given, options = [x], {"axis": axis}
    if name in LABELLED:
        batch = list(shape)
        n = batch.pop(axis)
        labels = rng.integers(-int(rng.random() < 0.2), max(n, 1) + (rng.random() < 0.1), batch)
        given.append(np.asarray(labels).astype(rng.choice(["i1", "u1", "i4", "i8", "u4"])))
        if rng.random() < 0.4:
            options["ignore_index"] = int(rng.integers(-1, 2))
        if rng.random() < 0.3:
            options["sample_weight"] = rng.random(batch) * rng.choice([1, 1, 1, -1])
        for option, values in (("label_smoothing", (0, 0.1, 1.0, 1, 1.5)), ("z_loss", (0, 1e-4, 2, -1))):
            if rng.random() < 0.3:
                options[option] = values[rng.choice(len(values))]
        if rng.random() < 0.3:
            options["weight"] = rng.random(n - (rng.random() < 0.1)) * rng.choice([1, 1, 1, -1])
    elif name not in (*ONE, "entropy_grad"):
        given = [getattr(sg, f"{name[:-4]}")(x, axis=axis) if name.startswith(("soft", "log")) else x, rng.permuted(x)]
    if name in MASKED:
        mask = rng.random([size if rng.random() < 0.7 else 1 for size in shape][int(rng.random() < 0.3) :]) < 0.6
        mask = mask.T.copy().T if rng.random() < 0.3 else mask
        batch = np.delete(shape, axis)
        T = rng.choice([0, 1, 2, 0.5, -1], batch, p=[0.3, 0.2, 0.2, 0.28, 0.02]) if rng.random() < 0.5 else 2.0
        chosen = {"where": mask, "workers": 1, "temperature": T}
        chosen |= {"keepdims": True} if name == "logsumexp" else {}
        options |= {k: v for k, v in chosen.items() if rng.random() < 0.3 and (k != "temperature" or name in TEMPERED)}
    return name, given, options


@pytest.mark.usefixtures("level")
def test_both_ways_agree_in_every_bit_and_every_error():
    def outcome(function, given, options):
        try:
            return results(function(*given, **options))
        except (IndexError, TypeError, ValueError) as error:
            return type(error), str(error)

    rng = np.random.default_rng(0)
    for _ in range(400):
        name, given, options = drawn_call(rng)
        with np.errstate(all="ignore"):
            direct, plain = (outcome(f, given, options) for f in (getattr(sg, name), FUNCTIONS[name].plain))
        for a, b in zip(direct, plain, strict=True):
            assert same(a, b) if hasattr(a, "tobytes") else a == b, (name, given, options)
