"""Which array of a file is meant, and which columns of a table."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Classes:
    """Names that stand for numbers: those of the columns of a source, by which labels may be written."""

    names: tuple[str, ...]

    def codes(self, labels: Iterable[str]) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], int | None]:
        """The numbers of some names, and where the first is that has none."""
        places = {name: place for place, name in enumerate(self.names)}
        if len(places) < len(self.names):
            raise ValueError("names of classes must differ; some columns of the source have the same name")
        codes = np.array([places.get(label, -1) for label in labels], np.int64)
        bad = codes < 0
        return codes, int(np.argmax(bad)) if bad.any() else None

    def refusal(self, label: str) -> str:
        """What is wrong with a name that is none of these."""
        return f"{reprlib.repr(label)} is no class; the classes are {shortened(self.names)}"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which array of a file is meant."""

    tensor: str | None = None
    """The name of the array, where a file holds several."""
    columns: tuple[str, ...] | None = None
    """The columns of a table."""
    called: str | None = None
    """What an array is taken for: of several arrays the one of this name is meant, if no other is given."""
    by_name_only: bool = False
    """Whether no other array can be named: that of an operand, as tensor names that of the source."""
    single: bool = False
    """Whether a table holds one number for each row, in the column of that name if there are several."""
    classes: Classes | None = None
    """The classes whose names a table may hold instead of numbers; None: it may not."""

    def array(self, names: Sequence[str], what: str) -> str:
        """The name of the array among those of a file, which the format calls `what`."""
        found = ", ".join(map(repr, names)) or "none"
        if self.tensor is None:
            if len(names) == 1:
                return names[0]
            expected = self._expected(names)
            if expected is None:
                if self.by_name_only:
                    raise ValueError(f"no array is called {self.called!r}; there is {found}")
                raise ValueError(f"tensor must name one of {found}")
            return expected
        if self.tensor not in names:
            raise ValueError(f"there is no {what} {self.tensor!r}; there is {found}")
        return self.tensor

    def places(self, names: tuple[str, ...], index: Sequence[int]) -> tuple[int, ...]:
        """Where the columns are among `names`, all but those of the index unless some are chosen."""
        if self.columns is not None:
            return tuple(_place(name, names) for name in self.columns)
        others = tuple(place for place in range(len(names)) if place not in index)
        expected = self._expected([names[place] for place in others]) if self.single and len(others) > 1 else None
        return others if expected is None else (_place(expected, names),)

    def _expected(self, names: Sequence[str]) -> str | None:
        """The name of what an array is taken for: labels are also found as `label`."""
        if self.called is None:
            return None
        return next((name for name in (self.called, self.called.removesuffix("s")) if name in names), None)


def selected(tensor: str | None, columns: Sequence[str] | None) -> Selection:
    """The array that a user means."""
    if columns is None:
        return Selection(tensor)
    names = (columns,) if isinstance(columns, str) else tuple(columns)
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f"columns must be names of columns; got {columns!r}")
    return Selection(tensor, names)


def shortened(names: Iterable[str]) -> str:
    """Some names, the first and the last of many."""
    return reprlib.repr(list(names))[1:-1]


def _place(name: str, names: tuple[str, ...]) -> int:
    if name not in names:
        raise ValueError(f"there is no column {name!r}; the columns are {shortened(names)}")
    if names.count(name) > 1:
        raise ValueError(f"{names.count(name)} columns are called {name!r}")
    return names.index(name)
