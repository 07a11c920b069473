"""pandas and xarray: the numbers are NumPy's to the bit, and every label is where it was."""

import inspect

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import softgrad as sg
from softgrad import _dispatch as dispatch

for _name in sg.__all__:
    getattr(sg, _name)  # functions are declared when their module is imported

ROWS, CLASSES = ["r", "s", "t", "u"], ["a", "b", "c"]
M, N = len(ROWS), len(CLASSES)
FUNCTIONS = tuple(f for name, f in dispatch.FUNCTIONS.items() if hasattr(sg, name))  # the public ones
every_function = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.name)
both_axes = pytest.mark.parametrize("axis", [0, 1])

OPTIONS = {
    "where": ("n", lambda rng, m, n: np.arange(m * n).reshape(m, n) % 4 > 0),
    "b": ("n", lambda rng, m, n: rng.normal(size=(m, n))),
    "temperature": ("", lambda rng, m, n: rng.uniform(0.5, 2, m)),
    "sample_weight": ("", lambda rng, m, n: rng.uniform(0.5, 2, m)),
    "weight": ("weight", lambda rng, m, n: rng.uniform(0.5, 2, n)),
}
options_of_functions = pytest.mark.parametrize(
    ("function", "option"),
    [(f, option) for f in FUNCTIONS for option in OPTIONS if option in inspect.signature(f.plain).parameters],
    ids=lambda value: getattr(value, "name", value),
)


def operands(function, dtype=np.float64):
    """Arrays for slices along the last of two axes."""
    rng = np.random.default_rng(3)
    make = {
        "n": lambda: rng.uniform(0.1, 2, (M, N)).astype(dtype),
        "": lambda: rng.integers(0, N, M),
        "k": lambda: rng.integers(0, N, (M, 2)),
    }
    return [make[part]() for part in function.operands]


def required(function):
    """Numbers that a function needs besides its operands."""
    names = [name for name in inspect.signature(function.plain).parameters if name not in function.names]
    return {name: value for name, value in {"k": 2, "p": 0.5}.items() if name in names}


def option_values(option):
    part, make = OPTIONS[option]
    return part, make(np.random.default_rng(4), M, N)


def turned(values, part, axis):
    """The same slices along `axis`."""
    return values.T if axis == 0 and part == "n" else values


def as_pandas(values, part, axis):
    if part == "n":
        frame = pd.DataFrame(values, ROWS, CLASSES)
        return frame if axis == 1 else frame.T
    index = {"": ROWS, "weight": CLASSES, "k": ROWS}[part]
    return pd.DataFrame(values, index, ["x", "y"]) if part == "k" else pd.Series(values, index)


def as_xarray(values, part, axis):
    dims = {"n": ["row", "class"], "": ["row"], "weight": ["class"], "k": ["row", "draw"]}[part]
    coords = {"row": ROWS, "class": CLASSES, "draw": ["x", "y"]}
    array = xr.DataArray(values, dims=dims, coords={dim: coords[dim] for dim in dims})
    return array.T if part == "n" and axis == 0 else array


LIBRARIES = {"pandas": as_pandas, "xarray": as_xarray}
both_libraries = pytest.mark.parametrize("label", LIBRARIES.values(), ids=LIBRARIES)


ASSERT_EQUAL = {
    pd.Series: pd.testing.assert_series_equal,
    pd.DataFrame: pd.testing.assert_frame_equal,
    xr.DataArray: xr.testing.assert_identical,
}


def assert_labelled(function, got, expected, label, axis):
    """`got` is `expected`, one result for each part of the signature, under the labels of the part."""
    if len(function.results) == 1:
        got, expected = (got,), (expected,)
    else:
        assert type(got) is type(expected)
    for part, one, plain in zip(function.results, got, expected, strict=True):
        if part == "n,n":
            np.testing.assert_array_equal(np.asarray(one), np.asarray(plain), strict=True)
        else:
            wanted = label(turned(plain, part, axis), part, axis)
            ASSERT_EQUAL[type(wanted)](one, wanted)


