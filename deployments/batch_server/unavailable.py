"""The engine of a server that has none: staging works, jobs fail with the reason."""

from collections.abc import Callable
from concurrent.futures import Future

from deployments.batch_server.engine.interface import Chunk, ChunkResult, EngineFailure


class UnavailableEngine:
    """Fails every chunk with one clear reason."""

    workers = 1

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def start(self) -> None:
        """There is nothing to start."""

    def submit(self, chunk: Chunk, on_progress: Callable[[int], None]) -> Future[ChunkResult]:  # noqa: ARG002
        """A future that has failed already."""
        future: Future[ChunkResult] = Future()
        future.set_exception(EngineFailure(self._reason))
        return future

    def stop(self) -> None:
        """There is nothing to stop."""
