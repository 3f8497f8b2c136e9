"""The task that compares a replay with the run that it replays."""

from __future__ import annotations

from prefect import task
from prefect.logging import get_run_logger

from tasks.artifacts import show_table
from tasks.core.records import Replayed, RunSummary
from tasks.core.run_folder import RunFolder
from tasks.results.sameness import compare_rows
from tasks.retries import STEP


@task(name="replay", task_run_name="replay", **STEP)
def compare_replay(original: RunFolder, replay: RunSummary) -> Replayed:
    """Compares the results of two runs row by row, but for ids that are random by nature."""
    sameness = compare_rows(original.root, replay.folder)
    replayed = Replayed(
        key=replay.key,
        original=original.key,
        identical=sameness.identical,
        same=sameness.same,
        different=sameness.different,
        only_before=sameness.only_before,
        only_now=sameness.only_now,
        examples=sameness.examples,
        verdict=sameness.line(),
        folder=replay.folder,
    )
    get_run_logger().info("%s", replayed.line())
    for example in replayed.examples:
        get_run_logger().warning("replay: %s", example)
    show_table("replay", replayed.model_dump(), f"Run `{original.key}` replayed as `{replay.key}`")
    return replayed
