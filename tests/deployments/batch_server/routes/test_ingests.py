import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from deployments.batch_server.routes.bodies import MAX_JSON_BYTES
from deployments.batch_server.routes.ingests import MAX_REFERENCES_BYTES
from tasks.roboflow_api.models import MAX_REFERENCES
from tests.deployments.batch_server.media_host import Answer, MediaHost, media_host
from tests.deployments.batch_server.running import ServerClient, settings_for, thread_server
from tests.deployments.batch_server.small_engine import SmallEngine

GOOD = Answer(body=b"image")


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
    """A server that may fetch from loopback."""
    with thread_server(settings_for(data, allow_hosts=("127.0.0.1",)), SmallEngine()) as client:
        yield client


def test_references_are_fetched_in_their_order_and_counted(server: ServerClient, media: MediaHost, batch: str) -> None:
    images = {f"{number} é.jpg": str(number).encode() * number for number in range(300)}
    media.answers |= {f"/{number}": Answer(body=str(number).encode() * number) for number in range(300)}
    urls = {name: media.url(f"/{number}?sig=x") for number, name in enumerate(images)}
    answer = server.refer(batch, urls, ingestId="mine")
    assert answer.status_code == 200
    assert answer.json().keys() == {"ingestId", "shardIds", "duplicated"}
    assert (answer.json()["ingestId"], answer.json()["duplicated"]) == ("mine", False)
    shards = server.shards(batch)
    assert [shard["shardId"] for shard in shards] == answer.json()["shardIds"]
    assert [shard["shardObjectsCount"] for shard in shards] == [256, 44]
    assert {(shard["statusName"], shard["statusType"]) for shard in shards} == {("ingested", "success")}
    assert not any("statusMetadata" in shard for shard in shards)
    assert server.count(batch) == 300
    assert server.images(batch) == images
    listed = server.staging("GET", f"/{batch}/list").json()["filesMetadata"]
    by_shard = [entry["fileName"] for shard in shards for entry in listed if entry["shardId"] == shard["shardId"]]
    assert by_shard == list(images)


def test_batch_of_references_is_sharded_and_named(server: ServerClient, media: MediaHost, batch: str) -> None:
    body = {"imageReferences": [{"name": "a.jpg", "url": media.url("/good.jpg")}]}
    path = f"/{batch}/bulk-upload/image-references"
    assert server.staging("POST", path, json=body, params={"displayName": "From afar"}).status_code == 200
    found = server.staging("GET", f"/{batch}").json()["batch"]
    assert (found["batchType"], found["displayName"]) == ("sharded-batch", "From afar")


def test_ingest_id_is_made_up_when_none_is_given(server: ServerClient, media: MediaHost, batch: str) -> None:
    first, second = (server.refer(batch, {f"{n}.jpg": media.url("/good.jpg")}).json() for n in range(2))
    assert len(first["ingestId"]) == 32
    assert first["ingestId"] != second["ingestId"]


def test_ingest_id_again_is_a_duplicate_and_changes_nothing(
    server: ServerClient, media: MediaHost, batch: str, data: Path
) -> None:
    first = server.refer(batch, {"a.jpg": media.url("/good.jpg")}, ingestId="i").json()
    server.shards(batch)
    again = server.refer(batch, {"b.jpg": media.url("/good.jpg")}, ingestId="i").json()
    assert again == {"ingestId": "i", "shardIds": first["shardIds"], "duplicated": True}
    assert list(server.images(batch)) == ["a.jpg"]
    elsewhere = server.refer(f"{batch}-other", {"b.jpg": media.url("/good.jpg")}, ingestId="i").json()
    assert not elsewhere["duplicated"]
    server.shards(f"{batch}-other")
    assert list((data / "references").iterdir()) == []


def test_ingest_id_sent_by_eight_at_once_is_taken_once(server: ServerClient, media: MediaHost, batch: str) -> None:
    urls = {f"{number}.jpg": media.url("/good.jpg") for number in range(300)}
    with ThreadPoolExecutor(8) as pool:
        answers = [future.result().json() for future in [pool.submit(server.refer, batch, urls, ingestId="i")] * 1]
        answers += [entry.json() for entry in pool.map(lambda _: server.refer(batch, urls, ingestId="i"), range(8))]
    assert sorted(answer["duplicated"] for answer in answers) == [False] + [True] * 8
    assert len({tuple(answer["shardIds"]) for answer in answers}) == 1
    assert len(server.shards(batch)) == 2
    assert server.count(batch) == 300


def test_references_and_archives_meet_in_a_batch_but_not_single_uploads(
    server: ServerClient, media: MediaHost, batch: str
) -> None:
    server.fill(batch, {"a.jpg": b"one"})
    assert server.refer(batch, {"a.jpg": media.url("/a"), "b.jpg": media.url("/good.jpg")}).status_code == 200
    second = server.shards(batch)[1]
    (failed,) = second["statusMetadata"]["failedFiles"]
    assert (failed["type"], failed["file_name"]) == ("duplicate-file-name", "a.jpg")
    assert server.images(batch) == {"a.jpg": b"one", "b.jpg": b"image"}
    assert "/a" not in media.paths()
    assert server.upload(batch, "c.jpg", b"one").status_code == 409
    server.upload(f"{batch}-simple", "a.jpg", b"one")
    refused = server.refer(f"{batch}-simple", {"b.jpg": media.url("/good.jpg")})
    assert refused.status_code == 409
    assert "another batch id" in refused.json()["error"]


