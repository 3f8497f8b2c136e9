"""What is known of each file, sorted by name and on disk, for result sets larger than memory.

Results come in the order of the service's chunks, and some may come twice. A SQLite file holds the manifest and, for
each file, where its result stands. It comes out sorted by name (by Unicode code point). Memory is SQLite's page cache,
whatever the number; the file goes away with the store.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from enum import Enum
from pathlib import Path
from typing import NamedTuple, Protocol, Self

from tasks.results.blocks import Line

_CACHE_KIB = 8 * 1024
_CLAIMED_AT_ONCE = 32
"""Few, as all are looked up one by one when one of them cannot be kept."""


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


class StoredResult(NamedTuple):
    """A row of the manifest and where its result stands."""

    file: str
    key: str
    width: int | None
    height: int | None
    run: int | None
    """Number of the sorted run that holds it, read in full; ``None`` where its line has to be read."""
    part: int
    offset: int
    length: int

    @property
    def line(self) -> Line:
        """Where its line stands."""
        return Line(self.part, self.offset, self.length)


class Claim(Enum):
    """What becomes of a result."""

    KEPT = "kept"
    DUPLICATE = "duplicate"
    UNKNOWN = "unknown"


class ResultStore:
    """Places of results by file name, on disk; a context manager that removes its file at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # The leftover of a killed process is of no use.
        path.unlink(missing_ok=True)
        self._database = sqlite3.connect(path, isolation_level=None)
        # A scratch file: nothing in it has to survive a crash.
        for setting in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", "temp_store=FILE"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        self._database.execute(
            "CREATE TABLE files (name TEXT PRIMARY KEY, key TEXT, width INT, height INT, id INT) WITHOUT ROWID"
        )
        # Apart from the files: a small table can be filled in any order without the disk.
        self._database.execute(
            "CREATE TABLE places (id INTEGER PRIMARY KEY, run INT, part INT, offset INT, length INT)"
        )
        self._database.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._database.close()
        self._path.unlink(missing_ok=True)

    def expect(self, manifest: Iterable[ManifestEntry]) -> None:
        """Takes in the files that may have results."""
        self._database.executemany(
            "INSERT INTO files VALUES (?, ?, ?, ?, ?)",
            ((entry.name, entry.key, entry.width, entry.height, number) for number, entry in enumerate(manifest)),
        )

    def claim(self, found: Sequence[tuple[str, Line]], run: int | None = None) -> list[Claim]:
        """Notes where the results of files stand; of a file with several the first counts.

        Args:
            found: names of files, and where their lines stand.
            run: the run that holds the results.

        Returns:
            What becomes of each.
        """
        groups = (found[start : start + _CLAIMED_AT_ONCE] for start in range(0, len(found), _CLAIMED_AT_ONCE))
        return [claim for group in groups for claim in self._claim(group, run)]

    def _claim(self, found: Sequence[tuple[str, Line]], run: int | None) -> list[Claim]:
        insert = "INSERT OR IGNORE INTO places SELECT id, ?, ?, ?, ? FROM files WHERE name = ?"
        values = [(run, line.part, line.offset, line.length, file) for file, line in found]
        if self._database.executemany(insert, values).rowcount == len(found):
            return [Claim.KEPT] * len(found)
        return [self._outcome(file, line) for file, line in found]

    def _outcome(self, file: str, line: Line) -> Claim:
        held = self._find(file)
        if held is None:
            return Claim.UNKNOWN
        return Claim.KEPT if held == line else Claim.DUPLICATE

    def place_of(self, file: str) -> Line:
        """Where the result of a file stands.

        Raises:
            KeyError: it has none.
        """
        line = self._find(file)
        if line is None:
            raise KeyError(file)
        return line

    def _find(self, file: str) -> Line | None:
        query = "SELECT part, offset, length FROM files JOIN places USING (id) WHERE name = ?"
        row = self._database.execute(query, (file,)).fetchone()
        return None if row is None else Line(*row)

    def __iter__(self) -> Iterator[StoredResult]:
        """All files with results, sorted by name."""
        query = (
            "SELECT name, key, width, height, run, part, offset, length"
            " FROM files CROSS JOIN places USING (id) ORDER BY name"
        )
        with closing(self._database.execute(query)) as rows:
            for row in rows:
                yield StoredResult(*row)
