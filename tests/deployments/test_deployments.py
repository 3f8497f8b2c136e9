from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from deployments.stack.enlisting import start_flows_at_once
from tasks.core.run_folder import is_key
from tasks.core.settings import Settings
from tasks.roboflow_api.platform import embedded_server
from tests.browser.chromium import Browser
from tests.browser.fixtures import *  # noqa: F403
from tests.commands import ENGINE_PYTHON
from tests.deployments.batch_server.media_host import Answer, media_host
from tests.deployments.batch_server.running import ProcessServer, process_server
from tests.deployments.deployed import ENDS, Deployed, deployments
from tests.deployments.prefect_ui import PrefectUi
from tests.images import make_images
from tests.waiting import PATIENTLY, wait_for

HELD = "tests.deployments.batch_server.held_server"
IMAGES = 5
NAMES = ("images", "nightly", "survey", "replay", "compile", "reap", "expiry")

pytestmark = [pytest.mark.engine, pytest.mark.prefect_server]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """``prefect deploy --all`` on a fresh server."""
    with deployments(tmp_path_factory.mktemp("home")) as there:
        yield there


@pytest.fixture(scope="module")
def working(deployed: Deployed) -> Iterator[Deployed]:
    """The same, with the pool as `make up` makes it, a worker, and the embedded server kept warm between flow runs."""
    start_flows_at_once(deployed.api)
    home = deployed.environment["DARKROOM_HOME"]
    settings = Settings.model_validate({"DARKROOM_HOME": home, "DARKROOM_ENGINE_PYTHON": ENGINE_PYTHON})
    with deployed.worker(), embedded_server(settings).use():
        yield deployed


def test_form_describes_every_field(deployed: Deployed) -> None:
    schema = deployed.deployment()["parameter_openapi_schema"]
    places = ["only_new", "credentials", "destination", "runs", "rerun", "transfer"]
    groups = ["datasets", "expectations", "comparison", "pilot", "options", "export", "job", "wait"]
    assert list(schema["properties"]) == ["source", "workflow", "platform", "parameters", *places, *groups]
    assert schema["required"] == ["source", "workflow"]
    fields = [schema["properties"], *(group["properties"] for group in schema["definitions"].values())]
    assert len(fields) == len(groups) + 1
    undescribed = [name for group in fields for name, field in group.items() if not field.get("description")]
    assert undescribed == []
    assert not [name for name in schema["properties"] if "key" in name]


