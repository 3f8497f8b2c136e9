"""The task that surveys a source: source in, manifest and, where wanted, signed references out."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.logging import get_run_logger

from tasks.artifacts import show_link, show_table, shown_progress
from tasks.core.records import Surveyed
from tasks.retries import STEP
from tasks.sources.base import Source
from tasks.steps.survey import Signing, survey


@task(name="survey", task_run_name="survey", **STEP)
def survey_source(source: Source, folder: Path, signing: Signing | None) -> Surveyed:
    """Lists ``source``, checks its files and writes the manifest into ``folder``; nothing is sent.

    Raises:
        BadInput: there are no images, or the source's files cannot be referred to.
    """
    surveyed = survey(source, folder, signing, shown_progress("stage"))
    get_run_logger().info(
        "stage: %d images, %d rejected, %.1f MB", surveyed.files, surveyed.rejected, surveyed.bytes / 1e6
    )
    show_table(
        "survey", surveyed.model_dump(exclude={"reasons"}) | surveyed.reasons, f"Staged from `{surveyed.source}`"
    )
    show_link("survey", surveyed.manifest)
    return surveyed
