"""The parts of the stack: what is started, with which environment, and how long it is given.

A part is a :class:`~tasks.core.services.ManagedService` that nobody has to use: its supervisor, in a session of its
own, keeps it up until it is asked to stop, and starts it again when it dies.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deployments.batch_server.data_folder import kept_secret
from deployments.stack.ports import Ports
from flows.prefect_server import server_environment
from tasks.core import supervisor
from tasks.core.environments import without_credentials
from tasks.core.services import ManagedService
from tasks.core.settings import Settings
from tasks.core.supervisor import Limits
from tasks.sources.registry import is_bucket_url

ROOT = Path(__file__).parents[2]
POOL = "darkroom"
HEARTBEAT_SECONDS = 30
"""How often flow runs say that they are alive; what is silent can be marked as crashed."""

PREFECT, SERVER, RECEIVER, WORKER = "prefect", "batch-server", "receiver", "worker"
TITLES = {PREFECT: "Prefect", SERVER: "batch server", RECEIVER: "receiver", WORKER: "worker"}
"""In the order of their start."""
PORTS = {PREFECT: "prefect", SERVER: "server", RECEIVER: "receiver"}
"""Which port of :class:`Ports` a part listens on; the worker's health is asked on a free one."""
_HEALTH = {PREFECT: "/api/health"}
_FOREVER = math.inf
_LIMITS = {
    # A fresh database adds the migrations, and a busy machine its load.
    PREFECT: Limits(start_timeout=180.0, linger=_FOREVER),
    SERVER: Limits(start_timeout=120.0, linger=_FOREVER),
    RECEIVER: Limits(start_timeout=120.0, linger=_FOREVER),
    # Flow runs that could not be cancelled are given the time to abort their jobs.
    WORKER: Limits(start_timeout=120.0, linger=_FOREVER, stop_seconds=(30.0, 10.0, 5.0)),
}
_ANOTHER_SERVERS = ("PREFECT_API_", "PREFECT_HOME", "PREFECT_PROFILE", "PREFECT_SERVER_", "PREFECT_CLOUD_")


class Part(ManagedService):
    """A service of the stack, on a port of its own choice where it has one."""

    def __init__(
        self,
        name: str,
        folder: Path,
        command: Callable[[int], Sequence[str]],
        env: dict[str, str],
        *,
        port: int | None = None,
        cwd: Path | None = None,
    ) -> None:
        health_path, limits = _HEALTH.get(name, "/health"), _LIMITS[name]
        super().__init__(
            name, command, env=env, state_dir=folder, health_path=health_path, limits=limits, port=port, cwd=cwd
        )

    @property
    def title(self) -> str:
        """What it is called in messages."""
        return TITLES[self.name]

    def is_kept(self) -> bool:
        """Whether a supervisor looks after it now, healthy or not: what a reboot or a kill left behind is none."""
        record = self.record()
        has_said_its_last_word = record is not None and record.status in supervisor.FINAL
        return not has_said_its_last_word and not self.wait_until_gone(timeout=0.0)

    def end(self) -> bool:
        """Ends it, gently at first; gives whether it is gone."""
        return self.stop(timeout=sum(self._limits.stop_seconds) + 10.0)


@dataclass(frozen=True)
class Plan:
    """What the stack is started with.

    Attributes:
        folder: of its state, data and logs.
        ports: where its servers listen.
        settings: what the environment says.
    """

    folder: Path
    ports: Ports
    settings: Settings

    @property
    def server_data(self) -> Path:
        """The batch server's data folder."""
        return self.folder / SERVER / "data"

    @property
    def key_file(self) -> Path:
        """Where the batch server keeps the API key that it made."""
        return self.server_data / "api-key"

    def flow_environment(self) -> dict[str, str]:
        """The environment of what runs flows or speaks to Prefect: this process's, with the stack's addresses.

        ROBOFLOW_API_KEY stays the user's, for Roboflow's cloud; the key of the stack's batch server travels in a block.
        Platforms elsewhere cannot reach a receiver on loopback: a DARKROOM_WEBHOOK_URL of the user's stays too.
        """
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_ANOTHER_SERVERS)}
        defaults = {
            "DARKROOM_WEBHOOK_URL": self.ports.receiver_url,
            "DARKROOM_WEBHOOK_SECRET": kept_secret(self.folder / "webhook-secret"),
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
            # Whoever waits for a flow run is on this machine too.
            "PREFECT_WORKER_QUERY_SECONDS": "2",
        }
        return defaults | {name: value for name, value in inherited.items() if value} | self._places()

    def _places(self) -> dict[str, str]:
        runs = self.settings.runs
        return {
            "PREFECT_API_URL": self.ports.api_url,
            "PREFECT_HOME": str(self.folder / "prefect-client"),
            "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "DARKROOM_HOME": str(self.settings.home.absolute()),
            "DARKROOM_RUNS": runs if is_bucket_url(runs) else str(Path(runs).absolute()),
            "DARKROOM_ENGINE_PYTHON": os.path.abspath(self.settings.engine_python),  # noqa: PTH100 - a link to keep
        }


def parts(plan: Plan) -> list[Part]:
    """The parts in the order of their start; secrets are made where there are none."""
    return [_prefect(plan), _batch_server(plan), _receiver(plan), _worker(plan)]


def known_parts(folder: Path) -> list[Part]:
    """The parts as something to look at and to end, in the order of their start; none of these can be started."""
    return [Part(name, folder / name, lambda _: [], {}) for name in TITLES]


def _prefect(plan: Plan) -> Part:
    def command(port: int) -> list[str]:
        # The UI learns the API's address from the setting, not from a --port option.
        setting = f"PREFECT_SERVER_API_PORT={port}"
        return ["env", setting, sys.executable, "-m", "prefect", "server", "start", "--host", supervisor.HOST]

    return Part(PREFECT, plan.folder / PREFECT, command, server_environment(plan.folder), port=plan.ports.prefect)


def _batch_server(plan: Plan) -> Part:
    # The receiver is on loopback, where the server sends nothing unless it is allowed to.
    hosts = [supervisor.HOST, *plan.settings.allowed_hosts()]

    def command(port: int) -> list[str]:
        engine = plan.flow_environment()["DARKROOM_ENGINE_PYTHON"]
        server = [sys.executable, "-m", "deployments.batch_server", "--port", str(port), "--data"]
        opened = [word for host in hosts for word in ("--allow-host", host)]
        return [*server, str(plan.server_data), "--engine", engine, *opened]

    return Part(SERVER, plan.folder / SERVER, command, without_credentials(), port=plan.ports.server, cwd=ROOT)


def _receiver(plan: Plan) -> Part:
    def command(port: int) -> list[str]:
        receiver = [sys.executable, "-m", "deployments.webhooks", "--port", str(port)]
        return [*receiver, "--data", str(plan.folder / RECEIVER / "data")]

    environment = plan.flow_environment()
    return Part(RECEIVER, plan.folder / RECEIVER, command, environment, port=plan.ports.receiver, cwd=ROOT)


def _worker(plan: Plan) -> Part:
    def command(port: int) -> list[str]:
        address = [f"PREFECT_WORKER_WEBSERVER_HOST={supervisor.HOST}", f"PREFECT_WORKER_WEBSERVER_PORT={port}"]
        worker = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--name", "stack"]
        return ["env", *address, *worker, "--with-healthcheck"]

    return Part(WORKER, plan.folder / WORKER, command, plan.flow_environment(), cwd=ROOT)
