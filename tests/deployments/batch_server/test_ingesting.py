import json
import logging
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from deployments.batch_server.remote.fetching import FetchLimits
from deployments.batch_server.services import World
from deployments.batch_server.store.ingests import IngestStore
from tests.deployments.batch_server.media_host import Answer, MediaHost, media_host
from tests.deployments.batch_server.running import (
    ServerClient,
    job_body,
    process_server,
    settings_for,
    thread_server,
)
from tests.deployments.batch_server.small_engine import SmallEngine
from tests.waiting import wait_for

GOOD = Answer(body=b"image")
NO_ENGINE = ("--engine", "missing/python")
OPEN = ("--allow-host", "127.0.0.1")


async def no_pause(seconds: float) -> None:
    """Takes no time."""


@pytest.fixture(scope="module")
def media() -> Iterator[MediaHost]:
    with media_host() as running:
        running.answers = {"/good.jpg": GOOD}
        yield running


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("open")


@pytest.fixture(scope="module")
def server(data: Path) -> Iterator[ServerClient]:
    """A server that may fetch from loopback and from one name, and whose pauses take no time."""
    known = {
        "media.example": ["127.0.0.1"],
        "public.example": ["93.184.216.34"],
        "mixed.example": ["93.184.216.34", "::1"],
    }
    world = World(lookup=lambda host: known.get(host, []), sleep=no_pause)
    settings = settings_for(data, allow_hosts=("127.0.0.1", "media.example"))
    with thread_server(settings, SmallEngine(), world) as client:
        yield client


def failed_files(shard: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {file["file_name"]: (file["type"], file["reason"]) for file in shard["statusMetadata"]["failedFiles"]}


def test_file_that_cannot_be_fetched_fails_alone_and_says_why(
    server: ServerClient, media: MediaHost, batch: str
) -> None:
    media.answers |= {"/refused": Answer(403), "/down": Answer(500), "/big": Answer(announced=20 * 1024 * 1024 + 1)}
    paths = ("good.jpg", "gone", "refused", "down", "big")
    server.refer(batch, {name: media.url(f"/{name}?sig=secret") for name in paths})
    (shard,) = server.shards(batch)
    assert (shard["statusName"], shard["statusType"], shard["shardObjectsCount"]) == ("ingested", "success", 1)
    assert failed_files(shard) == {
        "gone": ("reference-not-found", f"{media.url('/gone')} is not there (status 404)"),
        "refused": (
            "reference-refused",
            f"{media.url('/refused')} is refused (status 403): has its signature expired?",
        ),
        "down": ("reference-unreachable", f"{media.url('/down')} answers with status 500"),
        "big": ("file-size-limit-exceeded", "Max size of single image is 20971520B."),
    }
    assert server.images(batch) == {"good.jpg": b"image"}


def test_shard_of_which_nothing_came_leaves_no_file(
    server: ServerClient, media: MediaHost, batch: str, data: Path
) -> None:
    before = len(list((data / "blobs").glob("*/*")))
    server.refer(batch, {"a.jpg": media.url("/gone"), "b.jpg": media.url("/gone")})
    (shard,) = server.shards(batch)
    assert (shard["statusType"], shard["shardObjectsCount"], len(failed_files(shard))) == ("error", 0, 2)
    assert shard["statusMetadata"]["type"] == "reference-not-found"
    assert len(list((data / "blobs").glob("*/*"))) == before


def test_large_and_empty_images_are_as_they_were(server: ServerClient, media: MediaHost, batch: str) -> None:
    contents = {"large.jpg": bytes(range(256)) * 20_000, "empty.jpg": b"", "largest.jpg": bytes(20 * 1024 * 1024)}
    media.answers |= {f"/{name}": Answer(body=content) for name, content in contents.items()}
    server.refer(batch, {name: media.url(f"/{name}") for name in contents})
    server.shards(batch)
    assert server.images(batch) == contents
    server.refer(f"{batch}-empty", {"empty.jpg": media.url("/empty.jpg")})
    server.shards(f"{batch}-empty")
    assert server.images(f"{batch}-empty") == {"empty.jpg": b""}


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.2/image.png?sig=secret",
        "https://169.254.169.254/image.png?sig=secret",
        "https://[::1]/image.png?sig=secret",
        "https://[::ffff:127.0.0.1]/image.png?sig=secret",
        "https://mixed.example/image.png?sig=secret",
        "http://public.example/image.png?sig=secret",
        "https://public.example:8443/image.png?sig=secret",
        "https://0x7f000001/image.png?sig=secret",
        "https://2130706433/image.png?sig=secret",
        "https://user:secret@public.example/image.png",
        "gopher://public.example/image.png?sig=secret",
    ],
)
def test_one_host_that_is_not_allowed_ends_the_ingest_before_anything_is_fetched(
    server: ServerClient, media: MediaHost, batch: str, url: str, data: Path
) -> None:
    media.asked.clear()
    urls = {f"{number}.jpg": media.url("/good.jpg") for number in range(300)}
    server.refer(batch, {**urls, "unsafe.jpg": url})
    shards = server.shards(batch)
    assert [(shard["statusName"], shard["statusType"]) for shard in shards] == [("failed", "error")] * 2
    shown = url.partition("?")[0].replace("user:secret@", "").replace("127.0.0.1]", "7f00:1]")
    for shard in shards:
        assert shard["statusMetadata"]["type"] == "unsafe-url-detected"
        assert shard["statusMetadata"]["error"].startswith(f"Untrusted domain found: {shown} (")
        assert "secret" not in json.dumps(shard)
    assert sum(len(failed_files(shard)) for shard in shards) == 301
    assert (server.count(batch), media.asked) == (0, [])
    assert list((data / "references").iterdir()) == []


