"""The Prefect API that flows report to: a configured one, or a server of our own for as long as runs need it.

Prefect reads its settings when it is imported, so nothing here imports it at the top. The managed server is
an ordinary ``prefect server start`` with its own database under ``<home>/prefect``, never Prefect's ephemeral
server.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from flows.prefect_config import check_api, configured_api_url
from flows.prefect_drain import drain
from tasks.core.environments import without_credentials
from tasks.core.errors import DarkroomError
from tasks.core.services import ManagedService
from tasks.core.supervisor import Limits

SERVER_SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    # Without these a task run shows up to five seconds late, and so does the end of a run that waits for it.
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "0.2",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "DO_NOT_TRACK": "1",
}
CLIENT_SETTINGS = {
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "DO_NOT_TRACK": "1",
}
# A fresh home adds the migrations, and a busy machine its load. Task runs are recorded from a queue that a stopping
# server drops, so it stays for several of the recorder's intervals after it has received the last event.
LIMITS = Limits(start_timeout=120.0, linger=5.0)


@contextmanager
def managed_prefect_api(home: Path) -> Iterator[str]:
    """Gives the URL of a Prefect API that answers, and makes Prefect use it inside the block.

    A configured API (environment, ``.env``, ``prefect.toml``, ``pyproject.toml`` or profile, as Prefect looks for them)
    is checked and used. Otherwise the managed server is started or, when another run has it up, shared. Prefect and the
    flow are imported while that server starts. At the end of the block everything this process sent to the managed
    server has been received there.

    Args:
        home: folder of everything managed; the server's data goes to ``<home>/prefect``.

    Raises:
        BadInput: the configured API does not answer, or is none.
        ServiceFailed: the managed server does not start.
    """
    if configured := configured_api_url(os.environ, Path.cwd()):
        check_api(configured)
        yield configured
        return
    service = prefect_service(home)
    service.prestart()
    record = service.record()
    assert record is not None
    with _client_settings(f"{record.url}/api"):
        importlib.import_module("flows.batch")
        with service.use() as url, _client_settings(f"{url}/api"):
            _mark_prepared(home)
            try:
                yield f"{url}/api"
            finally:
                drain(f"{url}/api")


@contextmanager
def prefect_warming_up(home: Path) -> Iterator[None]:
    """Begins to start the managed server, where :func:`managed_prefect_api` will need it, and keeps it up inside."""
    if configured_api_url(os.environ, Path.cwd()):
        yield
        return
    service = prefect_service(home)
    service.prestart()
    try:
        yield
    finally:
        service.release()


def prefect_service(home: Path) -> ManagedService:
    """The managed Prefect server of ``home``."""
    folder = server_folder(home)
    return ManagedService(
        "prefect",
        _server_command,
        env=server_environment(home),
        state_dir=folder,
        health_path="/api/health",
        limits=LIMITS,
    )


def server_folder(home: Path) -> Path:
    """Where the managed server keeps its database, logs and state."""
    return home.absolute() / "prefect"


def server_environment(home: Path) -> dict[str, str]:
    """The managed server's environment: this process's, without its Prefect settings and its credentials."""
    folder = server_folder(home)
    inherited = {name: value for name, value in without_credentials().items() if not name.startswith("ROBOFLOW_")}
    return inherited | SERVER_SETTINGS | {
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / 'prefect.db'}",
        # Else the UI's files are written into the installed package.
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(folder / "ui"),
    }  # fmt: skip


def _server_command(port: int) -> list[str]:
    # The UI learns the API's address from the setting, not from a --port option.
    setting = f"PREFECT_SERVER_API_PORT={port}"
    return ["env", setting, sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]


def prepare(home: Path) -> bool:
    """Starts the managed server for the first time, which creates or migrates its database; it ends by itself.

    Returns:
        Whether there was something to do; a second call for the same Prefect version finds nothing.

    Raises:
        ServiceFailed: the server does not start; the message holds its last words.
    """
    if is_prepared(home):
        return False
    with prefect_service(home).use():
        _mark_prepared(home)
    return True


def is_prepared(home: Path) -> bool:
    """Whether :func:`prepare` would find nothing to do."""
    folder = server_folder(home)
    marker = folder / "prepared"
    return (
        (folder / "prefect.db").exists()
        and marker.exists()
        and marker.read_text(encoding="utf-8") == version("prefect")
    )


def _mark_prepared(home: Path) -> None:
    (server_folder(home) / "prepared").write_text(version("prefect"), encoding="utf-8")


@contextmanager
def _client_settings(api_url: str) -> Iterator[None]:
    """Points this process's Prefect, imported or not, at ``api_url``."""
    changes = CLIENT_SETTINGS | {"PREFECT_API_URL": api_url}
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    _refresh_prefect()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _refresh_prefect()


def _refresh_prefect() -> None:
    if "prefect.context" in sys.modules:
        sys.modules["prefect.context"].refresh_global_settings_context()


def main(arguments: Sequence[str]) -> int:
    """``python -m flows.prefect_server prepare HOME``."""
    if len(arguments) != 2 or arguments[0] != "prepare":
        sys.stderr.write("usage: python -m flows.prefect_server prepare HOME\n")
        return 2
    try:
        prepare(Path(arguments[1]))
    except DarkroomError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
