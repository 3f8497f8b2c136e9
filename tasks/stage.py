"""The task that stages media: source URL in, manifest out."""

from __future__ import annotations

from prefect import task
from prefect.logging import get_run_logger

from tasks.artifacts import show_link, show_table, shown_progress
from tasks.core.progress import ambient
from tasks.core.records import NothingNew, Staged
from tasks.core.run_folder import RunFolder
from tasks.retries import STEP
from tasks.roboflow_api.retrying import Timing
from tasks.steps.context import Target
from tasks.steps.stage import stage


@task(name="stage", task_run_name="stage", **STEP)
def stage_media(target: Target) -> Staged | NothingNew:
    """Lists the source, checks every file, and makes the run's folder with ``manifest.parquet``.

    Raises:
        BadInput: there are no images, or none that can be processed.
    """
    logger = get_run_logger()
    staged = stage(target, shown_progress("stage"), Timing())
    if isinstance(staged, NothingNew):
        logger.info("stage: %s", staged.line())
        show_table("stage", staged.model_dump(), "Nothing new")
        return staged
    if target.transfer_note:
        logger.warning("stage: %s", target.transfer_note)
    if target.replay_note:
        logger.warning("stage: %s", target.replay_note)
    ambient().advance("stage", 0, staged.files)  # only now is it known how many there are
    logger.info(
        "stage: %d images, %d rejected, %.1f MB, run %s",
        staged.files,
        staged.rejected,
        staged.bytes / 1e6,
        staged.key,
    )
    show_table("stage", staged.model_dump(), f"Staged from `{target.source.url}`")
    show_link("stage", RunFolder(staged.folder).manifest)
    return staged
