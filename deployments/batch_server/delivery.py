"""Delivers notifications: at least once, with growing pauses, until it gives up."""

import asyncio
import json
import logging
from contextlib import suppress

from deployments.batch_server.remote.connections import ConnectionPool, Request
from deployments.batch_server.remote.failures import FetchFailed, UnsafeUrl
from deployments.batch_server.remote.targets import parse_target, shown_url
from deployments.batch_server.store.outbox import Notification, OutboxStore

LOG = logging.getLogger(__name__)
PAUSES = (5.0, 15.0, 45.0, 135.0, 405.0, 1215.0, 3600.0, 3600.0, 3600.0, 3600.0, 3600.0, 3600.0)
"""Seconds after the first attempt, the second, …; the last attempt has one too, which nobody waits for."""
AT_ONCE = 16
ATTEMPT_SECONDS = 30.0
RETRY_SECONDS = 5.0


class Delivery:
    """Sends what is in the outbox; a redirect is no delivery, for the token is for nobody else."""

    def __init__(
        self,
        store: OutboxStore,
        pool: ConnectionPool,
        token: str,
        pauses: tuple[float, ...] = PAUSES,
    ) -> None:
        self._store = store
        self._pool = pool
        self._token = token
        self._pauses = pauses
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look for something new; to be called in the loop."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            while True:
                seconds = await self._deliver_all()
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await self._woken.wait()
                self._woken.clear()
        finally:
            self._pool.close_idle()

    async def _deliver_all(self) -> float | None:
        """Deliver what is due; gives the seconds until something else is, or `None` when nothing waits."""
        try:
            while await self.deliver_due():
                pass
            return await asyncio.to_thread(self._store.wait)
        except Exception:
            LOG.exception("the outbox cannot be used and is tried again in %g s", RETRY_SECONDS)
            return RETRY_SECONDS

    async def deliver_due(self) -> int:
        """Make an attempt for each event that is due, some at a time; gives how many."""
        due = await asyncio.to_thread(self._store.take_due, self._pauses, AT_ONCE)
        await asyncio.gather(*(self._attempt(notification) for notification in due))
        return len(due)

    async def _attempt(self, notification: Notification) -> None:
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                problem = await self._post(notification)
        except UnsafeUrl as error:
            await self._give_up(notification, str(error))
            return
        except FetchFailed as error:
            problem = str(error)
        except TimeoutError:
            problem = f"no answer within {ATTEMPT_SECONDS:g} s"
        if problem is None:
            await asyncio.to_thread(self._store.remove, notification.seq)
        elif notification.attempt >= len(self._pauses):
            await self._give_up(notification, problem)

    async def _post(self, notification: Notification) -> str | None:
        """Send it; gives what was wrong with the answer, or `None`."""
        headers = (("content-type", "application/json"), ("authorization", f"Bearer {self._token}"))
        target = parse_target(notification.url)
        request = Request("POST", target, headers, json.dumps(notification.event).encode())
        async with self._pool.exchange(request) as answer:
            await answer.drain()
        return None if 200 <= answer.status < 300 else f"it answers with status {answer.status}"

    async def _give_up(self, notification: Notification, reason: str) -> None:
        LOG.warning(
            "a notification to %s was not delivered after %d attempts: %s",
            shown_url(notification.url),
            notification.attempt,
            reason,
        )
        await asyncio.to_thread(self._store.remove, notification.seq)
