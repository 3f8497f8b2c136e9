"""Keeps the events that notifications tell of, until long after they were acted on.

An event that its sender was told about is on disk: SQLite runs in WAL mode with a flush at every commit. Times are
seconds since the epoch (UTC).
"""

import json
import sqlite3
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from deployments.webhooks.claims import Claim, Kind

BUSY_SECONDS = 5.0
SCHEMA = 1
"""Counts the changes to the table below; a database of another number is not opened."""
_TABLE = f"""
BEGIN IMMEDIATE;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    event_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    received_at REAL NOT NULL,
    due_at REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    outcome TEXT,
    ended_at REAL,
    UNIQUE (run, event_id)
);
CREATE INDEX pending ON events (due_at) WHERE ended_at IS NULL;
CREATE INDEX ended ON events (ended_at) WHERE ended_at IS NOT NULL;
PRAGMA user_version = {SCHEMA};
COMMIT;
"""


class StoreUnusable(Exception):
    """The database cannot be used; says in one line what to change."""


@dataclass(frozen=True)
class Event:
    """An event that has not ended."""

    seq: int
    run: str
    kind: Kind
    payload: dict[str, Any]
    received_at: float
    attempts: int
    """How often it was tried in vain."""
    outcome: str | None
    """What came of it, where only telling is left."""


class EventStore:
    """The events of one receiver.

    Args:
        file: The database; made when missing.
        clock: Gives the time.
        busy_seconds: How long to wait for somebody else who looks into the database.

    Raises:
        StoreUnusable: The file is no database, or another version's.
    """

    def __init__(self, file: Path, clock: Callable[[], float], busy_seconds: float = BUSY_SECONDS) -> None:
        self._clock = clock
        self._lock = Lock()
        try:
            self._connection = _open(file, busy_seconds)
        except sqlite3.Error as error:
            raise StoreUnusable(f"the database {file} cannot be used ({error}): move it away") from None

    def accept(self, run: str, claim: Claim) -> bool:
        """Keep an event; on disk when this returns.

        Returns:
            Whether it is a new one: the same id of the same run comes again as often as its sender likes.
        """
        now = self._clock()
        return self._change(
            "INSERT INTO events (run, event_id, kind, payload, received_at, due_at) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (run, event_id) DO NOTHING",
            (run, claim.event_id, claim.kind, json.dumps(claim.payload), now, now),
        )

    def next_due(self, busy: Collection[str]) -> Event | None:
        """The event that has been due for longest.

        Args:
            busy: Runs whose events are left out.
        """
        row = self._first(
            "SELECT seq, run, kind, payload, received_at, attempts, outcome FROM events WHERE ended_at IS NULL"
            " AND due_at <= ? AND run NOT IN (SELECT value FROM json_each(?)) ORDER BY due_at, seq LIMIT 1",
            (self._clock(), json.dumps([*busy])),
        )
        if row is None:
            return None
        seq, run, kind, payload, *rest = row
        return Event(seq, run, Kind(kind), json.loads(payload), *rest)

    def wait(self, busy: Collection[str]) -> float | None:
        """Seconds until an event is due, or `None` when none will be; argument as for `next_due`."""
        query = "SELECT min(due_at) FROM events WHERE ended_at IS NULL AND run NOT IN (SELECT value FROM json_each(?))"
        (due,) = self._first(query, (json.dumps([*busy]),)) or (None,)
        return None if due is None else max(0.0, due - self._clock())

    def postpone(self, event: Event, seconds: float) -> None:
        """Have an event wait after a try in vain."""
        due = self._clock() + seconds
        self._change("UPDATE events SET attempts = attempts + 1, due_at = ? WHERE seq = ?", (due, event.seq))

    def settle(self, event: Event, outcome: str) -> None:
        """Note what came of an event that has not ended."""
        self._change("UPDATE events SET outcome = ? WHERE seq = ?", (outcome, event.seq))

    def end(self, event: Event, outcome: str) -> None:
        """Have an event wait no longer; `outcome` is what came of it, where that is not settled."""
        self._change(
            "UPDATE events SET ended_at = ?, outcome = coalesce(outcome, ?) WHERE seq = ?",
            (self._clock(), outcome, event.seq),
        )

    def take_up(self) -> None:
        """Make all that waits due now."""
        self._change("UPDATE events SET due_at = ? WHERE ended_at IS NULL", (self._clock(),))

    def prune(self, seconds: float) -> None:
        """Forget what has ended longer ago than that."""
        self._change("DELETE FROM events WHERE ended_at < ?", (self._clock() - seconds,))

    def pending(self) -> int:
        """How many events have not ended."""
        (number,) = self._first("SELECT count(*) FROM events WHERE ended_at IS NULL", ()) or (0,)
        return int(number)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()

    def _first(self, query: str, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
        with self._lock:
            row: tuple[Any, ...] | None = self._connection.execute(query, values).fetchone()
            return row

    def _change(self, statement: str, values: tuple[Any, ...]) -> bool:
        with self._lock:
            return self._connection.execute(statement, values).rowcount > 0


def _open(file: Path, busy_seconds: float) -> sqlite3.Connection:
    # Without an isolation level each statement is a transaction.
    connection = sqlite3.connect(file, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            connection.executescript(_TABLE)
        elif version != SCHEMA:
            raise sqlite3.DatabaseError("it was made by another version of this receiver")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
