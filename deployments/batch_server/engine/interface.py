"""What the batch server asks of whatever runs workflows on images."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class ImageSlice:
    """One encoded image (JPEG, PNG, …) inside a larger file."""

    name: str
    """File name as staged; any text, unique in its chunk."""
    path: Path
    """The file that holds the image's bytes."""
    offset: int
    """Where the bytes begin, from the start of the file."""
    size: int
    """How many bytes the image has."""


@dataclass(frozen=True)
class Chunk:
    """A handful of images to run one workflow on."""

    chunk_id: str
    images: tuple[ImageSlice, ...]
    definition: dict[str, Any]
    """The workflow's bare specification (version, inputs, steps, outputs)."""
    parameters: dict[str, Any]
    """Values for the workflow's parameters, by name."""
    image_input: str | None
    """Name of the image input; `None`: the workflow's only one."""
    keep_images: bool
    """Whether image outputs are written to the output folder."""
    image_outputs: tuple[str, ...] | None
    """Which image outputs are kept; `None`: all of them."""
    output_dir: Path
    """Where results.jsonl, failures.jsonl and images/ go; exists and is empty."""


@dataclass(frozen=True)
class ChunkResult:
    """How a chunk ended: every image is either processed or failed."""

    chunk_id: str
    processed: int
    failed: int
    seconds: float
    """Machine time, from the moment it was begun."""
    crashes: tuple[str, ...] = ()
    """One line for each worker that died on the way and was replaced."""


class EngineFailure(Exception):
    """The engine itself cannot go on (it does not start, or keeps dying); says so in one line."""


class WorkflowInvalid(Exception):
    """The workflow's definition or its parameters cannot be used; names the problem in one line."""


class Engine(Protocol):
    """Runs chunks, several at a time, in whatever way it likes."""

    workers: int
    """How many chunks run at a time."""

    def start(self) -> None:
        """Begin warming up in the background and return at once."""

    def submit(self, chunk: Chunk, on_progress: Callable[[int], None]) -> Future[ChunkResult]:
        """Queue a chunk.

        Args:
            chunk: What to run.
            on_progress: Called from another thread, with 0 when the chunk is begun and with the number of images
                done after each of them. What it raises ends the chunk there, and its worker is free.

        Returns:
            A future of the result; it raises EngineFailure, WorkflowInvalid or what `on_progress` raised. Cancelled
            before the chunk is begun, it costs nothing.
        """

    def stop(self) -> None:
        """End within two seconds, killing what runs; unfinished futures raise EngineFailure."""
