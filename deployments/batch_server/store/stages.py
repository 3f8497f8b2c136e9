"""What the stages of a job are called, and what they make."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROCESSING, EXPORT = STAGES = "processing", "export"
EXPORT_TASK = "export-00000"
IMAGE_FAILED = "image-processing-failed"
"""The log of an image that failed."""


@dataclass(frozen=True)
class Part:
    """A part of a stage's output batch."""

    name: str
    content_type: str
    description: str
    nested_content_type: str | None = None


RESULTS = Part("results", "metadata", "Results of the workflow, one file a task, one line an image.")
IMAGES = Part("images", "archives", "Image outputs, one archive a task.", "images")
AGGREGATED = Part("aggregated-results", "metadata", "Results of all images together.")
RESULTS_ARCHIVES = Part("results-archives", "archives", "Results, one file an image.", "metadata")
IMAGES_ARCHIVES = Part("images-archives", "archives", "Image outputs.", "images")


@dataclass(frozen=True)
class OutputFile:
    """A finished file of a part."""

    part: str
    name: str
    path: Path
    """Relative to the data folder."""
    size: int
    sha256: str


@dataclass(frozen=True)
class TaskRecord:
    """How a processing task ended."""

    processed: int
    failures: tuple[dict[str, Any], ...]
    """One `{"image", "reason"}` for each image that failed."""
    files: tuple[OutputFile, ...]
    seconds: float = 0.0
    """Machine time."""
    crashes: tuple[str, ...] = ()
    """What became of workers that did not get to its end."""

    @property
    def images(self) -> int:
        """All of its images."""
        return self.processed + len(self.failures)


def output_batch(job_id: str, stage: str) -> str:
    """The id of the batch that a stage of a job fills."""
    return f"{job_id}-{stage}"


def folder_name(task_id: str, run: int) -> str:
    """The folder of a task in a run of its job: each run has its own, so that none finds what another one left."""
    return f"{task_id}.{run}" if run else task_id