REFERENCE = {"name": "a.jpg", "url": "https://a.example/a.jpg"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([], "a JSON object"),
        ({}, "either imageReferences or imageReferencesURL"),
        ({"imageReferences": [REFERENCE], "imageReferencesURL": "https://a.example"}, "either"),
        ({"imageReferences": []}, "at least one"),
        ({"imageReferences": {"name": "a"}}, "a list of objects"),
        ({"imageReferences": [REFERENCE] * (MAX_REFERENCES + 1)}, "the limit is 20000: send several"),
        ({"imageReferences": ["x"]}, "imageReferences[0] is no object"),
        ({"imageReferences": [REFERENCE, {"name": 3, "url": "https://a.example"}]}, "imageReferences[1] is no object"),
        ({"imageReferences": [{"name": "a" * 5000, "url": "https://a.example"}]}, "imageReferences[0] is no object"),
        ({"imageReferences": [{"name": "a.jpg"}]}, "imageReferences[0]: url is no URL"),
        ({"imageReferences": [{"name": "a.jpg", "url": "x" * 20_000}]}, "imageReferences[0]: url is no URL"),
        ({"imageReferencesURL": ""}, "imageReferencesURL is no URL"),
        ({"imageReferences": [REFERENCE], "ingestId": ""}, "ingestId"),
        ({"imageReferences": [REFERENCE], "ingestId": 7}, "ingestId"),
        ({"imageReferences": [REFERENCE], "ingestId": "\ud800"}, "ingestId"),
        ({"imageReferences": [REFERENCE], "notificationsURL": "ftp://a.example/?sig=secret"}, "notificationsURL: "),
        ({"imageReferences": [REFERENCE], "notificationsURL": 7}, "notificationsURL"),
        ({"imageReferences": [REFERENCE], "notificationsURL": "https://10.0.0.1/secret"}, "--allow-host"),
        ({"imageReferences": [REFERENCE], "notificationCategories": ["all"]}, "ingest-status and files-status"),
        ({"imageReferences": [REFERENCE], "notificationCategories": "ingest-status"}, "is a list"),
        ({"imageReferences": [REFERENCE], "notificationCategories": [[]]}, "is a list"),
    ],
)
def test_request_that_contradicts_itself_is_400_and_makes_no_batch(
    server: ServerClient, batch: str, body: Any, reason: str
) -> None:
    path = f"/{batch}/bulk-upload/image-references"
    answer = server.staging("POST", path, content=json.dumps(body))
    assert answer.status_code == 400
    assert reason in answer.json()["error"]
    assert "secret" not in answer.text
    assert server.staging("GET", f"/{batch}").status_code == 404


def test_body_of_many_long_urls_passes_and_one_over_the_limit_is_413(server: ServerClient, batch: str) -> None:
    path = f"/{batch}/bulk-upload/image-references"
    references = [{"name": f"{n}.jpg", "url": "https://127.0.0.2/" + "x" * 1000} for n in range(MAX_REFERENCES)]
    body = json.dumps({"imageReferences": references})
    assert len(body) > 2 * MAX_JSON_BYTES
    answer = server.staging("POST", path, content=body)
    assert len(answer.json()["shardIds"]) == 79
    assert {shard["statusType"] for shard in server.shards(batch)} == {"error"}
    assert server.staging("POST", path, content=b" " * (MAX_REFERENCES_BYTES + 1)).status_code == 413


@pytest.mark.parametrize("call", ["bulk-upload/video-references", "upload/video"])
def test_videos_are_501_and_say_what_to_do(server: ServerClient, call: str) -> None:
    answer = server.staging("POST", f"/b/{call}", json={})
    assert answer.status_code == 501
    assert "takes images only" in answer.json()["error"]


def test_name_that_cannot_be_rejects_its_file_alone(server: ServerClient, media: MediaHost, batch: str) -> None:
    names = ["a.jpg", "b/c.jpg", "a.jpg", "n" * 256, "\ud800", "..", "d.jpg"]
    references = [{"name": name, "url": media.url("/good.jpg")} for name in names]
    path = f"/{batch}/bulk-upload/image-references"
    assert server.staging("POST", path, content=json.dumps({"imageReferences": references})).status_code == 200
    (shard,) = server.shards(batch)
    failed = [(file["type"], file["file_name"]) for file in shard["statusMetadata"]["failedFiles"]]
    assert failed == [
        ("invalid-file-name", "b/c.jpg"),
        ("duplicate-file-name", "a.jpg"),
        ("invalid-file-name", "n" * 256),
        ("invalid-file-name", "\\ud800"),
        ("invalid-file-name", ".."),
    ]
    assert (shard["statusType"], list(server.images(batch))) == ("success", ["a.jpg", "d.jpg"])


def test_query_of_a_library_is_501_and_says_what_to_do(server: ServerClient) -> None:
    answer = server.staging("POST", "/b/roboql-ingest", json={"query": "tag:x"})
    assert answer.status_code == 501
    assert "no image library of its own" in answer.json()["error"]
