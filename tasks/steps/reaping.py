"""Looking after runs that no process works on: jobs that nobody waits for are aborted, suspended flow runs resumed.

It is done on a schedule, since hooks do not always fire and notifications get lost.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from tasks.core.errors import DarkroomError, LocalFault
from tasks.core.identity import remote_id
from tasks.core.journal import Journal
from tasks.core.records import Reaped
from tasks.core.redaction import redact
from tasks.core.run_folder import RunFolder
from tasks.core.settings import Settings
from tasks.roboflow_api.platform import EMBEDDED, Platform, embedded_server, open_platform
from tasks.roboflow_api.retrying import RetryPolicy
from tasks.steps.arrival import has_settled
from tasks.steps.context import WAIT
from tasks.steps.flow_runs import Owner, Sleeper, note_stopped, owner_of, sleepers_of, waiting_step
from tasks.steps.previous import request_of
from tasks.steps.runs import Runs, unfinished_folders
from tasks.steps.stage import load_staged

BRIEF = RetryPolicy(attempts=4, total=20.0)
"""A process that is told to end has seconds, not minutes."""


class FlowState(StrEnum):
    """What has become of a flow run."""

    RUNNING = "running"
    WAITING = "waiting"
    """It is about to run."""
    SUSPENDED = "suspended"
    STOPPED = "stopped"
    """Cancelled or crashed."""
    OVER = "over"
    """It has ended in another way."""
    UNKNOWN = "unknown"


class Outcome(StrEnum):
    """What came of the claim that what a run waits for has happened."""

    RESUMED = "resumed"
    EARLY = "early"
    """The flow run still works, and may be about to suspend itself: try again."""
    NOTHING = "nothing"
    """No flow run waits for it."""
    DENIED = "denied"
    """The platform says that it has not."""


class FlowRuns(Protocol):
    """Prefect's flow runs."""

    def state(self, flow_run: str) -> FlowState:
        """What has become of it."""

    def resume(self, flow_run: str) -> bool:
        """Resumes it where it is suspended; whether it did."""


@dataclass(frozen=True)
class Watched:
    """An unfinished run, the flow run that was the last to work on it, and those that wait for it, suspended."""

    folder: RunFolder
    owner: Owner
    sleepers: tuple[Sleeper, ...]
    platform: str


def reap(runs: Runs, settings: Settings, flow_runs: FlowRuns, tell: Callable[[str], None], now: datetime) -> Reaped:
    """Aborts the jobs of runs whose flow run was cancelled or crashed, and resumes those whose job has ended.

    Args:
        runs: the place of all runs.
        settings: of the platforms.
        flow_runs: Prefect's.
        tell: given what was done, and what could not be.
        now: the time.
    """
    looked, aborted, resumed, failed = 0, [], [], []
    with ExitStack() as stack:
        platforms = Platforms(settings, stack)
        for run in unfinished(runs):
            looked += 1
            try:
                if _is_lost(runs, run, flow_runs) and stop_lost(runs, run, platforms.named):
                    tell(f"job {remote_id(run.folder.key)} aborted: its flow run was cancelled or crashed")
                    aborted.append(run.folder.key)
                for flow_run in _resumed(run, platforms, flow_runs, now):
                    tell(f"flow run {flow_run} resumed: what run {run.folder.key} waits for has come, or is overdue")
                    resumed.append(run.folder.key)
            except DarkroomError as error:
                tell(f"run {run.folder.key} could not be looked after: {redact(str(error))}")
                failed.append(run.folder.key)
    return Reaped(looked=looked, aborted=tuple(aborted), resumed=tuple(resumed), failed=tuple(failed))


def act_on_claim(found: Watched, settings: Settings, flow_runs: FlowRuns) -> Outcome:
    """Resumes the flow run that waits for files or a job, where the platform says too that they have come or ended.

    Args:
        found: the run that somebody has told something of.
        settings: of the platforms.
        flow_runs: Prefect's.

    Raises:
        Transient: platform, bucket or Prefect do not answer.
    """
    with open_platform(found.platform, settings) as platform:
        if not has_moved_on(platform, found.folder):
            return Outcome.DENIED
    resumed = [sleeper for sleeper in found.sleepers if flow_runs.resume(sleeper.flow_run)]
    if resumed:
        return Outcome.RESUMED
    may_suspend = found.owner.mode == "suspend" and not found.owner.stopped
    at_work = flow_runs.state(found.owner.flow_run) in (FlowState.RUNNING, FlowState.WAITING, FlowState.SUSPENDED)
    return Outcome.EARLY if may_suspend and at_work else Outcome.NOTHING