@both_libraries
@both_axes
@every_function
def test_every_function(label, function, axis):
    for dtype in (np.float32, np.float64):
        arrays = operands(function, dtype)
        labelled = [label(x, part, axis) for x, part in zip(arrays, function.operands, strict=True)]
        plain = [turned(x, part, axis) for x, part in zip(arrays, function.operands, strict=True)]
        options = {"axis": axis, **required(function)}
        expected = function.plain(*plain, **options)
        assert_labelled(function, function(*labelled, **options), expected, label, axis)
        if "k" not in function.results:  # chosen entries have no labels but their own
            assert_labelled(function, function(labelled[0], *plain[1:], **options), expected, label, axis)


@both_libraries
@both_axes
@options_of_functions
def test_every_option(label, function, option, axis):
    arrays = operands(function)
    labelled = [label(x, part, axis) for x, part in zip(arrays, function.operands, strict=True)]
    plain = [turned(x, part, axis) for x, part in zip(arrays, function.operands, strict=True)]
    part, values = option_values(option)
    options = {"axis": axis, **required(function)}
    expected = function.plain(*plain, **options, **{option: turned(values, part, axis)})
    for given in (label(values, part, axis), turned(values, part, axis)):
        got = function(*labelled, **options, **{option: given})
        assert_labelled(function, got, expected, label, axis)


@both_libraries
@options_of_functions
def test_options_with_other_labels(label, function, option):
    labelled = [label(x, part, 1) for x, part in zip(operands(function), function.operands, strict=True)]
    part, values = option_values(option)
    with pytest.raises(ValueError, match=rf"{option} must have the (index|columns|coordinates) of"):
        function(*labelled, **{option: label(values, part, 1)[::-1]})


@both_libraries
@pytest.mark.parametrize("function", [f for f in FUNCTIONS if len(f.operands) > 1], ids=lambda f: f.name)
def test_operands_with_other_labels(label, function):
    first, *others = (label(x, part, 1) for x, part in zip(operands(function), function.operands, strict=True))
    with pytest.raises(ValueError, match=r"must have the (index|columns|coordinates) of"):
        function(first, *(x[::-1] for x in others))
    with pytest.raises(ValueError, match=r"must have .* (labels|entries)"):
        function(first, *(x[:2] for x in others))


# what pandas' dtypes become


def test_columns_of_several_dtypes():
    for dtypes, expected in {
        ("float32", "float32", "float32"): np.float32,
        ("float32", "float64", "float32"): np.float64,
        ("float16", "float32", "float16"): np.float32,
        ("float32", "int8", "float32"): np.float64,
        ("int8", "int8", "int64"): np.float64,
        ("bool", "float32", "float32"): np.float64,
        ("bool", "bool", "bool"): np.float64,
    }.items():
        frame = pd.DataFrame([[0, 1, 1], [1, 0, 0]], columns=CLASSES).astype(dict(zip(CLASSES, dtypes, strict=True)))
        got = sg.softmax(frame)
        assert (got.dtypes == expected).all()
        np.testing.assert_array_equal(got, sg.softmax(np.array([[0, 1, 1], [1, 0, 0]], expected)))


@pytest.mark.parametrize(
    "column",
    [
        pd.array([1, None], "Int64"),
        pd.array([1.0, None], "Float64"),
        pd.array([True, None], "boolean"),
        pd.array([1.0, None], "double[pyarrow]"),
        pd.Categorical([0, 1]),
        pd.array(["1", "2"], "str"),
        np.array([1.0, 2.0], object),
        pd.to_datetime(["2026-01-01", "2026-01-02"]),
        pd.arrays.SparseArray([0.0, 1.0]),
    ],
    ids=lambda column: str(column.dtype),
)
def test_columns_of_other_dtypes_are_named(column):
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": column})
    with pytest.raises(TypeError) as error:
        sg.softmax(frame)
    assert "x must hold numbers of NumPy's dtypes; column 'b' has dtype" in str(error.value)
    for call in (lambda: sg.softmax(frame["b"]), lambda: sg.cross_entropy(np.zeros((2, 2)), frame["b"])):
        with pytest.raises(TypeError, match=r"(x|labels) must hold numbers of NumPy's dtypes; the Series has dtype"):
            call()


