"""A sorted set of results on disk, for result sets larger than memory.

Results come in the order of the service's chunks, and some may come twice. They are put into a SQLite file
keyed by file name, beside the manifest, and come out joined with it and sorted by name (by Unicode code
point). Memory is SQLite's page cache, whatever the number; the file is about as big as the results and goes
away with the store.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self


class ManifestEntry(Protocol):
    """The part of a manifest row that tables need."""

    @property
    def name(self) -> str:
        """Name as staged, unique."""

    @property
    def key(self) -> str:
        """Name below the source's root."""

    @property
    def width(self) -> int | None:
        """Pixels."""

    @property
    def height(self) -> int | None:
        """Pixels."""


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A result joined with its row of the manifest."""

    file: str
    key: str
    width: int | None
    height: int | None
    outputs: dict[str, Any]
    size: int
    """Characters of the outputs as JSON."""


class ResultStore:
    """Results by file name, on disk; a context manager that removes its file at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # The leftover of a killed process is of no use.
        path.unlink(missing_ok=True)
        self._database = sqlite3.connect(path, isolation_level=None)
        # A scratch file: nothing in it has to survive a crash.
        for setting in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", "temp_store=FILE"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.execute(
            "CREATE TABLE files (name TEXT PRIMARY KEY, key TEXT, width INT, height INT) WITHOUT ROWID"
        )
        self._database.execute("CREATE TABLE results (name TEXT, outputs TEXT)")
        self._database.execute("CREATE UNIQUE INDEX result_names ON results (name)")
        self._database.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._database.close()
        self._path.unlink(missing_ok=True)

    def expect(self, manifest: Iterable[ManifestEntry]) -> None:
        """Takes in the files that may have results."""
        self._database.executemany(
            "INSERT INTO files VALUES (?, ?, ?, ?)",
            ((entry.name, entry.key, entry.width, entry.height) for entry in manifest),
        )

    def knows(self, file: str) -> bool:
        """Whether the manifest has the file."""
        return self._database.execute("SELECT 1 FROM files WHERE name = ?", (file,)).fetchone() is not None

    def add(self, file: str, outputs: dict[str, Any]) -> bool:
        """Keeps a result; false, and nothing kept, where the file has one already."""
        text = json.dumps(outputs, ensure_ascii=False)
        return self._database.execute("INSERT OR IGNORE INTO results VALUES (?, ?)", (file, text)).rowcount > 0

    def __iter__(self) -> Iterator[StoredResult]:
        """All results, sorted by file name."""
        query = "SELECT name, key, width, height, outputs FROM results JOIN files USING (name) ORDER BY results.name"
        with closing(self._database.execute(query)) as rows:
            for file, key, width, height, text in rows:
                yield StoredResult(file, key, width, height, json.loads(text), len(text))
