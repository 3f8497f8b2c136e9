"""A pool of workers in the engine's environment, fed by one thread each."""

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from deployments.batch_server.engine.interface import Chunk, ChunkResult, EngineFailure
from deployments.batch_server.engine.process import EngineProcess
from deployments.batch_server.engine.supervise import Slot

IMAGE_TIMEOUT = 120.0
"""Seconds that one image may take."""
STOP_TIMEOUT = 1.5
"""Seconds that stopping waits for what was killed."""


@dataclass(frozen=True)
class _Order:
    chunk: Chunk
    on_progress: Callable[[int], None]
    future: Future[ChunkResult]


class EnginePool:
    """Implements the server's Engine with workers forked from one process that imported the engine.

    Args:
        python: The interpreter of the engine's environment.
        workers: How many chunks run at a time; one a core is the right number.
        log_path: Where everything that the engine prints goes.
        image_timeout: Seconds after which an image counts as hung and its worker is killed.
    """

    def __init__(self, python: Path, workers: int, log_path: Path, *, image_timeout: float = IMAGE_TIMEOUT) -> None:
        self.workers = workers
        self._process = EngineProcess(python, log_path)
        self._image_timeout = image_timeout
        self._orders: SimpleQueue[_Order | None] = SimpleQueue()
        self._submitting = threading.Lock()  # nothing is queued behind the end
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"engine-{index}", daemon=True) for index in range(workers)
        ]

    def start(self) -> None:
        """Begin importing the engine and return at once."""
        for thread in self._threads:
            thread.start()

    def submit(self, chunk: Chunk, on_progress: Callable[[int], None]) -> Future[ChunkResult]:
        """Queue a chunk; see Engine."""
        order = _Order(chunk, on_progress, Future())
        with self._submitting:
            if self._stopped:
                order.future.set_exception(EngineFailure("the engine was stopped"))
            else:
                self._orders.put(order)
        return order.future

    def stop(self) -> None:
        """Kill all workers; what is not done yet raises EngineFailure."""
        with self._submitting:
            if self._stopped:
                return
            self._stopped = True
            for _ in self._threads:
                self._orders.put(None)
        self._process.stop()
        deadline = time.monotonic() + STOP_TIMEOUT
        for thread in self._threads:
            if thread.ident is None:  # never started: what was queued is for nobody else to refuse
                self._serve()
            else:
                thread.join(max(0.0, deadline - time.monotonic()))

    def _serve(self) -> None:
        slot = Slot(self._process, self._image_timeout)
        with contextlib.suppress(EngineFailure):  # told to whoever sends a chunk
            slot.warm_up()
        while (order := self._orders.get()) is not None:
            if order.future.set_running_or_notify_cancel():
                self._run(slot, order)
        slot.close()

    def _run(self, slot: Slot, order: _Order) -> None:
        try:
            if self._stopped:
                raise EngineFailure("the engine was stopped")
            order.on_progress(0)
            result = slot.run(order.chunk, order.on_progress)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to whoever waits
            order.future.set_exception(error)
        else:
            order.future.set_result(result)
