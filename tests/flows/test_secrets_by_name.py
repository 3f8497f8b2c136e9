"""Secrets by the names of blocks, on a real Prefect server whose own block types are filled as its forms do."""

from __future__ import annotations

import io
import json
import os
import pickle
import shlex
import stat
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import BlockDocumentCreate
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Crashed

from flows.batch import process_images
from flows.prefect_server import server_environment
from flows.replay import replay_run
from flows.secrets_by_name import storage_credentials, storage_login
from flows.staging import stage_source
from tasks.blocks import RoboflowPlatform
from tasks.core.errors import BadInput, DarkroomError, RequestRefused, ServiceBusy
from tasks.core.identity import remote_id
from tasks.core.records import Reaped, RunSummary
from tasks.core.run_folder import RunFolder, read_lock
from tasks.core.settings import load_settings
from tasks.flow_runs import PrefectFlowRuns
from tasks.named_blocks import flow_settings, platform_login
from tasks.roboflow_api.platform import embedded_server, open_platform
from tasks.sources.registry import open_source
from tasks.steps.reaping import reap
from tasks.steps.runs import open_runs
from tests.deployments.batch_server.running import KEY, ServerClient, settings_for, thread_server
from tests.deployments.batch_server.small_engine import SmallEngine
from tests.emulators.fixtures import *  # noqa: F403
from tests.emulators.pool import foreign_variables
from tests.images import make_images
from tests.prefect_server import PrefectServer, used_here
from tests.scripted import Reply, scripted_server

pytestmark = pytest.mark.prefect_server

IMAGES = 3
SECRET = "the-secret-of-a-block"
GOOGLE = {"type": "service_account", "client_email": "a@b.iam", "private_key": SECRET}


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory, prefect_api: PrefectServer) -> Iterator[Path]:
    """A Prefect server that this process uses; gives the home of all else."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch, used_here(prefect_api):
        patch.setenv("DARKROOM_HOME", str(home))
        yield home


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerClient]:
    with thread_server(settings_for(tmp_path_factory.mktemp("server")), SmallEngine()) as client:
        yield client


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ROBOFLOW_API_KEY", "API_BASE_URL", "ROBOFLOW_REGION", *foreign_variables()):
        monkeypatch.delenv(name, raising=False)


def filled(kind: str, name: str, **data: Any) -> str:
    """A block of one of the types that come with Prefect's server; gives what it is called."""
    with get_client(sync_client=True) as client:
        block_type = client.read_block_type_by_slug(kind)
        schema = client.get_most_recent_block_schema_for_block_type(block_type.id)
        assert schema is not None
        made = BlockDocumentCreate(name=name, data=data, block_type_id=block_type.id, block_schema_id=schema.id)
        client.create_block_document(made)
    return f"{kind}/{name}"


def variables() -> dict[str, str]:
    return {name: os.environ[name] for name in foreign_variables()}


