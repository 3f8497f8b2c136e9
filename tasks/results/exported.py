"""Finding the results in a folder of exported parts, whatever service made them.

A part is a folder in the export folder. Results lie in it as files of one JSON object a line, as CSV with nested
values in JSON, or as one ``<file name>/results.json`` an image, packed or unpacked. The first of these that is there is
taken. A result that cannot be read is contained and told; it never ends the reading.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tasks.results.parse import IMAGE_KEY, MAX_RESULT_BYTES, Result, Unreadable, parse_json, result_of
from tasks.transfer.unpack import iter_tar_members

RESULTS_MEMBER = "results.json"
ARCHIVES = (".tar.gz", ".tgz", ".tar")

OnUnreadable = Callable[[str], None]


def part_folders(export_dir: Path) -> list[str]:
    """Names of the folders of parts, sorted; those for images first."""
    if not export_dir.is_dir():
        return []
    with os.scandir(export_dir) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    return sorted(names, key=lambda name: ("images" not in name, name))


def line_files(export_dir: Path) -> list[str]:
    """Files of one result a line, relative to ``export_dir``, in a fixed order."""
    return [path for path in _tables(export_dir) if path.endswith(".jsonl")]


def read_loose(export_dir: Path, on_unreadable: OnUnreadable) -> Iterator[Result]:
    """Every result that does not stand in a line: those in CSV, or else in files of their own; in a fixed order.

    Args:
        export_dir: holds a folder for each part.
        on_unreadable: told where and why, for each result that cannot be read.
    """
    tables = _tables(export_dir)
    if tables:
        yield from _read_csv_files(export_dir, tables, on_unreadable)
    else:
        yield from _read_single_files(export_dir, on_unreadable)


def _tables(export_dir: Path) -> list[str]:
    """Tables of results, relative to ``export_dir``; only the aggregated ones where there are any."""
    found = []
    for folder in ["", *part_folders(export_dir)]:
        names = _files_in(export_dir / folder, (".jsonl", ".csv"))
        found += [f"{folder}/{name}" if folder else name for name in names]
    aggregated = [path for path in found if path.rpartition("/")[2].startswith("aggregated")]
    return sorted(aggregated or found)


def _files_in(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        # The name first: a folder of images may hold a great many entries, and none of them a table.
        return [
            entry.name for entry in entries if entry.name.endswith(suffixes) and entry.is_file(follow_symlinks=False)
        ]


def _read_csv_files(export_dir: Path, paths: list[str], on_unreadable: OnUnreadable) -> Iterator[Result]:
    csv.field_size_limit(MAX_RESULT_BYTES)
    text_columns = _text_columns(export_dir, paths)
    for path in paths:
        for number, row in _csv_rows(export_dir / path):
            try:
                yield result_of(_csv_values(row, text_columns))
            except Unreadable as error:
                on_unreadable(f"{path} row {number}: {error}")


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str | None, Any]]]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader: csv.DictReader[Any] = csv.DictReader(file)
        yield from enumerate(reader, start=1)


def _text_columns(export_dir: Path, paths: list[str]) -> set[str]:
    """Columns with a cell that is not JSON: CSV has no types, so those hold text throughout."""
    found = {IMAGE_KEY}
    for path in paths:
        for _, row in _csv_rows(export_dir / path):
            for name, cell in row.items():
                if name is not None and name not in found and cell and not _is_cell_json(cell):
                    found.add(name)
    return found


def _is_cell_json(cell: str) -> bool:
    try:
        _parse_cell(cell)
    except Unreadable:
        return False
    return True


def _parse_cell(cell: str) -> Any:
    # Python's csv writes its own booleans.
    return {"True": True, "False": False}[cell] if cell in ("True", "False") else parse_json(cell.encode())


def _csv_values(row: dict[str | None, Any], text_columns: set[str]) -> dict[str, Any]:
    if None in row or None in row.values():
        raise Unreadable("the number of cells is not that of the header")
    values = {str(name): cell for name, cell in row.items()}
    for name, cell in values.items():
        if name not in text_columns:
            values[name] = _parse_cell(cell) if cell else None
    return values


def _read_single_files(export_dir: Path, on_unreadable: OnUnreadable) -> Iterator[Result]:
    for part in sorted(part_folders(export_dir)):
        for name in sorted(_files_in(export_dir / part, ARCHIVES)):
            yield from _read_archive(export_dir / part / name, f"{part}/{name}", on_unreadable)
        yield from _read_unpacked(export_dir / part, part, on_unreadable)


def _read_archive(path: Path, shown: str, on_unreadable: OnUnreadable) -> Iterator[Result]:
    members = iter_tar_members(path, on_refused=lambda member: on_unreadable(f"{shown}: {member.reason}"))
    for name, data in members:
        folder, _, base = name.rpartition("/")
        if base == RESULTS_MEMBER:
            yield from _one(data, folder.rpartition("/")[2], f"{shown}: {name}", on_unreadable)


def _read_unpacked(folder: Path, shown: str, on_unreadable: OnUnreadable) -> Iterator[Result]:
    for place, folders, files in os.walk(folder):
        folders.sort()
        if RESULTS_MEMBER in files:
            where = f"{shown}/{os.path.relpath(place, folder)}"
            with open(os.path.join(place, RESULTS_MEMBER), "rb") as file:  # noqa: PTH118, PTH123 - pathlib keeps every name for good
                data = file.read(MAX_RESULT_BYTES + 1)
            yield from _one(data, place.rpartition("/")[2], where, on_unreadable)


def _one(data: bytes, folder: str, shown: str, on_unreadable: OnUnreadable) -> Iterator[Result]:
    try:
        value = parse_json(data)
        if isinstance(value, dict):
            value.setdefault(IMAGE_KEY, folder)
        yield result_of(value)
    except Unreadable as error:
        on_unreadable(f"{shown}: {error}")
