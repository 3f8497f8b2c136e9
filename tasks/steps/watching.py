"""Looking at a job while it runs: how far it is, what it says, and whether it stands still."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from tasks.core.errors import ConnectionFailed, DarkroomError, NotFound, RequestRefused, Transient
from tasks.core.redaction import redact
from tasks.roboflow_api.models import JobLog, Severity
from tasks.steps.context import WAIT, Run, gone
from tasks.steps.job_record import words_of

T = TypeVar("T")

PERCENT = 100
SAID_PERCENT = 20
"""Percent of a stage after which its progress is said again."""
LEAST_SECONDS = 1.0
PATIENCE = 0.02
"""How far its tasks are, and its logs, are asked for at most once in such a share of the time that has passed."""
MOST_LINES = 20
"""Lines of a job's logs that are shown as they come; all of them are in ``job.parquet``."""
MOST_READ = 500
"""Lines of each severity among which those are looked for."""
TELLING: tuple[Severity, ...] = ("warning", "error")


@dataclass(frozen=True)
class JobState:
    """What one look at the job shows; ``percent`` is of the stage under way."""

    stage: str
    percent: int
    terminal: bool
    error: bool

    @property
    def overall(self) -> int:
        """Percent of the whole job: processing is nearly all of the work, and export the rest."""
        if self.terminal:
            return PERCENT
        return 90 + self.percent // 10 if self.stage == "export" else self.percent * 9 // 10


class Watch:
    """Looks at a job; what takes further requests is looked at the less often the longer it takes.

    Args:
        run: whose job it is; its progress and its warnings tell what is seen.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._begun = run.timing.clock()
        self._due = -math.inf
        self._percent = 0
        self._idle: float | None = None
        self._working: float | None = None
        self._shown: set[str] = set()
        self._missed_since: float | None = None
        self._still = _Stillness(run)
        self._reported = 0
        self._said: tuple[str, int] | None = None

    def __call__(self) -> JobState:
        """The job's present state.

        Raises:
            RunIncomplete: the platform has no such job any more.
        """
        now = self._run.timing.clock()
        try:
            job = self._run.platform.processing.job(self._run.remote_id)
        except NotFound:
            raise self._missed(now) from None
        self._missed_since = None
        if job.is_terminal:
            self._show_logs()
        elif not job.current_stage or now >= self._due:
            self._look_at_stage(job.current_stage, now)
        state = JobState(job.current_stage or "scheduled", self._percent, job.is_terminal, job.error)
        self._still.look(state)
        return state

    def _missed(self, now: float) -> DarkroomError:
        """The error for a job that the platform does not know: a platform may not show it for a moment."""
        if self._missed_since is None:
            self._missed_since = now
        if now - self._missed_since <= self._run.platform.settle:
            return ConnectionFailed(f"{self._run.platform.name} does not show job {self._run.remote_id}")
        return gone(self._run, "job")

    @property
    def start_up(self) -> tuple[float, float]:
        """Seconds until the last look that saw no work begun, and until the first one that saw some under way.

        Where no look saw the one and then the other, nothing is said of the time between.
        """
        if self._idle is None:
            return 0.0, 0.0
        return self._idle, self._idle if self._working is None else self._working

    def report(self, state: JobState) -> None:
        """Tells a state that is new: as progress, and in words where the stage has changed or a good deal is done."""
        mark = state.stage, state.percent // SAID_PERCENT
        if mark != self._said and not state.terminal:
            self._said = mark
            self._run.say(f"job {self._run.remote_id}: stage {state.stage}, {state.percent} %")
        self._run.progress.advance(WAIT, max(0, state.overall - self._reported), PERCENT)
        self._reported = max(self._reported, state.overall)

    def _look_at_stage(self, stage: str | None, now: float) -> None:
        through = None
        if stage:
            self._due = now + max(LEAST_SECONDS, PATIENCE * (now - self._begun))
            through = _optional(lambda: _through(self._run, stage), None)
            self._percent = int(PERCENT * (through or 0.0))
            self._show_logs()
        if self._working is None and through is None:
            self._idle = now - self._begun
        elif self._working is None:
            self._working = now - self._begun

    def _show_logs(self) -> None:
        """Tells what the job has logged since, in the order of time, up to a number of lines."""
        if len(self._shown) >= MOST_LINES:
            return
        nothing: list[JobLog] = []
        for log in sorted(_optional(self._logs, nothing), key=lambda log: log.created_at):
            line = f"{log.severity}: {log.log_type}: {redact(words_of(log.payload))}"
            if line in self._shown:
                continue
            self._run.tell(f"job {self._run.remote_id}: {line}")
            self._shown.add(line)
            if len(self._shown) == MOST_LINES:
                self._run.tell(
                    f"job {self._run.remote_id} says more than is shown here: see job.parquet when it has ended"
                )
                return

    def _logs(self) -> list[JobLog]:
        """The first of what the job has logged, of each severity."""
        logs = self._run.platform.processing.logs
        return [log for kind in TELLING for log in islice(logs(self._run.remote_id, kind), MOST_READ)]


def _optional(look: Callable[[], T], otherwise: T) -> T:
    """What is looked at for comfort only: no run fails because it cannot be had."""
    try:
        return look()
    except (RequestRefused, Transient):
        return otherwise


class _Stillness:
    """Warns when nothing has moved for long; then when it has been twice as long, and so on."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._first = run.target.request.wait.stall_minutes * 60
        self._last: JobState | None = None
        self._since = 0.0
        self._due = self._first

    def look(self, state: JobState) -> None:
        now = self._run.timing.clock()
        if state != self._last:
            self._last, self._since, self._due = state, now, self._first
        elif now - self._since >= self._due:
            self._due *= 2
            minutes = (now - self._since) / 60
            self._run.tell(
                f"job {self._run.remote_id} has not moved for {minutes:.0f} minutes (stage {state.stage}, "
                f"{state.percent} %): it may be waiting for a machine; look at it on {self._run.platform.name}"
            )


def _through(run: Run, name: str) -> float | None:
    """How much of a stage is done, from 0 to 1, or ``None`` where none of its tasks was picked up yet."""
    processing = run.platform.processing
    for stage in processing.stages(run.remote_id):
        if name in (stage.processing_stage_name, stage.processing_stage_id):
            tasks = list(processing.tasks(run.remote_id, stage.processing_stage_id))
            through = [1.0 if task.status_type != "info" else task.progress for task in tasks]
            known = [share for share in through if share is not None]
            return sum(known) / max(1, stage.tasks_number) if known else None
    return None