def test_unsafe_redirect_fails_its_file(server: ServerClient, media: MediaHost, batch: str) -> None:
    media.answers["/away"] = Answer(302, headers={"Location": "http://127.0.0.2/latest/meta-data?sig=secret"})
    server.refer(batch, {"a.jpg": media.url("/away"), "b.jpg": media.url("/good.jpg")})
    (shard,) = server.shards(batch)
    kind, reason = failed_files(shard)["a.jpg"]
    assert kind == "unsafe-url-detected"
    assert reason.startswith("Untrusted domain found: http://127.0.0.2/latest/meta-data (")
    assert server.images(batch) == {"b.jpg": b"image"}


def test_host_that_rebinds_to_loopback_after_the_check_fails_its_file(
    tmp_path: Path, media: MediaHost, batch: str
) -> None:
    answers = iter([["93.184.216.34"], ["127.0.0.1"]])
    world = World(lookup=lambda host: next(answers), sleep=no_pause)
    with thread_server(settings_for(tmp_path), SmallEngine(), world) as server:
        server.refer(batch, {"a.jpg": "https://rebind.example/a.jpg?sig=secret"})
        (shard,) = server.shards(batch)
    assert (shard["statusType"], shard["statusMetadata"]["type"]) == ("error", "unsafe-url-detected")
    assert failed_files(shard)["a.jpg"][0] == "unsafe-url-detected"


def test_host_that_is_not_known_fails_its_files_only(server: ServerClient, media: MediaHost, batch: str) -> None:
    server.refer(batch, {"a.jpg": "https://nowhere.example/a.jpg", "b.jpg": media.url("/good.jpg", "media.example")})
    (shard,) = server.shards(batch)
    assert failed_files(shard)["a.jpg"][0] == "reference-unreachable"
    assert server.images(batch) == {"b.jpg": b"image"}


def listed(urls: dict[str, str]) -> Answer:
    return Answer(body="".join(f"{json.dumps({'name': n, 'url': u})}\r\n\n" for n, u in urls.items()).encode())


