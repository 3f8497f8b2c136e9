"""Runs of the steps, without Prefect, against a real server over the small engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr

from tasks.core.journal import Journal
from tasks.core.progress import Silent
from tasks.core.records import RunSummary, Staged, StepRecords
from tasks.core.request import RunRequest
from tasks.core.run_folder import RunFolder
from tasks.core.settings import Settings
from tasks.roboflow_api.retrying import Timing
from tasks.steps.context import Run, Target
from tasks.steps.export import export
from tasks.steps.ingest import ingest
from tasks.steps.launch import launch
from tasks.steps.stage import load_staged, open_target, stage
from tasks.steps.summarize import summarize
from tasks.steps.wait import wait
from tests.deployments.batch_server.running import KEY, ServerClient, settings_for, thread_server
from tests.deployments.batch_server.small_engine import SmallEngine
from tests.emulators.fixtures import *  # noqa: F403
from tests.waiting import POLL_SECONDS


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerClient]:
    """A server over the small engine."""
    settings = settings_for(tmp_path_factory.mktemp("server"), chunk_limit=16)
    with thread_server(settings, SmallEngine()) as client:
        yield client


class Bench:
    """Starts runs on a server; everything that it opened is closed at the end."""

    def __init__(self, url: str, folder: Path, stack: ExitStack) -> None:
        self.url = url
        self.source = folder / "source"
        self.runs = folder / "runs"
        self.source.mkdir()
        self._folder = folder
        self._stack = stack

    def target(self, **changes: object) -> Target:
        """The target of a request; fields of the request may be changed."""
        fields = {"source": str(self.source), "workflow": "minimal", "platform": self.url, "runs": str(self.runs)}
        request = RunRequest.model_validate(fields | changes)
        settings = Settings.model_validate({"ROBOFLOW_API_KEY": SecretStr(KEY), "DARKROOM_HOME": self._folder / "home"})
        return self._stack.enter_context(open_target(request, settings))

    def staged(self, **changes: object) -> Run:
        """A run that is staged and held, with its journal open."""
        target = self.target(**changes)
        staged = stage(target, Silent(), self.timing)
        assert isinstance(staged, Staged), staged
        return self.opened(target, RunFolder(staged.folder))

    def opened(self, target: Target, folder: RunFolder) -> Run:
        """The run of a folder, as the next process finds it."""
        return Run(target, folder, self._stack.enter_context(Journal(folder.journal)), Silent(), self.timing)

    @property
    def timing(self) -> Timing:
        """Real time, looked at often; nothing waits for seconds."""
        import time

        return Timing(sleep=lambda seconds: time.sleep(min(seconds, POLL_SECONDS)))


@pytest.fixture
def bench(server: ServerClient, tmp_path: Path) -> Iterator[Bench]:
    """Where a test puts its images and starts its runs."""
    with ExitStack() as stack:
        yield Bench(server.url, tmp_path, stack)


def run_all(run: Run) -> RunSummary:
    """Every step after staging."""
    begun = run.timing.clock()
    return summarize(run, records_of(run), begun)


def records_of(run: Run) -> StepRecords:
    """What the steps before the last leave, done now where they were not."""
    staged = load_staged(run.folder)
    ingested = ingest(run, staged.to_send)
    launched = launch(run)
    finished = wait(run)
    return StepRecords(staged, ingested, launched, finished, export(run, finished))
