"""Flows of one's own, on a real Prefect server and a real batch server: what they leave, and what they never do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Crashed, Paused

from tasks.core.errors import BadInput, ExpectationsMissed
from tasks.core.identity import remote_id
from tasks.core.journal import Journal
from tasks.core.run_folder import RunFolder
from tasks.core.settings import load_settings
from tasks.flow_runs import PrefectFlowRuns
from tasks.named_blocks import flow_settings
from tasks.pipeline import (
    Run,
    RunRequest,
    RunSummary,
    export_results,
    ingest_files,
    launch_job,
    open_run,
    summarize_run,
    wait_for_job,
)
from tasks.steps.flow_runs import owner_of
from tasks.steps.reaping import reap
from tasks.steps.runs import open_runs
from tests.deployments.batch_server.running import ServerClient, settings_for, thread_server
from tests.deployments.batch_server.small_engine import SmallEngine
from tests.emulators.fixtures import *  # noqa: F403
from tests.prefect_server import PrefectServer, used_here
from tests.tasks.own_flows import *  # noqa: F403
from tests.tasks.own_flows import IMAGES, block, interrupted_wait

NEVER = datetime(9999, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def prefect(prefect_api: PrefectServer) -> Iterator[None]:
    """A Prefect server that this process uses."""
    with used_here(prefect_api):
        yield


@pytest.fixture(scope="module")
def mine(prefect: None, server: ServerClient) -> str:
    """The server's platform, by the name of a block."""
    block(server).save("mine", overwrite=True)
    return "block:mine"


def carried_out(run: Run) -> RunSummary:
    ingest_files(run)
    launch_job(run)
    wait_for_job(run)
    export_results(run)
    return summarize_run(run)


@flow
def inspect(wishes: dict[str, Any]) -> RunSummary:
    with open_run(RunRequest.model_validate(wishes)) as run:
        return carried_out(run)


@flow
def only_summarize(wishes: dict[str, Any]) -> RunSummary:
    with open_run(RunRequest.model_validate(wishes)) as run:
        return summarize_run(run)


@flow
def launch_only(wishes: dict[str, Any]) -> str:
    with open_run(RunRequest.model_validate(wishes)) as run:
        ingest_files(run)
        launch_job(run)
        return run.folder.key


