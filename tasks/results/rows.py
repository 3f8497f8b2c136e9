"""The rows of one table of two runs, in a form in which they can be compared.

Values are the same when they are equal to the last bit, NaN included; images when the files that they name hold the
same bytes. Ids that the engine draws at random, and the time that it took, are no results and are left out.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.results.schemas import KIND_KEY, OUTPUT_KEY
from tasks.results.tables import PREDICTIONS_FILE
from tasks.results.writer import read_batches

SHOWN_CHARACTERS = 40
RANDOM = frozenset({"detection_id", "parent_id", "root_parent_id", "inference_id"})
"""Names of columns and fields that hold ids drawn anew each time."""
_INFERENCE, _TIME = "inference_id", "time"
"""A field ``time`` beside an ``inference_id`` holds the seconds that the engine took."""
_EXPORTED = "export/"
"""What the path of an image in a run folder begins with."""
_JSON_COLUMNS = frozenset({"extra"})
"""Columns of predictions that hold JSON."""
_NAN = object()

Row = tuple[Any, ...]
Group = tuple[str, list[Row]]


class ComparedTable:
    """One table of two runs, as far as both have the same columns.

    Args:
        before: the earlier run's folder.
        now: the other one's.
        name: of the file in both; sorted by its column ``file``.
    """

    def __init__(self, before: Path, now: Path, name: str) -> None:
        self._name = name
        self._stem = Path(name).stem
        self._of_predictions = name == PREDICTIONS_FILE
        theirs, ours = (_fields(folder / name) for folder in (before, now))
        self.only_before = self._lonely(theirs, ours)
        """Columns that only the earlier run has, as ``table.column``."""
        self.only_now = self._lonely(ours, theirs)
        shared = [field for field in ours if field in theirs]
        self._names = ["file", *(field for field in shared if field != "file")]
        self._json = {field for field in shared if _holds_json(ours[field]) or _holds_json(theirs[field])}
        self._files = {field for field in shared if _may_name_files(ours[field]) or _may_name_files(theirs[field])}
        self._alike = all(ours[field].type == theirs[field].type for field in shared)

    def groups(self, folder: Path) -> Iterator[Group]:
        """The rows of one of the runs, by file; one file's are in memory, and a batch."""
        for file, rows in groupby(self._rows(folder), itemgetter(0)):
            yield file, list(rows)

    def differences(self, before: list[Row], now: list[Row]) -> Iterator[str]:
        """What differs between one file's rows, such as ``predictions[2].confidence 0.5 → 0.6``."""
        if self._alike and before == now:
            return
        if len(before) != len(now):
            yield f"{self._stem} {len(before)} → {len(now)}"
            return
        for place, rows in enumerate(zip(self._ordered(before), self._ordered(now), strict=True)):
            where = f"{self._stem}[{place}]." if self._of_predictions or len(now) > 1 else ""
            for name, earlier, later in zip(self._names, *rows, strict=True):
                if self._plain(name, earlier) != self._plain(name, later):
                    yield f"{where}{name} {_shown(earlier)} → {_shown(later)}"

    def _lonely(self, fields: dict[str, pa.Field], others: dict[str, pa.Field]) -> tuple[str, ...]:
        return tuple(f"{self._stem}.{field}" for field in fields if field not in others)

    def _rows(self, folder: Path) -> Iterator[Row]:
        for batch in read_batches(folder / self._name, self._names):
            yield from zip(*(self._column(batch, name, folder) for name in self._names), strict=True)

    def _column(self, batch: pa.RecordBatch, name: str, folder: Path) -> list[Any]:
        values: list[Any] = batch.column(name).to_pylist()
        return [_with_content(value, folder) for value in values] if name in self._files else values

    def _ordered(self, rows: list[Row]) -> list[Row]:
        """By output; the order within an output is part of the result, that of the outputs is not."""
        return sorted(rows, key=itemgetter(self._names.index("output"))) if self._of_predictions else rows

    def _plain(self, name: str, value: Any) -> Any:
        return _plain(_parsed(value) if name in self._json else value)


def _fields(table: Path) -> dict[str, pa.Field]:
    """The columns of a table that hold results."""
    return {field.name: field for field in pq.read_schema(table) if not RANDOM & {field.name, _origin(field)}}


def _origin(field: pa.Field) -> str:
    """The workflow's own name of what the column holds, without that of the output that it was taken from."""
    return str((field.metadata or {}).get(OUTPUT_KEY, b"").decode().rpartition("/")[2])


def _role(field: pa.Field) -> bytes:
    role: bytes = (field.metadata or {}).get(KIND_KEY, b"")
    return role


def _holds_json(field: pa.Field) -> bool:
    role = _role(field)
    return role == b"json" or (not role and field.name in _JSON_COLUMNS)


def _may_name_files(field: pa.Field) -> bool:
    return _role(field) == b"image" or (_role(field) == b"value" and bool(pa.types.is_nested(field.type)))


def _with_content(value: Any, folder: Path) -> Any:
    """``value`` with the content of the files that it names in place of their paths."""
    match value:
        case str() if value.startswith(_EXPORTED) and ".." not in value.split("/"):
            return _digest(folder / value)
        case list():
            return [_with_content(item, folder) for item in value]
        case dict():
            return {name: _with_content(item, folder) for name, item in value.items()}
    return value


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return f"nothing at {path}"  # the same as no other run's: nobody can say what it was


def _parsed(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return text


def _plain(value: Any) -> Any:
    """``value`` without what is random, and so that it equals only what is the same."""
    match value:
        case bool():
            return (bool, value)  # in Python, True equals 1
        case float() if math.isnan(value):
            return _NAN
        case list():
            return [_plain(item) for item in value]
        case dict():
            left_out = RANDOM | {_TIME} if _INFERENCE in value else RANDOM
            return {name: _plain(item) for name, item in value.items() if name not in left_out}
    return value


def _shown(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"
