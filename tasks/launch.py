"""The task that launches: a batch in, a job out."""

from __future__ import annotations

from prefect import task
from prefect.logging import get_run_logger

from tasks.artifacts import show_link, show_table, watched
from tasks.core.progress import ambient
from tasks.core.records import Launched
from tasks.retries import STEP
from tasks.steps.context import Run
from tasks.steps.launch import launch


@task(name="launch", task_run_name="launch", **STEP)
def launch_job(run: Run) -> Launched:
    """Starts the run's one job, or attaches to it.

    Raises:
        Conflict: a job of that id is there and does something else.
    """
    launched = launch(watched(run, "launch"))
    ambient().advance("launch", 1, 1)
    done = "restarted" if launched.restarted else "attached" if launched.attached else "created"
    get_run_logger().info("launch: job %s %s", launched.job_id, done)
    show_table("launch", launched.model_dump(), f"Workflow `{run.target.workflow.id}`")
    show_link("launch", run.folder.lock_file)
    return launched
