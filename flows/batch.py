"""The flow that processes a batch of images: stage, ingest, launch, wait, export, summarize."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from prefect import flow
from prefect.logging import get_run_logger
from pydantic import Field

from tasks.core.errors import RunFailed
from tasks.core.identity import ResultOptions
from tasks.core.journal import Journal
from tasks.core.progress import Silent
from tasks.core.records import NothingNew, RunSummary, Staged, StepRecords
from tasks.core.request import MOST_LABEL_CHARACTERS, AskedTransfer, RunRequest
from tasks.core.run_folder import RunFolder
from tasks.core.settings import load_settings
from tasks.export import export_results
from tasks.ingest import ingest_files
from tasks.launch import launch_job
from tasks.publish import publish_results
from tasks.roboflow_api.platform import EMBEDDED
from tasks.stage import stage_media
from tasks.steps.conclude import bring_home, complete, kept, place_of, remember
from tasks.steps.context import Run, Target
from tasks.steps.stage import open_target
from tasks.summarize import summarize_run
from tasks.wait import wait_for_job

EVERYTHING = ResultOptions()
Text = Annotated[str, Field(min_length=1)]


@flow(name="process-images", flow_run_name="{workflow} on {source}", persist_result=False)
def process_images(
    source: Text,
    workflow: Text,
    platform: Text = EMBEDDED,
    parameters: dict[str, Any] | None = None,
    options: ResultOptions = EVERYTHING,
    transfer: AskedTransfer = "auto",
    only_new: bool = False,
    destination: str = "",
    runs: str = "",
    rerun: Annotated[str, Field(max_length=MOST_LABEL_CHARACTERS)] = "",
) -> RunSummary | NothingNew:
    """Process every image of a folder or bucket with a workflow, and account for each of them.

    The same request is the same run: what an earlier, killed run did is found and not repeated, and a finished run is
    only reported. Prefect's form shows the descriptions below.

    Args:
        source: Folder, bucket, pattern or file of references that names the images. Example: /data/photos or
            s3://bucket/2024/**/*.jpg or gs://bucket/photos or az://container/photos or sftp://user@host/photos
        workflow: Id of a workflow that the platform knows, or the path of a definition file. Example: photo-audit or
            ./my-workflow.json
        platform: Where the work is done: embedded (this machine, no account), roboflow (the cloud, with the worker's
            ROBOFLOW_API_KEY), or the URL of a batch server. Never a key.
        parameters: The workflow's own parameters, by name. Example: {"threshold": 0.5}
        options: What is kept of the results, and how many failures are borne.
        transfer: How images get to the platform: it fetches them by reference, from URLs signed here, or they are
            uploaded from here. By default by reference wherever the platform can reach them.
        only_new: Only what is new or has changed since this source was last processed with this workflow.
        destination: Folder or bucket that the results are published to as well, under the run's key. Empty: none.
            Example: s3://bucket/results
        runs: Folder, here or in a bucket, that holds a folder for each run. Empty: DARKROOM_RUNS, or ./runs
        rerun: Any text, to do the same work afresh; the same text finds that run again.

    Returns:
        The run's summary: counts, times, ids and the folder that holds everything; or, with ``only_new``, that
        there was nothing new.

    Raises:
        BadInput: source, workflow, parameters or platform cannot be used.
        RunFailed: the job failed, or files are missing from the reconciliation.
    """
    begun, settings = time.monotonic(), load_settings()
    request = RunRequest(
        source=source,
        workflow=workflow,
        platform=platform,
        parameters=parameters or {},
        options=options,
        transfer=transfer,
        only_new=only_new,
        destination=destination,
        runs=runs or settings.runs,
        rerun=rerun,
    )
    with open_target(request, settings) as target:
        staged = stage_media(target)
        if isinstance(staged, NothingNew):
            return staged
        with held_run(target, staged) as run:
            return conclude(run, run.folder.finished() or process_kept(run, staged, begun))


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
    launched = launch_job(run)
    finished = wait_for_job(run)
    exported = export_results(run, finished)
    return summarize_run(run, StepRecords(staged, ingested, launched, finished, exported), begun)


def conclude(run: Run, summary: RunSummary) -> RunSummary:
    """What follows a finished run: it is brought to its bucket, published, and remembered as processed, in this order.

    Each is done again where a killed process has left it undone.
    """
    bring_home(run)
    published = ""
    if run.target.destination is not None:
        complete(run)
        published = publish_results(run.folder, run.target.destination).url
    remember(run)
    return summary.model_copy(update={"place": place_of(run), "published": published})


@contextmanager
def held_run(target: Target, staged: Staged) -> Iterator[Run]:
    """The staged run with its journal, held against other processes."""
    folder = RunFolder(staged.folder)

    def tell() -> None:
        get_run_logger().warning("run %s is under way in another process: waiting for it", staged.key)

    with folder.held(tell), Journal(folder.journal) as journal:
        yield kept(Run(target, folder, journal, Silent()))
