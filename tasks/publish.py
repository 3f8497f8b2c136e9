"""The task that publishes: a finished run in, its results at their destination out."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.artifacts import create_link_artifact
from prefect.logging import get_run_logger

from tasks.artifacts import show_table, shown_progress
from tasks.assets import materialized, place_asset
from tasks.core.run_folder import RunFolder
from tasks.retries import STEP
from tasks.steps.publish import Published, publish
from tasks.transfer.places import Place


@task(name="publish", task_run_name="publish", **STEP)
def publish_results(folder: RunFolder, destination: Place) -> Published:
    """Writes the results of a finished run to its destination, ``summary.parquet`` last.

    Raises:
        RunIncomplete: the run is not finished.
    """
    published = publish(folder, destination, shown_progress("publish"))
    get_run_logger().info(
        "publish: %d files, %.1f MB -> %s (%d of them written now)",
        published.files,
        published.bytes / 1e6,
        published.url,
        published.sent,
    )
    materialized(place_asset(published.url, f"results of run {folder.key}"), place_asset(str(folder.root)))
    show_table("publish", published.model_dump(), f"Published to `{published.url}`")
    create_link_artifact(
        _link(published.url), link_text=folder.key, key="publish-folder", description=f"Results in `{published.url}`"
    )
    return published


def _link(url: str) -> str:
    return url if "://" in url else Path(url).absolute().as_uri()
