"""What the tests of flows of one's own share: a server over the small engine, its key, and a wait to interrupt."""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks.blocks import RoboflowPlatform
from tests.deployments.batch_server.running import KEY, ServerClient, settings_for, thread_server
from tests.deployments.batch_server.small_engine import SmallEngine
from tests.images import make_images
from tests.waiting import wait_for

IMAGES = 5


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerClient]:
    with thread_server(settings_for(tmp_path_factory.mktemp("server")), SmallEngine()) as client:
        yield client


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key and no place but what the tests name."""
    for name in ("ROBOFLOW_API_KEY", "API_BASE_URL", "ROBOFLOW_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DARKROOM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DARKROOM_RUNS", str(tmp_path / "runs"))


@pytest.fixture
def source(tmp_path: Path) -> str:
    make_images(tmp_path / "source", IMAGES)
    return str(tmp_path / "source")


def block(server: ServerClient, **fields: str) -> RoboflowPlatform:
    return RoboflowPlatform.model_validate({"url": server.url, "api_key": KEY} | fields)


def polling() -> bool:
    """Whether a thread of this process waits for something on a platform."""
    stacks = [traceback.walk_stack(frame) for frame in sys._current_frames().values()]
    return any(frame.f_code.co_name == "poll_until" for stack in stacks for frame, _ in stack)


@contextmanager
def interrupted_wait(engine: SmallEngine) -> Iterator[None]:
    """Ctrl-C for this thread, once the engine stands still and somebody waits for its job."""
    here = threading.get_ident()

    def interrupt() -> None:
        wait_for(lambda: engine.holding.is_set() and polling(), "the wait for a job that stands still")
        signal.pthread_kill(here, signal.SIGINT)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    with pytest.raises(KeyboardInterrupt):
        yield
    interrupting.join()