@pytest.mark.prefect_server
def test_run_in_a_bucket_is_whole_there_and_published(
    mine: str, s3: Any, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DARKROOM_RUNS", f"{s3.url}/runs")
    wishes = {"source": source, "workflow": "minimal", "platform": mine}
    wishes |= {"datasets": {"formats": ["coco"]}, "destination": str(tmp_path / "out")}  # type: ignore[dict-item]
    summary = inspect(wishes)
    assert summary.processed == IMAGES
    for name in ("run.json", "failures.parquet", "report.html", "summary.parquet"):
        assert s3.get(f"runs/{summary.key}/{name}"), name
    published = tmp_path / "out" / summary.key
    assert (published / "summary.parquet").exists()
    assert list((summary.folder / "datasets").iterdir())
    again = only_summarize(wishes)
    assert (again.key, again.finished) == (summary.key, summary.finished)


@pytest.mark.prefect_server
def test_run_that_fails_lies_in_its_bucket_with_its_report(mine: str, s3: Any, source: str) -> None:
    wishes = {"source": source, "workflow": "minimal", "platform": mine, "runs": f"{s3.url}/runs"}
    state = inspect(wishes | {"expectations": {"required_classes": ["unicorn"]}}, return_state=True)
    with pytest.raises(ExpectationsMissed) as caught:
        state.result()
    key = str(caught.value).split()[1]
    assert s3.get(f"runs/{key}/report.html")
    assert s3.get(f"runs/{key}/failures.parquet")
    assert [name for name in s3.stored() if name.endswith("summary.parquet")] == []


@pytest.mark.prefect_server
@pytest.mark.parametrize("on_cancel", ["abort", "leave"])
def test_interrupted_flow_leaves_no_job_unless_it_is_asked_to(
    prefect: None, source: str, tmp_path: Path, on_cancel: str
) -> None:
    engine, keys = SmallEngine(hold_after=1), []
    with thread_server(settings_for(tmp_path / "held", chunk_limit=1), engine) as held:
        block(held).save("held", overwrite=True)

        @flow
        def interrupted() -> None:
            wishes = {"source": source, "workflow": "minimal", "platform": "block:held"}
            with open_run(RunRequest.model_validate(wishes | {"wait": {"on_cancel": on_cancel}})) as run:
                keys.append(run.folder.key)
                carried_out(run)

        with interrupted_wait(engine):
            interrupted()
        engine.go_on()
        assert held.finished(remote_id(keys[0]))["error"] is (on_cancel == "abort")


@pytest.mark.prefect_server
def test_job_of_a_crashed_flow_is_found_by_its_owner(prefect: None, source: str, tmp_path: Path) -> None:
    engine = SmallEngine(hold_after=1)
    with (
        thread_server(settings_for(tmp_path / "held", chunk_limit=1), engine) as held,
        get_client(sync_client=True) as client,
    ):
        block(held).save("held", overwrite=True)
        wishes = {"source": source, "workflow": "minimal", "platform": "block:held"}
        state = launch_only(wishes, return_state=True)
        key = state.result()
        owner = owner_of(RunFolder(Path(load_settings().runs) / key))
        assert owner is not None
        assert owner.flow_run == str(state.state_details.flow_run_id)
        assert f"run:{key}" in client.read_flow_run(UUID(owner.flow_run)).tags
        client.set_flow_run_state(UUID(owner.flow_run), Crashed(), force=True)
        runs = open_runs(load_settings().runs, load_settings())
        reaped = reap(runs, flow_settings(), PrefectFlowRuns(client), print, datetime.now(UTC))
        assert reaped.aborted == (key,)
        engine.go_on()
        assert held.finished(remote_id(key))["error"]


@pytest.mark.prefect_server
@pytest.mark.parametrize("by_block", [False, True])
def test_flow_run_that_sleeps_on_the_run_is_resumed(
    mine: str, server: ServerClient, source: str, by_block: bool
) -> None:
    @flow
    def sleeps() -> None:
        """Never run: the flow run of it is paused from the start."""

    with get_client(sync_client=True) as client:
        sleeper = client.create_flow_run(sleeps, state=Paused(timeout_seconds=3600))
        wishes = {"source": source, "workflow": "minimal", "rerun": f"woken by block: {by_block}"}

        @flow
        def own() -> None:
            if by_block:
                run: Any = block(server).trigger(**wishes)
                sleeps_on(run.key, str(sleeper.id))
                run.wait_for_completion()
                run.fetch_result()
            else:
                with open_run(RunRequest.model_validate(wishes | {"platform": mine})) as opened:
                    opened.journal.confirm("suspension", str(sleeper.id), waits_in="wait", until=NEVER.isoformat())
                    carried_out(opened)

        own()
        state = client.read_flow_run(sleeper.id).state
        assert state is not None
        assert not state.is_paused()


def sleeps_on(key: str, flow_run: str) -> None:
    with Journal(RunFolder(Path(load_settings().runs) / key).journal) as journal:
        journal.confirm("suspension", flow_run, waits_in="wait", until=NEVER.isoformat())


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"only_new": True}, "only_new is no option .*process-images"),
        ({"pilot": {"files": 3}}, "pilot is no option .*process-images"),
        ({"credentials": "aws-credentials/mine"}, "storage_credentials"),
        ({"replays": "0123456789abcdef"}, "replay-run"),
        ({"wait": {"mode": "suspend"}}, "mode poll"),
    ],
)
def test_options_of_the_projects_own_flows_are_refused(source: str, wishes: dict[str, Any], said: str) -> None:
    request = RunRequest.model_validate({"source": source, "workflow": "minimal"} | wishes)
    with pytest.raises(BadInput, match=said), open_run(request):
        pass
