"""Notifications that wait to be delivered."""

import re
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, not_, or_, select
from sqlalchemy.orm import Session

from deployments.batch_server.database import Database, NotificationRow

_AFTER_ORIGIN = re.compile(r"(?<=[^:/])[/?#].*", re.DOTALL)


@dataclass(frozen=True)
class Notification:
    """One attempt to deliver an event."""

    seq: int
    url: str
    event: dict[str, Any]
    """With `delivery_attempt`."""
    attempt: int
    """From 1 on."""

    @property
    def origin(self) -> str:
        """Who is to be told."""
        return url_origin(self.url)


class OutboxStore:
    """Keeps events until they are delivered or given up; nothing of them stays."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def take_due(
        self, pauses: tuple[float, ...], limit: int, each: int, under_way: Collection[Notification] = ()
    ) -> list[Notification]:
        """Begin an attempt for each event whose time has come, first come, first served.

        The attempt counts from now on and the next one is fixed, so that a server killed in the middle leaves
        nothing undelivered.

        Args:
            pauses: Seconds to the next attempt, after the first, the second, …
            limit: Most events.
            each: Most events for one origin, those under way included.
            under_way: Attempts that have not ended.
        """
        now = self._clock()
        with self._database.write() as session:
            rows = _due(session, now, limit, each, under_way)
            for row in rows:
                row.attempts += 1
                row.due_at = now + pauses[min(row.attempts, len(pauses)) - 1]
            return [
                Notification(row.seq, row.url, {**row.event, "delivery_attempt": row.attempts}, row.attempts)
                for row in rows
            ]

    def wait(self, each: int, under_way: Collection[Notification] = ()) -> float | None:
        """Seconds until the next attempt, or `None` when nothing waits but for those under way to end."""
        others = _others([entry.seq for entry in under_way], Counter(entry.origin for entry in under_way), each)
        with self._database.read() as session:
            due = session.scalar(select(func.min(NotificationRow.due_at)).where(others))
            return None if due is None else max(0.0, due - self._clock())

    def remove(self, seq: int) -> None:
        """Forget an event."""
        with self._database.write() as session:
            session.execute(delete(NotificationRow).where(NotificationRow.seq == seq))


def enqueue(session: Session, url: str, event: dict[str, Any], now: float) -> None:
    """Have an event delivered, if the transaction it belongs to succeeds."""
    session.add(NotificationRow(url=url, event=event, due_at=now))


def url_origin(url: str) -> str:
    """Scheme, host and port, as they are written."""
    return re.split(_AFTER_ORIGIN, url, maxsplit=1)[0]


def _due(
    session: Session, now: float, limit: int, each: int, under_way: Collection[Notification]
) -> list[NotificationRow]:
    busy = Counter(entry.origin for entry in under_way)
    rows: list[NotificationRow] = []
    while len(rows) < limit:
        others = _others([*(entry.seq for entry in under_way), *(row.seq for row in rows)], busy, each)
        query = select(NotificationRow).where(NotificationRow.due_at <= now, others)
        found = session.scalars(query.order_by(NotificationRow.due_at, NotificationRow.seq).limit(limit)).all()
        for row in found:
            if busy[url_origin(row.url)] < each and len(rows) < limit:
                busy[url_origin(row.url)] += 1
                rows.append(row)
        if len(found) < limit:
            break
    return rows


def _others(seqs: Collection[int], busy: Counter[str], each: int) -> ColumnElement[bool]:
    """All events but these, and but those for origins that are told as much as they may be at once."""
    full = [origin for origin, number in busy.items() if number >= each]
    return and_(NotificationRow.seq.not_in(seqs), *(not_(_is_for(origin)) for origin in full))


def _is_for(origin: str) -> ColumnElement[bool]:
    start = func.substr(NotificationRow.url, 1, len(origin) + 1)
    return or_(*(start == origin + end for end in ("/", "?", "#", "")))
