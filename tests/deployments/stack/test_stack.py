from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest

from deployments.stack.enlisting import schedules_kept
from deployments.stack.flow_runs import cancel_flow_runs
from deployments.stack.parts import RECEIVER, TITLES, WORKER, known_parts
from deployments.stack.ports import Ports
from tasks.core.errors import ServiceFailed
from tasks.core.services import free_port
from tasks.core.supervisor import Record, port_is_free
from tests.commands import ROOT, clean_environment
from tests.deployments.batch_server.running import KEY, ProcessServer, process_server
from tests.deployments.deployed import ENDS, Deployed
from tests.images import make_images
from tests.prefect_server import PrefectServer, prepare_home
from tests.waiting import is_alive, wait_for

HELD = "tests.deployments.batch_server.held_server"
IMAGES = 5

pytestmark = [pytest.mark.engine, pytest.mark.prefect_server]


class Stack:
    """A stack of this test's own: its home and its ports."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "stack"
        self.ports = Ports(free_port(), free_port(), free_port())
        places = {"DARKROOM_HOME": str(home), "DARKROOM_RUNS": str(home / "runs")}
        self.environment = clean_environment(**places, ROBOFLOW_API_KEY=KEY)
        self.prefect = Deployed(PrefectServer(self.ports.prefect_url, self.folder), self.environment)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``python -m deployments.stack``, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "deployments.stack", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=280,
        )

    def up(self, *options: str) -> str:
        """What ``up`` says."""
        done = self.command("up", *options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def records(self) -> dict[str, Record]:
        """What is known of the parts that are up."""
        known = {part.name: part.record() for part in known_parts(self.folder) if part.is_kept()}
        return {name: record for name, record in known.items() if record is not None}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("home"))
    stack.folder.mkdir(mode=0o700)
    prepare_home(stack.folder)
    try:
        yield stack
    finally:
        stack.prefect.api.close()
        stack.command("down")


@pytest.fixture(scope="module")
def said(stack: Stack) -> str:
    """What the first ``up`` says."""
    return stack.up(*(word for name, port in asdict(stack.ports).items() for word in (f"--{name}-port", str(port))))


@pytest.fixture
def held(tmp_path: Path) -> Iterator[ProcessServer]:
    """A batch server whose engine stands still after a task: what waits for it is under way for as long as needed."""
    options = ("--hold-after", "1", "--allow-host", "127.0.0.1")
    with process_server(tmp_path / "server", *options, module=HELD) as server:
        yield server


def test_up_says_where_everything_is_and_what_to_do(said: str, stack: Stack) -> None:
    assert said.startswith("started Prefect, batch server, receiver, worker\n")
    for url in (stack.ports.prefect_url, stack.ports.server_url, stack.ports.receiver_url):
        assert f"ready       {url}" in said
    for advice in (f"PREFECT_API_URL={stack.ports.api_url}", f"--platform {stack.ports.server_url}", "make down"):
        assert advice in said
    assert stack.command("status").returncode == 0
    pool = stack.prefect.api.get("work_pools/darkroom").raise_for_status().json()
    command = pool["base_job_template"]["variables"]["properties"]["command"]["default"]
    assert command == f"{sys.executable} -m prefect.engine"


def test_secrets_are_private_and_not_printed(said: str, stack: Stack) -> None:
    for name in ("webhook-secret", "batch-server/data/api-key"):
        file = stack.folder / name
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.read_text().strip() not in said
    assert stat.S_IMODE(stack.folder.stat().st_mode) == 0o700


def test_deployment_runs_on_the_stacks_batch_server(said: str, stack: Stack, tmp_path: Path) -> None:
    make_images(tmp_path / "source", 3)
    flow_run = stack.prefect.started(source=str(tmp_path / "source"), workflow="minimal", platform="block:local")
    assert stack.prefect.reached(flow_run, *ENDS) == "Completed"
    (summary,) = (stack.folder.parent / "runs").glob("*/summary.parquet")
    assert summary.stat().st_size > 0
    assert (stack.folder / "batch-server" / "data" / "jobs").is_dir()


def test_schedule_that_was_switched_on_stays_on(said: str, stack: Stack) -> None:
    def switch(*, active: bool) -> None:
        nightly = stack.prefect.deployment("process-images/nightly")
        path = f"deployments/{nightly['id']}/schedules/{nightly['schedules'][0]['id']}"
        stack.prefect.api.patch(path, json={"active": active}).raise_for_status()

    def states() -> list[bool]:
        return [schedule["active"] for schedule in stack.prefect.deployment("process-images/nightly")["schedules"]]

    switch(active=True)
    with schedules_kept(stack.prefect.api):
        switch(active=False)
    assert states() == [True]
    with pytest.raises(ServiceFailed), schedules_kept(stack.prefect.api):
        switch(active=False)
        raise ServiceFailed("`prefect deploy` failed")
    assert states() == [True]
    switch(active=False)


def test_up_again_starts_what_has_died_and_nothing_else(
    said: str, stack: Stack, held: ProcessServer, tmp_path: Path
) -> None:
    outlives, job = stack.prefect.begun(held, tmp_path, IMAGES)
    before = stack.records()
    for name in (RECEIVER, WORKER):
        os.kill(before[name].supervisor, signal.SIGKILL)
    wait_for(lambda: set(stack.records()) == set(TITLES) - {RECEIVER, WORKER}, "the end of what was killed")
    assert stack.command("status").returncode == 1
    check_processes_are_ended(stack, outlives)
    assert held.client.finished(job)["lastNotification"] == "aborted on request"
    lost = flow_run_of_a_killed_worker(stack.prefect)
    assert stack.up().startswith("started receiver, worker\n")
    after = stack.records()
    changed = {name for name in after if after[name].pid != before[name].pid}
    assert changed == {RECEIVER, WORKER}
    assert after[RECEIVER].port == before[RECEIVER].port
    assert stack.prefect.reached(lost, *ENDS) == "Crashed"


def check_processes_are_ended(stack: Stack, outlives: str) -> None:
    """What ``down`` does about the process of a flow run whose worker was killed, and about nobody else's."""
    process = int(stack.prefect.flow_run(outlives)["infrastructure_pid"].rpartition(":")[2])
    assert is_alive(process)
    with subprocess.Popen(["sleep", "infinity"]) as anothers:
        lost = flow_run_of_a_killed_worker(stack.prefect, anothers.pid)
        told: list[str] = []
        cancel_flow_runs(stack.ports.api_url, told.append, has_worker=False)
        assert anothers.poll() is None
        anothers.kill()
    wait_for(lambda: not is_alive(process), f"the end of process {process}: {told}")
    assert [stack.prefect.flow_run(flow_run)["state_name"] for flow_run in (outlives, lost)] == ["Crashed"] * 2


