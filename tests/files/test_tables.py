"""Tables as pandas writes them: an index is no class, and is carried to the output; columns are chosen by name."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet
import pytest

import softgrad as sg
from softgrad import cli
from softgrad.files import blocks

X = np.random.default_rng(0).normal(size=(7, 3))

INDEXES = {
    "range": pd.RangeIndex(7),
    "integers": pd.Index([7, -3, 12, 0, 1, 2, 3]),
    "text": pd.Index(["a", "b,c", 'd"e', "é", "", "6", "nan"]),
    "dates": pd.date_range("2026-01-01", periods=7),
    "named": pd.Index([f"row {i}" for i in range(7)], name="id"),
    "levels": pd.MultiIndex.from_product([["x"], range(7)]),
    "named levels": pd.MultiIndex.from_product([["x"], range(7)], names=["a", "b"]),
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=[False, True], ids=["large blocks", "small blocks"])
def sizes(request, monkeypatch):
    if request.param:
        monkeypatch.setattr(blocks, "ROWS_READ", 6)


def frame(index="text", columns=("u", "v", "w")):
    return pd.DataFrame(X, index=INDEXES[index], columns=list(columns))


@pytest.mark.parametrize("columns", [("u", "v", "w"), (0, 1, 2)], ids=["names", "numbers"])
@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize("function", [sg.softmax, sg.log_softmax])
def test_parquet_keeps_the_index(function, index, columns, sizes):
    df = frame(index, columns)
    df.to_parquet("x.parquet")
    contents = sg.apply_blocks(function, "x.parquet", "y.parquet")
    assert contents.final_shape == (7, 3)
    expected = pd.DataFrame(function(X), index=df.index, columns=df.columns)
    pd.testing.assert_frame_equal(pd.read_parquet("y.parquet"), expected, rtol=1e-14, check_freq=False)


@pytest.mark.parametrize("index", ["range", "integers", "text"])
@pytest.mark.parametrize("columns", [("u", "v", "w"), (0, 1, 2)], ids=["names", "numbers"])
def test_text_keeps_the_index(index, columns, sizes):
    frame(index, columns).to_csv("x.csv")
    contents = sg.apply_blocks(sg.softmax, "x.csv", "y.csv")
    assert contents.final_shape == (7, 3)
    expected = pd.DataFrame(sg.softmax(X), index=INDEXES[index], columns=list(columns))
    expected.to_csv("expected.csv")
    assert Path("y.csv").read_text() == Path("expected.csv").read_text()


@pytest.mark.parametrize("index", ["levels"])
def test_text_keeps_several_levels(index):
    frame(index).to_csv("x.csv")
    sg.apply_blocks(sg.softmax, "x.csv", "y.csv")
    pd.DataFrame(sg.softmax(X), index=INDEXES[index], columns=list("uvw")).to_csv("expected.csv")
    assert Path("y.csv").read_text() == Path("expected.csv").read_text()


@pytest.mark.parametrize("index", ["integers", "text"])
def test_the_index_goes_from_one_kind_of_table_to_the_other(index, sizes):
    df = frame(index)
    df.to_csv("x.csv")
    sg.apply_blocks(sg.softmax, "x.csv", "y.parquet")
    expected = pd.DataFrame(sg.softmax(X), index=df.index, columns=df.columns)
    found = pd.read_parquet("y.parquet")
    pd.testing.assert_frame_equal(found, expected, rtol=1e-14, check_freq=False)
    df.to_parquet("x.parquet")
    sg.apply_blocks(sg.softmax, "x.parquet", "z.csv")
    expected.to_csv("expected.csv")
    assert Path("z.csv").read_text() == Path("expected.csv").read_text()


def test_a_named_index_of_parquet_has_its_name_in_text():
    frame("named").to_parquet("x.parquet")
    sg.apply_blocks(sg.softmax, "x.parquet", "y.csv")
    pd.DataFrame(sg.softmax(X), index=INDEXES["named"], columns=list("uvw")).to_csv("expected.csv")
    assert Path("y.csv").read_text() == Path("expected.csv").read_text()


@pytest.mark.parametrize("source", ["x.csv", "x.parquet"])
@pytest.mark.parametrize("target", ["y.csv", "y.parquet", "y.npy", "y.safetensors", "y.zarr"])
def test_one_value_for_each_row_keeps_the_index_of_the_rows(source, target):
    df = frame("text")
    getattr(df, f"to_{source[2:]}")(source)
    contents = sg.apply_blocks(sg.logsumexp, source, target)
    assert contents.final_shape == (7,)
    if target == "y.parquet":
        found = pd.read_parquet(target)
        assert list(found.index) == list(df.index)
        np.testing.assert_allclose(found["values"], sg.logsumexp(X), rtol=1e-14)
    elif target == "y.csv":
        found = pd.read_csv(target, index_col=0, keep_default_na=False)
        assert list(map(str, found.index)) == list(df.index)
        np.testing.assert_allclose(found["values"], sg.logsumexp(X), rtol=1e-14)
    elif target == "y.npy":
        np.testing.assert_array_equal(np.load(target), sg.logsumexp(X))


@pytest.mark.parametrize("source", ["x.csv", "x.parquet"])
def test_one_value_for_each_column_has_no_index(source):
    getattr(frame("text"), f"to_{source[2:]}")(source)
    contents = sg.apply_blocks(sg.logsumexp, source, "y.csv", axis=0)
    assert contents.final_shape == (3,)
    header, row = Path("y.csv").read_text().splitlines()
    assert header == "u,v,w"
    np.testing.assert_allclose(np.array(row.split(","), float), sg.logsumexp(X, axis=0), rtol=1e-14)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("source", ["x.csv", "x.parquet"])
def test_the_classes_are_the_columns(source, axis, sizes):
    getattr(frame("dates"), f"to_{source[2:]}")(source)
    sg.apply_blocks(sg.softmax, source, "y.npy", axis=axis)
    np.testing.assert_allclose(np.load("y.npy"), sg.softmax(X, axis=axis), rtol=1e-14)


def test_a_list_column_keeps_its_index():
    index = pd.Index(list("abcdefg"), name="id")
    pd.DataFrame({"logits": list(X)}, index=index).to_parquet("x.parquet")
    sg.apply_blocks(sg.softmax, "x.parquet", "y.parquet")
    found = pd.read_parquet("y.parquet")
    assert found.index.equals(index)
    np.testing.assert_allclose(np.stack(found["values"]), sg.softmax(X), rtol=1e-14)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (",0,1\na,1,2\nb,3,4\n", [[1, 2], [3, 4]]),  # as pandas writes columns without names
        ('"","u","v"\n"1",1,2\n"2",3,4\n', [[1, 2], [3, 4]]),  # as R does
        (",,u,v\na,b,1,2\n", [[1, 2]]),
        ("0,1\n1,2\n", [[0, 1], [1, 2]]),  # no index: data
        ("u,v\n1,2\n", [[1, 2]]),
    ],
)
def test_first_rows(text, expected):
    Path("x.csv").write_text(text)
    sg.apply_blocks(sg.softmax, "x.csv", "y.npy")
    np.testing.assert_array_equal(np.load("y.npy"), sg.softmax(np.array(expected, float)))


@pytest.mark.parametrize("first", [",1.5,2.5", ",0,2", ",1,2", ",", "x,0,1"])
def test_a_missing_number_is_no_index(first):
    Path("x.csv").write_text(f"{first}\n1,2,3\n")
    with pytest.raises(ValueError, match=r"x\.csv, line [12]"):
        sg.apply_blocks(sg.softmax, "x.csv", "y.npy")


# Columns by name


@pytest.mark.parametrize("source", ["x.csv", "x.parquet"])
def test_columns_are_chosen_by_name(source, sizes):
    df = frame("text").assign(id=list("abcdefg"), weight=np.arange(7.0))
    getattr(df, f"to_{source[2:]}")(source)
    with pytest.raises((TypeError, ValueError), match="id"):
        sg.apply_blocks(sg.softmax, source, "y.npy")
    for names in (["u", "v", "w"], ["w", "u"], ("v",)):
        sg.apply_blocks(sg.softmax, source, "y.csv", columns=names, force=True)
        found = pd.read_csv("y.csv", index_col=0)
        assert list(found.columns) == list(names)
        np.testing.assert_allclose(found, sg.softmax(df[list(names)].to_numpy()), rtol=1e-14)


@pytest.mark.parametrize("arguments", [["--columns", "w,u"], ["--columns", "w", "--columns", "u"]])
def test_columns_on_the_command_line(arguments):
    frame("text").assign(id="x").to_parquet("x.parquet")
    assert cli.run(["apply", "softmax", "x.parquet", "y.npy", *arguments]) == 0
    np.testing.assert_allclose(np.load("y.npy"), sg.softmax(X[:, [2, 0]]), rtol=1e-14)


def test_a_column_of_lists_among_others_is_chosen_by_name():
    columns = {"id": list("abcdefg"), "logits": list(X), "n": range(7)}
    pd.DataFrame(columns).to_parquet("x.parquet", index=False)
    with pytest.raises(TypeError, match=r"choose with columns=\['logits'\] among 'id', 'logits', 'n'"):
        sg.apply_blocks(sg.softmax, "x.parquet", "y.npy")
    sg.apply_blocks(sg.softmax, "x.parquet", "y.npy", columns="logits")
    np.testing.assert_allclose(np.load("y.npy"), sg.softmax(X), rtol=1e-14)


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        (["nope"], ValueError, r"there is no column 'nope'; the columns are .*'u'"),
        ([], TypeError, "columns must be names of columns"),
        ([1], TypeError, "columns must be names of columns"),
    ],
)
@pytest.mark.parametrize("source", ["x.csv", "x.parquet"])
def test_columns_that_are_not_there(source, columns, error, message):
    getattr(frame("range"), f"to_{source[2:]}")(source)
    with pytest.raises(error, match=message):
        sg.apply_blocks(sg.softmax, source, "y.npy", columns=columns)


def test_names_that_occur_twice():
    Path("x.csv").write_text("a,a,b\n1,2,3\n")
    with pytest.raises(ValueError, match=r"x\.csv: 2 columns are called 'a'"):
        sg.apply_blocks(sg.softmax, "x.csv", "y.npy", columns=["a", "b"])
    sg.apply_blocks(sg.softmax, "x.csv", "y.npy")


def test_columns_are_for_tables_with_names():
    Path("x.csv").write_text("1,2\n")
    with pytest.raises(ValueError, match=r"x\.csv: columns are chosen by name, and the file has no header"):
        sg.apply_blocks(sg.softmax, "x.csv", "y.npy", columns=["a"])
    np.save("x.npy", X)
    with pytest.raises(ValueError, match=r"columns is for tables \(\.arrow, \.csv, \.feather, \.parquet\)"):
        sg.apply_blocks(sg.softmax, "x.npy", "y.npy", columns=["a"])


def test_a_ragged_row_is_found_beside_an_index():
    Path("x.csv").write_text(",u,v\na,1,2\nb,3\n")
    with pytest.raises(ValueError, match=r"x\.csv, line 3: expected 3 columns, as in the first row; got 2"):
        sg.apply_blocks(sg.softmax, "x.csv", "y.npy")
    Path("x.csv").write_text(",u,v\na,1,2,3\n")
    with pytest.raises(ValueError, match=r"x\.csv, line 2: expected 3 columns, as in the first row; got 4"):
        sg.apply_blocks(sg.softmax, "x.csv", "y.npy")
    Path("x.csv").write_text(',u,v\n"a,b",1,2\n')
    sg.apply_blocks(sg.softmax, "x.csv", "y.csv")
    assert Path("y.csv").read_text().splitlines()[1].startswith('"a,b",')


@pytest.mark.parametrize(
    "metadata", [b"{", b"[]", b'{"index_columns": ["nope"], "columns": []}', b'{"index_columns": 3}']
)
def test_damaged_metadata_of_pandas_is_passed_over(metadata):
    table = pa.table({"u": X[:, 0], "v": X[:, 1]}).replace_schema_metadata({b"pandas": metadata})
    pa.parquet.write_table(table, "x.parquet")
    sg.apply_blocks(sg.softmax, "x.parquet", "y.parquet")
    np.testing.assert_allclose(pa.parquet.read_table("y.parquet").to_pandas(), sg.softmax(X[:, :2]), rtol=1e-14)


# Lists of every kind


KINDS = {
    "list": pa.list_(pa.float64()),
    "large_list": pa.large_list(pa.float64()),
    "fixed_size_list": pa.list_(pa.float64(), 3),
    "list_view": pa.list_view(pa.float64()),
    "large_list_view": pa.large_list_view(pa.float64()),
    "float32": pa.large_list(pa.float32()),
}


def write(name, table):
    """Write a table to Parquet or to an Arrow file, two rows at a time."""
    if name.endswith(".parquet"):
        pa.parquet.write_table(table, name, row_group_size=2)
    else:
        with pa.ipc.new_file(name, table.schema) as file:
            file.write_table(table, max_chunksize=2)


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
@pytest.mark.parametrize("kind", KINDS)
def test_lists_of_every_kind(kind, name, sizes):
    write(name, pa.table({"logits": pa.array(X.tolist(), KINDS[kind])}))
    sg.apply_blocks(sg.softmax, name, "y.npy")
    np.testing.assert_allclose(np.load("y.npy"), sg.softmax(X), rtol=1e-6 if kind == "float32" else 1e-14)


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
def test_lists_of_lists_and_tensors(name, sizes):
    x = np.random.default_rng(1).normal(size=(5, 2, 3))
    flat = pa.array(x.ravel())
    rows = pa.FixedSizeListArray.from_arrays(flat, 6)
    tensors = [
        (pa.array(x.tolist()), x),
        (pa.FixedSizeListArray.from_arrays(pa.FixedSizeListArray.from_arrays(flat, 3), 2), x),
        (pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float64(), [2, 3]), rows), x),
        (
            pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float64(), [2, 3], permutation=[1, 0]), rows),
            x.transpose(0, 2, 1),
        ),
    ]
    for column, expected in tensors:
        write(name, pa.table({"id": list("abcde"), "logits": column}))
        for axis in (-1, 1):
            found = sg.apply_blocks(sg.softmax, name, "y.npy", columns="logits", axis=axis, force=True)
            assert found.final_shape == expected.shape
            np.testing.assert_allclose(np.load("y.npy"), sg.softmax(expected, axis=axis), rtol=1e-14)


def test_numbers_that_are_encoded_as_categories():
    column = pa.array([1.5, 2.5, 1.5, -3.0]).dictionary_encode()
    write("x.arrow", pa.table({"a": column, "b": [0, 1, 2, 3]}))
    sg.apply_blocks(sg.softmax, "x.arrow", "y.npy")
    np.testing.assert_array_equal(np.load("y.npy"), sg.softmax(np.array([[1.5, 0], [2.5, 1], [1.5, 2], [-3.0, 3]])))


NESTED = pa.list_(pa.list_(pa.float64()))
HOLES = [
    ([None, [1.0, 2.0]], None, "column 'a' has missing values, the first in row 0"),
    ([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], None], None, "column 'a' has missing values, the first in row 3"),
    ([None], None, "column 'a' has missing values, the first in row 0"),
    ([[1.0, None]], None, "column 'a' has missing values, the first in row 0"),
    ([[1.0, 2.0]] * 3 + [[1.0, None]], None, "column 'a' has missing values, the first in row 3"),
    ([[], [1.0]], None, "the lists of column 'a' must have 0 entries, as the first; that of row 1 has 1"),
    (
        [[1.0, 2.0]] * 3 + [[1.0]],
        None,
        "the lists of column 'a' must have 2 entries, as the first; that of row 3 has 1",
    ),
    ([[[1.0], [2.0]], [[1.0], None]], NESTED, "column 'a' has missing values, the first in row 1"),
    (
        [[[1.0], [2.0]]] * 3 + [[[1.0], []]],
        NESTED,
        "the lists of column 'a' must have 1 entries, as the first; that of row 3",
    ),
    ([1.0, 2.0, None], pa.float64(), "column 'a' has missing values, the first in row 2"),
]


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
def test_missing_values_and_lists_of_other_lengths(name, sizes):
    for rows, kind, message in HOLES:
        for given in [kind] if kind is not None else [KINDS[known] for known in ("list", "large_list", "list_view")]:
            write(name, pa.table({"a": pa.array(rows, given)}))
            with pytest.raises(ValueError, match=rf"^{re.escape(name)}: {re.escape(message)}"):
                sg.apply_blocks(sg.softmax, name, "y.npy")


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
def test_a_column_that_is_text_is_named(name):
    write(name, pa.table({"a": [1.0], "b": ["x"]}))
    with pytest.raises(TypeError, match=rf"^{re.escape(name)}: column 'b' must hold real numbers; got string"):
        sg.apply_blocks(sg.softmax, name, "y.npy")
    write(name, pa.table({"a": [["x"]]}))
    with pytest.raises(TypeError, match=rf"^{re.escape(name)}: column 'a' must hold real numbers; got string"):
        sg.apply_blocks(sg.softmax, name, "y.npy")


def test_arrow_files_keep_index_and_names():
    df = frame("named")
    df.to_parquet("x.parquet")
    sg.apply_blocks(sg.softmax, "x.parquet", "y.feather")
    sg.apply_blocks(sg.log_softmax, "y.feather", "z.csv")
    found = pa.feather.read_table("y.feather").to_pandas()
    pd.testing.assert_frame_equal(found, pd.DataFrame(sg.softmax(X), index=df.index, columns=df.columns), rtol=1e-14)
    assert list(pd.read_csv("z.csv", index_col=0).index) == list(df.index)


@pytest.mark.filterwarnings("ignore:Feather V1:DeprecationWarning")
def test_the_first_version_of_feather_is_refused():
    pa.feather.write_feather(pa.table({"a": [1.0]}), "x.feather", version=1)
    with pytest.raises(ValueError, match=r"^x\.feather: not an Arrow file"):
        sg.apply_blocks(sg.softmax, "x.feather", "y.npy")


def test_other_names_that_are_numbers():
    for names in ((1, 2, 3), (2019, 2020, 2021)):
        frame("integers", names).to_csv("x.csv")
        with pytest.raises(
            ValueError, match=r"line 1, column 1: expected a number; got '' \(names of columns beside an"
        ):
            sg.apply_blocks(sg.softmax, "x.csv", "y.csv")


def test_headers_of_several_lines_are_no_rows():
    """The second line of names went through the softmax as a row."""
    for names in (None, ["upper", "lower"]):
        columns = pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=names)
        pd.DataFrame(X, columns=columns).to_csv("x.csv")
        with pytest.raises(ValueError, match=r"x\.csv, line 2"):
            sg.apply_blocks(sg.softmax, "x.csv", "y.csv")
        assert not Path("y.csv").exists()


def test_a_column_of_names_is_left_out_by_the_others():
    frame("named").to_csv("x.csv")
    with pytest.raises(ValueError, match=r"got 'row 0' \(columns=\['u', 'v', 'w'\] leaves it out\)"):
        sg.apply_blocks(sg.softmax, "x.csv", "y.csv")


def test_lists_without_entries_cannot_be_written():
    table = pa.table({"x": pa.array([[], []], pa.list_(pa.float32()))})
    pa.parquet.write_table(table, "x.parquet")
    with pytest.raises(ValueError, match=r"holds no lists without entries; the result has shape \(2, 0\)"):
        sg.apply_blocks(sg.softmax, "x.parquet", "y.parquet")
