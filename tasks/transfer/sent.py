"""What a place has got of a folder's files, remembered beside them."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path
from typing import Any, Self

from tasks.core.errors import LocalFault
from tasks.media.versions import version_of
from tasks.sources.base import MediaObject

PREFIX = ".sent-"
_ADDED_AT_ONCE = 200
"""So many files at most are sent again after a kill."""


class SentFiles:
    """The files of a folder that a place has got, each in one version; a context manager.

    It is a note that saves time: without it, files are sent once more.

    Args:
        folder: where the files lie, and the note beside them.
        url: of the place.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self._path = folder / f"{PREFIX}{hashlib.sha256(url.encode()).hexdigest()[:16]}.sqlite"
        self._added = 0
        try:
            self._database = self._open()
        except sqlite3.DatabaseError:
            self._path.unlink(missing_ok=True)
            self._database = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            self._execute("COMMIT")
        finally:
            self._database.close()

    def has(self, item: MediaObject) -> bool:
        """Whether the place has got the file as it is."""
        known = self._execute("SELECT version FROM sent WHERE name = ?", item.key).fetchone()
        return known is not None and known[0] == version_of(item)

    def has_any(self, name: str) -> bool:
        """Whether the place has got some version of the file."""
        return self._execute("SELECT 1 FROM sent WHERE name = ?", name).fetchone() is not None

    def add(self, item: MediaObject) -> None:
        """Notes that the place has got the file; it is on disk when some have gathered, or at the end."""
        self._execute("INSERT OR REPLACE INTO sent VALUES (?, ?)", item.key, version_of(item))
        self._added += 1
        if self._added % _ADDED_AT_ONCE == 0:
            self._execute("COMMIT")
            self._execute("BEGIN")

    def clear(self) -> None:
        """Forgets everything."""
        self._execute("DELETE FROM sent")

    def __bool__(self) -> bool:
        return self._execute("SELECT 1 FROM sent LIMIT 1").fetchone() is not None

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, isolation_level=None)
        try:
            database.execute("CREATE TABLE IF NOT EXISTS sent (name TEXT PRIMARY KEY, version TEXT) WITHOUT ROWID")
            database.execute("BEGIN")
        except sqlite3.DatabaseError:
            database.close()
            raise
        return database

    def _execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, values)
        except sqlite3.OperationalError as error:
            raise LocalFault(f"{self._path} cannot be written ({error}): is there space left?") from error