def test_errors_say_how_to_get_there():
    labels = pd.Series([0, 1])
    with pytest.raises(TypeError, match=r"its codes are \.cat\.codes"):
        sg.cross_entropy(np.zeros((2, 2)), labels.astype("category"))
    with pytest.raises(TypeError, match=r"dtype Int64 and missing values; astype\('float64'\) makes them NaN"):
        sg.softmax(pd.Series([0, None], dtype="Int64"))
    with pytest.raises(TypeError, match="labels must be integers; got dtype float64"):
        sg.cross_entropy(pd.DataFrame(np.zeros((2, 2))), labels.astype(float))
    with pytest.raises(TypeError, match="x must be an array of numbers; got NAType"):
        sg.softmax(pd.NA)


@pytest.mark.parametrize(
    "dtype",
    ["Int8", "Int64", "UInt16", "boolean", "Float32", "Float64", "int64[pyarrow]", "bool[pyarrow]", "float[pyarrow]"],
)
def test_nullable_columns_without_missing_values_are_as_numpys(dtype):
    frame = pd.DataFrame({"a": [0, 1], "b": [1, 1]})
    own = frame.astype(dtype)
    plain = frame.astype({"Float32": "float32", "float[pyarrow]": "float32"}.get(dtype, "float64"))
    pd.testing.assert_frame_equal(sg.softmax(own), sg.softmax(plain))
    pd.testing.assert_series_equal(sg.softmax(own["a"]), sg.softmax(plain["a"]))
    mixed = own.assign(b=[1.0, 1.0])
    assert (sg.softmax(mixed).dtypes == np.float64).all()
    if "nt" in dtype:
        pd.testing.assert_series_equal(sg.cross_entropy(frame, own["a"]), sg.cross_entropy(frame, frame["a"]))
    own.loc[0, "a"] = pd.NA
    with pytest.raises(TypeError, match=r"column 'a' has dtype .* and missing values"):
        sg.softmax(own)


def test_labels_may_name_the_classes():
    names = ["owl", "cat", "dog", "cat"]
    frame = pd.DataFrame(np.arange(12.0).reshape(4, 3) ** 0.5, columns=["cat", "dog", "owl"], index=list("wxyz"))
    expected = sg.cross_entropy_grad(frame, [2, 0, 1, 0])
    series = pd.Series(names, index=frame.index)
    for labels in (names, np.array(names), series, series.astype("category"), series.astype("string"), series.array):
        got = sg.cross_entropy_grad(frame, labels)
        pd.testing.assert_series_equal(got.loss, expected.loss)
        pd.testing.assert_frame_equal(got.grad, expected.grad)
    pd.testing.assert_series_equal(sg.focal_loss(frame.T, names, axis="index"), sg.focal_loss(frame, [2, 0, 1, 0]))
    assert sg.cross_entropy(frame.loc["w"], "owl") == expected.loss["w"]
    array = xr.DataArray(frame.to_numpy(), dims=("row", "class"), coords={"class": list(frame.columns)})
    for labels in (names, xr.DataArray(names, dims="row")):
        np.testing.assert_array_equal(sg.cross_entropy(array, labels, axis="class"), expected.loss)
    with pytest.raises(ValueError, match="labels must be among the classes of logits, 'cat', 'dog', 'owl'; got 'cow'"):
        sg.cross_entropy(frame, ["owl", "cow", "cat", "cat"])
    with pytest.raises(ValueError, match="some of those of logits have one name"):
        sg.cross_entropy(frame.set_axis(["cat", "cat", "owl"], axis=1), names)
    with pytest.raises(ValueError, match="labels must have the index of logits"):
        sg.cross_entropy(frame, series[::-1])
    with pytest.raises(TypeError, match="labels must be integers; got dtype"):
        sg.cross_entropy(array.drop_vars("class"), names)


def test_missing_values_are_nan_and_stay_in_their_slice():
    frame = pd.DataFrame({"a": [1.0, None], "b": [2.0, 3.0]})
    got = sg.logsumexp(frame)
    assert got[0] == sg.logsumexp([1.0, 2.0])
    assert np.isnan(got[1])
    assert sg.logsumexp(frame, where=frame.notna())[1] == 3.0


# axes


