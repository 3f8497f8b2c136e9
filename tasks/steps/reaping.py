"""Looking after runs that no process works on: jobs that nobody waits for are aborted, suspended flow runs resumed.

It is done on a schedule, since hooks do not always fire and notifications get lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from tasks.core.errors import DarkroomError, LocalFault, NotFound
from tasks.core.identity import remote_id
from tasks.core.records import Reaped
from tasks.core.run_folder import RunFolder
from tasks.core.settings import Settings
from tasks.roboflow_api.platform import Platform, open_platform
from tasks.roboflow_api.retrying import RetryPolicy
from tasks.steps.arrival import has_settled
from tasks.steps.context import WAIT
from tasks.steps.flow_runs import Owner, is_overdue, owner_of, waiting_step
from tasks.steps.previous import request_of
from tasks.steps.runs import Runs, unfinished_folders
from tasks.steps.stage import load_staged

BRIEF = RetryPolicy(attempts=4, total=20.0)
"""A process that is told to end has seconds, not minutes."""


class FlowState(StrEnum):
    """What has become of a flow run."""

    ACTIVE = "active"
    """It runs, or is about to."""
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
    """An unfinished run and the flow run that was the last to work on it."""

    folder: RunFolder
    owner: Owner
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
        platforms = _Platforms(settings, stack)
        for run in unfinished(runs):
            looked += 1
            try:
                state = flow_runs.state(run.owner.flow_run)
                if state is FlowState.STOPPED and _stopped(run, platforms):
                    tell(f"job {remote_id(run.folder.key)} aborted: its flow run was cancelled or crashed")
                    aborted.append(run.folder.key)
                elif state is FlowState.SUSPENDED and _resumed(run, platforms, flow_runs, now):
                    tell(f"flow run {run.owner.flow_run} resumed: job {remote_id(run.folder.key)} has ended")
                    resumed.append(run.folder.key)
            except DarkroomError as error:
                tell(f"run {run.folder.key} could not be looked after: {error}")
                failed.append(run.folder.key)
    return Reaped(looked=looked, aborted=tuple(aborted), resumed=tuple(resumed), failed=tuple(failed))


def act_on_claim(runs: Runs, settings: Settings, key: str, flow_runs: FlowRuns) -> Outcome:
    """Resumes the flow run that waits for files or a job, where the platform says too that they have come or ended.

    Args:
        runs: the place of all runs.
        settings: of the platforms.
        key: of the run that somebody has told something of.
        flow_runs: Prefect's.

    Raises:
        Transient: platform, bucket or Prefect do not answer.
    """
    found = next(unfinished(runs, key), None)
    if found is None:
        return Outcome.NOTHING
    with open_platform(found.platform, settings) as platform:
        if not has_moved_on(platform, found.folder):
            return Outcome.DENIED
    if flow_runs.resume(found.owner.flow_run):
        return Outcome.RESUMED
    may_suspend = found.owner.mode == "suspend" and not found.owner.stopped
    active = flow_runs.state(found.owner.flow_run) in (FlowState.ACTIVE, FlowState.SUSPENDED)
    return Outcome.EARLY if may_suspend and active else Outcome.NOTHING


def _stopped(run: Watched, platforms: _Platforms) -> bool:
    return run.owner.leaves_job and stop_job(platforms.named(run.platform), run.folder.key)


def _resumed(run: Watched, platforms: _Platforms, flow_runs: FlowRuns, now: datetime) -> bool:
    due = is_overdue(run.folder, now) or has_moved_on(platforms.named(run.platform), run.folder)
    return due and flow_runs.resume(run.owner.flow_run)


def stop_job(platform: Platform, key: str, policy: RetryPolicy | None = None) -> bool:
    """Aborts the job of a run where it is there and under way; whether it did.

    Raises:
        Transient: the platform does not answer.
    """
    job = remote_id(key)
    try:
        if platform.processing.job(job).is_terminal:
            return False
        platform.processing.abort(job, policy)
    except NotFound:
        return False
    return True


def job_has_ended(platform: Platform, key: str) -> bool:
    """Whether the job of a run has ended, well or not; so has one that the platform does not have any more.

    Raises:
        Transient: the platform does not answer.
    """
    try:
        return platform.processing.job(remote_id(key)).is_terminal
    except NotFound:
        return True


def has_moved_on(platform: Platform, folder: RunFolder) -> bool:
    """Whether there is something to do in a run that waits: its files have arrived, or its job has ended.

    Raises:
        Transient: the platform does not answer.
        LocalFault: the run's journal or lock is damaged.
    """
    if waiting_step(folder) == WAIT:
        return job_has_ended(platform, folder.key)
    return has_settled(platform, remote_id(folder.key), load_staged(folder).to_send)


def unfinished(runs: Runs, key: str = "") -> Iterator[Watched]:
    """The runs that a flow run works on, or worked on and did not finish.

    Args:
        runs: the place of all runs.
        key: only runs whose key begins so.
    """
    for folder in unfinished_folders(runs, key):
        request = request_of(folder)
        try:
            owner = owner_of(folder)
        except LocalFault:
            continue  # it is told when somebody looks at that run
        if request is not None and owner is not None:
            yield Watched(folder, owner, request.platform)


class _Platforms:
    """Platforms by the names that requests give them, each opened once."""

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._opened: dict[str, Platform] = {}

    def named(self, name: str) -> Platform:
        if name not in self._opened:
            self._opened[name] = self._stack.enter_context(open_platform(name, self._settings))
        return self._opened[name]
