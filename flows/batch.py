"""The flow that processes a batch of images: stage, ingest, launch, wait, export, summarize."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from prefect import flow
from prefect.logging import get_run_logger
from pydantic import Field

from tasks.core.identity import ResultOptions
from tasks.core.journal import Journal
from tasks.core.progress import Silent
from tasks.core.records import RunSummary, Staged
from tasks.core.request import RunRequest
from tasks.core.run_folder import RunFolder
from tasks.core.settings import load_settings
from tasks.export import export_results
from tasks.ingest import ingest_files
from tasks.launch import launch_job
from tasks.roboflow_api.platform import EMBEDDED
from tasks.stage import stage_media
from tasks.steps.context import Run, Target
from tasks.steps.stage import open_target
from tasks.steps.summarize import StepRecords
from tasks.summarize import summarize_run
from tasks.wait import wait_for_job


@flow(name="process-images", flow_run_name="{workflow} on {source}", persist_result=False)
def process_images(
    source: Annotated[
        str,
        Field(
            title="Source",
            min_length=1,
            description="Folder that holds the images, at any depth. Example: /data/photos or file:///data/photos",
        ),
    ],
    workflow: Annotated[
        str,
        Field(
            title="Workflow",
            min_length=1,
            description="Id of a workflow that the platform knows, or path of a definition file. "
            "Example: photo-audit or ./my-workflow.json",
        ),
    ],
    platform: Annotated[
        str,
        Field(
            title="Platform",
            min_length=1,
            description="embedded (this machine, no account), roboflow (the cloud; the worker's ROBOFLOW_API_KEY), "
            "or the URL of a batch server. Never a key.",
        ),
    ] = EMBEDDED,
    parameters: Annotated[
        dict[str, Any] | None,
        Field(title="Parameters", description='The workflow\'s own parameters. Example: {"threshold": 0.5}'),
    ] = None,
    options: Annotated[
        ResultOptions | None,
        Field(title="Options", description="What is kept of the results, and how many failures are borne."),
    ] = None,
    runs: Annotated[
        str | None,
        Field(
            title="Runs folder",
            description="Folder that holds a folder for each run; DARKROOM_RUNS or ./runs when empty.",
        ),
    ] = None,
    rerun: Annotated[
        str,
        Field(
            title="Rerun label",
            max_length=64,
            description="Any text, to do the same work afresh; the same label finds the same run again.",
        ),
    ] = "",
) -> RunSummary:
    """Process every image of a folder with a workflow, and account for each of them.

    The same request is the same run: what an earlier, killed run did is found and not repeated, and a finished run is
    only reported.
    """
    begun, settings = time.monotonic(), load_settings()
    request = RunRequest(
        source=source,
        workflow=workflow,
        platform=platform,
        parameters=parameters or {},
        options=options or ResultOptions(),
        runs=runs or settings.runs,
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
        get_run_logger().info("run %s is under way in another process: waiting for it", staged.key)

    with folder.held(tell), Journal(folder.journal) as journal:
        yield Run(target, folder, journal, Silent())
