"""Prefect servers for tests: forked from a process that has imported them, on a database that is made once."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.prefect_drain import drain
from flows.prefect_server import (
    CLIENT_SETTINGS,
    is_prepared,
    prefect_service,
    prepare,
    server_environment,
    server_folder,
)
from tasks.core.services import free_port
from tests.forkserver.client import ROOT, ForkedModule
from tests.waiting import wait_for

PREFECT = "tests.forkserver.prefect_command"
"""The module of the command ``prefect``."""
KEPT = ROOT / ".darkroom" / "tests"
WITHOUT_EVENTS = {
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
}
"""For those who look at no events and no task runs, and have no automations: half of what a run costs the server."""
WITH_SLOW_EVENTS = {
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "3",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
}
"""For those to whom events matter when they come, and not when they can be looked up."""
START_SECONDS = 60.0


@dataclass(frozen=True)
class PrefectServer:
    """A server that is up.

    Attributes:
        url: of the UI; the API is below it.
        home: as it is to a managed server; the database is below it.
    """

    url: str
    home: Path

    @property
    def api_url(self) -> str:
        """What ``PREFECT_API_URL`` is to be."""
        return f"{self.url}/api"

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a command that is to use it."""
        return {"PREFECT_API_URL": self.api_url, "PREFECT_HOME": str(self.home / "prefect-client")}

    def asked(self, query: str, *parameters: str) -> list[tuple[Any, ...]]:
        """What its database says."""
        with closing(sqlite3.connect(server_folder(self.home) / "prefect.db")) as database:
            return database.execute(query, parameters).fetchall()


@contextmanager
def prefect_server(home: Path, **settings: str) -> Iterator[PrefectServer]:
    """A server of its own.

    Args:
        home: a folder for it, as to a managed server.
        settings: variables of its environment.
    """
    home.mkdir(exist_ok=True)
    prepare_home(home)
    port = free_port()
    environment = server_environment(home) | {"PREFECT_SERVER_API_PORT": str(port)} | settings
    words = (PREFECT, "server", "start", "--host", "127.0.0.1")
    log = server_folder(home) / "prefect.log"
    with (
        log.open("a") as output,
        ForkedModule(*words, cwd=home, env=environment, stdout=output, stderr=output) as process,
    ):
        try:
            served = PrefectServer(f"http://127.0.0.1:{port}", home)
            wait_for(lambda: _is_healthy(served, process), "Prefect's server to be ready", timeout=START_SECONDS)
            yield served
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=START_SECONDS)


def _is_healthy(served: PrefectServer, process: ForkedModule) -> bool:
    assert process.poll() is None, (server_folder(served.home) / "prefect.log").read_text()
    try:
        return httpx.get(f"{served.api_url}/health", timeout=10, trust_env=False).is_success
    except httpx.TransportError:
        return False


def prepare_home(home: Path) -> None:
    """Puts there what a first start of a server would make, in a hundredth of the time."""
    shutil.copytree(_prepared(), server_folder(home))


def _prepared() -> Path:
    """A server's folder after its first start; made once for each version of Prefect."""
    made = KEPT / f"prefect-{version('prefect')}"
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            with tempfile.TemporaryDirectory(dir=KEPT) as place:
                home = ROOT / ".darkroom"
                if not _is_unused(home):
                    home = Path(place)
                    prepare(home)
                    assert prefect_service(home).wait_until_gone()
                half = Path(place) / "kept"
                half.mkdir()
                for name in ("prefect.db", "prepared", "memo_store.toml"):
                    shutil.copy(server_folder(home) / name, half)
                half.replace(made)
    return made


def _is_unused(home: Path) -> bool:
    """Whether a server was only prepared there, and is down."""
    database = server_folder(home) / "prefect.db"
    if not is_prepared(home) or database.with_name("prefect.db-wal").exists():
        return False
    return PrefectServer("", home).asked("select count(*) from flow_run") == [(0,)]


@contextmanager
def used_here(server: PrefectServer) -> Iterator[None]:
    """Has this process's Prefect use it, and nothing else that its environment says."""
    from prefect.context import refresh_global_settings_context  # takes seconds, which few tests need

    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PREFECT_")]:
            patch.delenv(name)
        for name, value in (CLIENT_SETTINGS | server.environment).items():
            patch.setenv(name, value)
        refresh_global_settings_context()
        try:
            yield
        finally:
            drain(server.api_url)
    refresh_global_settings_context()
