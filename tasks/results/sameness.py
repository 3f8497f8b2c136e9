"""Whether two runs have the same results, row by row.

Both runs' tables are read side by side in the order of their files, so memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

from tasks.core.errors import BadInput
from tasks.media.versions import VersionIndex
from tasks.results.rows import ComparedTable, Row
from tasks.results.tables import FAILURES_FILE, PREDICTIONS_FILE, RESULTS_FILE
from tasks.results.writer import read_batches

MOST_EXAMPLES = 20
SHOWN_DIFFERENCES = 3
_Rows = tuple[list[Row], ...]
"""One file's rows in each table."""

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class Sameness:
    """How the results of a run, now, compare with those of an earlier one."""

    same: int = 0
    """Files with the same results, and files that both runs failed, or both rejected."""
    different: int = 0
    """Files with other results, or that one run failed and the other rejected."""
    only_before: int = 0
    """Files that only the earlier run has a result of, or knows at all."""
    only_now: int = 0
    columns_before: tuple[str, ...] = ()
    """Columns that only the earlier run has, as ``table.column``; they are not compared."""
    columns_now: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    """The first files that differ and how, a line each."""

    @property
    def files(self) -> int:
        """All files of both runs."""
        return self.same + self.different + self.only_before + self.only_now

    @property
    def identical(self) -> bool:
        """Whether nothing differs."""
        return self.same == self.files and not self.columns_before and not self.columns_now

    def line(self) -> str:
        """What is to be said of it, in one line."""
        if self.identical:
            return f"the results are the same, row by row ({self.files} files)"
        told = (
            (self.different, f"{self.different} of {self.files} files are different"),
            (self.only_before, f"{self.only_before} have a result in the earlier run only"),
            (self.only_now, f"{self.only_now} have a result now only"),
            (self.columns_before, f"columns in the earlier run only: {', '.join(self.columns_before)}"),
            (self.columns_now, f"columns now only: {', '.join(self.columns_now)}"),
        )
        return f"the results differ: {'; '.join(text for there, text in told if there)}"


def compare_rows(one: Path, other: Path) -> Sameness:
    """The results in the run folder ``other`` (now) against those in ``one`` (before).

    Image outputs are compared by content, so both folders need their ``export``.

    Raises:
        BadInput: one of them lacks a table.
    """
    for folder in (one, other):
        _check(folder)
    tables = tuple(ComparedTable(one, other, name) for name in (RESULTS_FILE, PREDICTIONS_FILE))
    with VersionIndex() as failed_before, VersionIndex() as failed_now:
        _fill(failed_before, one)
        _fill(failed_now, other)
        tally = _Tally(failed_before, failed_now)
        for file, before, now in _joined(_files(one, tables), _files(other, tables)):
            tally.add(file, before, now, tables)
        tally.add_failures()
        return tally.sameness(tables)


class _Tally:
    """Counts files by what became of them in both runs.

    Args:
        failed_before: states of the files that the earlier run has no result of.
        failed_now: likewise.
    """

    def __init__(self, failed_before: VersionIndex, failed_now: VersionIndex) -> None:
        self._failed_before = failed_before
        self._failed_now = failed_now
        self._counts = {"same": 0, "different": 0, "only_before": 0, "only_now": 0}
        self._examples: list[str] = []

    def add(self, file: str, before: _Rows | None, now: _Rows | None, tables: tuple[ComparedTable, ...]) -> None:
        """A file that at least one run has a result of."""
        if before is None:
            self._count("only_now", f"{file}: {_taken(self._failed_before, file)} → processed")
        elif now is None:
            self._count("only_before", f"{file}: processed → {_taken(self._failed_now, file)}")
        else:
            self._compare(file, before, now, tables)

    def add_failures(self) -> None:
        """The files that are left: those that no run has a result of."""
        for file, before, now in _joined(self._failed_before.items(), self._failed_now.items()):
            if before is None:
                self._count("only_now", f"{file}: not there → {now}")
            elif now is None:
                self._count("only_before", f"{file}: {before} → not there")
            else:
                self._count("same" if before == now else "different", f"{file}: {before} → {now}")

    def sameness(self, tables: tuple[ComparedTable, ...]) -> Sameness:
        """What all of it comes to."""
        return Sameness(
            **self._counts,
            columns_before=tuple(chain.from_iterable(table.only_before for table in tables)),
            columns_now=tuple(chain.from_iterable(table.only_now for table in tables)),
            examples=tuple(self._examples),
        )

    def _compare(self, file: str, before: _Rows, now: _Rows, tables: tuple[ComparedTable, ...]) -> None:
        pairs = zip(tables, before, now, strict=True)
        differences = chain.from_iterable(table.differences(theirs, ours) for table, theirs, ours in pairs)
        if found := list(islice(differences, SHOWN_DIFFERENCES + 1)):
            shown = found if len(found) <= SHOWN_DIFFERENCES else [*found[:SHOWN_DIFFERENCES], "and more"]
            self._count("different", f"{file}: {', '.join(shown)}")
        else:
            self._count("same", file)

    def _count(self, what: str, example: str) -> None:
        self._counts[what] += 1
        if what != "same" and len(self._examples) < MOST_EXAMPLES:
            self._examples.append(example)


def _check(folder: Path) -> None:
    for name in (RESULTS_FILE, PREDICTIONS_FILE, FAILURES_FILE):
        if not (folder / name).exists():
            raise BadInput(f"{folder} has no {name}: only finished runs can be compared row by row")


def _fill(index: VersionIndex, folder: Path) -> None:
    """Puts the state of each file without a result into ``index``; their table is in no order of names."""
    for batch in read_batches(folder / FAILURES_FILE, ["file", "state"]):
        for file, state in zip(batch.column("file").to_pylist(), batch.column("state").to_pylist(), strict=True):
            index.add(file, state)


def _taken(failed: VersionIndex, file: str) -> str:
    """The file's state, which is taken out so that it does not count among the failures once more."""
    state = failed.get(file)
    if state is None:
        return "not there"
    failed.discard(file)
    return state


def _files(folder: Path, tables: tuple[ComparedTable, ...]) -> Iterator[tuple[str, _Rows]]:
    results, predictions = (table.groups(folder) for table in tables)
    for file, of_results, of_predictions in _joined(results, predictions):
        yield file, (of_results or [], of_predictions or [])


def _joined(one: Iterator[tuple[str, A]], other: Iterator[tuple[str, B]]) -> Iterator[tuple[str, A | None, B | None]]:
    """Both streams, which are sorted by name, as one: what each has under a name, or ``None``."""
    left, right = next(one, None), next(other, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left[0] < right[0]):
            assert left is not None
            yield left[0], left[1], None
            left = next(one, None)
        elif left is None or right[0] < left[0]:
            yield right[0], None, right[1]
            right = next(other, None)
        else:
            yield left[0], left[1], right[1]
            left, right = next(one, None), next(other, None)
