"""Setting up a real Prefect server that has the project's deployments; the automations really fire."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events import emit_event
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.exceptions import ObjectNotFound

from deployments.setup import automations
from deployments.setup.__main__ import main
from flows.notifications import JOB_ENDED
from flows.reaping import tell_prefect
from tasks.compare import DRIFTED
from tests.deployments.batch_server.running import KEY
from tests.deployments.deployed import Deployed, deployments
from tests.prefect_server import used_here
from tests.scripted import Scripted, scripted_server
from tests.waiting import PATIENTLY, wait_for

pytestmark = pytest.mark.prefect_server

URL = "http://127.0.0.1:9001"
BLOCK = ("--block", "local", "--url", URL)
TOLD = ("--notify", "custom-webhook/hook")


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """A server with all deployments, which this process's Prefect uses."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("PREFECT_", "ROBOFLOW_", "API_BASE"))]:
            patch.delenv(name)
        patch.setenv("ROBOFLOW_API_KEY", KEY)
        with deployments(home) as there, used_here(there.server):
            yield there


@pytest.fixture
def prefect(deployed: Deployed) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture(scope="module")
def hook(deployed: Deployed) -> Iterator[Scripted]:
    """Where the notification block ``custom-webhook/hook`` posts to."""
    with scripted_server() as server:
        content: Any = {"subject": "{{subject}}", "body": "{{body}}"}
        block = CustomWebhookNotificationBlock(name="hook", url=f"{server.url}/hook", json_data=content)
        block.save("hook")
        yield server


