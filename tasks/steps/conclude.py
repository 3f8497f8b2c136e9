"""What goes on around the steps: a run in a bucket is kept there as it grows, and an incremental run is remembered."""

from __future__ import annotations

from dataclasses import replace

from tasks.steps.context import Run
from tasks.steps.incremental import advance
from tasks.steps.stage import state_of


def kept(run: Run) -> Run:
    """The run as one that is brought to its bucket after every step, where it has one."""
    return run if run.target.runs.mirror is None else replace(run, on_step=lambda: bring_home(run))


def bring_home(run: Run) -> None:
    """Brings what is new in the run's folder to its bucket, the summary last; nothing where there is no bucket."""
    if run.target.runs.mirror is not None:
        run.target.runs.mirror.push(run.folder)


def complete(run: Run) -> None:
    """Brings the exported files here of a run that was finished on another machine."""
    if run.target.runs.mirror is not None:
        run.target.runs.mirror.complete(run.folder)


def place_of(run: Run) -> str:
    """The URL of the run's folder in its bucket, or nothing."""
    runs = run.target.runs
    return "" if runs.mirror is None else runs.place.sub(run.folder.key).url


def remember(run: Run) -> None:
    """Has incremental runs of the same request leave out what this one has accounted for."""
    if run.target.request.only_new:
        advance(run.folder, run.target.runs.states, state_of(run.target), run.target.asked)
