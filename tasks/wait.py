"""The task that waits: a job in, its end out."""

from __future__ import annotations

from prefect import task
from prefect.logging import get_run_logger

from tasks.artifacts import show_link, show_table, watched
from tasks.core.records import Finished
from tasks.retries import STEP
from tasks.steps.context import Run
from tasks.steps.wait import wait


@task(name="wait", task_run_name="wait", **STEP)
def wait_for_job(run: Run) -> Finished:
    """Polls, inside this one task run, until the job has ended.

    Raises:
        JobFailed: the platform reports an error.
        JobTimedOut: the deadline has passed.
    """
    finished = wait(watched(run, "wait"))
    get_run_logger().info(
        "wait: job %s done, %d tasks, %d images failed, %.1f s",
        finished.job_id,
        finished.tasks,
        finished.failures,
        finished.job_seconds,
    )
    show_table("wait", finished.model_dump(), f"Job `{finished.job_id}`")
    show_link("wait", run.folder.job)
    return finished
