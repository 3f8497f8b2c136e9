"""Delivers notifications: at least once, with growing pauses, until it gives up."""

import asyncio
import json
import logging
from contextlib import suppress

from deployments.batch_server.remote.connections import ConnectionPool, Request
from deployments.batch_server.remote.failures import FetchFailed, UnsafeUrl
from deployments.batch_server.remote.targets import Target, parse_target
from deployments.batch_server.store.outbox import Notification, OutboxStore

LOG = logging.getLogger(__name__)
PAUSES = (5.0, 15.0, 45.0, 135.0, 405.0, 1215.0, 3600.0, 3600.0, 3600.0, 3600.0, 3600.0, 3600.0)
"""Seconds after the first attempt, the second, …; the last attempt has one too, which nobody waits for."""
AT_ONCE = 16
EACH_AT_ONCE = 3
"""To one origin, so that one that hangs does not hold up the others."""
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
        self.under_way: dict[asyncio.Task[None], Notification] = {}
        """The attempts that have not ended."""

    def wake(self) -> None:
        """Look for something new; to be called in the loop."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            while True:
                seconds = await self._begin_all()
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await self._woken.wait()
                self._woken.clear()
        finally:
            for task in self.under_way:
                task.cancel()
            await asyncio.gather(*self.under_way, return_exceptions=True)
            self._pool.close_idle()

    async def begin_due(self) -> int:
        """Begin an attempt for each event that is due, as many as may be under way; gives how many."""
        room = AT_ONCE - len(self.under_way)
        if not room:
            return 0
        running = list(self.under_way.values())
        due = await asyncio.to_thread(self._store.take_due, self._pauses, room, EACH_AT_ONCE, running)
        for notification in due:
            task = asyncio.create_task(self._attempt(notification))
            self.under_way[task] = notification
            task.add_done_callback(self._end)
        return len(due)

    def _end(self, task: asyncio.Task[None]) -> None:
        del self.under_way[task]
        self._woken.set()

    async def _begin_all(self) -> float | None:
        """Begin what is due; gives the seconds until something else is, or `None` when nothing is to be waited for."""
        try:
            await self.begin_due()
            if len(self.under_way) >= AT_ONCE:
                return None
            return await asyncio.to_thread(self._store.wait, EACH_AT_ONCE, list(self.under_way.values()))
        except Exception:
            LOG.exception("the outbox cannot be used and is tried again in %g s", RETRY_SECONDS)
            return RETRY_SECONDS

    async def _attempt(self, notification: Notification) -> None:
        final = notification.attempt >= len(self._pauses)
        target = None
        try:
            target = parse_target(notification.url)
            async with asyncio.timeout(ATTEMPT_SECONDS):
                problem = await self._post(notification, target)
        except FetchFailed as error:
            problem, final = str(error), final or isinstance(error, UnsafeUrl)
        except TimeoutError:
            problem = f"no answer within {ATTEMPT_SECONDS:g} s"
        except Exception as error:
            LOG.exception("an attempt to deliver a notification failed")
            problem = f"internal error ({type(error).__name__})"
        if problem is not None and not final:
            return
        if problem is not None:
            _tell_given_up(notification, target, problem)
        try:
            await asyncio.to_thread(self._store.remove, notification.seq)
        except Exception:
            LOG.exception("a notification that was dealt with cannot be removed and is sent again")

    async def _post(self, notification: Notification, target: Target) -> str | None:
        """Send it; gives what was wrong with the answer, or `None`."""
        headers = (("content-type", "application/json"), ("authorization", f"Bearer {self._token}"))
        request = Request("POST", target, headers, json.dumps(notification.event).encode())
        async with self._pool.exchange(request) as answer:
            await answer.drain()
        return None if 200 <= answer.status < 300 else f"it answers with status {answer.status}"


def _tell_given_up(notification: Notification, target: Target | None, problem: str) -> None:
    """Log it by scheme and host alone: the path of such a URL is a password often enough."""
    root, reason = ("?", "its URL cannot be used") if target is None else (target.root, problem)
    if target is not None:
        reason = reason.replace(target.shown, root)
    LOG.warning("a notification to %s was not delivered after %d attempts: %s", root, notification.attempt, reason)
