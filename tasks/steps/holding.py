"""Holding a staged run: its lock against other processes, its journal, and its job, which no interruption leaves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Event

from tasks.core.errors import DarkroomError
from tasks.core.journal import Journal
from tasks.core.progress import Silent
from tasks.core.records import Staged
from tasks.core.redaction import redact
from tasks.core.run_folder import RunFolder
from tasks.steps.conclude import kept
from tasks.steps.context import Run, Target
from tasks.steps.flow_runs import is_own, note_stopped
from tasks.steps.launch import STEP as LAUNCH
from tasks.steps.reaping import BRIEF, stop_job


@contextmanager
def hold(
    target: Target, staged: Staged, tell: Callable[[str], None], begun: float | None = None, *, resumed: bool = False
) -> Iterator[Run]:
    """A staged run with its journal, held against other processes for as long as the block lasts.

    Args:
        target: where it goes.
        staged: what staging has left.
        tell: given warnings for the person who started it.
        begun: when this process began with it, on the monotonic clock; now, where it is not said.
        resumed: whether the flow run goes on where it suspended itself.
    """
    folder = RunFolder(staged.folder)

    def waiting() -> None:
        tell(f"run {staged.key} is under way in another process: waiting for it")

    with folder.held(waiting), Journal(folder.journal) as journal:
        since = time.monotonic() if begun is None else begun
        yield kept(Run(target, folder, journal, Silent(), tell=tell, resumed=resumed, begun=since))


@contextmanager
def leaving_no_job(run: Run, own: str, interruptions: tuple[type[BaseException], ...]) -> Iterator[None]:
    """Aborts the run's job, unless it is to be left, when the block is interrupted.

    Args:
        run: the run.
        own: id of the flow run that works on it; empty outside of flows.
        interruptions: what interrupts it.
    """
    try:
        yield
    except interruptions:
        if run.target.request.wait.on_cancel == "abort":
            _stop(run, own)
        raise


def _stop(run: Run, own: str) -> None:
    try:
        if not is_own(run, own):
            return  # another machine goes on with it
        if stop_job(run.platform, run.folder.key, BRIEF):
            again = "the same request restarts it with what is left"
            run.tell(f"job {run.remote_id} is aborted, as the run was interrupted; {again}")
        if not run.journal.uncertain(LAUNCH):  # else a request that was cut off may still start one
            note_stopped(run.journal)
    except DarkroomError as error:  # the hook tries again, and so does the flow reap-runs
        run.tell(f"job {run.remote_id} could not be aborted: {redact(str(error))}")


def interruptible(run: Run, interrupted: Event) -> Run:
    """The run with pauses that end with a ``KeyboardInterrupt`` once that is set, as a thread gets none by itself."""

    def sleep(seconds: float) -> None:
        if interrupted.wait(seconds):
            raise KeyboardInterrupt

    return replace(run, timing=replace(run.timing, sleep=sleep))
