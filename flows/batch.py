"""The flow that processes a batch of images: stage, ingest, launch, wait, export, summarize."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from flows.reaping import stop_on_end
from flows.running import carry_out_request
from flows.secrets_by_name import storage_credentials
from tasks.core.identity import ResultOptions
from tasks.core.job_options import JobOptions, WaitOptions
from tasks.core.options import ComparisonOptions, DatasetOptions, Expectations, ExportChoice
from tasks.core.pilot import PilotOptions
from tasks.core.records import RunOutcome
from tasks.core.request import MOST_LABEL_CHARACTERS, AskedTransfer, RunRequest
from tasks.named_blocks import flow_settings
from tasks.roboflow_api.platform import EMBEDDED

NO_PARAMETERS: dict[str, Any] = {}
EVERYTHING = ResultOptions()
ALL_PARTS = ExportChoice()
NO_DATASETS = DatasetOptions()
ANYTHING = Expectations()
NO_COMPARISON = ComparisonOptions()
ANY_MACHINE = JobOptions()
POLLING = WaitOptions()
NO_PILOT = PilotOptions()
Text = Annotated[str, Field(min_length=1)]


@flow(
    name="process-images",
    flow_run_name="{workflow} on {source}",
    persist_result=False,
    on_cancellation=[stop_on_end],
    on_crashed=[stop_on_end],
)
def process_images(
    source: Text,
    workflow: Text,
    platform: Text = EMBEDDED,
    parameters: dict[str, Any] = NO_PARAMETERS,
    only_new: bool = False,
    credentials: str = "",
    destination: str = "",
    runs: str = "",
    rerun: Annotated[str, Field(max_length=MOST_LABEL_CHARACTERS)] = "",
    transfer: AskedTransfer = "auto",
    datasets: DatasetOptions = NO_DATASETS,
    expectations: Expectations = ANYTHING,
    comparison: ComparisonOptions = NO_COMPARISON,
    pilot: PilotOptions = NO_PILOT,
    options: ResultOptions = EVERYTHING,
    export: ExportChoice = ALL_PARTS,
    job: JobOptions = ANY_MACHINE,
    wait: WaitOptions = POLLING,
) -> RunOutcome:
    """Process every image of a folder or bucket with a workflow, and account for each of them.

    The same request is the same run: what an earlier, killed run did is found and not repeated, and a finished run is
    only reported. Prefect's form shows the descriptions below.

    Args:
        source: Folder, bucket, pattern or file of references that names the images. Example: /data/photos or
            s3://bucket/2024/**/*.jpg or gs://bucket/photos or az://container/photos or sftp://user@host/photos
        workflow: Id of a workflow that the platform knows, or the path of a definition file. Example: photo-audit or
            ./my-workflow.json
        platform: Where the work is done: embedded (this machine, no account), roboflow (the cloud, with the worker's
            ROBOFLOW_API_KEY), the URL of a batch server, or block:NAME, a Roboflow Platform block. Never a key.
        parameters: The workflow's own parameters, by name. Example: {"threshold": 0.5}
        only_new: Only what is new or has changed since this source was last processed with this workflow.
        credentials: Prefect block with the credentials for buckets. Empty: the worker's own. Example:
            aws-credentials/mine
        destination: Folder or bucket that the results are published to as well, under the run's key. Empty: none.
            Example: s3://bucket/results
        runs: Folder, here or in a bucket, that holds a folder for each run. Empty: DARKROOM_RUNS, or ./runs
        rerun: Any text, to do the same work afresh; the same text finds that run again.
        transfer: How images get to the platform: it fetches them by reference, from URLs signed here, or they are
            uploaded from here. By default by reference wherever the platform can reach them.
        datasets: Dataset formats to write of the predictions, such as coco or yolo. By default none.
        expectations: What the results must look like; a missed one fails the run before anything is published.
        comparison: Which earlier run the run is compared with, and how much of a change is told as an event.
        pilot: How many files are processed first, to estimate the whole, and the budget under which it goes on by
            itself; without a budget the flow run suspends itself after the pilot until a person resumes it.
        options: What is kept of the results; part of what makes it this run.
        export: Which stage and parts of the job's output are fetched. By default all of the export stage.
        job: What the job runs on, and its limits. A failed job is restarted with the present ones.
        wait: How the job's end is waited for, and what becomes of the job when the flow run is cancelled.

    Returns:
        The run's summary: counts, times, ids and the folder that holds everything; or, with ``only_new``, that
        there was nothing new; or, with a pilot and no budget outside of deployments, what the pilot says.

    Raises:
        BadInput: source, workflow, parameters or platform cannot be used.
        RunFailed: the job failed, files are missing from the reconciliation, an expectation was missed, or the run
            would go beyond its budget.
    """
    settings = flow_settings()
    request = RunRequest(
        source=source,
        workflow=workflow,
        platform=platform,
        parameters=parameters,
        options=options,
        job=job,
        wait=wait,
        pilot=pilot,
        transfer=transfer,
        only_new=only_new,
        export=export,
        datasets=datasets,
        expectations=expectations,
        comparison=comparison,
        destination=destination,
        credentials=credentials,
        runs=runs or settings.runs,
        rerun=rerun,
    )
    with storage_credentials(credentials):
        return carry_out_request(request, settings)
