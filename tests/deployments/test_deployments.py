from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from flows.prefect_server import prefect_service
from tasks.core.services import free_port
from tests.commands import ROOT, clean_environment
from tests.deployments.batch_server.running import KEY, ProcessServer, process_server
from tests.deployments.deployed import ENDS, Deployed
from tests.images import make_images
from tests.waiting import wait_for

HELD = "tests.deployments.batch_server.held_server"
IMAGES = 5
SECRET = "a-secret-of-the-receiver"

pytestmark = [pytest.mark.engine, pytest.mark.prefect_server]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """``prefect deploy --all`` on a fresh server."""
    home = tmp_path_factory.mktemp("home")
    service = prefect_service(home)
    with service.use() as url:
        environment = clean_environment(
            PREFECT_API_URL=f"{url}/api",
            PREFECT_HOME=str(home / "client"),
            DARKROOM_HOME=str(home),
            ROBOFLOW_API_KEY=KEY,
            DARKROOM_WEBHOOK_URL=f"http://127.0.0.1:{free_port()}",
            DARKROOM_WEBHOOK_SECRET=SECRET,
            PREFECT_WORKER_QUERY_SECONDS="1",
        )
        there = Deployed(f"{url}/api", environment)
        there.prefect("work-pool", "create", "darkroom", "--type", "process")
        there.prefect("deploy", "--all")
        yield there
        there.api.close()
    assert service.wait_until_gone()


@pytest.fixture(scope="module")
def working(deployed: Deployed) -> Iterator[Deployed]:
    """The same, with a worker."""
    with deployed.worker():
        yield deployed


def test_form_describes_every_field(deployed: Deployed) -> None:
    schema = deployed.deployment()["parameter_openapi_schema"]
    wishes = ["export", "datasets", "expectations", "comparison"]
    places = ["job", "wait", "transfer", "only_new", *wishes, "destination", "runs", "rerun"]
    assert list(schema["properties"]) == ["source", "workflow", "platform", "parameters", "options", *places]
    assert schema["required"] == ["source", "workflow"]
    groups = [schema["properties"], *(group["properties"] for group in schema["definitions"].values())]
    assert len(groups) == 8
    undescribed = [name for group in groups for name, field in group.items() if not field.get("description")]
    assert undescribed == []
    assert not [name for name in schema["properties"] if "key" in name]


def test_nightly_runs_take_what_is_new_and_wait_to_be_switched_on(deployed: Deployed) -> None:
    nightly = deployed.deployment("process-images/nightly")
    assert nightly["parameters"]["only_new"] is True
    assert nightly["parameters"]["comparison"] == {"against": "previous"}
    assert [schedule["active"] for schedule in nightly["schedules"]] == [False]
    assert nightly["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"


@pytest.mark.parametrize(
    "name", ["stage-source/survey", "replay-run/replay", "compile-model/compile", "reap-runs/reap"]
)
def test_other_flows_are_deployed(deployed: Deployed, name: str) -> None:
    schema = deployed.deployment(name)["parameter_openapi_schema"]
    assert [name for name, field in schema["properties"].items() if not field.get("description")] == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"source": ""}, "source"),
        ({"platform": ""}, "platform"),
        ({"transfer": "by post"}, "by post"),
        ({"job": {"max_image_failure_rate": 7}}, "7 is greater than the maximum of 1"),
        ({"wait": {"mode": "sleep"}}, "sleep"),
        ({"options": {"nonsense": 1}}, "nonsense"),
        ({"expectations": {"max_failure_rate": 7}}, "7 is greater than the maximum of 1"),
        ({"datasets": {"images": "moved"}}, "moved"),
    ],
)
def test_wrong_values_are_refused_by_the_form(deployed: Deployed, wrong: dict[str, Any], said: str) -> None:
    refused = deployed.start(**({"source": "x", "workflow": "minimal"} | wrong))
    assert refused.status_code == 409
    assert said in refused.text


def test_worker_runs_the_deployment(working: Deployed, tmp_path: Path) -> None:
    make_images(tmp_path / "source", 5)
    flow_run = working.started(source=str(tmp_path / "source"), workflow="minimal", runs=str(tmp_path / "runs"))
    assert working.reached(flow_run, *ENDS) == "Completed"
    (folder,) = (path for path in (tmp_path / "runs").iterdir() if not path.name.startswith("."))
    assert pq.read_table(folder / "results.parquet").num_rows == 5
    of_run = {"artifacts": {"flow_run_id": {"any_": [flow_run]}}}
    artifacts = working.api.post("artifacts/filter", json=of_run).raise_for_status().json()
    assert {"stage", "ingest", "launch", "wait", "export", "summary"} <= {artifact["key"] for artifact in artifacts}