class SetUp:
    """What one set-up has said."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *words: str) -> None:
        self.status = main([*words, "--json"])
        said = capsys.readouterr()
        self.errors = said.err
        self.answer: dict[str, Any] = json.loads(said.out)
        assert KEY not in said.out + said.err

    def done(self) -> dict[str, str]:
        return {f"{step['kind']} {step['name']}": step["done"] for step in self.answer["steps"]}

    def note(self, name: str) -> str:
        return str(next(step["note"] for step in self.answer["steps"] if step["name"] == name))


def existing(prefect: SyncPrefectClient) -> dict[str, Automation]:
    found = [each for name in automations.NAMES for each in prefect.read_automations_by_name(name)]
    assert len({each.name for each in found}) == len(found)
    return {each.name: each for each in found}


def block(prefect: SyncPrefectClient) -> dict[str, Any]:
    """What the block ``local`` holds."""
    return dict(prefect.read_block_document_by_name("local", "roboflow-platform", include_secrets=True).data)


def change(prefect: SyncPrefectClient, found: Automation, **fields: Any) -> None:
    whole = found.model_dump(exclude={"owner_resource"}) | fields
    prefect.update_automation(found.id, AutomationCore.model_validate(whole))


def flow_runs(deployed: Deployed, deployment: str) -> list[dict[str, Any]]:
    asked = {"deployments": {"id": {"any_": [deployed.deployment(deployment)["id"]]}}}
    found: list[dict[str, Any]] = deployed.api.post("flow_runs/filter", json=asked).raise_for_status().json()
    return found


def test_everything_is_made_once(
    deployed: Deployed, prefect: SyncPrefectClient, hook: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    SetUp(capsys, "--remove", "--block", "local")
    dry = SetUp(capsys, *BLOCK, *TOLD, "--dry-run")
    assert existing(prefect) == {}
    first = SetUp(capsys, *BLOCK, *TOLD)
    assert (first.status, dry.done()) == (0, first.done())
    kept = {name for name, done in first.done().items() if done == "kept"}
    assert kept == {"work pool darkroom"}  # it was there
    assert set(existing(prefect)) == set(automations.NAMES)
    assert block(prefect) == {"url": URL, "region": "us", "api_key": KEY, "workspace": ""}
    second = SetUp(capsys, *BLOCK, *TOLD)
    assert set(second.done().values()) == {"kept"}
    assert second.done().keys() == first.done().keys()
    without = SetUp(capsys)
    assert set(without.done().values()) == {"kept"}


def test_what_was_changed_is_updated_and_what_was_switched_off_stays_off(
    deployed: Deployed, prefect: SyncPrefectClient, capsys: pytest.CaptureFixture[str]
) -> None:
    SetUp(capsys, *BLOCK)
    found = existing(prefect)[automations.CRASH_SILENT]
    change(prefect, found, description="of an older version")
    prefect.pause_automation(found.id)
    again = SetUp(capsys, *BLOCK, "--workspace", "theirs", "--most-runs", "3")
    changed = {name for name, done in again.done().items() if done == "updated"}
    assert changed == {f"automation {automations.CRASH_SILENT}", "block local", "work pool darkroom"}
    now = existing(prefect)[automations.CRASH_SILENT]
    assert (now.enabled, now.description) == (False, automations.crashing().description)
    assert again.note(automations.CRASH_SILENT) == "it is switched off, and stays so"
    assert SetUp(capsys, "--block", "local").done()["block local"] == "kept"
    assert block(prefect) == {"url": URL, "region": "us", "api_key": KEY, "workspace": "theirs"}
    assert SetUp(capsys, "--block", "local", "--workspace", "").done()["block local"] == "updated"
    assert block(prefect) == {"url": URL, "region": "us", "api_key": KEY, "workspace": ""}
    assert prefect.read_work_pool("darkroom").concurrency_limit == 3


def test_crashed_flow_run_has_its_run_reaped(
    deployed: Deployed, prefect: SyncPrefectClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    SetUp(capsys)
    before = {run["id"] for run in flow_runs(deployed, automations.REAP)}
    asked = {"source": "s", "workflow": "w", "runs": str(tmp_path / "runs"), "credentials": "aws-credentials/mine"}
    deployed.set_state(deployed.started(**asked), "CRASHED", "Crashed")

    def reaps() -> list[dict[str, Any]]:
        return [run for run in flow_runs(deployed, automations.REAP) if run["id"] not in before]

    (reap,) = wait_for(reaps, "the run of reap-runs", timeout=60, pause=PATIENTLY)
    assert reap["parameters"] == {"runs": asked["runs"], "credentials": asked["credentials"]}


def test_only_a_notification_that_found_nobody_has_runs_reaped(
    deployed: Deployed, prefect: SyncPrefectClient, capsys: pytest.CaptureFixture[str]
) -> None:
    SetUp(capsys)
    before = {run["id"] for run in flow_runs(deployed, automations.REAP)}
    for outcome in ("resumed", "nothing"):
        tell_prefect(JOB_ENDED, "0123456789abcdef", {"outcome": outcome})

    def reaps() -> list[dict[str, Any]]:
        return [run for run in flow_runs(deployed, automations.REAP) if run["id"] not in before]

    (reap,) = wait_for(reaps, "the run of reap-runs", timeout=60, pause=PATIENTLY)
    assert reap["parameters"] == {}


def test_failure_and_drift_are_told(
    deployed: Deployed, prefect: SyncPrefectClient, hook: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    SetUp(capsys, *TOLD)
    hook.seen.clear()
    failed = deployed.started(source="s", workflow="w")
    deployed.set_state(failed, "FAILED", "Failed")
    emit_event(
        DRIFTED,
        resource={"prefect.resource.id": "darkroom.run.now", "prefect.resource.name": "now"},
        payload={"against": "before", "beyond": ["images", "classes"]},
    )

    def told() -> dict[str, str]:
        seen = [message.json() for message in hook.seen]
        return {message["subject"]: message["body"] for message in seen} if len(seen) >= 2 else {}

    messages = wait_for(told, "two notifications", timeout=60)
    assert messages["Darkroom: run now has drifted"].endswith("run before by more than its limits in: images, classes")
    assert deployed.flow_run(failed)["name"] in messages["Darkroom: process-images Failed"]


def test_flow_run_without_heartbeats_is_crashed(
    deployed: Deployed, prefect: SyncPrefectClient, capsys: pytest.CaptureFixture[str]
) -> None:
    SetUp(capsys)
    found = existing(prefect)[automations.CRASH_SILENT]
    quick = automations.crashing(timedelta(seconds=10)).trigger.model_dump()
    change(prefect, found, trigger=quick, enabled=True)
    elsewhere, *silent = (deployed.started("stage-source/survey", source="s") for _ in range(3))
    related = [{"prefect.resource.id": "prefect.tag.darkroom", "prefect.resource.role": "tag"}]
    # The longest silence is looked at first, and two actions are taken at once: that of the first would be over, too.
    for flow_run, tags in ((elsewhere, []), *((each, related) for each in silent)):
        deployed.set_state(flow_run, "RUNNING", "Running")
        resource = {"prefect.resource.id": f"prefect.flow-run.{flow_run}"}
        emit_event("prefect.flow-run.heartbeat", resource=resource, related=tags, id=uuid4())
    for flow_run in silent:
        assert deployed.reached(flow_run, "Crashed") == "Crashed"
        assert "no heartbeat" in deployed.flow_run(flow_run)["state"]["message"]
    assert deployed.flow_run(elsewhere)["state_name"] == "Running"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--notify", "slack-webhook"], "write TYPE/NAME"),
        (["--notify", "slack-webhook/nowhere"], "no block slack-webhook/nowhere"),
        (["--notify", "roboflow-platform/local"], "cannot notify"),
        (["--block", "Mine_1"], "no name of a block"),
        (["--url", URL], "--block NAME"),
        (["--block", "mine", "--url", "ftp://host"], "HOST"),
    ],
)
def test_bad_input_changes_nothing(
    deployed: Deployed, prefect: SyncPrefectClient, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    SetUp(capsys, *BLOCK)
    before = existing(prefect)
    refused = SetUp(capsys, *words)
    assert refused.status == 2
    assert said in refused.answer["error"]["message"]
    assert existing(prefect) == before


def test_key_comes_from_the_environment_only(
    deployed: Deployed, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROBOFLOW_API_KEY")
    refused = SetUp(capsys, *BLOCK)
    assert (refused.status, "set ROBOFLOW_API_KEY" in refused.errors) == (2, True)


def test_removal_takes_away_what_was_made_and_nothing_else(
    deployed: Deployed, prefect: SyncPrefectClient, capsys: pytest.CaptureFixture[str]
) -> None:
    SetUp(capsys, *BLOCK, "--pool", "spare")
    assert SetUp(capsys, "--remove", "--pool", "spare", "--dry-run").done()["work pool spare"] == "removed"
    removed = SetUp(capsys, "--remove", "--pool", "spare").done()
    assert removed["block type roboflow-platform"] == "kept"  # a block of it is there
    assert existing(prefect) == {}
    with pytest.raises(ObjectNotFound):
        prefect.read_work_pool("spare")
    last = SetUp(capsys, "--remove", "--block", "local").done()
    assert last == {"work pool darkroom": "kept", "block local": "removed", "block type roboflow-platform": "removed"}
    assert SetUp(capsys, "--remove").done() == {"work pool darkroom": "kept"}


def test_without_deployments_the_automations_that_run_them_are_left_out(
    deployed: Deployed, prefect: SyncPrefectClient, capsys: pytest.CaptureFixture[str]
) -> None:
    prefect.delete_deployment(UUID(deployed.deployment(automations.REAP)["id"]))
    done = SetUp(capsys)
    assert [done.done()[f"automation {name}"] for name in automations.REAPING] == ["left out"] * 2
    assert "prefect deploy --all" in done.note(automations.REAP_LOST)
    assert "--notify BLOCK" in done.note(automations.TELL_DRIFTED)