def test_the_axes_of_a_frame():
    frame = as_pandas(operands(dispatch.FUNCTIONS["softmax"])[0], "n", 1)
    values = frame.to_numpy()
    for axis, number in {"index": 0, "columns": 1, -1: 1, -2: 0, ("index", "columns"): None, (0, 1): None}.items():
        pd.testing.assert_frame_equal(
            sg.softmax(frame, axis=axis), pd.DataFrame(sg.softmax(values, axis=number), ROWS, CLASSES)
        )
    assert sg.logsumexp(frame, axis=None) == sg.logsumexp(values, axis=None)
    pd.testing.assert_series_equal(sg.logsumexp(frame), sg.logsumexp(frame, axis="columns"))
    series = frame["a"]
    for axis in (-1, 0, "index", None):
        pd.testing.assert_series_equal(
            sg.softmax(series, axis=axis), pd.Series(sg.softmax(values[:, 0]), ROWS, name="a")
        )
        assert sg.logsumexp(series, axis=axis) == sg.logsumexp(values[:, 0])
    loss, grad = sg.cross_entropy_grad(series, 2)
    assert isinstance(loss, np.float64)
    assert grad.index.tolist() == ROWS


def test_the_axes_of_a_data_array():
    values = np.random.default_rng(0).normal(size=(2, 3, 4))
    x = xr.DataArray(values, dims=("i", "j", "k"))
    for axis, number in {"j": 1, ("i", "k"): (0, 2), ("k", "i"): (0, 2), -1: 2, 0: 0, None: None}.items():
        xr.testing.assert_identical(sg.softmax(x, axis=axis), x.copy(data=sg.softmax(values, axis=number)))
        got = sg.logsumexp(x, axis=axis)
        np.testing.assert_array_equal(got, sg.logsumexp(values, axis=number))
        assert (
            got.dims == x.mean(axis if isinstance(axis, str | tuple) else x.dims if axis is None else x.dims[axis]).dims
        )


@pytest.mark.parametrize("axis", ["columns", "class", "rows", "x"])
def test_an_axis_that_is_not_there(axis):
    with pytest.raises(ValueError, match=rf"axis must be a number or 'index' for a Series; got '{axis}'"):
        sg.softmax(pd.Series([1.0]), axis=axis)
    with pytest.raises(ValueError, match=rf"axis must be a number or one of the dimensions \('y',\); got '{axis}'"):
        sg.softmax(xr.DataArray([1.0], dims="y"), axis=axis)
    for x in (pd.Series([1.0]), xr.DataArray([1.0])):
        with pytest.raises(np.exceptions.AxisError):
            sg.softmax(x, axis=1)


# labels


class Frame(pd.DataFrame):
    _metadata = ("unit",)

    @property
    def _constructor(self):
        return Frame


def test_everything_about_a_frame_is_kept():
    index = pd.MultiIndex.from_tuples([("x", 1), ("x", 2), ("x", 2)], names=["k", "l"])
    columns = pd.Index(["b", "a", "b"], name="class")
    frame = Frame(np.random.default_rng(0).normal(size=(3, 3)), index, columns)
    frame.attrs["source"], frame.unit = "logits", "nat"
    p = sg.softmax(frame)
    assert (type(p), p.attrs, p.unit) == (Frame, {"source": "logits"}, "nat")
    pd.testing.assert_index_equal(p.index, index)
    pd.testing.assert_index_equal(p.columns, columns)
    total = sg.logsumexp(frame)
    assert (type(total), total.attrs, total.name) == (pd.Series, {"source": "logits"}, None)
    pd.testing.assert_index_equal(total.index, index)
    assert sg.softmax(pd.Series([1.0], name="x")).name == "x"
    assert sg.softmax(frame[:0]).shape == (0, 3)
    assert sg.softmax(frame[[]]).shape == (3, 0)
    assert (sg.logsumexp(frame[[]]) == -np.inf).all()


def test_everything_about_a_data_array_is_kept():
    x = xr.DataArray(
        np.zeros((2, 3)),
        {"i": [5, 6], "tag": ("j", list("abc")), "both": (("i", "j"), np.ones((2, 3))), "of": ("i", [7, 8]), "at": 9},
        ("i", "j"),
        "x",
        {"unit": "nat"},
    )
    xr.testing.assert_identical(sg.softmax(x, axis="i"), x.copy(data=np.full((2, 3), 0.5)))
    expected = x.drop_vars(["tag", "both"]).isel(j=0).copy(data=np.log([3.0, 3.0]))
    xr.testing.assert_allclose(sg.logsumexp(x, axis="j"), expected)
    assert sg.logsumexp(x, axis="j").attrs == x.attrs
    kept = sg.logsumexp(x, axis="j", keepdims=True)
    assert kept.sizes == {"i": 2, "j": 1}
    assert set(kept.coords) == {"i", "of", "at"}
    stacked = x.stack(both_axes=("i", "j"))
    xr.testing.assert_identical(sg.softmax(stacked), stacked.copy(data=np.full(6, 1 / 6)))


