"""The platform's block: jobs are triggered, waited for and fetched against a real server over the small engine."""

from __future__ import annotations

import asyncio
import fcntl
import json
import pickle
import shlex
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from prefect.blocks.abstract import JobBlock, JobRun
from pydantic import SecretStr, ValidationError

from tasks.blocks import JobResult, PlatformRun, RoboflowPlatform
from tasks.core.errors import BadInput, KeyRefused
from tasks.core.identity import remote_id
from tasks.core.run_folder import RunFolder
from tasks.core.settings import REGION_HOSTS, load_settings
from tasks.roboflow_api import platform as platforms
from tasks.roboflow_api.platform import CLOUD, connect, open_platform
from tests.deployments.batch_server.running import KEY, ServerClient, settings_for, thread_server
from tests.deployments.batch_server.small_engine import SmallEngine
from tests.tasks.own_flows import *  # noqa: F403
from tests.tasks.own_flows import IMAGES, block, interrupted_wait, polling


def triggered(platform: RoboflowPlatform, source: str, **options: object) -> PlatformRun:
    run = platform.trigger(source, "minimal", **options)
    assert isinstance(run, PlatformRun)
    return run


def fetched(run: PlatformRun) -> JobResult:
    result = run.fetch_result()
    assert isinstance(result, JobResult)
    return result


def test_block_is_prefects_job_block(server: ServerClient, source: str) -> None:
    platform = block(server)
    assert isinstance(platform, JobBlock)
    assert RoboflowPlatform.get_block_type_slug() == "roboflow-platform"
    run = triggered(platform, source)
    assert isinstance(run, JobRun)
    run.wait_for_completion()
    result = fetched(run)
    assert (result.summary.key, result.summary.processed) == (run.key, IMAGES)
    assert pq.read_table(result.results).num_rows == IMAGES
    assert [file.exists() for file in (result.predictions, result.failures, result.report)] == [True] * 3
    assert result.summary.seconds < 120


def test_asynchronous_flows_await_the_same_calls(server: ServerClient, source: str) -> None:
    async def process() -> JobResult:
        platform: Any = block(server)
        run = await platform.trigger(source, "minimal", rerun="async")
        await run.wait_for_completion()
        result: JobResult = await run.fetch_result()
        return result

    assert asyncio.run(process()).summary.processed == IMAGES