def wake(folder: RunFolder, flow_runs: FlowRuns, tell: Callable[[str], None]) -> None:
    """Resumes every flow run that sleeps on a run which is finished.

    Args:
        folder: the run's.
        flow_runs: Prefect's.
        tell: given what could not be done; a person can do it in Prefect's UI.
    """
    for sleeper in sleepers_of(folder):
        try:
            flow_runs.resume(sleeper.flow_run)
        except DarkroomError as error:
            tell(f"flow run {sleeper.flow_run} could not be resumed: {redact(str(error))}")


def _is_lost(runs: Runs, run: Watched, flow_runs: FlowRuns) -> bool:
    """Whether the run's flow run was cancelled or has crashed.

    Prefect believes for ever that a process that was killed together with its worker still runs; on this machine, the
    run that nobody holds tells otherwise.
    """
    if not run.owner.leaves_job:
        return False
    state = flow_runs.state(run.owner.flow_run)
    asleep = any(sleeper.flow_run == run.owner.flow_run for sleeper in run.sleepers)
    if state is FlowState.RUNNING and runs.mirror is None and not asleep:
        with run.folder.free() as free:
            return free
    return state is FlowState.STOPPED


def _resumed(run: Watched, platforms: Platforms, flow_runs: FlowRuns, now: datetime) -> Iterator[str]:
    """Resumes the flow runs that have nothing to wait for any more; gives their ids."""
    for sleeper in run.sleepers:
        if flow_runs.state(sleeper.flow_run) is not FlowState.SUSPENDED:
            continue
        platform = platforms.named(run.platform)
        moved = now >= sleeper.until or (platform is not None and has_moved_on(platform, run.folder))
        if moved and flow_runs.resume(sleeper.flow_run):
            yield sleeper.flow_run


def stop_lost(runs: Runs, run: Watched, named: Callable[[str], Platform | None]) -> bool:
    """Aborts the job of a run whose flow run is lost, unless another one works on it by now; whether it did.

    Args:
        runs: the place of all runs.
        run: the run, as it was found.
        named: gives the platform of a name, or ``None`` where it works on nothing, being down.

    Raises:
        Transient: the platform does not answer.
    """
    platform = named(run.platform)
    if platform is None:
        return False
    if runs.mirror is not None:
        runs.place.sub(run.folder.key).get(run.folder.journal.name, run.folder.journal)
        return owner_of(run.folder) == run.owner and stop_job(platform, run.folder.key, BRIEF)
    with run.folder.free() as free:
        if not free or owner_of(run.folder) != run.owner:
            return False
        stopped = stop_job(platform, run.folder.key, BRIEF)
        with Journal(run.folder.journal) as journal:
            note_stopped(journal)
        return stopped


def stop_job(platform: Platform, key: str, policy: RetryPolicy | None = None) -> bool:
    """Aborts the job of a run where it is there and under way; whether it did.

    Raises:
        Transient: the platform does not answer.
    """
    job = platform.processing.find(remote_id(key), policy)
    if job is None or job.is_terminal:
        return False
    platform.processing.abort(job.job_id, policy)
    return True


def job_has_ended(platform: Platform, key: str) -> bool:
    """Whether the job of a run has ended, well or not; so has one that the platform does not have any more.

    Raises:
        Transient: the platform does not answer.
    """
    job = platform.processing.find(remote_id(key))
    return job is None or job.is_terminal


def has_moved_on(platform: Platform, folder: RunFolder) -> bool:
    """Whether there is something to do in a run that waits: its files have arrived, or its job has ended.

    Raises:
        Transient: the platform does not answer.
        LocalFault: the run's journal or lock is damaged.
    """
    if waiting_step(folder) == WAIT:
        return job_has_ended(platform, folder.key)
    return has_settled(platform, remote_id(folder.key), load_staged(folder).to_send)


def unfinished(runs: Runs, key: str = "") -> Generator[Watched, None, None]:
    """The runs that a flow run works on, or worked on and did not finish.

    Args:
        runs: the place of all runs.
        key: only runs whose key begins so.
    """
    for folder in unfinished_folders(runs, key):
        request = request_of(folder)
        try:
            owner, sleepers = owner_of(folder), sleepers_of(folder)
        except LocalFault:
            continue  # it is told when somebody looks at that run
        if request is not None and owner is not None:
            yield Watched(folder, owner, sleepers, request.platform)


class Platforms:
    """Platforms by the names that requests give them, each opened once."""

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._opened: dict[str, Platform] = {}

    def named(self, name: str) -> Platform | None:
        """The platform, or ``None`` for an embedded server that is down: nothing runs there, and none is started."""
        if name == EMBEDDED and not embedded_server(self._settings).is_up():
            return None
        if name not in self._opened:
            self._opened[name] = self._stack.enter_context(open_platform(name, self._settings))
        return self._opened[name]
