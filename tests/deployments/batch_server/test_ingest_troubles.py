"""What becomes of an ingest when this server cannot go on, or when another ingest is slow."""

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from deployments.batch_server.ingesting import SHARDS_OF_AN_INGEST
from deployments.batch_server.reference_files import ReferenceFiles
from deployments.batch_server.remote.fetching import FetchLimits
from deployments.batch_server.services import World
from deployments.batch_server.store.ingests import IngestStore
from tests.deployments.batch_server.media_host import Answer, MediaHost, media_host
from tests.deployments.batch_server.running import ServerClient, settings_for, thread_server
from tests.deployments.batch_server.small_engine import SmallEngine
from tests.waiting import wait_for

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def media() -> Iterator[MediaHost]:
    with media_host() as running:
        running.answers = {"/good.jpg": Answer(body=b"image"), "/hook": Answer(204)}
        yield running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerClient]:
    world = World(retries=(0.01, 0.01), lookup=lambda host: [])
    with thread_server(settings_for(tmp_path, allow_hosts=("127.0.0.1",)), SmallEngine(), world) as client:
        yield client


def failing(error: Exception) -> Any:
    def fail(*_: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(("error", "kind"), [(FULL, "server-disk-full"), (ValueError("secret"), "internal-error")])
def test_shard_that_cannot_be_recorded_is_given_up_and_told(
    server: ServerClient,
    media: MediaHost,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    kind: str,
) -> None:
    monkeypatch.setattr(IngestStore, "record", failing(error))
    categories = ["files-status", "ingest-status"]
    fields = {"notificationsURL": media.url("/hook"), "notificationCategories": categories}
    server.refer("b", {"a.jpg": media.url("/good.jpg")}, **fields)
    (shard,) = server.shards("b")
    assert (shard["statusType"], shard["statusMetadata"]["type"]) == ("error", kind)
    assert [file["file_name"] for file in shard["statusMetadata"]["failedFiles"]] == ["a.jpg"]
    assert "secret" not in json.dumps(shard)
    assert media.paths().count("/good.jpg") == 3
    wait_for(lambda: media.paths().count("/hook") == 2, "the notifications")
    told = [asked.json()["notification"] for asked in media.asked if asked.path == "/hook"]
    assert [entry["success"] for entry in told] == [False, False]
    assert list((tmp_path / "references").iterdir()) == list((tmp_path / "blobs").glob("*/*")) == []


def test_list_that_cannot_be_divided_leaves_no_shard_files(
    server: ServerClient, media: MediaHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [json.dumps({"name": f"{number}.jpg", "url": media.url("/good.jpg")}) for number in range(600)]
    media.answers["/list"] = Answer(body="\n".join(lines).encode())
    kept: list[int] = []
    keep = ReferenceFiles.keep

    def note(files: ReferenceFiles, shards: Any) -> None:
        kept.append(len(list((tmp_path / "references").iterdir())))
        keep(files, shards)

    monkeypatch.setattr(ReferenceFiles, "keep", note)
    monkeypatch.setattr(IngestStore, "begin_checking", failing(FULL))
    server.ingest("b", imageReferencesURL=media.url("/list"))
    (shard,) = server.shards("b")
    assert shard["statusMetadata"]["type"] == "server-disk-full"
    assert kept == [1, 2, 2]
    wait_for(lambda: not list((tmp_path / "references").iterdir()), "the end of the references")


def test_failure_that_cannot_be_recorded_is_recorded_later(
    server: ServerClient, media: MediaHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_shard = IngestStore.fail_shard
    refused: list[object] = []

    def refuse_once(store: IngestStore, *args: Any) -> None:
        if not refused:
            refused.append(args)
            raise FULL
        fail_shard(store, *args)

    monkeypatch.setattr(IngestStore, "record", failing(FULL))
    monkeypatch.setattr(IngestStore, "fail_shard", refuse_once)
    server.refer("b", {"a.jpg": media.url("/good.jpg")})
    (shard,) = server.shards("b")
    assert shard["statusMetadata"]["type"] == "server-disk-full"
    assert media.paths().count("/good.jpg") == 3


def test_ingest_behind_one_whose_host_hangs_is_fetched_at_once(server: ServerClient, media: MediaHost) -> None:
    never = Event()
    media.answers["/stuck"] = Answer(hold=never, body=b"late")
    urls = {f"{number}.jpg": media.url("/stuck") for number in range((SHARDS_OF_AN_INGEST + 2) * 256)}
    server.refer("slow", urls)
    wait_for(lambda: len(media.asked) >= SHARDS_OF_AN_INGEST * 16, "the slow host")
    server.refer("quick", {"a.jpg": media.url("/good.jpg")})
    (shard,) = server.shards("quick")
    never.set()
    assert shard["statusType"] == "success"


def test_check_of_hosts_ends_though_the_name_service_hangs(tmp_path: Path, media: MediaHost) -> None:
    answered = Event()

    def hang(_: str) -> list[str]:
        answered.wait(20)
        return []

    world = World(lookup=hang, limits=FetchLimits(check=0.01, connect=0.05, attempts=1))
    with thread_server(settings_for(tmp_path, allow_hosts=("127.0.0.1",)), SmallEngine(), world) as server:
        urls = {f"{number}.jpg": f"https://h{number}.example/x" for number in range(20)}
        server.refer("b", {**urls, "good.jpg": media.url("/good.jpg")})
        (shard,) = server.shards("b")
        server.refer("c", {**urls, "good.jpg": media.url("/good.jpg"), "unsafe.jpg": "https://127.0.0.2/x"})
        (unsafe,) = server.shards("c")
    answered.set()
    assert (shard["statusType"], shard["shardObjectsCount"]) == ("success", 1)
    assert unsafe["statusMetadata"]["type"] == "unsafe-url-detected"
    assert media.paths() == ["/good.jpg"]


def test_host_that_the_check_does_not_know_is_looked_up_once_more(tmp_path: Path, media: MediaHost) -> None:
    looked_up: list[str] = []

    def unknown(host: str) -> list[str]:
        looked_up.append(host)
        return []

    with thread_server(settings_for(tmp_path), SmallEngine(), World(lookup=unknown)) as server:
        server.refer("b", {"a.jpg": "https://nowhere.example/a", "b.jpg": "https://nowhere.example/b"})
        (shard,) = server.shards("b")
    assert shard["statusMetadata"]["type"] == "reference-unreachable"
    assert len(looked_up) <= 3