def test_a_series_beside_a_frame_lies_along_the_columns():
    p, g = (as_pandas(x, "n", 1) for x in operands(dispatch.FUNCTIONS["softmax_vjp"]))
    for one, two in ((p, g.loc["r"]), (p.loc["r"], g)):
        got = sg.softmax_vjp(one, two)
        pd.testing.assert_frame_equal(got, pd.DataFrame(sg.softmax_vjp(one.to_numpy(), two.to_numpy()), ROWS, CLASSES))
    with pytest.raises(ValueError, match=r"g must have the columns of p; got 4 labels for 3"):
        sg.softmax_vjp(p, g["a"])


def test_dimensions_meet_by_name():
    rng = np.random.default_rng(0)
    logits = xr.DataArray(rng.normal(size=(2, 4, 3)), dims=("member", "row", "class"))
    labels = xr.DataArray([0, 1, 2, 0], dims="row")
    got = sg.cross_entropy(logits, labels, axis="class", sample_weight=xr.DataArray([1.0, 2.0], dims="member"))
    expected = sg.cross_entropy(logits.values, np.tile(labels, (2, 1)), sample_weight=[[1.0], [2.0]])
    xr.testing.assert_identical(got, xr.DataArray(expected, dims=("member", "row")))
    p = sg.softmax(logits, axis="class")
    g = rng.normal(size=(3, 2, 4))
    turned_over = sg.softmax_vjp(p, xr.DataArray(g, dims=("class", "member", "row")), axis="class")
    np.testing.assert_array_equal(turned_over, sg.softmax_vjp(p.values, g.transpose(1, 2, 0)))
    for labels, error in (
        (xr.DataArray([0, 1, 2], dims="row"), "labels must have 4 entries along 'row', as logits; got 3"),
        (xr.DataArray([0, 1], dims="draw"), r"labels must have no dimensions but \('member', 'row'\), as logits; got"),
        (xr.DataArray([0, 1, 2], dims="class"), r"labels must have no dimensions but \('member', 'row'\)"),
    ):
        with pytest.raises(ValueError, match=error):
            sg.cross_entropy(logits, labels, axis="class")


def test_chosen_entries_have_labels_of_their_own():
    logits = operands(dispatch.FUNCTIONS["softmax"])[0]
    index = np.array([[0, 1], [1, 2], [2, 2], [0, 0]])
    expected = sg.selective_log_softmax(logits, index)
    frame, array = as_pandas(logits, "n", 1), as_xarray(logits, "n", 1)
    pd.testing.assert_frame_equal(sg.selective_log_softmax(frame, index), pd.DataFrame(expected, ROWS))
    got = sg.selective_log_softmax(array, index)
    assert got.dims == ("row", "dim_1")
    np.testing.assert_array_equal(got, expected)
    one = as_pandas(index[:, 0], "", 1)
    pd.testing.assert_series_equal(sg.selective_log_softmax(frame, one), pd.Series(expected[:, 0], ROWS))
    series = sg.selective_log_softmax(frame.loc["r"], pd.Series([0, 2], ["best", "last"]))
    assert series.index.tolist() == ["best", "last"]


# what has no labels, or other labels


def test_without_labels_on_the_logits_everything_goes_by_position():
    logits = operands(dispatch.FUNCTIONS["softmax"])[0]
    for labels in (pd.Series([0, 1, 2, 0], ROWS[::-1]), pd.Index([0, 1, 2, 0]), xr.DataArray([0, 1, 2, 0], dims="row")):
        got = sg.cross_entropy(logits, labels)
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got, sg.cross_entropy(logits, [0, 1, 2, 0]))


