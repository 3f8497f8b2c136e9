"""A run on a server whose engine a test holds still and lets go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tasks.steps.context import Run
from tasks.steps.ingest import ingest
from tests.deployments.batch_server.running import ServerClient, settings_for, thread_server
from tests.deployments.batch_server.small_engine import SmallEngine
from tests.images import make_images
from tests.tasks.steps.conftest import Bench
from tests.waiting import wait_for

IMAGES = 12


@dataclass
class Held:
    """A server over an engine that stands still when told to, and where to start runs on it."""

    server: ServerClient
    engine: SmallEngine
    bench: Bench

    def ingested(self, images: int = IMAGES, **changes: object) -> Run:
        """A run whose images are in its batch, and which has no job yet."""
        make_images(self.bench.source, images)
        run = self.bench.staged(**changes)
        ingest(run, images)
        return run

    def standing(self, run: Run, tasks: int) -> None:
        """Waits until the engine holds still and the platform knows of so many tasks done."""
        wait_for(self.engine.holding.is_set, "the engine to hold")
        wait_for(
            lambda: sum(task["statusType"] == "success" for task in self.server.tasks(run.remote_id)) == tasks,
            "the records of its tasks",
        )


@contextmanager
def held_bench(folder: Path, hold_after: int | None, **changes: object) -> Iterator[Held]:
    """A server of its own; tasks are of a few images each."""
    engine = SmallEngine(hold_after=hold_after)
    settings = settings_for(folder / "held-server", **{"chunk_limit": 4} | changes)
    with thread_server(settings, engine) as server, ExitStack() as stack:
        yield Held(server, engine, Bench(server.url, folder, stack))