def test_list_of_references_is_fetched_and_then_what_it_names(
    server: ServerClient, media: MediaHost, batch: str
) -> None:
    urls = {f"{number}.jpg": media.url("/good.jpg") for number in range(600)}
    media.answers["/list.jsonl"] = listed(urls)
    answer = server.ingest(batch, imageReferencesURL=media.url("/list.jsonl?sig=secret"), ingestId="i").json()
    assert len(answer["shardIds"]) == 1
    wait_for(lambda: server.count(batch) == 600, "the images")
    shards = server.shards(batch)
    assert [shard["shardObjectsCount"] for shard in shards] == [256, 256, 88]
    again = server.ingest(batch, imageReferencesURL=media.url("/list.jsonl"), ingestId="i").json()
    assert again["duplicated"]
    assert again["shardIds"] == [shard["shardId"] for shard in shards]
    assert again["shardIds"][:1] == answer["shardIds"]
    assert media.paths().count("/list.jsonl?sig=secret") == 1


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (Answer(404), "reference-not-found", "is not there"),
        (Answer(body=b"x" * 100, announced=65 * 1024 * 1024), "file-size-limit-exceeded", "list of references"),
        (
            Answer(body=b'{"name": "a", "url": "b"}\nnonsense?sig=secret'),
            "invalid-references",
            "line 2 of the list is not JSON",
        ),
        (Answer(body=b""), "invalid-references", "at least one"),
        (Answer(body=b'{"name": "a"}'), "invalid-references", "line 1 of the list: url is no URL"),
        (Answer(body=b"\n{" + b"[" * 40_000), "invalid-references", "line 2 of the list is over 32768 bytes"),
        (Answer(body=b'{"name": "a", "url": "b"}\n' * 20_001), "invalid-references", "more than 20000"),
        (listed({"a": "https://127.0.0.2/a?sig=secret"}), "unsafe-url-detected", "Untrusted domain found"),
        (Answer(302, headers={"Location": "https://127.0.0.2/?sig=secret"}), "unsafe-url-detected", "Untrusted"),
    ],
)
def test_list_that_cannot_be_used_is_an_error_shard(
    server: ServerClient, media: MediaHost, batch: str, answer: Answer, kind: str, reason: str
) -> None:
    media.answers["/bad.jsonl"] = answer
    assert server.ingest(batch, imageReferencesURL=media.url("/bad.jsonl?sig=secret")).status_code == 200
    (shard,) = server.shards(batch)
    assert (shard["statusType"], shard["statusMetadata"]["type"]) == ("error", kind)
    assert reason in shard["statusMetadata"]["error"]
    assert "secret" not in json.dumps(shard)


def test_shard_shows_as_info_while_it_is_fetched_and_a_job_waits_for_it(
    server: ServerClient, media: MediaHost, batch: str, job: str
) -> None:
    fetched = Event()
    media.answers["/slow"] = Answer(body=b"slow", hold=fetched)
    server.refer(batch, {"a.jpg": media.url("/slow")})
    (shard,) = server.staging("GET", f"/{batch}/shards").json()["shards"]
    assert (shard["statusName"], shard["statusType"], shard["shardObjectsCount"]) == ("fetching", "info", 0)
    assert server.jobs("POST", f"/{job}", json=job_body(batch)).status_code == 200
    assert server.jobs("GET", f"/{job}/stages").json()["stages"] == []
    fetched.set()
    assert not server.finished(job)["error"]
    assert server.count(f"{job}-processing", partName="results") == 1