def test_run_is_free_between_the_calls_and_found_by_the_same_trigger(server: ServerClient, source: str) -> None:
    platform = block(server)
    run = triggered(platform, source, rerun="again")
    with (RunFolder(Path(load_settings().runs) / run.key).root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    later = triggered(platform, source, rerun="again")  # as a process does that was killed after the first
    later.wait_for_completion()
    first = fetched(later)
    assert fetched(run) == first
    assert fetched(triggered(platform, source, rerun="again")) == first
    jobs = server.jobs("GET", "").json()["jobs"]
    assert [job["jobId"] for job in jobs].count(remote_id(run.key)) == 1


def test_result_before_the_wait_is_refused(server: ServerClient, source: str) -> None:
    run = triggered(block(server), source, rerun="early")
    with pytest.raises(BadInput, match="call wait_for_completion first"):
        run.fetch_result()


async def awaited(run: Any) -> None:
    await run.wait_for_completion()


@pytest.mark.parametrize("on_cancel", ["abort", "leave"])
@pytest.mark.parametrize("is_async", [False, True])
def test_interrupted_wait_leaves_no_job_unless_it_is_asked_to(
    tmp_path: Path, source: str, on_cancel: str, is_async: bool
) -> None:
    engine = SmallEngine(hold_after=1)
    with thread_server(settings_for(tmp_path / "held", chunk_limit=1), engine) as held:
        run = triggered(block(held), source, wait={"on_cancel": on_cancel})
        with interrupted_wait(engine):
            asyncio.run(awaited(run)) if is_async else run.wait_for_completion()
        assert not polling()
        engine.go_on()
        assert held.finished(run.job_id)["error"] is (on_cancel == "abort")


def test_datasets_and_destination_are_written(server: ServerClient, source: str, tmp_path: Path) -> None:
    wishes = {"datasets": {"formats": ["coco"]}, "destination": str(tmp_path / "out"), "rerun": "wishes"}
    run = triggered(block(server), source, **wishes)
    run.wait_for_completion()
    summary = fetched(run).summary
    assert (Path(summary.published) / "summary.parquet").exists()
    assert len(summary.datasets) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"nonsense": 1}, "no option nonsense"),
        ({"only_new": True}, "only_new is no option"),
        ({"credentials": "aws-credentials/mine"}, "storage_credentials"),
        ({"wait": {"mode": "suspend"}}, "mode poll"),
        ({"job": {"max_image_failure_rate": 7}}, "option job.max_image_failure_rate"),
    ],
)
def test_options_that_make_no_sense_are_refused(server: ServerClient, source: str, options: object, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        block(server).trigger(source, "minimal", **options)  # type: ignore[arg-type]


def test_login_has_the_name_that_the_same_key_has_in_the_environment(
    server: ServerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    eu = RoboflowPlatform(region="eu", api_key=SecretStr(KEY)).login()
    assert (eu.name, eu.url) == ("roboflow", "https://api.roboflow.eu")
    monkeypatch.setenv("ROBOFLOW_API_KEY", KEY)
    named = load_settings().with_blocks(lambda _name: block(server).login())
    with open_platform("block:mine", named) as by_block, open_platform(server.url, load_settings()) as by_key:
        assert (by_block.name, by_block.workspace) == (by_key.name, by_key.workspace) == (server.url, "local")


@pytest.mark.parametrize("url", [*REGION_HOSTS.values(), "HTTPS://API.Roboflow.com/", "http://api.roboflow.com"])
def test_url_that_is_the_clouds_own_is_the_cloud(url: str) -> None:
    login = RoboflowPlatform(url=url, api_key=SecretStr(KEY)).login()
    assert (login.name, login.url in REGION_HOSTS.values()) == (CLOUD, True)


def test_run_of_a_saved_block_names_it_and_has_the_key_nowhere(server: ServerClient, source: str) -> None:
    platform = block(server)
    unsaved = triggered(platform, source, rerun="named")
    with pytest.raises(TypeError, match="save the block"):
        pickle.dumps(unsaved)
    platform._block_document_name = "mine"
    run = triggered(platform, source, rerun="named")
    assert run.key == unsaved.key  # the name of the block is no part of the run's identity
    run.wait_for_completion()
    fetched(run)
    folder = RunFolder(Path(load_settings().runs) / run.key)
    words = shlex.split(json.loads(folder.lock_file.read_text())["command"])
    assert words[words.index("--platform") + 1] == "block:mine"
    written = [path.read_bytes() for path in folder.root.rglob("*") if path.is_file()]
    assert [content for content in (*written, pickle.dumps(run)) if KEY.encode() in content] == []


def test_key_of_another_workspace_is_told_before_any_work(server: ServerClient, source: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="of workspace local, and theirs is expected"):
        block(server, workspace="theirs").trigger(source, "minimal")
    with pytest.raises(BadInput, match="theirs is expected"), connect(block(server, workspace="theirs").login()):
        pass
    assert not (tmp_path / "runs").exists()


def test_wrong_key_tells_the_block(server: ServerClient) -> None:
    settings = load_settings().with_blocks(lambda _name: block(server, api_key="WRONG").login())
    said = "block:mine holds an API key that its platform refused"
    with pytest.raises(KeyRefused, match=said) as caught, open_platform("block:mine", settings):
        pass
    assert "WRONG" not in str(caught.value)


def test_block_without_anything_that_loads_it_says_what_to_do() -> None:
    with pytest.raises(BadInput, match="set ROBOFLOW_API_KEY"), open_platform("block:mine", load_settings()):
        pass


@pytest.mark.parametrize("url", ["localhost:9001", "ftp://host", "http://user:pw@host", "http://host?api_key=1"])
def test_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="HOST"):
        RoboflowPlatform(url=url, api_key=SecretStr(KEY))


def test_key_shows_nowhere(server: ServerClient) -> None:
    platform = block(server)
    assert KEY not in f"{platform!r} {platform} {platform.login()!r} {platform.model_dump_json()}"
    assert platforms.BLOCK == "block:"
