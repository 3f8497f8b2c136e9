"""The task that writes datasets: a finished run in, COCO, YOLO and other formats out."""

from __future__ import annotations

from prefect import task
from prefect.logging import get_run_logger

from tasks.artifacts import show_link, show_rows, shown_progress
from tasks.results.exporters.description import WrittenDataset
from tasks.retries import STEP
from tasks.steps.context import Run
from tasks.steps.datasets import make_datasets


@task(name="datasets", task_run_name="datasets", **STEP)
def write_run_datasets(run: Run) -> tuple[WrittenDataset, ...]:
    """Writes the dataset formats that are asked for; one that is there already stays.

    Raises:
        LocalFault: the disk is full.
    """
    written = make_datasets(run, shown_progress("datasets"))
    for dataset in written:
        get_run_logger().info(
            "datasets: %s, %d images, %d predictions%s -> %s",
            dataset.format,
            dataset.images,
            dataset.predictions,
            "" if dataset.fresh else ", written before",
            dataset.path,
        )
        for reason, count in dataset.skipped.items():
            get_run_logger().warning("datasets: %s leaves out %d: %s", dataset.format, count, reason)
        show_link(f"dataset-{dataset.format}", dataset.path)
    show_rows("datasets", [_row(dataset) for dataset in written], f"Datasets of run `{run.folder.key}`")
    return written


def _row(dataset: WrittenDataset) -> dict[str, str]:
    skipped = ", ".join(f"{count} {reason}" for reason, count in dataset.skipped.items())
    return {
        "format": dataset.format,
        "images": str(dataset.images),
        "predictions": str(dataset.predictions),
        "left out": skipped,
        "files": str(dataset.files),
        "path": str(dataset.path),
    }
