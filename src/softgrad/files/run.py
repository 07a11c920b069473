"""One run over a file: blocks are read, computed and written, and those that an earlier run has finished are kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from softgrad._formulas import states
from softgrad._validation.arrays import as_real
from softgrad.files.blocks import Region, shape_of
from softgrad.files.formats.table import Reader
from softgrad.files.journal import Digest, NoJournal, key_of
from softgrad.files.overlap import Behind, read_ahead
from softgrad.files.passes import Normalization, Plan

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Run:
    """A plan, with the files that it is carried out on."""

    plan: Plan
    open_reader: Callable[[], Reader]
    """Open the source from its start."""
    writers: tuple[Any, ...]
    """A `Writer` for each result, None for one that is not written; one `ResumableWriter` if there is a journal."""
    journal: NoJournal
    count: Callable[[int], None]
    """Receives the number of entries that are done."""

    def __call__(self) -> None:
        """Compute what the journal does not list as finished."""
        finished = self._confirmed() if self.journal.finished else frozenset()
        units = (unit for unit in self.plan.units() if key_of(unit) not in finished)
        with Behind() as behind:
            if self.plan.long is None:
                self._whole_slices(units, behind)
            else:
                self._partial_slices(self.plan.long, units, behind)

    def _confirmed(self) -> frozenset[str]:
        """The units that an earlier run has finished: the source is the same, and what was written is intact."""
        plan, journal = self.plan, self.journal
        reader, found = self.open_reader(), set()
        for unit in plan.units():
            key = key_of(unit)
            if key not in journal.finished:
                continue
            before, written = journal.finished[key]
            if str(journal.digest(self._blocks(reader, unit))) != before:
                names = ["source", *(operand.name for operand in plan.call.operands)]
                raise ValueError(
                    f"was begun with another {' or '.join(names)}: entries [{key}] have changed; run without"
                    " resume=True to start again"
                )
            if str(journal.digest(map(self.writers[0].read, plan.places(unit)))) == written:
                found.add(key)
                self.count(plan.passes * math.prod(shape_of(unit)))
        return frozenset(found)

    def _blocks(self, reader: Reader, unit: Region) -> Iterator[Array]:
        """What is read for a unit: its parts, each with what the operands have for it."""
        for part, block in read_ahead(reader.read, self.plan.parts(unit)):
            yield block
            for operand in self.plan.call.operands:
                yield operand.read(part)

    def _whole_slices(self, units: Iterator[Region], behind: Behind) -> None:
        source, operands = self.open_reader(), self.plan.call.operands

        def read(unit: Region) -> tuple[Array, list[Array]]:
            return source.read(unit), [operand.read(unit) for operand in operands]

        for unit, (block, given) in read_ahead(read, units):
            digest = self.journal.digest([block, *given])  # before the function, which may write into the block
            behind.submit(self._store_unit, unit, self.plan.computed(unit, block, given), digest)
            self.count(math.prod(shape_of(unit)))

    def _store_unit(self, unit: Region, found: list[Array | None], read: Digest) -> None:
        for writer, result, values in zip(self.writers, self.plan.results, found, strict=True):
            if result is not None:
                writer.write(result.place(unit), values)
        self.journal.record(unit, read, self.journal.digest(found))

    def _partial_slices(self, long: Normalization, units: Iterator[Region], behind: Behind) -> None:
        plan = self.plan
        readers = [self.open_reader() for _ in range(plan.passes)]
        for unit in units:
            read, written = self.journal.digest(), self.journal.digest()

            def store(place: Region, values: Array, written: Digest = written) -> None:
                self.writers[0].write(place, values)
                written.update(values)

            state: states.State | None = None
            for _, rows in self._rows(readers[0], unit, read):
                found = long.state(rows)
                state = found if state is None else long.merge(state, found)
            if state is None:
                continue
            if long.by_slice:
                (place,) = plan.places(unit)
                behind.submit(store, place, plan.narrowed(states.logsumexp(state).reshape(shape_of(place))))
            else:
                for part, rows in self._rows(readers[1], unit, self.journal.digest()):
                    values = np.moveaxis(long.apply(rows, state), -1, plan.axis)
                    behind.submit(store, plan.result.place(part), plan.narrowed(values))
            behind.submit(self.journal.record, unit, read, written)

    def _rows(self, reader: Reader, unit: Region, read: Digest) -> Iterator[tuple[Region, Array]]:
        """The parts of a unit, their slices as rows."""
        for part, block in read_ahead(reader.read, self.plan.parts(unit)):
            read.update(block)
            yield part, self.plan.widened(np.asarray(np.moveaxis(as_real(block), self.plan.axis, -1)))
            self.count(math.prod(shape_of(part)))
