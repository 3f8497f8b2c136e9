"""What goes on around the steps: a run in a bucket is kept there as it grows, and what follows once it is finished."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

from tasks.core.errors import RunFailed
from tasks.core.records import RunSummary
from tasks.core.run_folder import RunFolder, keep_request
from tasks.results.exporters.description import WrittenDataset
from tasks.steps.context import Run
from tasks.steps.flow_runs import forget_suspension, sleepers_of
from tasks.steps.incremental import advance
from tasks.steps.publish import Published
from tasks.steps.reaping import FlowRuns, wake
from tasks.steps.stage import state_of
from tasks.transfer.places import Place


@dataclass(frozen=True)
class Means:
    """How a run is concluded: with Prefect's tasks, or without.

    Attributes:
        own: id of the flow run that concludes it; empty outside of flows.
        flow_runs: opens Prefect's flow runs.
        write_datasets: writes the datasets that are asked for.
        publish: writes the results to their destination.
    """

    own: str
    flow_runs: Callable[[], AbstractContextManager[FlowRuns]]
    write_datasets: Callable[[Run], tuple[WrittenDataset, ...]]
    publish: Callable[[RunFolder, Place], Published]


def conclude(run: Run, summary: RunSummary, means: Means) -> RunSummary:
    """What follows a finished run: datasets are written, it is brought to its bucket, published, and remembered.

    Each is done again where a killed process has left it undone.
    """
    keep_request(run.folder, run.target.request)
    forget_suspension(run, means.own)
    wake_others(run, means.flow_runs)
    datasets: tuple[str, ...] = ()
    if run.target.request.datasets.formats:
        datasets = tuple(str(written.path) for written in means.write_datasets(run))
    bring_home(run)
    published = ""
    if run.target.destination is not None:
        complete(run)
        published = means.publish(run.folder, run.target.destination).url
    remember(run)
    return summary.model_copy(update={"place": place_of(run), "published": published, "datasets": datasets})


def wake_others(run: Run, flow_runs: Callable[[], AbstractContextManager[FlowRuns]]) -> None:
    """Resumes other flow runs that wait for the same run, which is finished now; they find it so."""
    if sleepers_of(run.folder):
        with flow_runs() as known:
            wake(run.folder, known, run.tell)


def kept(run: Run) -> Run:
    """The run as one that is brought to its bucket after every step, where it has one."""
    return run if run.target.runs.mirror is None else replace(run, on_step=lambda: bring_home(run))


@contextmanager
def failing_at_home(run: Run, own: str = "") -> Iterator[None]:
    """Brings what there is of a run that fails to its bucket.

    Args:
        run: the run.
        own: id of the flow run that comes to its end by that, and does not wait any more; empty: it may go on.
    """
    try:
        yield
    except RunFailed:
        forget_suspension(run, own)
        bring_home(run)
        raise


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
