"""The task that compiles: a model and devices in, the end of the platform's job out."""

from __future__ import annotations

from dataclasses import replace

from prefect import task
from prefect.logging import get_run_logger

from tasks.artifacts import show_table, shown_progress
from tasks.core.records import Compiled
from tasks.retries import STEP
from tasks.steps.compiling import Compilation, compile_remotely


@task(name="compile", task_run_name="compile", **STEP)
def run_compilation(compilation: Compilation) -> Compiled:
    """Has the platform compile the model, and waits, inside this one task run, until it has.

    Raises:
        Conflict: a job of that id is there and does something else.
        JobFailed: the platform reports an error, now or from an earlier try.
        JobTimedOut: the deadline has passed.
    """
    logger = get_run_logger()
    compiled = compile_remotely(
        replace(compilation, progress=shown_progress("compile"), tell=lambda text: logger.info("compile: %s", text))
    )
    logger.info("compile: job %s done, %.1f s", compiled.job_id, compiled.seconds)
    show_table("compile", compiled.model_dump(), f"Model `{compiled.model}`")
    return compiled
