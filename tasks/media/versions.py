"""Which version of an object is meant, and an index of versions for more objects than memory should hold."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Self

from tasks.core.errors import LocalFault
from tasks.sources.base import MediaObject

BATCH = 2000
CACHE_KIB = 32 * 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def version_of(item: MediaObject) -> str:
    """A text that changes whenever the object does, as far as the listing shows it.

    It is the store's version tag, else size and time; where a listing gives none of them, nothing shows a change.
    """
    microseconds = None if item.modified is None else (item.modified - _EPOCH) // _MICROSECOND
    return version_text(item.size, item.etag, microseconds)


def version_text(size: int | None, etag: str | None, modified: int | None) -> str:
    """The same from columns of a manifest.

    Args:
        size: bytes.
        etag: the store's version tag.
        modified: microseconds since 1970, UTC.
    """
    if etag:
        return etag
    text = "" if size is None else str(size)
    return text if modified is None else f"{text}@{modified}"


class VersionIndex:
    """Versions by key, in a file of the temporary folder that is gone with the index, or with the process.

    Memory does not grow with the number of keys. A context manager; used by one thread at a time.
    """

    def __init__(self) -> None:
        # Without a name SQLite takes a file of its own that has none either, so that nothing is left after a kill.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for setting in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{CACHE_KIB}"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.execute("CREATE TABLE versions (key BLOB PRIMARY KEY, version TEXT) WITHOUT ROWID")
        self._database.execute("BEGIN")
        self._pending: dict[bytes, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._database.close()

    def add(self, key: str, version: str) -> None:
        """Keeps the version of ``key``, in place of an earlier one.

        Raises:
            LocalFault: the temporary folder is full.
        """
        self._pending[_bytes(key)] = version
        if len(self._pending) >= BATCH:
            self._flush()

    def get(self, key: str) -> str | None:
        """The version of ``key``, or ``None`` where it has none."""
        raw = _bytes(key)
        found = self._pending.get(raw)
        if found is not None:
            return found
        row = self._database.execute("SELECT version FROM versions WHERE key = ?", (raw,)).fetchone()
        return None if row is None else str(row[0])

    def discard(self, key: str) -> None:
        """Forgets ``key``."""
        self._flush()
        self._database.execute("DELETE FROM versions WHERE key = ?", (_bytes(key),))

    def items(self) -> Iterator[tuple[str, str]]:
        """Keys and versions in the order of the keys; nothing is to be added meanwhile."""
        self._flush()
        with closing(self._database.execute("SELECT key, version FROM versions ORDER BY key")) as rows:
            for raw, version in rows:
                yield raw.decode("utf-8", "surrogateescape"), version

    def _flush(self) -> None:
        try:
            self._database.executemany("INSERT OR REPLACE INTO versions VALUES (?, ?)", self._pending.items())
        except sqlite3.OperationalError as error:
            raise LocalFault(
                f"the temporary folder cannot hold an index of the files ({error}): free some space there, "
                "or name another folder in TMPDIR"
            ) from error
        self._pending.clear()


def _bytes(key: str) -> bytes:
    """The key's own bytes, also where a file system gave ones that are not UTF-8."""
    return key.encode("utf-8", "surrogateescape")
