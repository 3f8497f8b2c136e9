"""One run of a job under way, and the machine time that it takes."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock

from deployments.batch_server.engine.interface import ChunkResult
from deployments.batch_server.store.execution import RunningJob
from deployments.batch_server.store.stages import TaskRecord

NEAR = 0.8
"""The share of its machine time from which on a job is warned."""


class Dropped(Exception):
    """The job's run is over, or the server stops: nobody waits for this piece of work."""


class OverTime(Exception):
    """The job has used its machine time up."""


class Meter:
    """Adds up the machine time of a job, tasks under way included; for any thread.

    Args:
        limit: Most seconds; `None`: any number.
        spent: Seconds used before.
        timer: Seconds on a clock that never goes back.
    """

    def __init__(self, limit: float | None, spent: float, timer: Callable[[], float]) -> None:
        self.limit = limit
        self._spent = spent
        self._timer = timer
        self._begun: dict[str, float] = {}
        self._lock = Lock()

    def begin(self, task_id: str) -> None:
        """A worker has begun with a task."""
        with self._lock:
            self._begun[task_id] = self._timer()

    def end(self, task_id: str, seconds: float | None = None) -> float:
        """A worker is through with a task; gives the seconds that it took, by the engine's own account if it has one.

        A task that no worker had begun took none.
        """
        with self._lock:
            now = self._timer()
            taken = now - self._begun.pop(task_id, now) if seconds is None else seconds
            self._begun.pop(task_id, None)
            self._spent += taken
            return taken

    @property
    def used(self) -> float:
        """Seconds used so far."""
        with self._lock:
            now = self._timer()
            return self._spent + sum(now - begun for begun in self._begun.values())

    @property
    def is_near(self) -> bool:
        """Whether most of the limit is used."""
        return self.limit is not None and self.used >= NEAR * self.limit

    @property
    def is_over(self) -> bool:
        """Whether more than the limit is used."""
        return self.limit is not None and self.used > self.limit


@dataclass
class JobRun:
    """What the scheduler knows of a job's present run."""

    job: RunningJob
    waiting: deque[str]
    meter: Meter
    under_way: dict[str, Future[ChunkResult] | None] = field(default_factory=dict)
    """The tasks that are being worked on; `None`: the engine has nothing to do with it."""
    progress: dict[str, float] = field(default_factory=dict)
    """Fractions done of tasks that a worker has begun, from 0 to 1."""
    attempts: dict[str, int] = field(default_factory=dict)
    failure: str | None = None
    exporting: bool = False
    warned: bool = False
    dropped: bool = False
    """Whether nobody waits for it any more; what is still under way must leave no trace."""

    @property
    def may_take_more(self) -> bool:
        """Whether another of its tasks may be begun."""
        limit = self.job.limits.tasks
        return bool(self.waiting) and (limit is None or len(self.under_way) < limit)

    def drop(self) -> None:
        """Let go of everything under way: what waits for a worker goes at once, a worker is free after its image."""
        self.dropped = True
        for future in list(self.under_way.values()):
            if future is not None:
                future.cancel()


def over_failure_rate(job: RunningJob, record: TaskRecord) -> str | None:
    """Why a task counts as failed although it ran, or `None`.

    Without a limit in the request there is none here: the vendor's default of ten images a task would
    stop a run on one's own machine for a handful of bad files.
    """
    limit, failed = job.limits.failure_rate, len(record.failures)
    if limit is None or failed / max(1, record.images) <= limit:
        return None
    return f"{failed} of {record.images} images failed, over maxImageFailureRate {limit:g}"
