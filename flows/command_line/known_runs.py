"""What is known of a run, finished or not, from its folder alone."""

from __future__ import annotations

from typing import Literal

from tasks.core.errors import LocalFault
from tasks.core.records import Record, RunSummary
from tasks.core.run_folder import RunFolder, read_lock
from tasks.steps.flow_runs import owner_of, sleepers_of, waiting_step

State = Literal["done", "unfinished", "damaged"]


class KnownRun(Record):
    """A run as ``darkroom runs`` and ``darkroom show`` tell of it."""

    key: str
    state: State
    summary: RunSummary | None = None
    """Of a finished run."""
    command: str = ""
    """What goes on with an unfinished one."""
    waits_for: str = ""
    """Step that an unfinished one is in: ingest or wait. Empty where its journal is not here."""
    flow_run: str = ""
    """Prefect's id of the flow run that was the last to work on an unfinished one, where one has."""
    sleepers: int = 0
    """Flow runs that have suspended themselves on it."""

    def line(self) -> str:
        """What is told of an unfinished run."""
        return f"run {self.key}: not finished; go on with: {self.command}"


def known_run(folder: RunFolder) -> KnownRun:
    """What is known of a run.

    Raises:
        LocalFault: a file of it is damaged.
    """
    summary = folder.finished()
    if summary is not None:
        return KnownRun(key=folder.key, state="done", summary=summary)
    command = str(read_lock(folder).get("command", ""))
    if not folder.journal.exists():  # of a run in a bucket, which is not fetched for that
        return KnownRun(key=folder.key, state="unfinished", command=command)
    owner = owner_of(folder)
    return KnownRun(
        key=folder.key,
        state="unfinished",
        command=command,
        waits_for=waiting_step(folder),
        flow_run=owner.flow_run if owner else "",
        sleepers=len(sleepers_of(folder)),
    )


def listed_run(folder: RunFolder) -> KnownRun:
    """The same, in a list that one run's damage does not end."""
    try:
        return known_run(folder)
    except (LocalFault, FileNotFoundError):
        return KnownRun(key=folder.key, state="damaged")
