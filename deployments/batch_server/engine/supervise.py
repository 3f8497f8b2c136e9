"""Takes one chunk through workers that may die: a poisoned image costs one image, a crash one retry."""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from deployments.batch_server.engine.interface import Chunk, ChunkResult, EngineFailure, WorkflowInvalid
from deployments.batch_server.engine.process import EngineProcess, Worker, WorkerDied

ATTEMPTS = 2
"""How many workers may die on one image, or on preparing a chunk, before it is given up."""


@dataclass
class _State:
    """How far a chunk has come; a later worker takes over from here."""

    done: int = 0
    failed: int = 0
    results_bytes: int = 0
    failures_bytes: int = 0


class Slot:
    """A place for one worker at a time, filled anew when the worker dies."""

    def __init__(self, process: EngineProcess, image_timeout: float) -> None:
        self._process = process
        self._image_timeout = image_timeout
        self._worker: Worker | None = None

    def warm_up(self) -> None:
        """Have a worker ready.

        Raises:
            EngineFailure: The engine does not start.
        """
        if self._worker is None:
            self._worker = self._process.fork_worker()

    def run(self, chunk: Chunk, on_progress: Callable[[int], None]) -> ChunkResult:
        """Run a chunk to its end, over as many workers as it takes.

        Raises:
            EngineFailure: The engine does not start, cannot store results, or dies before the first image.
            WorkflowInvalid: The workflow or its parameters cannot be used.
        """
        begin = time.monotonic()
        attempt = _Attempt(chunk, on_progress, self._image_timeout)
        while not attempt.finished:
            self.warm_up()
            assert self._worker is not None
            try:
                attempt.go_on(self._worker)
            except (WorkerDied, TimeoutError) as error:
                attempt.take_note(self._discard(), timed_out=isinstance(error, TimeoutError))
            except WorkflowInvalid:
                raise
            except BaseException:
                self._discard()  # it is still busy with a chunk that nobody waits for
                raise
        state = attempt.state
        seconds = time.monotonic() - begin
        return ChunkResult(chunk.chunk_id, state.done - state.failed, state.failed, seconds, tuple(attempt.crashes))

    def close(self) -> None:
        """Let the worker go."""
        if self._worker is not None:
            self._discard()

    def _discard(self) -> str:
        assert self._worker is not None
        worker, self._worker = self._worker, None
        return self._process.bury(worker)


class _Attempt:
    """One chunk under way."""

    def __init__(self, chunk: Chunk, on_progress: Callable[[int], None], image_timeout: float) -> None:
        self.state = _State()
        self.finished = False
        self.crashes: list[str] = []
        self._chunk = chunk
        self._on_progress = on_progress
        self._image_timeout = image_timeout
        self._blame: str | None = None
        self._prepared = False
        self._deaths = {"preparing": 0, "image": 0}

    def go_on(self, worker: Worker) -> None:
        """Have a worker do what is left.

        Raises:
            WorkerDied: It did not get to the end.
            TimeoutError: An image, or preparing the workflow, took too long.
        """
        self._prepared = False
        worker.send(self._message(), self._image_timeout)
        while not self.finished:
            self._take(worker.receive(self._image_timeout))

    def take_note(self, how: str, *, timed_out: bool) -> None:
        """Decide what the death of a worker means for the image it was on."""
        when = "image" if self._prepared else "preparing"
        self._deaths[when] += 1
        what = f"took longer than {self._image_timeout:g} s" if timed_out else f"died ({how})"
        place = f"image {self._current()!r}" if self._prepared else "preparing the workflow"
        self.crashes.append(f"a worker {what} on {place} and was replaced")
        if self._prepared and timed_out:
            self._blame = f"took longer than {self._image_timeout:g} s"
        elif self._deaths["image"] >= ATTEMPTS:
            self._blame = f"the worker died on this image ({how})"
        elif self._deaths["preparing"] >= ATTEMPTS:
            raise EngineFailure(f"the engine {what} twice while it prepared the workflow")

    def _current(self) -> str:
        """The image that comes after those that are done."""
        return self._chunk.images[min(self.state.done, len(self._chunk.images) - 1)].name

    def _take(self, message: dict[str, Any]) -> None:
        if "invalid" in message:
            raise WorkflowInvalid(message["invalid"])
        if "broken" in message:
            raise EngineFailure(message["broken"])
        if "done" in message:
            self.state = _State(**message)
            self._blame = None
            self._deaths["image"] = 0
            self._on_progress(self.state.done)
        self._prepared = True
        self.finished = "finished" in message

    def _message(self) -> dict[str, Any]:
        chunk = self._chunk
        return {
            "images": [[each.name, os.fspath(each.path), each.offset, each.size] for each in chunk.images],
            "definition": chunk.definition,
            "parameters": chunk.parameters,
            "image_input": chunk.image_input,
            "keep_images": chunk.keep_images,
            "image_outputs": chunk.image_outputs,
            "output_dir": os.fspath(chunk.output_dir),
            "state": asdict(self.state),
            "blame": self._blame,
        }
