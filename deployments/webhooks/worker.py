"""Acts on accepted events: asks whether they are true, resumes what waits for them, and tells Prefect.

Whoever sent a notification is not kept waiting for that, and a receiver that is killed takes it up where it was.
"""

import logging
import sqlite3
import time
from collections.abc import Callable
from threading import Condition, Thread

from deployments.webhooks.claims import Kind
from deployments.webhooks.settings import Runs
from deployments.webhooks.store import Event, EventStore
from flows.notifications import INGEST_TOLD, JOB_ENDED, Outcome, TryAgain

LOG = logging.getLogger(__name__)
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""Seconds after the first try, the second, …; after more of them the last."""
HOUR = 3600.0
LIMIT = 24 * HOUR
"""Seconds after its receipt from which an event is not tried again."""
DOUBT = 60.0
"""Seconds for which a claim that the platform denies is asked about again: it may tell before it shows."""
KEPT = 30 * 24 * HOUR
"""Seconds for which an event that has ended is remembered."""
AT_ONCE = 8
"""Events acted on at once, each of another run: a platform that hangs holds up those of its own runs only."""
LONGEST_WAIT = 60.0
LAST_SECONDS = 3.0
"""How long the end waits for what is under way; what is cut off is taken up at the next start."""
EVENTS = {Kind.JOB: JOB_ENDED, Kind.INGEST: INGEST_TOLD}
NOTED = "noted"
GIVEN_UP = "given up"


class Worker:
    """Acts on the events of a store, in threads of its own.

    Args:
        store: The events.
        runs: What they are about.
        clock: Gives the time, in the store's seconds.
        pauses: Seconds between tries; the last one stands for all that follow.
    """

    def __init__(
        self, store: EventStore, runs: Runs, clock: Callable[[], float], pauses: tuple[float, ...] = PAUSES
    ) -> None:
        self._store = store
        self._runs = runs
        self._clock = clock
        self._pauses = pauses
        self._changed = Condition()
        self._busy: set[str] = set()
        self._stopping = False
        # Daemons: one that hangs must not keep the process.
        self._threads = [Thread(target=self._work, name=f"worker {number}", daemon=True) for number in range(AT_ONCE)]

    def start(self) -> None:
        """Take up what waits, and begin."""
        self._store.take_up()
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Look for something new; from any thread."""
        with self._changed:
            self._changed.notify_all()

    def stop(self) -> bool:
        """Begin nothing more and wait a little for what is under way; gives whether all of it has ended."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        deadline = time.monotonic() + LAST_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def act_on_next(self) -> bool:
        """Act on the event that has been due for longest; gives whether there was one."""
        with self._changed:
            event = self._store.next_due(self._busy)
            if event is None:
                return False
            self._busy.add(event.run)
        try:
            self._act(event)
        finally:
            with self._changed:
                self._busy.remove(event.run)
                self._changed.notify_all()
        return True

    def _work(self) -> None:
        while not self._stopping:
            try:
                if not self.act_on_next():
                    self._store.prune(KEPT)
                    self._wait()
            except sqlite3.Error as error:
                LOG.warning("the database of events cannot be used (%s): trying again", error)
                with self._changed:
                    self._changed.wait(LONGEST_WAIT)

    def _wait(self) -> None:
        with self._changed:
            seconds = self._store.wait(self._busy)
            if not self._stopping and seconds != 0:
                self._changed.wait(LONGEST_WAIT if seconds is None else min(seconds, LONGEST_WAIT))

    def _act(self, event: Event) -> None:
        try:
            outcome = event.outcome or self._outcome(event)
            if outcome != Outcome.DENIED:
                self._runs.tell(EVENTS[event.kind], event.run, event.payload | {"outcome": outcome})
        except TryAgain as error:
            self._try_again(event, str(error))
        except sqlite3.Error:
            raise
        except Exception as error:  # noqa: BLE001 - one event must not end the thread that acts on all
            self._try_again(event, f"internal error ({type(error).__name__})")
        else:
            self._store.end(event, outcome)
            LOG.info("run %s: %s event, %s", event.run, event.kind, outcome)

    def _outcome(self, event: Event) -> str:
        """What comes of an event, noted before anybody is told."""
        outcome = self._follow_up(event)
        self._store.settle(event, outcome)
        return outcome

    def _follow_up(self, event: Event) -> str:
        outcome = self._runs.follow_up(event.run)
        if outcome is Outcome.EARLY:
            raise TryAgain("its flow run is still at work")
        if outcome is Outcome.DENIED and self._clock() - event.received_at < DOUBT:
            raise TryAgain("the platform does not say so yet")
        if outcome is Outcome.DENIED and event.kind is Kind.INGEST:
            return NOTED  # one part of a batch has come; the run waits for all of them
        return outcome.value

    def _try_again(self, event: Event, reason: str) -> None:
        if self._clock() - event.received_at >= LIMIT:
            LOG.warning("run %s: %s event given up after %.0f h: %s", event.run, event.kind, LIMIT / HOUR, reason)
            self._store.end(event, GIVEN_UP)
            return
        if event.attempts == 0:
            LOG.info(
                "run %s: %s event is tried again for up to %.0f h: %s", event.run, event.kind, LIMIT / HOUR, reason
            )
        self._store.postpone(event, self._pauses[min(event.attempts, len(self._pauses) - 1)])
