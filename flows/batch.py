"""The flow that processes a batch of images: stage, ingest, launch, wait, export, summarize."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.logging import get_run_logger
from pydantic import Field

from tasks.core.identity import ResultOptions
from tasks.core.journal import Journal
from tasks.core.progress import Silent
from tasks.core.records import RunSummary, Staged, StepRecords
from tasks.core.request import MOST_LABEL_CHARACTERS, RunRequest
from tasks.core.run_folder import RunFolder
from tasks.core.settings import load_settings
from tasks.export import export_results
from tasks.ingest import ingest_files
from tasks.launch import launch_job
from tasks.roboflow_api.platform import EMBEDDED
from tasks.stage import stage_media
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
    runs: str = "",
    rerun: Annotated[str, Field(max_length=MOST_LABEL_CHARACTERS)] = "",
) -> RunSummary:
    """Process every image of a folder with a workflow, and account for each of them.

    The same request is the same run: what an earlier, killed run did is found and not repeated, and a finished run is
    only reported. Prefect's form shows the descriptions below.

    Args:
        source: Folder that holds the images, at any depth. Example: /data/photos or file:///data/photos
        workflow: Id of a workflow that the platform knows, or the path of a definition file. Example: photo-audit or
            ./my-workflow.json
        platform: Where the work is done: embedded (this machine, no account), roboflow (the cloud, with the worker's
            ROBOFLOW_API_KEY), or the URL of a batch server. Never a key.
        parameters: The workflow's own parameters, by name. Example: {"threshold": 0.5}
        options: What is kept of the results, and how many failures are borne.
        runs: Folder that holds a folder for each run. Empty: DARKROOM_RUNS, or ./runs
        rerun: Any text, to do the same work afresh; the same text finds that run again.

    Returns:
        The run's summary: counts, times, ids and the folder that holds everything.

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
        runs=Path(runs) if runs else settings.runs,
        rerun=rerun,
    )
    with open_target(request, settings) as target:
        staged = stage_media(target)
        with held_run(target, staged) as run:
            return run.folder.finished() or process(run, staged, begun)


def process(run: Run, staged: Staged, begun: float) -> RunSummary:
    """The steps after staging, on a run that this process holds."""
    ingested = ingest_files(run, staged.to_send)
    launched = launch_job(run)
    finished = wait_for_job(run)
    exported = export_results(run, finished)
    return summarize_run(run, StepRecords(staged, ingested, launched, finished, exported), begun)


@contextmanager
def held_run(target: Target, staged: Staged) -> Iterator[Run]:
    """The staged run with its journal, held against other processes."""
    folder = RunFolder(staged.folder)

    def tell() -> None:
        get_run_logger().warning("run %s is under way in another process: waiting for it", staged.key)

    with folder.held(tell), Journal(folder.journal) as journal:
        yield Run(target, folder, journal, Silent())
