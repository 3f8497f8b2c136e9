"""The task that ingests: manifest in, a batch on the platform out."""

from __future__ import annotations

from prefect import task
from prefect.logging import get_run_logger

from tasks.artifacts import show_link, show_table, watched
from tasks.assets import batch_asset, materialized, place_asset
from tasks.core.records import Ingested
from tasks.retries import STEP
from tasks.steps.context import Run
from tasks.steps.ingest import ingest, send
from tasks.steps.stage import load_staged


@task(name="send", task_run_name="send", **STEP)
def send_files(run: Run) -> bool:
    """Has the platform fetch every staged file that it can, and does not wait for it.

    Returns:
        Whether it is still at it; never where files are uploaded from here.
    """
    return send(watched(run, "ingest"), load_staged(run.folder).to_send)


@task(name="ingest", task_run_name="ingest", **STEP)
def ingest_files(run: Run) -> Ingested:
    """Sends the staged files, each once, and waits until the platform has them all.

    Raises:
        RunFailed: the platform took none of them.
        RunIncomplete: files are missing when the deadline has passed, or the platform has lost some.
    """
    ingested = ingest(watched(run, "ingest"), load_staged(run.folder).to_send)
    get_run_logger().info(
        "ingest: %d sent%s, %d failed, %d parts, batch %s",
        ingested.sent,
        " by reference" if ingested.by_reference else "",
        ingested.failed,
        ingested.parts,
        ingested.batch_id,
    )
    materialized(batch_asset(run.platform, ingested.batch_id), place_asset(run.target.request.source))
    show_table("ingest", ingested.model_dump(), f"Batch `{ingested.batch_id}`")
    show_link("ingest", run.folder.ingest)
    return ingested
