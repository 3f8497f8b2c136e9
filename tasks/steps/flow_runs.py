"""Which of Prefect's flow runs works on a run: written down with the run, so that others can look after it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tasks.core.job_options import OnCancel, WaitMode
from tasks.core.journal import read_confirmed
from tasks.core.run_folder import RunFolder
from tasks.steps.context import INGEST, WAIT, Run

STEP, PART = "flow", "run"
SUSPENDED = "suspended"
FACTS = ("flow_run", "on_cancel", "mode", "stopped")


@dataclass(frozen=True)
class Owner:
    """The flow run that was the last to work on a run.

    Attributes:
        flow_run: its id.
        on_cancel: what it was asked to do with the job when it is cancelled.
        mode: how it waits.
        stopped: it has been cancelled, and has seen to its job.
    """

    flow_run: str
    on_cancel: OnCancel
    mode: WaitMode
    stopped: bool = False

    @property
    def leaves_job(self) -> bool:
        """Whether its end may have left a job behind that nobody wants."""
        return self.on_cancel == "abort" and not self.stopped


def note_owner(run: Run, flow_run: str) -> None:
    """Writes down that a flow run works on the run."""
    wait = run.target.request.wait
    run.journal.confirm(STEP, PART, flow_run=flow_run, on_cancel=wait.on_cancel, mode=wait.mode, stopped=False)


def note_stopped(run: Run) -> None:
    """Writes down that the flow run that works on the run has been cancelled and has seen to its job."""
    if entry := run.journal.confirmed(STEP, PART):
        run.journal.confirm(STEP, PART, **{name: entry[name] for name in FACTS} | {"stopped": True})


def owner_of(folder: RunFolder) -> Owner | None:
    """The flow run that was the last to work on the run, or ``None`` where none has.

    Raises:
        LocalFault: the journal is damaged.
    """
    entry = read_confirmed(folder.journal, STEP, PART)
    return None if entry is None else Owner(**{name: entry[name] for name in FACTS})


def note_suspension(run: Run, step: str, hours: float, now: datetime) -> float:
    """Writes down that the flow run is about to give its worker back; gives the seconds left until the deadline.

    The deadline counts from the first suspension, however often the flow run is resumed before what it waits for.

    Args:
        run: the run.
        step: the step that waits.
        hours: how long it may.
        now: the time.
    """
    known = run.journal.confirmed(step, SUSPENDED)
    until = datetime.fromisoformat(known["until"]) if known else now + timedelta(hours=hours)
    if known is None:
        run.journal.confirm(step, SUSPENDED, until=until.isoformat())
    return (until - now).total_seconds()


def is_overdue(folder: RunFolder, now: datetime) -> bool:
    """Whether a suspended flow run has waited beyond its deadline.

    Raises:
        LocalFault: the journal is damaged.
    """
    known = read_confirmed(folder.journal, waiting_step(folder), SUSPENDED)
    return known is not None and now >= datetime.fromisoformat(known["until"])


def waiting_step(folder: RunFolder) -> str:
    """What an unfinished run waits for, if anything: for its files to arrive, or for its job to end.

    Raises:
        LocalFault: the journal is damaged.
    """
    return INGEST if read_confirmed(folder.journal, INGEST, "record") is None else WAIT