def test_nightly_runs_take_what_is_new_and_wait_to_be_switched_on(deployed: Deployed) -> None:
    nightly = deployed.deployment("process-images/nightly")
    assert nightly["parameters"]["only_new"] is True
    assert nightly["parameters"]["comparison"] == {"against": "previous"}
    assert [schedule["active"] for schedule in nightly["schedules"]] == [False]
    assert nightly["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"


def test_each_deployment_is_described_tagged_versioned_and_limited_and_no_schedule_is_on(deployed: Deployed) -> None:
    found = deployed.api.post("deployments/filter", json={}).raise_for_status().json()
    assert {deployment["name"] for deployment in found} == set(NAMES)
    for deployment in found:
        assert deployment["description"] and deployment["version"] == version("darkroom")
        assert "darkroom" in deployment["tags"]
        assert deployment["enforce_parameter_schema"]
        assert deployment["concurrency_options"]["collision_strategy"] in ("ENQUEUE", "CANCEL_NEW")
        assert [schedule for schedule in deployment["schedules"] if schedule["active"]] == []
        fields = deployment["parameter_openapi_schema"]["properties"]
        assert [name for name, field in fields.items() if not field.get("description")] == []


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


def test_survey_on_a_pool_as_prefect_makes_one_writes_a_manifest_and_sends_nothing(
    deployed: Deployed, tmp_path: Path
) -> None:
    make_images(tmp_path / "source", IMAGES)
    with deployed.worker():
        survey = deployed.started("stage-source/survey", source=str(tmp_path / "source"), runs=str(tmp_path / "runs"))
        assert deployed.reached(survey, *ENDS) == "Completed"
    (manifest,) = (tmp_path / "runs" / "manifests").glob("*.parquet")
    assert pq.read_table(manifest).num_rows == IMAGES
    assert folders(tmp_path / "runs") == []


def test_images_are_processed_and_replayed_and_each_night_only_what_is_new(working: Deployed, tmp_path: Path) -> None:
    make_images(tmp_path / "source", IMAGES)
    place = {"runs": str(tmp_path / "runs")}
    asked = {"source": str(tmp_path / "source"), "workflow": "minimal"} | place
    flow_run = working.started(**asked)
    assert working.reached(flow_run, *ENDS) == "Completed"
    (folder,) = folders(tmp_path / "runs")
    assert pq.read_table(folder / "results.parquet").num_rows == IMAGES
    assert {"stage", "ingest", "launch", "wait", "export", "summarize", "summary"} <= artifacts_of(working, flow_run)
    tags = {f"source:{asked['source']}", "workflow:minimal", f"run:{folder.name}"}
    assert tags <= set(working.flow_run(flow_run)["tags"])
    replay = working.started("replay-run/replay", run=folder.name[:6], **place)
    assert working.reached(replay, *ENDS) == "Completed"
    assert "replay" in artifacts_of(working, replay)
    nights = []
    for new in (0, 2):
        make_images(tmp_path / "source", new, start=IMAGES)
        nights.append(working.started("process-images/nightly", **asked))
        assert working.reached(nights[-1], *ENDS) == "Completed"
    rows = sorted(pq.read_table(run / "results.parquet").num_rows for run in folders(tmp_path / "runs"))
    assert rows == [2, IMAGES, IMAGES]


def test_person_starts_a_run_from_the_form_sees_it_complete_and_opens_its_artifacts(
    working: Deployed, browser: Browser, tmp_path: Path
) -> None:
    make_images(tmp_path / "source", IMAGES)
    asked = {"source": str(tmp_path / "source"), "workflow": "minimal", "runs": str(tmp_path / "runs")}
    with browser.page(1400, 1000) as page:
        PrefectUi(page, working.server.url, "images").start(working.deployment()["id"], **asked)
    named = f"minimal on {asked['source']}"
    of_source = {"flow_runs": {"name": {"any_": [named]}}}
    found = partial(working.api.post, "flow_runs/filter", json=of_source)
    (flow_run,) = wait_for(
        lambda: found().raise_for_status().json(), "the flow run of the form", timeout=90, pause=PATIENTLY
    )
    assert working.reached(flow_run["id"], *ENDS) == "Completed"
    (folder,) = folders(tmp_path / "runs")
    ids = {artifact["key"]: artifact["id"] for artifact in listed_artifacts(working, flow_run["id"])}
    with browser.page(1400, 1000) as page:
        ui = PrefectUi(page, working.server.url, "images")
        ui.flow_run(flow_run["id"], named, f"run:{folder.name}", "Completed", "summary", "wait-progress")
        ui.artifact(ids["summary"], "summary", f"Processed\t{IMAGES}", f"Run {folder.name}")
        ui.artifact(ids["wait-progress"], "progress", "Progress: 100%")
        ui.artifact(ids["stage"], "table", "7 Items", folder.name)


def test_model_is_compiled_or_it_is_told_why_not(working: Deployed, held: ProcessServer) -> None:
    asked = {"model": "some-project/3", "platform": held.client.url, "devices": ["nvidia-t4"]}
    compilation = working.started("compile-model/compile", **asked)
    assert working.reached(compilation, *ENDS) == "Failed"
    assert "TensorRT" in working.flow_run(compilation)["state"]["message"]


def test_results_that_nobody_fetched_are_fetched_before_they_are_forgotten(
    working: Deployed, held: ProcessServer, tmp_path: Path
) -> None:
    flow_run, job = working.begun(held, tmp_path, IMAGES, on_cancel="leave")
    working.set_state(flow_run, "CANCELLING", "Cancelling")
    assert working.reached(flow_run, *ENDS) == "Cancelled"
    held.process.send_signal(signal.SIGUSR1)
    assert not held.client.finished(job)["error"]
    place = {"runs": str(tmp_path / "runs")}
    expiry = working.started("export-expiring/expiry", within_hours=100, **place)
    assert working.reached(expiry, *ENDS) == "Completed"
    (folder,) = folders(tmp_path / "runs")
    assert not (folder / "summary.parquet").exists()
    away = tmp_path / "runs" / ("f" * 16)
    shutil.copytree(folder, away)
    lock = away / "run.json"
    lock.write_text(lock.read_text().replace(held.client.url, "http://127.0.0.1:9"))
    expiry = working.started("export-expiring/expiry", within_hours=168, **place)
    assert working.reached(expiry, *ENDS) == "Failed"
    said = working.flow_run(expiry)["state"]["message"]
    assert f"1 runs exported before the platform forgets them; 1 could not be: {away.name}" in said
    assert {"export", "summary", "expiry"} <= artifacts_of(working, expiry)
    assert pq.read_table(folder / "results.parquet").num_rows == IMAGES
    assert len(held.client.jobs("GET", "").json()["jobs"]) == 1


def folders(runs: Path) -> list[Path]:
    """The folders of the runs."""
    return [path for path in runs.iterdir() if is_key(path.name)]


def artifacts_of(working: Deployed, flow_run: str) -> set[str]:
    """The keys of what a flow run shows."""
    return {artifact["key"] for artifact in listed_artifacts(working, flow_run)}


def listed_artifacts(working: Deployed, flow_run: str) -> list[dict[str, Any]]:
    """What a flow run shows."""
    of_run = {"artifacts": {"flow_run_id": {"any_": [flow_run]}}}
    found: list[dict[str, Any]] = working.api.post("artifacts/filter", json=of_run).raise_for_status().json()
    return found


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
    (process,) = processes_of(flow_run)
    variables = (Path("/proc") / str(process) / "environ").read_text().split("\0")
    # Prefect sets this where it has prepared a workspace.
    assert "PREFECT__FLOW_ENTRYPOINT" not in {variable.partition("=")[0] for variable in variables}
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
        wait_for(lambda: not processes_of(flow_run), "the end of its process", pause=PATIENTLY)
        assert held.client.jobs("GET", "").json()["jobs"] == []
        fetching.set()
        job = held.client.standing()
        working.reached(flow_run, "Suspended")
        wait_for(lambda: not processes_of(flow_run), "the end of its process", pause=PATIENTLY)
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
    wait_for(lambda: not processes_of(flow_run), "the end of its process", pause=PATIENTLY)
    (tmp_path / "source" / "later.png").write_bytes(b"changes nothing")
    held.process.send_signal(signal.SIGUSR1)
    assert not held.client.finished(job)["error"]
    assert working.flow_run(flow_run)["state_name"] == "Suspended"
    reap = working.started("reap-runs/reap", runs=str(tmp_path / "runs"))
    assert working.reached(reap, *ENDS) == "Completed"
    assert working.reached(flow_run, *ENDS) == "Completed"
    (folder,) = folders(tmp_path / "runs")
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
    wait_for(lambda: not processes_of(flow_run), "the end of its process", pause=PATIENTLY)
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
