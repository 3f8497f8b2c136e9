"""The platforms a run can go to, and the connection to one of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from tasks.core.environments import without_credentials
from tasks.core.errors import BadInput, ConnectionFailed, KeyRefused
from tasks.core.redaction import redact
from tasks.core.services import ManagedService
from tasks.core.settings import PlatformLogin, Settings
from tasks.roboflow_api.models import WorkspaceAnswer
from tasks.roboflow_api.polling import Pace
from tasks.roboflow_api.processing import ProcessingApi
from tasks.roboflow_api.retrying import RetryPolicy
from tasks.roboflow_api.staging import StagingApi
from tasks.roboflow_api.transport import Transport
from tasks.roboflow_api.workflows import Workflow, WorkflowsApi, is_file

EMBEDDED = "embedded"
CLOUD = "roboflow"
BLOCK = "block:"
"""How a platform is named whose URL and key stand in a block of Prefect's."""
FIRST_CALL = RetryPolicy(attempts=6, total=15.0)
"""The first call tells a platform that is down: minutes of patience belong to a run under way."""


@dataclass(frozen=True)
class Platform:
    """A platform that answers.

    Attributes:
        name: ``embedded``, ``roboflow``, or the URL without secrets.
        url: base URL.
        workspace: whose key was given.
        staging: batches.
        processing: jobs.
        workflows: definitions.
        pace: how often to look while waiting: a cloud is asked less often than one's own machine.
        settle: seconds until an upload that was cut off by a kill must have shown up, if it arrived at all.
    """

    name: str
    url: str
    workspace: str
    staging: StagingApi
    processing: ProcessingApi
    workflows: WorkflowsApi
    pace: Pace
    settle: float

    def workflow(self, named: str) -> Workflow:
        """The workflow that the user names: an id, or a definition file, which is registered.

        Raises:
            BadInput: there is no such workflow or file.
        """
        return self.workflows.register(Path(named)) if is_file(named) else self.workflows.find(named)


@contextmanager
def open_platform(name: str, settings: Settings) -> Iterator[Platform]:
    """Connects to the platform that ``name`` says, starting the embedded server when it is that.

    Args:
        name: ``embedded``, ``roboflow``, a URL, or ``block:NAME``, which is known by what the block holds.
        settings: with the key, or with what loads blocks.

    Raises:
        BadInput: no such platform or block, no key for it, or one of another workspace than the block says.
        KeyRefused: the key is not the platform's.
        ConnectionFailed: it does not answer.
    """
    if name == EMBEDDED:
        _check_engine(settings)
        with (
            embedded_server(settings).use() as url,
            connect(PlatformLogin(name, url, _embedded_key(settings))) as platform,
        ):
            yield platform
    elif name.startswith(BLOCK):
        with _told_as(name), connect(settings.login_of(name.removeprefix(BLOCK))) as platform:
            yield platform
    else:
        with connect(_own_login(name, settings)) as platform:
            yield platform


def embedded_server(settings: Settings) -> ManagedService:
    """The server of :data:`EMBEDDED`, with its data below the home folder and a key of its own making."""
    data = _embedded_data(settings)
    engine = Path(os.path.abspath(settings.engine_python))  # noqa: PTH100 - a venv's python is a link to keep

    def command(port: int) -> list[str]:
        server = [sys.executable, "-m", "deployments.batch_server", "--port", str(port)]
        opened = [word for host in settings.allowed_hosts() for word in ("--allow-host", host)]
        return [*server, "--data", str(data), "--engine", str(engine), *opened]

    return ManagedService(
        "batch-server",
        command,
        env=without_credentials(),
        state_dir=data.with_name("batch-server"),
        health_path="/health",
    )


def _check_engine(settings: Settings) -> None:
    if not settings.engine_python.exists():
        raise BadInput(
            f"the engine's environment is missing ({settings.engine_python}): run `make setup` in the project, "
            "or set DARKROOM_ENGINE_PYTHON to the Python of another one"
        )


def _embedded_data(settings: Settings) -> Path:
    return settings.home.absolute() / "server"


def _embedded_key(settings: Settings) -> SecretStr:
    return SecretStr((_embedded_data(settings) / "api-key").read_text(encoding="utf-8").strip())


@contextmanager
def _told_as(name: str) -> Iterator[None]:
    """Has a refused key tell the block that it stands in."""
    try:
        yield
    except KeyRefused as error:
        raise KeyRefused(
            f"{name} holds an API key that its platform refused (401): correct it in Prefect's UI, under Blocks, or "
            "with darkroom setup",
            status=error.status,
        ) from None


def _own_login(name: str, settings: Settings) -> PlatformLogin:
    """The login to a platform that the environment has the key of."""
    url = settings.cloud_url() if name == CLOUD else name
    if settings.api_key is None:
        raise BadInput(f"no API key for {redact(url)}: set ROBOFLOW_API_KEY")
    return PlatformLogin(name, url, settings.api_key)


@contextmanager
def connect(login: PlatformLogin) -> Iterator[Platform]:
    """Connects to a platform whose login is known.

    Raises:
        BadInput: the key is of another workspace than the login says.
        KeyRefused: the key is not the platform's.
        ConnectionFailed: it does not answer.
    """
    with Transport(login.url, login.key, FIRST_CALL) as transport:
        workspace = _ask_workspace(transport, login)
        transport.policy = RetryPolicy()
        is_cloud = login.name == CLOUD
        yield Platform(
            name=redact(login.name),
            url=redact(login.url),
            workspace=workspace,
            staging=StagingApi(transport, workspace),
            processing=ProcessingApi(transport, workspace),
            workflows=WorkflowsApi(transport, workspace),
            pace=Pace() if is_cloud else Pace(longest=0.3),
            settle=30.0 if is_cloud else 2.0,
        )


def _ask_workspace(transport: Transport, login: PlatformLogin) -> str:
    """Whose key it is."""
    try:
        workspace = transport.get("/", WorkspaceAnswer).workspace
    except ConnectionFailed as error:
        raise ConnectionFailed(f"{redact(login.url)} does not answer ({error}): is the server running?") from None
    if login.workspace not in ("", workspace):
        raise BadInput(
            f"the key for {redact(login.url)} is of workspace {workspace}, and {login.workspace} is expected: correct "
            "one of them"
        )
    return workspace