def test_run_by_block_is_the_run_by_key(
    prefect: Path, prefect_api: PrefectServer, server: ServerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RoboflowPlatform.model_validate({"url": server.url, "api_key": KEY}).save("mine", overwrite=True)
    make_images(tmp_path / "source", IMAGES)
    asked: dict[str, Any] = {
        "source": str(tmp_path / "source"),
        "workflow": "minimal",
        "runs": str(tmp_path / "runs"),
    }
    by_block = process_images(**asked, platform="block:mine")
    assert isinstance(by_block, RunSummary)
    assert (by_block.processed, by_block.platform) == (IMAGES, server.url)
    words = shlex.split(read_lock(RunFolder(by_block.folder))["command"])
    assert words[words.index("--platform") + 1] == "block:mine"
    monkeypatch.setenv("ROBOFLOW_API_KEY", KEY)
    by_key = process_images(**asked, platform=server.url)
    assert isinstance(by_key, RunSummary)
    assert (by_key.key, by_key.finished) == (by_block.key, by_block.finished)
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    kept += [path.read_bytes() for path in prefect_api.home.rglob("prefect.db*")]
    assert [content for content in kept if KEY.encode() in content] == []


def test_job_of_a_flow_of_ones_own_is_left_alone_until_the_flow_crashes(prefect: Path, tmp_path: Path) -> None:
    make_images(tmp_path / "source", IMAGES)
    runs = open_runs(str(tmp_path / "runs"), load_settings())
    told: list[str] = []

    def look_after() -> Reaped:
        with get_client(sync_client=True) as client:
            return reap(runs, flow_settings(), PrefectFlowRuns(client), told.append, datetime.now(UTC))

    @flow
    def inspect() -> tuple[str, Reaped]:
        platform: Any = RoboflowPlatform.load("held")
        run = platform.trigger(str(tmp_path / "source"), "minimal", runs=str(tmp_path / "runs"))
        assert pickle.loads(pickle.dumps(run)).job_id == run.job_id
        return run.key, look_after()  # it runs, and nobody holds the run

    engine = SmallEngine(hold_after=1)
    with thread_server(settings_for(tmp_path / "held", chunk_limit=1), engine) as held:
        RoboflowPlatform.model_validate({"url": held.url, "api_key": KEY}).save("held", overwrite=True)
        state = inspect(return_state=True)
        key, meanwhile = state.result()
        assert (meanwhile.looked, meanwhile.aborted, meanwhile.failed) == (1, (), ()), told
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(str(state.state_details.flow_run_id), Crashed(), force=True)
        assert look_after().aborted == (key,)
        engine.go_on()
        assert held.finished(remote_id(key))["error"]


def test_missing_block_says_how_it_is_made(prefect: Path) -> None:
    with pytest.raises(BadInput, match="darkroom setup --block nowhere"):
        platform_login("nowhere")
    with pytest.raises(BadInput, match="'nowhere'"), open_platform("block:nowhere", flow_settings()):
        pass
    with pytest.raises(BadInput, match="Prefect has no block aws-credentials/nowhere: make it"):
        storage_login("aws-credentials/nowhere")
    with pytest.raises(BadInput, match="pip install prefect-gcp"):
        storage_login("gcp-credentials/nowhere")


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (401, BadInput, "HTTP 401.*set PREFECT_API_KEY"),
        (403, BadInput, "HTTP 403.*may read blocks"),
        (422, RequestRefused, "HTTP 422.*check the name"),
        (500, ServiceBusy, "HTTP 500.*later"),
    ],
)
def test_refusal_of_prefects_server_is_told_as_what_it_is(status: int, kind: type[DarkroomError], said: str) -> None:
    with scripted_server() as server, temporary_settings({PREFECT_API_URL: f"{server.url}/api"}):
        server.replies([Reply(status)] * 3)
        with pytest.raises(kind, match=f"the block aws-credentials/mine .{said}") as refused:
            storage_login("aws-credentials/mine")
    assert refused.value.status == status


@pytest.mark.parametrize("name", ["mine", "aws-credentials", "aws-credentials/", "secret/mine", "/mine"])
def test_name_of_no_storage_block_is_refused(prefect: Path, name: str) -> None:
    with pytest.raises(BadInput, match="write one of aws-credentials/NAME"), storage_credentials(name):
        pass


