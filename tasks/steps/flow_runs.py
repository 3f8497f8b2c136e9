"""Which of Prefect's flow runs works on a run: written down with the run, so that others can look after it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from tasks.core.errors import LocalFault
from tasks.core.job_options import OnCancel, WaitMode
from tasks.core.journal import Journal, read_confirmed, read_step
from tasks.core.run_folder import RunFolder, list_runs
from tasks.steps.context import INGEST, WAIT, Run
from tasks.steps.runs import Runs, unfinished_folders

STEP, PART = "flow", "run"
SUSPENSION = "suspension"
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


def note_stopped(journal: Journal) -> None:
    """Writes down in a run's journal that the flow run that worked on it is lost, and that its job was seen to."""
    if entry := journal.confirmed(STEP, PART):
        journal.confirm(STEP, PART, **{name: entry[name] for name in FACTS} | {"stopped": True})


def owner_of(folder: RunFolder) -> Owner | None:
    """The flow run that was the last to work on the run, or ``None`` where none has.

    Raises:
        LocalFault: the journal is damaged.
    """
    entry = read_confirmed(folder.journal, STEP, PART)
    return None if entry is None else Owner(**{name: entry[name] for name in FACTS})


@dataclass(frozen=True)
class Sleeper:
    """A flow run that has suspended itself on a run.

    Attributes:
        flow_run: its id.
        until: when it has waited long enough, whatever it waits for.
    """

    flow_run: str
    until: datetime


def note_suspension(run: Run, flow_run: str, step: str, hours: float, now: datetime) -> float:
    """Writes down that a flow run is about to give its worker back; gives the seconds left until its deadline.

    The deadline counts from the flow run's first suspension in a step, however often it is resumed before its time.

    Args:
        run: the run.
        flow_run: its id.
        step: the step that waits.
        hours: how long it may.
        now: the time.
    """
    known = run.journal.confirmed(SUSPENSION, flow_run)
    if known and known["waits_in"] == step:
        return (datetime.fromisoformat(known["until"]) - now).total_seconds()
    until = now + timedelta(hours=hours)
    run.journal.confirm(SUSPENSION, flow_run, waits_in=step, until=until.isoformat())
    return (until - now).total_seconds()


def forget_suspension(run: Run, flow_run: str) -> None:
    """Writes down that a flow run does not wait any more: it has come to an end, and would begin anew."""
    if run.journal.confirmed(SUSPENSION, flow_run):
        run.journal.intend(SUSPENSION, flow_run)


def sleepers_of(folder: RunFolder) -> tuple[Sleeper, ...]:
    """The flow runs that have suspended themselves on a run.

    Raises:
        LocalFault: the journal is damaged.
    """
    entries = read_step(folder.journal, SUSPENSION).values()
    return tuple(Sleeper(entry["part"], datetime.fromisoformat(entry["until"])) for entry in entries)


def waiting_step(folder: RunFolder) -> str:
    """What an unfinished run waits for, if anything: for its files to arrive, or for its job to end.

    Raises:
        LocalFault: the journal is damaged.
    """
    return INGEST if read_confirmed(folder.journal, INGEST, "record") is None else WAIT


def is_own(run: Run, flow_run: str) -> bool:
    """Whether the run is still this flow run's; in a bucket, another machine may have taken it over.

    Raises:
        Transient: the bucket does not answer.
    """
    if run.target.runs.mirror is None:
        return True
    with TemporaryDirectory() as name:
        journal = Path(name) / run.folder.journal.name
        run.target.runs.place.sub(run.folder.key).get(journal.name, journal)
        entry = read_confirmed(journal, STEP, PART)
    return entry is None or entry["flow_run"] == flow_run


def run_slept_on(runs: Runs, flow_run: str) -> str | None:
    """The key of the run on which a flow run has suspended itself; finished ones count where they lie here."""
    here = (folder for folder in list_runs(runs.folder) if _sleeps_on(folder, flow_run))
    there = (folder for folder in unfinished_folders(runs) if _sleeps_on(folder, flow_run))
    return next((folder.key for folder in chain(here, there)), None)


def _sleeps_on(folder: RunFolder, flow_run: str) -> bool:
    try:
        return any(sleeper.flow_run == flow_run for sleeper in sleepers_of(folder))
    except LocalFault:
        return False  # it is told when somebody looks at that run
