"""What tables share with Apache Arrow: the library, and an index with the metadata by which pandas recognises it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

PANDAS = b"pandas"
"""The key of pandas' metadata in a schema."""


def library() -> Any:
    """The module pyarrow; ModuleNotFoundError that names the extra if it is not installed."""
    try:
        import pyarrow  # noqa: PLC0415  only these files need it
        import pyarrow.ipc  # noqa: PLC0415
        import pyarrow.parquet  # noqa: PLC0415
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            '.parquet and .arrow files need pyarrow: pip install "softgrad[parquet]"', name="pyarrow"
        ) from None
    return pyarrow


def concatenated(arrays: Iterable[Any]) -> Any:
    """Arrays of one type, one after the other."""
    return library().concat_arrays(list(arrays))


def from_texts(columns: list[list[str]], integers: list[bool]) -> list[Any]:
    """Arrays of the columns of an index that were text."""
    pyarrow = library()
    return [
        pyarrow.array(list(map(int, column)), pyarrow.int64()) if whole else pyarrow.array(column, pyarrow.string())
        for column, whole in zip(columns, integers, strict=True)
    ]


def index_schema(integers: list[bool]) -> Any:
    """The schema of an index without names, of integers or of text."""
    pyarrow = library()
    kinds = [pyarrow.int64() if whole else pyarrow.string() for whole in integers]
    fields = [pyarrow.field(f"__index_level_{level}__", kind) for level, kind in enumerate(kinds)]
    columns = [
        {
            "name": None,
            "field_name": field.name,
            "pandas_type": "int64" if whole else "unicode",
            "numpy_type": "int64" if whole else "object",
            "metadata": None,
        }
        for field, whole in zip(fields, integers, strict=True)
    ]
    metadata = {"index_columns": [field.name for field in fields], "column_indexes": [], "columns": columns}
    return pyarrow.schema(fields, {PANDAS: json.dumps(metadata)})


def with_index(schema: Any, index: Any, keeps_names: bool) -> Any:
    """The schema of a table that has the columns of an index after its own; both are described for pandas."""
    pyarrow = library()
    metadata = json.loads(index.metadata[PANDAS])
    levels = {column["field_name"]: column for column in metadata["columns"]}
    metadata["columns"] = [*map(_described, schema), *(levels[name] for name in index.names)]
    if not keeps_names:
        metadata["column_indexes"] = []
    return pyarrow.schema([*schema, *index], {PANDAS: json.dumps(metadata)})


def _described(field: Any) -> dict[str, Any]:
    """A column of numbers, or of lists of them, as pandas' metadata describes it."""
    nested = hasattr(field.type, "value_type")
    name = "object" if nested else np.dtype(field.type.to_pandas_dtype()).name
    kind = "list" if nested else name
    return {"name": field.name, "field_name": field.name, "pandas_type": kind, "numpy_type": name, "metadata": None}


def pandas_metadata(schema: Any) -> dict[str, Any] | None:
    """What pandas wrote into a schema about the index: None if it wrote nothing, or nothing that can be read."""
    try:
        found = schema.pandas_metadata
        names = [name for name in found["index_columns"] if isinstance(name, str)]
        described = [column["field_name"] for column in found["columns"]]
    except (KeyError, TypeError, ValueError):
        return None
    readable = all(name in schema.names and name in described for name in names)
    return {**found, "index_columns": names} if readable else None
