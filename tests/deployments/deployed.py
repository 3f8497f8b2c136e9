"""A Prefect server with the project's deployments, and a worker for them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from deployments.stack.patient import Patient
from tasks.core.services import free_port
from tests.commands import ROOT, clean_environment
from tests.deployments.batch_server.running import KEY, ProcessServer
from tests.forkserver.client import ForkedModule
from tests.images import make_images
from tests.prefect_server import PREFECT, WITH_SLOW_EVENTS, PrefectServer, prefect_server
from tests.waiting import PATIENTLY, wait_for


class Deployed:
    """A Prefect server on which the project's deployments are."""

    def __init__(self, server: PrefectServer, environment: dict[str, str]) -> None:
        self.server = server
        self.environment = environment
        self.api = httpx.Client(base_url=server.api_url, timeout=90, trust_env=False, transport=Patient())

    def prefect(self, *arguments: str) -> None:
        """A ``prefect`` command, which must succeed."""
        pipe = subprocess.PIPE
        words = (PREFECT, "--no-prompt", *arguments)
        with ForkedModule(*words, cwd=ROOT, env=self.environment, stdout=pipe, stderr=pipe) as process:
            output, errors = process.communicate(timeout=180)
        assert process.returncode == 0, output + errors

    @contextmanager
    def worker(self) -> Iterator[None]:
        """A process worker of the pool."""
        words = (PREFECT, "--no-prompt", "worker", "start", "--pool", "darkroom")
        nothing = subprocess.DEVNULL
        process = ForkedModule(*words, cwd=ROOT, env=self.environment, stdout=nothing, stderr=nothing)
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)
            process.kill()
            process.wait()

    def deployment(self, name: str = "process-images/images") -> dict[str, Any]:
        """A deployment of the project."""
        answer = self.api.get(f"deployments/name/{name}")
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def start(self, name: str = "process-images/images", **parameters: Any) -> httpx.Response:
        """Asks for a run, as the UI's form does."""
        path = f"deployments/{self.deployment(name)['id']}/create_flow_run"
        return self.api.post(path, json={"parameters": parameters, "enforce_parameter_schema": True})

    def started(self, name: str = "process-images/images", **parameters: Any) -> str:
        """The id of a flow run that was asked for."""
        return str(self.start(name, **parameters).raise_for_status().json()["id"])

    def flow_run(self, flow_run: str) -> dict[str, Any]:
        """A flow run as it is."""
        found: dict[str, Any] = self.api.get(f"flow_runs/{flow_run}").raise_for_status().json()
        return found

    def reached(self, flow_run: str, *states: str) -> str:
        """The state of a flow run, once it is one of these."""

        def reached() -> str | None:
            state = str(self.flow_run(flow_run)["state_name"])
            return state if state in states else None

        return str(wait_for(reached, f"flow run {flow_run} to be {' or '.join(states)}", timeout=90, pause=PATIENTLY))

    def begun(self, held: ProcessServer, folder: Path, images: int, **wait: Any) -> tuple[str, str]:
        """A flow run whose job stands still, and the job's id.

        Args:
            held: where the job is.
            folder: for images and runs.
            images: how many.
            wait: how the flow run waits.
        """
        make_images(folder / "source", images)
        asked = {"source": str(folder / "source"), "workflow": "minimal", "runs": str(folder / "runs")}
        flow_run = self.started(**asked, platform=held.client.url, wait=wait)
        return flow_run, held.client.standing()

    @contextmanager
    def receiver(self, runs: Path) -> Iterator[None]:
        """The receiver of notifications for these runs, at the address that platforms are given."""
        port = self.environment["DARKROOM_WEBHOOK_URL"].rpartition(":")[2]
        command = [sys.executable, "-m", "flows.cli", "webhooks", "--port", port, "--runs", str(runs)]
        environment = self.environment | {"DARKROOM_HOME": str(runs / ".receiver")}
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert "receiver ready" in process.stdout.readline()
                yield
            finally:
                process.terminate()
                process.wait(timeout=20)

    def set_state(self, flow_run: str, kind: str, name: str) -> None:
        """Sets a flow run's state, as the UI does."""
        body = {"state": {"type": kind, "name": name}, "force": False}
        self.api.post(f"flow_runs/{flow_run}/set_state", json=body).raise_for_status()


@contextmanager
def deployments(home: Path) -> Iterator[Deployed]:
    """``prefect deploy --all`` on a fresh server with its data in ``home``."""
    with prefect_server(home, **WITH_SLOW_EVENTS) as server:
        own = {
            "DARKROOM_HOME": str(home),
            "ROBOFLOW_API_KEY": KEY,
            "DARKROOM_WEBHOOK_URL": f"http://127.0.0.1:{free_port()}",
            "DARKROOM_WEBHOOK_SECRET": "a-secret-of-the-receiver",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
        }
        there = Deployed(server, clean_environment(**server.environment, **own))
        there.prefect("work-pool", "create", "darkroom", "--type", "process")
        there.prefect("deploy", "--all")
        yield there
        there.api.close()


ENDS = ("Completed", "Failed", "Crashed", "Cancelled")