def test_pandas_and_xarray_do_not_mix():
    frame = as_pandas(operands(dispatch.FUNCTIONS["softmax"])[0], "n", 1)
    labels = pd.Series([0, 1, 2, 0], ROWS)
    with pytest.raises(TypeError, match=r"labels must be an array without labels or one of xarray.*pandas\.Series"):
        sg.cross_entropy(xr.DataArray(frame), labels)
    with pytest.raises(TypeError, match=r"where must be an array without labels or one of pandas.*xarray\.DataArray"):
        sg.softmax(frame, where=xr.DataArray(frame) > 0)


def test_what_is_refused():
    frame = pd.DataFrame(np.zeros((2, 2)))
    for x in (frame, xr.DataArray(frame)):
        for function, option in (
            (sg.softmax, "out"),
            (lambda x, **o: sg.cross_entropy_grad(x, [0, 0], **o), "grad_out"),
        ):
            with pytest.raises(TypeError, match=rf"^{option} is for NumPy arrays; got (pandas|xarray)\."):
                function(x, **{option: np.zeros((2, 2))})
        with pytest.raises(ValueError, match=r"g must broadcast to the shape of p, \(2, 2\); got shape \(3, 2, 2\)"):
            sg.softmax_vjp(x, np.zeros((3, 2, 2)))
    with pytest.raises(TypeError, match="keepdims is for arrays without labels"):
        sg.logsumexp(frame, keepdims=True)
    with pytest.raises(TypeError, match=r"x must be a DataArray; got a Dataset: its map\(\) method"):
        sg.softmax(xr.Dataset({"x": ("i", [1.0])}))
    with pytest.raises(TypeError, match="classes have several axes"):
        sg.cross_entropy(frame, 0, axis=None, weight=pd.Series(np.ones(4)))


def test_what_a_data_array_wraps_is_passed_on():
    xp = pytest.importorskip("array_api_strict")
    x = xr.DataArray(xp.asarray([[0.0, 1.0], [2.0, 3.0]]), dims=("i", "j"))
    g = xr.DataArray(xp.asarray([[1.0, 0.0], [0.0, 1.0]]), dims=("j", "i"))
    for got in (sg.softmax(x, axis="i"), sg.logsumexp(x, axis="j"), sg.softmax_vjp(sg.softmax(x), g)):
        assert type(got.data) is type(x.data)


# what is built on the functions


@pytest.mark.parametrize("x", [as_pandas(np.eye(4, 3), "n", 1), as_xarray(np.eye(4, 3), "n", 1)], ids=LIBRARIES)
def test_layers(x):
    values = np.eye(4, 3)
    for layer, plain in ((sg.Softmax(), sg.Softmax()), (sg.LogSoftmax(), sg.LogSoftmax())):
        for got, expected in (
            (layer(x), plain(values)),
            (layer.backward(x), plain.backward(values)),
        ):
            assert type(got) is type(x)
            np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(layer.backward(), plain.backward(), strict=True)
    layer, plain = sg.SoftmaxCrossEntropy(), sg.SoftmaxCrossEntropy()
    np.testing.assert_array_equal(layer(x, [0, 1, 2, 0]), plain(values, [0, 1, 2, 0]))
    for factor in (None, 0.25, [1.0, 2.0, 3.0, 4.0]):
        got = layer.backward(factor)
        assert type(got) is type(x)
        np.testing.assert_array_equal(got, plain.backward(factor))


def test_matrices_have_no_labels():
    for x in (as_pandas(np.eye(4, 3), "n", 1), as_xarray(np.eye(4, 3), "n", 1)):
        for normalization in (True, False):
            np.testing.assert_array_equal(
                sg.calculate_gradient(x, normalization), sg.calculate_gradient(np.eye(4, 3), normalization), strict=True
            )


def test_regression_on_frames():
    regression = pytest.importorskip("softgrad.regression")
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(60, 2)), columns=["u", "v"])
    y = pd.Series(np.where(X["u"] > 0, "up", "down"))
    model, plain = (regression.SoftmaxRegression().fit(*given) for given in ((X, y), (X.to_numpy(), y.to_numpy())))
    np.testing.assert_array_equal(model.coef_, plain.coef_)
    np.testing.assert_array_equal(model.predict_proba(X), plain.predict_proba(X.to_numpy()))
    assert model.feature_names_in_.tolist() == ["u", "v"]
