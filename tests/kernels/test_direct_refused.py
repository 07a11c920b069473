"""What kernels as plain functions leave to the general path, which has the errors."""

from itertools import product

import numpy as np
import pytest

import softgrad as sg
from softgrad._dispatch import FUNCTIONS

from .direct import (
    DTYPES,
    GRADIENTS,
    LABELLED,
    LIMIT,
    MASKED,
    NAMES,
    ONE,
    REDUCTIONS,
    TEMPERED,
    Subclass,
    operands,
    results,
    same,
)


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
@pytest.mark.parametrize("name", ["entropy", "kl_divergence"])
def test_a_function_without_out_takes_none_on_this_way_either(name):
    with pytest.raises(TypeError, match="unexpected keyword argument 'out'"):
        getattr(sg, name)(*operands(name, (9,), np.float64), out=np.empty(()))


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
