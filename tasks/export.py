"""The task that exports: a finished job in, files and parquet out."""

from __future__ import annotations

from prefect import task
from prefect.logging import get_run_logger

from tasks.artifacts import show_link, show_table, watched
from tasks.core.records import Exported, Finished
from tasks.retries import STEP
from tasks.steps.context import WAIT, Run
from tasks.steps.export import export


@task(name="export", task_run_name="export", **STEP)
def export_results(run: Run) -> Exported:
    """Fetches the export stage's batch and turns it into ``results.parquet`` and ``predictions.parquet``.

    Raises:
        BadInput: the job has not been waited for.
        BadInput: there is no such stage or part, or the chosen parts hold no results.
    """
    exported = export(watched(run, "export"), run.record_of(WAIT, Finished))
    get_run_logger().info(
        "export: %d results, %d predictions, %d files, %.1f MB",
        exported.rows,
        exported.predictions,
        exported.files,
        exported.bytes / 1e6,
    )
    show_table("export", exported.model_dump(), f"Batch `{exported.batch}`")
    show_link("export", run.folder.results)
    return exported