def flow_run_of_a_killed_worker(prefect: Deployed, process: int = 0) -> str:
    """A flow run that Prefect believes to run though its process is gone, and whose number another one may bear."""
    if not process:
        with subprocess.Popen(["true"]) as ended:
            process = ended.pid
    path = f"deployments/{prefect.deployment('stage-source/survey')['id']}/create_flow_run"
    created = prefect.api.post(path, json={"state": {"type": "RUNNING"}}).raise_for_status().json()
    pid = {"infrastructure_pid": str(process)}
    prefect.api.patch(f"flow_runs/{created['id']}", json=pid).raise_for_status()
    return str(created["id"])


def test_up_when_all_is_up_says_so(said: str, stack: Stack) -> None:
    before = stack.records()
    assert stack.up().startswith("all was up already")
    refused = stack.command("up", "--prefect-port", str(free_port()))
    assert (refused.returncode, "`make down` first" in refused.stderr) == (2, True)
    assert stack.records() == before


def test_down_cancels_what_runs_and_ends_everything(
    said: str, stack: Stack, held: ProcessServer, tmp_path: Path
) -> None:
    flow_run, job = stack.prefect.begun(held, tmp_path, IMAGES)
    before = stack.records()
    down = stack.command("down")
    assert (down.returncode, down.stdout) == (0, "the stack is down\n"), down.stderr
    ended = [line for line in down.stderr.splitlines() if line.startswith("ending")]
    assert ended == [f"ending {title}" for title in reversed(TITLES.values())]
    assert [record for record in before.values() if is_alive(record.pid) or is_alive(record.supervisor)] == []
    assert [port for port in asdict(stack.ports).values() if not port_is_free(port)] == []
    with closing(sqlite3.connect(stack.folder / "prefect" / "prefect.db")) as database:
        found = database.execute("SELECT state_name FROM flow_run WHERE id = ?", (flow_run,)).fetchall()
    assert found == [("Cancelled",)]
    assert held.client.finished(job)["lastNotification"] == "aborted on request"
    assert stack.command("down").stdout == "the stack was not up\n"