def in_block_only(s3: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A block with all that leads to the store, which the environment does not have any more; the store has images."""
    for number in range(IMAGES):
        s3.put(f"photos/{number}.png", png(number))
    given = s3.environment
    named = filled(
        "aws-credentials",
        name,
        aws_access_key_id=given["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=given["AWS_SECRET_ACCESS_KEY"],
        region_name=given["AWS_REGION"],
        aws_client_parameters={"endpoint_url": given["AWS_ENDPOINT_URL"]},
    )
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(variable)
    return named


def png(number: int) -> bytes:
    with io.BytesIO() as content:
        Image.new("RGB", (16, 16), (number, 0, 0)).save(content, "png")
        return content.getvalue()


def test_bucket_is_listed_with_keys_that_only_the_block_has(
    prefect: Path, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = in_block_only(s3, "listing", monkeypatch)
    before = variables()
    with pytest.raises(BadInput, match="credentials"):
        open_source(f"{s3.url}/photos").check()
    surveyed = stage_source(f"{s3.url}/photos", runs=str(tmp_path / "runs"), credentials=named)
    assert (surveyed.files, surveyed.rejected) == (IMAGES, 0)
    assert variables() == before


def test_run_and_its_replay_use_the_same_block(
    prefect: Path, server: ServerClient, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOFLOW_API_KEY", KEY)
    named, runs = in_block_only(s3, "runs", monkeypatch), f"{s3.url}/runs"
    asked = process_images(f"{s3.url}/photos", "minimal", platform=server.url, runs=runs, credentials=named)
    assert isinstance(asked, RunSummary)
    assert (asked.processed, asked.place) == (IMAGES, f"{runs}/{asked.key}")
    lock = json.loads(s3.get(f"runs/{asked.key}/run.json"))
    words = shlex.split(lock["command"])
    assert words[words.index("--credentials") + 1] == named
    assert lock["request"]["credentials"] == named
    replayed = replay_run(asked.key, runs=runs, credentials=named)
    assert (replayed.original, replayed.identical, replayed.same) == (asked.key, True, IMAGES)
    here = str(tmp_path / "runs")
    first = process_images(f"{s3.url}/photos", "minimal", platform=server.url, runs=here, credentials=named)
    assert isinstance(first, RunSummary)
    assert replay_run(first.key, runs=here).identical  # the run remembers its block
    assert "AWS_ACCESS_KEY_ID" not in os.environ


def test_google_bucket_is_signed_for_with_an_account_that_only_the_block_has(
    prefect: Path, gcs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gcs.put("photos/a.png", b"a")
    account = Path(gcs.environment["GOOGLE_APPLICATION_CREDENTIALS"]).read_text()
    named = filled("gcp-credentials", "signing", service_account_info=json.loads(account), project="darkroom-tests")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    with storage_credentials(named):
        file = Path(os.environ["GOOGLE_APPLICATION_CREDENTIALS"])
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.parent == prefect / "credentials"
        source = open_source(f"{gcs.url}/photos")
        (signed,) = source.presign(source.list(), 600)  # type: ignore[attr-defined]
    gcs.check_signature(signed)
    assert not file.exists()
    assert "GOOGLE_APPLICATION_CREDENTIALS" not in os.environ


def test_azure_container_is_listed_by_a_connection_string(
    prefect: Path, azure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    azure.put("photos/a.png", b"a")
    account, key, endpoint = azure.environment.values()
    parts = f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={key};BlobEndpoint={endpoint};"
    named = filled("azure-blob-storage-credentials", "listing", connection_string=parts)
    for name in azure.environment:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sig=of-another-account")
    with storage_credentials(named):
        assert [item.key for item in open_source(f"{azure.url}/photos").list()] == ["a.png"]
    assert variables() == {"AZURE_STORAGE_SAS_TOKEN": "sig=of-another-account"}


def test_environment_is_as_before_after_an_error_too(prefect: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = filled("minio-credentials", "errors", minio_root_user="me", minio_root_password=SECRET)
    monkeypatch.setenv("AWS_PROFILE", "theirs")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-theirs")
    monkeypatch.setenv("AWS_REGION", "stays")
    before = variables()
    with pytest.raises(RuntimeError), storage_credentials(named):
        assert variables() == {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "stays"}
        raise RuntimeError
    assert variables() == before


def test_two_blocks_at_once_are_refused_and_one_twice_is_not(prefect: Path) -> None:
    one = filled("aws-credentials", "one", aws_access_key_id="1", aws_secret_access_key=SECRET)
    two = filled("aws-credentials", "two", aws_access_key_id="2", aws_secret_access_key=SECRET)
    refused: list[str] = []

    def take_the_other() -> None:
        try:
            with storage_credentials(two):
                pass
        except BadInput as error:
            refused.append(str(error))

    with storage_credentials(one):
        with storage_credentials(one), storage_credentials(""):
            other = threading.Thread(target=take_the_other)
            other.start()
            other.join()
        assert os.environ["AWS_ACCESS_KEY_ID"] == "1"
    assert [("one" in said, "two" in said, SECRET in said) for said in refused] == [(True, True, False)]
    with storage_credentials(two):
        assert os.environ["AWS_ACCESS_KEY_ID"] == "2"
    assert "AWS_ACCESS_KEY_ID" not in os.environ


def test_servers_of_our_own_get_nothing_of_a_block(prefect: Path) -> None:
    aws = filled("aws-credentials", "servers", aws_access_key_id="1", aws_secret_access_key=SECRET)
    with storage_credentials(aws):
        given = embedded_server(load_settings())._env | server_environment(prefect)
    assert [name for name in given if name.startswith("AWS_")] == []
    google = filled("gcp-credentials", "servers", service_account_info=GOOGLE)
    with storage_credentials(google):
        given = embedded_server(load_settings())._env | server_environment(prefect)
    assert [name for name in given if name.startswith("GOOGLE_")] == []
