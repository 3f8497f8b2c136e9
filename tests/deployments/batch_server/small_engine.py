"""An engine in this process that really reads the images and writes what was agreed, without any workflow."""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

from deployments.batch_server.engine.interface import (
    Chunk,
    ChunkResult,
    EngineFailure,
    ImageSlice,
    WorkflowInvalid,
)

BAD = b"not an image"
"""An image with this content fails."""


class SmallEngine:
    """Gives size and SHA-256 of each image, and the image itself as the output "copy".

    Args:
        log: A file that gets one line a chunk that was begun, where it is wanted.
        hold_after: Chunks after which it stands still until it is stopped or released.
        on_image: Called after each image.
    """

    workers = 2

    def __init__(
        self,
        log: Path | None = None,
        hold_after: int | None = None,
        on_image: Callable[[], None] = lambda: None,
    ) -> None:
        self.log = log
        self.begun: list[str] = []
        self.chunks: list[Chunk] = []
        """Those that were submitted."""
        self.most_at_once = 0
        """Most chunks that were with it, under way or waiting, at one time."""
        self.crashes: tuple[str, ...] = ()
        """Of workers, told with each chunk."""
        self.images: list[str] = []
        """The images that it has done."""
        self.holding = Event()
        self.released = Event()
        self.failures: list[Exception] = []
        self._hold_after = hold_after
        self._stopped = False
        self._on_image = on_image
        self._submitted: list[Future[ChunkResult]] = []
        self._threads = ThreadPoolExecutor(1)

    def hold_after(self, chunks: int) -> None:
        """Stand still after so many chunks, counted from the first."""
        self._hold_after = chunks

    def go_on(self) -> None:
        """Stand still no more."""
        self._hold_after = None
        self.released.set()

    def start(self) -> None:
        """There is nothing to warm up."""

    def submit(self, chunk: Chunk, on_progress: Callable[[int], None]) -> Future[ChunkResult]:
        """Run a chunk in a thread."""
        self.chunks.append(chunk)
        future = self._threads.submit(self._run, chunk, on_progress)
        self._submitted = [each for each in self._submitted if not each.done()] + [future]
        self.most_at_once = max(self.most_at_once, len(self._submitted))
        return future

    def is_relieved(self) -> bool:
        """Whether a chunk that was waiting has been taken back."""
        return any(each.cancelled() for each in self._submitted)

    def stop(self) -> None:
        """Let go of a chunk that stands still."""
        self._stopped = True
        self.released.set()
        self._threads.shutdown(cancel_futures=True)

    def _run(self, chunk: Chunk, on_progress: Callable[[int], None]) -> ChunkResult:
        on_progress(0)
        if self._hold_after is not None and len(self.begun) >= self._hold_after:
            on_progress(len(chunk.images) // 2)
            self.holding.set()
            self.released.wait()
        if self._stopped:
            raise EngineFailure("the engine was stopped")
        self.begun.append(chunk.chunk_id)
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(f"{chunk.chunk_id}\n")
        if chunk.parameters.get("color") == "impossible":
            raise WorkflowInvalid("color is not a color")
        if self.failures:
            raise self.failures.pop(0)
        return replace(_write(chunk, self._each_image(on_progress)), crashes=self.crashes)

    def _each_image(self, on_progress: Callable[[int], None]) -> Callable[[ImageSlice, int], None]:
        def done(image: ImageSlice, number: int) -> None:
            self.images.append(image.name)
            self._on_image()
            on_progress(number)

        return done


def _write(chunk: Chunk, on_image: Callable[[ImageSlice, int], None]) -> ChunkResult:
    failed = 0
    with (
        (chunk.output_dir / "results.jsonl").open("w") as results,
        (chunk.output_dir / "failures.jsonl").open("w") as failures,
    ):
        for done, image in enumerate(chunk.images):
            content = _read(image)
            if content == BAD:
                failed += 1
                failures.write(json.dumps({"image": image.name, "reason": "cannot be decoded"}) + "\n")
            else:
                results.write(json.dumps(_result(chunk, image.name, content)) + "\n")
            on_image(image, done + 1)
    return ChunkResult(chunk.chunk_id, len(chunk.images) - failed, failed, 0.5)


def _result(chunk: Chunk, name: str, content: bytes) -> dict[str, object]:
    copy: dict[str, object] = {"type": "image"}
    if chunk.keep_images:
        path = chunk.output_dir / "images" / name / "copy.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        copy["file"] = f"{name}/copy.jpg"
    digest = hashlib.sha256(content).hexdigest()
    return {"image": name, "size": len(content), "sha256": digest, "nested": {"a": [1]}, "copy": copy}


def _read(image: ImageSlice) -> bytes:
    with image.path.open("rb") as file:
        file.seek(image.offset)
        return file.read(image.size)