@pytest.fixture
def held(tmp_path: Path) -> Iterator[ProcessServer]:
    """A batch server whose engine stands still after a task, until SIGUSR1."""
    options = ("--hold-after", "1", "--allow-host", "127.0.0.1")
    with process_server(tmp_path / "server", *options, module=HELD) as server:
        yield server


def begun(working: Deployed, held: ProcessServer, folder: Path, **wait: Any) -> tuple[str, str]:
    """A flow run whose job stands still, and the job's id."""
    make_images(folder / "source", IMAGES)
    asked = {"source": str(folder / "source"), "workflow": "minimal", "runs": str(folder / "runs")}
    flow_run = working.started(**asked, platform=held.client.url, wait=wait)

    return flow_run, held.client.standing()


def processes_of(flow_run: str) -> list[int]:
    """Processes that were started for a flow run."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if flow_run.encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_cancelling_the_flow_run_aborts_its_job(working: Deployed, held: ProcessServer, tmp_path: Path) -> None:
    flow_run, job = begun(working, held, tmp_path)
    assert processes_of(flow_run)
    working.set_state(flow_run, "CANCELLING", "Cancelling")
    assert working.reached(flow_run, *ENDS) == "Cancelled"
    found = wait_for(lambda: (state := held.client.job(job))["isTerminal"] and state, "the job's end")
    assert (found["error"], found["lastNotification"]) == (True, "aborted on request")


@contextmanager
def receiver(working: Deployed, runs: Path) -> Iterator[None]:
    """The receiver of notifications at the address that the platform was given."""
    port = working.environment["DARKROOM_WEBHOOK_URL"].rpartition(":")[2]
    command = [sys.executable, "-m", "flows.cli", "webhooks", "--port", port, "--runs", str(runs)]
    environment = working.environment | {"DARKROOM_HOME": str(runs / ".receiver")}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert "receiver ready" in process.stdout.readline()
            yield
        finally:
            process.terminate()
            process.wait(timeout=20)


def test_suspended_run_is_resumed_by_the_notification_of_its_jobs_end(
    working: Deployed, held: ProcessServer, tmp_path: Path
) -> None:
    (tmp_path / "runs").mkdir()
    with receiver(working, tmp_path / "runs"):
        flow_run, job = begun(working, held, tmp_path, mode="suspend")
        working.reached(flow_run, "Suspended")
        wait_for(lambda: not processes_of(flow_run), "the end of its process")
        shown = held.client.job(job)["jobDefinition"]["notificationsURL"]
        forged = httpx.post(f"{shown[:-4]}0000", json={}, headers={"Authorization": "Bearer rf_local"})
        assert forged.status_code == 403
        assert working.flow_run(flow_run)["state_name"] == "Suspended"
        held.process.send_signal(signal.SIGUSR1)
        assert working.reached(flow_run, *ENDS) == "Completed"


def test_suspended_run_holds_no_process_and_is_resumed_by_reap(
    working: Deployed, held: ProcessServer, tmp_path: Path
) -> None:
    flow_run, job = begun(working, held, tmp_path, mode="suspend")
    working.reached(flow_run, "Suspended")
    wait_for(lambda: not processes_of(flow_run), "the end of its process")
    (tmp_path / "source" / "later.png").write_bytes(b"changes nothing")
    held.process.send_signal(signal.SIGUSR1)
    assert not held.client.finished(job)["error"]
    assert working.flow_run(flow_run)["state_name"] == "Suspended"
    reap = working.started("reap-runs/reap", runs=str(tmp_path / "runs"))
    assert working.reached(reap, *ENDS) == "Completed"
    assert working.reached(flow_run, *ENDS) == "Completed"
    (folder,) = (path for path in (tmp_path / "runs").iterdir() if not path.name.startswith("."))
    assert pq.read_table(folder / "results.parquet").num_rows == IMAGES
    assert len(held.client.jobs("GET", "").json()["jobs"]) == 1
