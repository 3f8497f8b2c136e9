from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from tests.deployments.batch_server.media_host import Answer, media_host
from tests.deployments.batch_server.running import ProcessServer, process_server
from tests.deployments.deployed import ENDS, Deployed, deployments
from tests.images import make_images
from tests.waiting import wait_for

HELD = "tests.deployments.batch_server.held_server"
IMAGES = 5

pytestmark = [pytest.mark.engine, pytest.mark.prefect_server]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """``prefect deploy --all`` on a fresh server."""
    with deployments(tmp_path_factory.mktemp("home")) as there:
        yield there


@pytest.fixture(scope="module")
def working(deployed: Deployed) -> Iterator[Deployed]:
    """The same, with a worker."""
    with deployed.worker():
        yield deployed


def test_form_describes_every_field(deployed: Deployed) -> None:
    schema = deployed.deployment()["parameter_openapi_schema"]
    wishes = ["export", "datasets", "expectations", "comparison"]
    places = ["job", "wait", "pilot", "transfer", "only_new", *wishes, "destination", "runs", "rerun"]
    assert list(schema["properties"]) == ["source", "workflow", "platform", "parameters", "options", *places]
    assert schema["required"] == ["source", "workflow"]
    groups = [schema["properties"], *(group["properties"] for group in schema["definitions"].values())]
    assert len(groups) == 9
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
    flow_run, job = working.begun(held, tmp_path, IMAGES)
    assert processes_of(flow_run)
    working.set_state(flow_run, "CANCELLING", "Cancelling")
    assert working.reached(flow_run, *ENDS) == "Cancelled"
    found = wait_for(lambda: (state := held.client.job(job))["isTerminal"] and state, "the job's end")
    assert (found["error"], found["lastNotification"]) == (True, "aborted on request")


def test_job_of_a_flow_process_that_is_killed_outright_is_aborted(
    working: Deployed, held: ProcessServer, tmp_path: Path
) -> None:
    flow_run, job = working.begun(held, tmp_path, IMAGES)
    for process in processes_of(flow_run):
        os.kill(process, signal.SIGKILL)
    assert working.reached(flow_run, *ENDS) == "Crashed"
    wait_for(lambda: held.client.job(job)["isTerminal"], "the end of the job", timeout=30)
    assert held.client.job(job)["lastNotification"] == "aborted on request"


def test_suspended_run_is_resumed_by_the_notifications_of_its_files_and_of_its_job(
    working: Deployed, held: ProcessServer, tmp_path: Path
) -> None:
    (tmp_path / "runs").mkdir()
    fetching, images = Event(), make_images(tmp_path / "images", IMAGES)
    with media_host() as media, working.receiver(tmp_path / "runs"):
        media.answers = {
            f"/{number}.png": Answer(body=image.read_bytes(), hold=fetching) for number, image in enumerate(images)
        }
        references = [{"name": f"{number}.png", "url": media.url(f"/{number}.png")} for number in range(IMAGES)]
        (tmp_path / "references.jsonl").write_text("\n".join(map(json.dumps, references)))
        flow_run = working.started(
            source=str(tmp_path / "references.jsonl"),
            workflow="minimal",
            platform=held.client.url,
            transfer="reference",
            runs=str(tmp_path / "runs"),
            wait={"mode": "suspend"},
        )
        working.reached(flow_run, "Suspended")
        wait_for(lambda: not processes_of(flow_run), "the end of its process")
        assert held.client.jobs("GET", "").json()["jobs"] == []
        fetching.set()
        job = held.client.standing()
        working.reached(flow_run, "Suspended")
        wait_for(lambda: not processes_of(flow_run), "the end of its process")
        shown = held.client.job(job)["jobDefinition"]["notificationsURL"]
        forged = httpx.post(f"{shown[:-4]}0000", json={}, headers={"Authorization": "Bearer rf_local"})
        assert forged.status_code == 403
        assert working.flow_run(flow_run)["state_name"] == "Suspended"
        held.process.send_signal(signal.SIGUSR1)
        assert working.reached(flow_run, *ENDS) == "Completed"
    assert len(held.client.jobs("GET", "").json()["jobs"]) == 1


def test_suspended_run_holds_no_process_and_is_resumed_by_reap(
    working: Deployed, held: ProcessServer, tmp_path: Path
) -> None:
    flow_run, job = working.begun(held, tmp_path, IMAGES, mode="suspend")
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


def test_run_without_a_budget_goes_on_after_its_pilot_when_a_person_resumes_it(
    working: Deployed, held: ProcessServer, tmp_path: Path
) -> None:
    held.process.send_signal(signal.SIGUSR1)
    make_images(tmp_path / "source", IMAGES)
    asked = {"source": str(tmp_path / "source"), "workflow": "minimal", "runs": str(tmp_path / "runs")}
    flow_run = working.started(**asked, platform=held.client.url, pilot={"files": 2})
    working.reached(flow_run, "Suspended")
    wait_for(lambda: not processes_of(flow_run), "the end of its process")
    of_run = {"artifacts": {"flow_run_id": {"any_": [flow_run]}, "key": {"any_": ["pilot"]}}}
    (table,) = working.api.post("artifacts/filter", json=of_run).raise_for_status().json()
    assert "no budget given" in table["data"]
    assert len(held.client.jobs("GET", "").json()["jobs"]) == 1
    make_images(tmp_path / "source", 1, start=IMAGES)
    resume = partial(working.api.post, f"flow_runs/{flow_run}/resume", json={})
    wait_for(lambda: resume().is_success, "the flow run to be resumed")  # a busy SQLite answers 503
    assert working.reached(flow_run, *ENDS) == "Completed"
    results = sorted(pq.read_table(path).num_rows for path in (tmp_path / "runs").glob("*/results.parquet"))
    assert results == [2, IMAGES]
