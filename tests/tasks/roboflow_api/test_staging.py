import json

import pytest

from tasks.core.errors import NotFound
from tasks.roboflow_api.models import ImageReferencesIngest
from tasks.roboflow_api.staging import StagingApi
from tasks.roboflow_api.transport import Transport
from tests.scripted import Reply, Scripted
from tests.tasks.roboflow_api.conftest import KEY
from tests.tasks.roboflow_api.test_models import BATCH, FILE, PART, SHARD, SIGNED

ROOT = "/data-staging/v1/external/my%20space/batches/dr-1"


@pytest.fixture
def staging(transport: Transport) -> StagingApi:
    return StagingApi(transport, "my space")


def test_batch_is_read(server: Scripted, staging: StagingApi) -> None:
    server.answers({"batch": BATCH})
    assert staging.batch("dr-1").batch_type == "sharded-batch"
    assert (server.seen[0].method, server.seen[0].path) == ("GET", ROOT)


def test_batch_that_is_not_there_is_not_found(server: Scripted, staging: StagingApi) -> None:
    server.replies([Reply(404, b'{"error": "no such batch"}')])
    with pytest.raises(NotFound, match="no such batch"):
        staging.batch("dr-1")


def test_image_goes_up_as_a_form(server: Scripted, staging: StagingApi) -> None:
    staging.upload_image("dr-1", "a~~1.jpg", b"\xff\xd8data", "My batch")
    seen = server.seen[0]
    assert (seen.method, seen.path) == ("POST", f"{ROOT}/upload/image")
    assert seen.query == {"fileName": "a~~1.jpg", "displayName": "My batch", "api_key": KEY}
    assert b'name="a~~1.jpg"; filename="a~~1.jpg"' in seen.body
    assert b"\xff\xd8data" in seen.body


def test_references_go_as_the_contract_writes_them(server: Scripted, staging: StagingApi) -> None:
    server.answers({"ingestId": "i-1", "shardIds": ["s-1"], "duplicated": True})
    answer = staging.ingest_references("dr-1", [("a.jpg", "https://h/a?s=1")], "i-1", "My batch")
    assert (answer.ingest_id, answer.shard_ids, answer.duplicated) == ("i-1", ["s-1"], True)
    seen = server.seen[0]
    assert (seen.method, seen.path) == ("POST", f"{ROOT}/bulk-upload/image-references")
    assert seen.query == {"displayName": "My batch", "api_key": KEY}
    sent = {"imageReferences": [{"name": "a.jpg", "url": "https://h/a?s=1"}], "ingestId": "i-1"}
    assert json.loads(seen.body) == sent == ImageReferencesIngest.model_validate(sent).wire()


def test_query_goes_as_the_contract_writes_it(server: Scripted, staging: StagingApi) -> None:
    staging.ingest_query("dr-1", "class:cat", "i-1", "My batch")
    seen = server.seen[0]
    assert (seen.method, seen.path) == ("POST", f"{ROOT}/roboql-ingest")
    assert json.loads(seen.body) == {"query": "class:cat", "displayName": "My batch", "ingestId": "i-1"}


def test_shard_upload_gives_place_and_limits(server: Scripted, staging: StagingApi) -> None:
    server.answers({"signedURLDetails": SIGNED}, {"signedURLDetails": {"uploadURL": "u"}})
    full, least = staging.shard_upload("dr-1", "n"), staging.shard_upload("dr-1", "n")
    assert (full.upload_url, full.max_archive_images) == ("https://host/x", 500)
    assert (least.upload_url, least.extension_headers, least.max_archive_bytes) == ("u", {}, None)
    assert server.seen[0].path == f"{ROOT}/bulk-upload/image-files"
    assert server.seen[0].query == {"displayName": "n", "api_key": KEY}


def test_count_is_of_the_batch_or_of_a_part(server: Scripted, staging: StagingApi) -> None:
    server.answers({"count": 3}, {"count": 2})
    assert (staging.count("dr-1"), staging.count("dr-1", "p 1")) == (3, 2)
    assert [seen.query.get("partName") for seen in server.seen] == [None, "p 1"]


def test_shards_come_from_all_pages(server: Scripted, staging: StagingApi) -> None:
    server.answers({"shards": [SHARD, SHARD], "nextPageToken": "2"}, {"shards": [SHARD]})
    assert [shard.shard_objects_count for shard in staging.shards("dr-1")] == [3, 3, 3]
    assert server.seen[1].path == f"{ROOT}/shards"


def test_files_come_from_all_pages_of_the_part(server: Scripted, staging: StagingApi) -> None:
    server.answers({"filesMetadata": [FILE], "nextPageToken": "2"}, {"filesMetadata": [FILE], "nextPageToken": None})
    assert [file.download_url for file in staging.files("dr-1", "p")] == ["https://host/y"] * 2
    assert [seen.query["partName"] for seen in server.seen] == ["p", "p"]


def test_parts_are_read(server: Scripted, staging: StagingApi) -> None:
    server.answers({"batchParts": [PART]})
    assert [part.part_name for part in staging.parts("dr-1")] == ["p"]
