"""What the flows share: a request is carried out, from staging to all that follows a finished run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.logging import get_run_logger

from flows.suspending import check_wait, leaving_no_job, own_id, suspend_until_ended, suspended_before
from tasks.compare import compare_run
from tasks.core.errors import RunFailed
from tasks.core.journal import Journal
from tasks.core.progress import Silent
from tasks.core.records import NothingNew, RunSummary, Staged, StepRecords
from tasks.core.request import RunRequest
from tasks.core.run_folder import RunFolder, keep_request
from tasks.core.settings import Settings
from tasks.datasets import write_run_datasets
from tasks.export import export_results
from tasks.ingest import ingest_files
from tasks.launch import launch_job
from tasks.publish import publish_results
from tasks.stage import stage_media
from tasks.steps.conclude import bring_home, complete, kept, place_of, remember
from tasks.steps.context import Run, Target
from tasks.steps.flow_runs import note_owner
from tasks.steps.judging import finished_as_asked
from tasks.steps.stage import open_target, staged_before
from tasks.summarize import summarize_run
from tasks.wait import wait_for_job


def carry_out_request(request: RunRequest, settings: Settings) -> RunSummary | NothingNew:
    """Stages, and does what is left to do of the run that the request turns out to be.

    Raises:
        BadInput: source, workflow, parameters, platform or a wish cannot be used.
        RunFailed: the job failed, files are missing from the reconciliation, or an expectation was missed.
    """
    begun = time.monotonic()
    check_wait(request)
    with open_target(request, settings) as target:
        if key := suspended_before(target):
            return _carry_on(*staged_before(target, key), begun, resumed=True)
        staged = stage_media(target)
        if isinstance(staged, NothingNew):
            return staged
        return _carry_on(target, staged, begun)


def _carry_on(target: Target, staged: Staged, begun: float, *, resumed: bool = False) -> RunSummary:
    """What is left to do of a staged run."""
    with _held_run(target, staged, resumed=resumed) as run:
        known = finished_as_asked(run)
        if known is not None and target.request.comparison.against:
            compare_run(run)
        return _conclude(run, known or process_kept(run, staged, begun))


def process_kept(run: Run, staged: Staged, begun: float) -> RunSummary:
    """:func:`process`, with what there is of the run in its bucket before, after each step, and when it fails."""
    bring_home(run)
    try:
        return process(run, staged, begun)
    except RunFailed:
        bring_home(run)
        raise


def process(run: Run, staged: Staged, begun: float) -> RunSummary:
    """The steps after staging, on a run that this process holds."""
    ingested = ingest_files(run, staged.to_send)
    with leaving_no_job(run):
        launched = launch_job(run)
        suspend_until_ended(run)
        finished = wait_for_job(run)
    exported = export_results(run, finished)
    return summarize_run(run, StepRecords(staged, ingested, launched, finished, exported), begun)


def _conclude(run: Run, summary: RunSummary) -> RunSummary:
    """What follows a finished run: datasets are written, it is brought to its bucket, published, and remembered.

    Each is done again where a killed process has left it undone.
    """
    keep_request(run.folder, run.target.request)
    datasets: tuple[str, ...] = ()
    if run.target.request.datasets.formats:
        datasets = tuple(str(written.path) for written in write_run_datasets(run))
    bring_home(run)
    published = ""
    if run.target.destination is not None:
        complete(run)
        published = publish_results(run.folder, run.target.destination).url
    remember(run)
    return summary.model_copy(update={"place": place_of(run), "published": published, "datasets": datasets})


@contextmanager
def _held_run(target: Target, staged: Staged, *, resumed: bool) -> Iterator[Run]:
    """The staged run with its journal, held against other processes, and this flow run noted in it."""
    folder = RunFolder(staged.folder)

    def tell() -> None:
        get_run_logger().warning("run %s is under way in another process: waiting for it", staged.key)

    with folder.held(tell), Journal(folder.journal) as journal:
        run = kept(Run(target, folder, journal, Silent(), resumed=resumed))
        if folder.finished() is None:
            note_owner(run, own_id())
        yield run
