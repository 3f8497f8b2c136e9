"""Notifications that wait to be delivered."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from deployments.batch_server.database import Database, NotificationRow


@dataclass(frozen=True)
class Notification:
    """One attempt to deliver an event."""

    seq: int
    url: str
    event: dict[str, Any]
    """With `delivery_attempt`."""
    attempt: int
    """From 1 on."""


class OutboxStore:
    """Keeps events until they are delivered or given up; nothing of them stays."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def take_due(self, pauses: tuple[float, ...], limit: int) -> list[Notification]:
        """Begin an attempt for each event whose time has come.

        The attempt counts from now on and the next one is fixed, so that a server killed in the middle leaves
        nothing undelivered.

        Args:
            pauses: Seconds to the next attempt, after the first, the second, …
            limit: Most events.
        """
        now = self._clock()
        query = select(NotificationRow).where(NotificationRow.due_at <= now).order_by(NotificationRow.seq)
        with self._database.write() as session:
            rows = list(session.scalars(query.limit(limit)))
            for row in rows:
                row.attempts += 1
                row.due_at = now + pauses[min(row.attempts, len(pauses)) - 1]
            return [
                Notification(row.seq, row.url, {**row.event, "delivery_attempt": row.attempts}, row.attempts)
                for row in rows
            ]

    def wait(self) -> float | None:
        """Seconds until the next attempt, or `None` when nothing waits."""
        with self._database.read() as session:
            due = session.scalar(select(func.min(NotificationRow.due_at)))
            return None if due is None else max(0.0, due - self._clock())

    def remove(self, seq: int) -> None:
        """Forget an event."""
        with self._database.write() as session:
            session.execute(delete(NotificationRow).where(NotificationRow.seq == seq))


def enqueue(session: Session, url: str, event: dict[str, Any], now: float) -> None:
    """Have an event delivered, if the transaction it belongs to succeeds."""
    session.add(NotificationRow(url=url, event=event, due_at=now))