def test_record_that_failed_is_made_later_without_leaving_files(
    tmp_path: Path, media: MediaHost, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    record = IngestStore.record
    refused: list[object] = []

    def refuse_once(store: IngestStore, *args: Any) -> None:
        if not refused:
            refused.append(args)
            raise OSError("database or disk is full")
        record(store, *args)

    monkeypatch.setattr(IngestStore, "record", refuse_once)
    with (
        caplog.at_level(logging.ERROR),
        thread_server(
            settings_for(tmp_path, allow_hosts=("127.0.0.1",)), SmallEngine(), World(retries=(0.01,))
        ) as server,
    ):
        server.refer("b", {"a.jpg": media.url("/good.jpg?sig=secret")})
        server.shards("b")
        assert server.images("b") == {"a.jpg": b"image"}
    assert len(list((tmp_path / "blobs").glob("*/*"))) == 1
    assert "is tried again" in caplog.text
    assert "secret" not in caplog.text


def contents(folder: Path) -> str:
    """Every byte that is kept below a folder, save the images themselves."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".images"]
    return "".join(path.read_bytes().decode("latin-1") for path in files)


def test_server_killed_in_the_middle_fetches_the_rest_once_and_keeps_no_secret(
    tmp_path: Path, media: MediaHost
) -> None:
    fetched = Event()
    media.answers |= {
        "/held": [Answer(hold=fetched, body=b"late"), Answer(body=b"late")],
        "/list": [Answer(hold=fetched)],
    }
    urls = {f"{number}.jpg": media.url(f"/good.jpg?sig=secret-{number}") for number in range(600)}
    urls["599.jpg"] = media.url("/held?sig=secret-599")
    with process_server(tmp_path, *NO_ENGINE, *OPEN) as first:
        answer = first.client.refer("b", urls, ingestId="i").json()
        first.client.ingest("list", imageReferencesURL=media.url("/list?sig=secret-list"))
        wait_for(lambda: first.client.count("b") == 512, "two of three shards")
        wait_for(lambda: any(path.startswith("/list") for path in media.paths()), "the list to be asked for")
        left = sorted((tmp_path / "references").iterdir())
        assert [path.suffix for path in left] in (["." + "json", ".list"], [".list", ".json"])
        assert {path.stat().st_mode & 0o777 for path in left} == {0o600}
        (tmp_path / "references" / "orphan.json").write_text("left by a kill between two steps: secret-orphan")
        first.kill()
    fetched.set()
    media.answers["/list"] = listed({"x.jpg": media.url("/good.jpg?sig=secret-x")})
    media.asked.clear()
    with process_server(tmp_path, *NO_ENGINE, *OPEN) as second:
        client = second.client
        assert client.refer("b", urls, ingestId="i").json() == {**answer, "duplicated": True}
        assert [shard["shardObjectsCount"] for shard in client.shards("b")] == [256, 256, 88]
        assert client.count("b") == 600
        assert client.images("b")["599.jpg"] == b"late"
        assert sum(path.startswith("/good.jpg?sig=secret-") and path[-1] != "x" for path in media.paths()) == 87
        client.shards("list")
        assert client.count("list") == 1
        answers = "".join(client.staging("GET", path).text for path in ("/b/shards", "/b/list", "/list/shards"))
        errors = second.terminate()
    assert "secret-" not in answers + errors + contents(tmp_path)
    assert list((tmp_path / "references").iterdir()) == []
    assert len(list((tmp_path / "blobs").glob("*/*"))) == 4


def test_references_that_are_lost_end_the_ingest(tmp_path: Path, media: MediaHost) -> None:
    never = Event()
    media.answers["/never"] = Answer(hold=never)
    with process_server(tmp_path, *NO_ENGINE, *OPEN) as first:
        first.client.refer("b", {"a.jpg": media.url("/never")})
        wait_for(lambda: "/never" in media.paths(), "the fetch")
        first.kill()
    never.set()
    for path in (tmp_path / "references").iterdir():
        path.unlink()
    with process_server(tmp_path, *NO_ENGINE, *OPEN) as second:
        (shard,) = second.client.shards("b")
        assert shard["statusMetadata"]["type"] == "references-lost"


def test_server_stops_at_once_though_it_fetches(tmp_path: Path, media: MediaHost) -> None:
    never = Event()
    media.answers["/stuck"] = Answer(hold=never)
    with process_server(tmp_path, *NO_ENGINE, *OPEN) as server:
        server.client.refer("b", {"a.jpg": media.url("/stuck?sig=secret")})
        wait_for(lambda: "/stuck?sig=secret" in media.paths(), "the fetch")
        (warning,) = server.terminate().splitlines()
    never.set()
    assert "missing/python" in warning
    assert server.process.returncode == 0


def test_limits_of_time_are_those_of_the_world(tmp_path: Path, media: MediaHost) -> None:
    media.answers["/drips"] = Answer(drips=True)
    world = World(limits=FetchLimits(whole=0.1))
    with thread_server(settings_for(tmp_path, allow_hosts=("127.0.0.1",)), SmallEngine(), world) as server:
        server.refer("b", {"a.jpg": media.url("/drips"), "b.jpg": media.url("/good.jpg")})
        (shard,) = server.shards("b")
        assert "did not come whole within 0.1 s" in failed_files(shard)["a.jpg"][1]
        assert server.count("b") == 1
