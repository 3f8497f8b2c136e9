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
from tests.commands import ROOT, clean_environment
from tests.images import make_images
from tests.waiting import wait_for

pytestmark = [pytest.mark.engine, pytest.mark.prefect_server]

PREFECT = [sys.executable, "-m", "prefect", "--no-prompt"]


class Deployed:
    """A Prefect server on which the project's deployments are."""

    def __init__(self, url: str, environment: dict[str, str]) -> None:
        self.environment = environment
        self.api = httpx.Client(base_url=url, timeout=30, trust_env=False)

    def prefect(self, *arguments: str) -> None:
        """A ``prefect`` command, which must succeed."""
        done = subprocess.run(
            [*PREFECT, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    @contextmanager
    def worker(self) -> Iterator[None]:
        """A process worker of the pool."""
        process = subprocess.Popen(
            [*PREFECT, "worker", "start", "--pool", "darkroom"],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=30)

    def deployment(self, name: str = "process-images/images") -> dict[str, Any]:
        """A deployment of the project."""
        answer = self.api.get(f"deployments/name/{name}")
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def start(self, **parameters: Any) -> httpx.Response:
        """Asks for a run, as the UI's form does."""
        path = f"deployments/{self.deployment()['id']}/create_flow_run"
        return self.api.post(path, json={"parameters": parameters, "enforce_parameter_schema": True})


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """``prefect deploy --all`` on a fresh server."""
    home = tmp_path_factory.mktemp("home")
    service = prefect_service(home)
    with service.use() as url:
        environment = clean_environment(
            PREFECT_API_URL=f"{url}/api", PREFECT_HOME=str(home / "client"), DARKROOM_HOME=str(home)
        )
        there = Deployed(f"{url}/api", environment)
        there.prefect("work-pool", "create", "darkroom", "--type", "process")
        there.prefect("deploy", "--all")
        yield there
        there.api.close()
    assert service.wait_until_gone()


def test_form_describes_every_field(deployed: Deployed) -> None:
    schema = deployed.deployment()["parameter_openapi_schema"]
    wishes = ["export", "datasets", "expectations", "comparison"]
    places = ["transfer", "only_new", *wishes, "destination", "runs", "rerun"]
    assert list(schema["properties"]) == ["source", "workflow", "platform", "parameters", "options", *places]
    assert schema["required"] == ["source", "workflow"]
    groups = [schema["properties"], *(group["properties"] for group in schema["definitions"].values())]
    assert len(groups) == 6
    undescribed = [name for group in groups for name, field in group.items() if not field.get("description")]
    assert undescribed == []
    assert not [name for name in schema["properties"] if "key" in name]


def test_nightly_runs_take_what_is_new_and_wait_to_be_switched_on(deployed: Deployed) -> None:
    nightly = deployed.deployment("process-images/nightly")
    assert nightly["parameters"]["only_new"] is True
    assert nightly["parameters"]["comparison"] == {"against": "previous"}
    assert [schedule["active"] for schedule in nightly["schedules"]] == [False]
    assert nightly["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"


@pytest.mark.parametrize("name", ["stage-source/survey", "replay-run/replay"])
def test_other_flows_are_deployed(deployed: Deployed, name: str) -> None:
    schema = deployed.deployment(name)["parameter_openapi_schema"]
    assert [name for name, field in schema["properties"].items() if not field.get("description")] == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"source": ""}, "source"),
        ({"platform": ""}, "platform"),
        ({"transfer": "by post"}, "by post"),
        ({"options": {"max_image_failure_rate": 7}}, "7 is greater than the maximum of 1"),
        ({"options": {"nonsense": 1}}, "nonsense"),
        ({"expectations": {"max_failure_rate": 7}}, "7 is greater than the maximum of 1"),
        ({"datasets": {"images": "moved"}}, "moved"),
    ],
)
def test_wrong_values_are_refused_by_the_form(deployed: Deployed, wrong: dict[str, Any], said: str) -> None:
    refused = deployed.start(**({"source": "x", "workflow": "minimal"} | wrong))
    assert refused.status_code == 409
    assert said in refused.text


def test_worker_runs_the_deployment(deployed: Deployed, tmp_path: Path) -> None:
    make_images(tmp_path / "source", 5)
    asked = deployed.start(source=str(tmp_path / "source"), workflow="minimal", runs=str(tmp_path / "runs"))
    flow_run = asked.raise_for_status().json()["id"]

    def ended() -> str | None:
        state = str(deployed.api.get(f"flow_runs/{flow_run}").raise_for_status().json()["state_type"])
        return state if state in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

    with deployed.worker():
        assert wait_for(ended, "the flow run's end", timeout=120) == "COMPLETED"
    (folder,) = (path for path in (tmp_path / "runs").iterdir() if not path.name.startswith("."))
    assert pq.read_table(folder / "results.parquet").num_rows == 5
    of_run = {"artifacts": {"flow_run_id": {"any_": [flow_run]}}}
    artifacts = deployed.api.post("artifacts/filter", json=of_run).raise_for_status().json()
    assert {"stage", "ingest", "launch", "wait", "export", "summary"} <= {artifact["key"] for artifact in artifacts}
