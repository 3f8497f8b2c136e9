import io
import tarfile
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest

from tasks.roboflow_api.models import MAX_IMAGE_BYTES
from tests.deployments.batch_server.running import ServerClient, archive


def names_in(server: ServerClient, batch: str) -> list[str]:
    return [file["fileName"] for file in server.staging("GET", f"/{batch}/list").json()["filesMetadata"]]


def test_simple_upload_is_counted_listed_and_can_be_fetched(server: ServerClient, batch: str) -> None:
    for name, content in [("a b.jpg", b"one"), ("é漢'\"\n.jpg", b"two\r\n--x"), ("empty.jpg", b"")]:
        assert server.upload(batch, name, content).status_code == 200
    listed = server.staging("GET", f"/{batch}/list").json()["filesMetadata"]
    contents = {entry["fileName"]: server.bare.get(entry["downloadURL"]).content for entry in listed}
    assert contents == {"a b.jpg": b"one", "é漢'\"\n.jpg": b"two\r\n--x", "empty.jpg": b""}
    assert server.count(batch) == 3
    assert {entry["contentType"] for entry in listed} == {"images"}


def test_batch_metadata_names_type_and_seven_days(server: ServerClient, batch: str) -> None:
    server.staging("POST", f"/{batch}/bulk-upload/image-files", params={"displayName": "My images"})
    found = server.staging("GET", f"/{batch}").json()["batch"]
    created, expires = (datetime.fromisoformat(found[key]) for key in ("createdDate", "expiryDate"))
    assert expires - created == timedelta(days=7)
    assert (found["displayName"], found["batchType"], found["batchContentType"]) == (
        "My images",
        "sharded-batch",
        "images",
    )


def test_simple_upload_again_changes_nothing_or_replaces(server: ServerClient, batch: str) -> None:
    for content in (b"one", b"one", b"other"):
        assert server.upload(batch, "a.jpg", content).status_code == 200
    (listed,) = server.staging("GET", f"/{batch}/list").json()["filesMetadata"]
    assert server.bare.get(listed["downloadURL"]).content == b"other"


def test_simple_upload_of_the_largest_image_passes_and_one_byte_more_is_413(server: ServerClient, batch: str) -> None:
    assert server.upload(batch, "largest.jpg", bytes(MAX_IMAGE_BYTES)).status_code == 200
    answer = server.upload(batch, "over.jpg", bytes(MAX_IMAGE_BYTES + 1))
    assert answer.status_code == 413
    assert str(MAX_IMAGE_BYTES) in answer.json()["error"]
    assert names_in(server, batch) == ["largest.jpg"]


@pytest.mark.parametrize("name", ["a/b.jpg", "..", "x" * 256, "a\0b"])
def test_simple_upload_under_a_name_that_leads_elsewhere_is_400(server: ServerClient, batch: str, name: str) -> None:
    answer = server.upload(batch, name, b"one")
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("fileName: ")


def test_simple_upload_without_a_form_or_with_two_files_is_400(server: ServerClient, batch: str) -> None:
    path = f"/{batch}/upload/image"
    params = {"fileName": "a.jpg"}
    bare = server.staging("POST", path, params=params, content=b"one")
    two = server.staging("POST", path, params=params, files={"a.jpg": b"one", "b.jpg": b"two"})
    assert [bare.status_code, two.status_code] == [400, 400]
    assert "2 fields" in two.json()["error"]


@pytest.mark.parametrize("batch_id", ["Upper", "a" * 65, "a.b", "a%0A"])
def test_batch_id_outside_the_pattern_is_400(server: ServerClient, batch_id: str) -> None:
    assert server.upload(batch_id, "a.jpg", b"one").status_code == 400
    assert server.staging("POST", f"/{batch_id}/bulk-upload/image-files").status_code == 400


def test_simple_and_bulk_upload_in_one_batch_is_409(server: ServerClient, batch: str) -> None:
    server.upload(batch, "a.jpg", b"one")
    answer = server.staging("POST", f"/{batch}/bulk-upload/image-files")
    assert answer.status_code == 409
    assert "another batch id" in answer.json()["error"]
    server.allocate(f"{batch}-bulk")
    assert server.upload(f"{batch}-bulk", "a.jpg", b"one").status_code == 409


def test_archive_is_indexed_and_its_images_can_be_fetched(server: ServerClient, batch: str) -> None:
    images = {f"{number} é.jpg": str(number).encode() * number for number in range(40)}
    server.fill(batch, images)
    (shard,) = server.shards(batch)
    assert (shard["statusName"], shard["statusType"]) == ("ingested", "success")
    assert shard["shardObjectsCount"] == server.count(batch) == 40
    assert "statusMetadata" not in shard
    listed = server.staging("GET", f"/{batch}/list").json()["filesMetadata"]
    assert {entry["fileName"]: server.bare.get(entry["downloadURL"]).content for entry in listed} == images
    assert {entry["shardId"] for entry in listed} == {shard["shardId"]}


def test_shard_that_was_never_put_is_not_there(server: ServerClient, batch: str) -> None:
    server.allocate(batch)
    assert server.staging("GET", f"/{batch}/shards").json() == {"shards": [], "nextPageToken": None}
    server.fill(batch, {"a.jpg": b"one"})
    assert len(server.shards(batch)) == 1
    assert server.count(batch) == 1


def test_names_that_another_shard_has_are_failed_files(server: ServerClient, batch: str) -> None:
    server.fill(batch, {"a.jpg": b"one", "b.jpg": b"two"})
    server.fill(batch, {"b.jpg": b"other", "c.jpg": b"three"})
    second = server.shards(batch)[1]
    assert second["shardObjectsCount"] == 1
    (failed,) = second["statusMetadata"]["failedFiles"]
    assert (failed["type"], failed["file_name"]) == ("duplicate-file-name", "b.jpg")
    assert server.count(batch) == 3


def test_archive_put_again_counts_once_and_other_content_replaces(server: ServerClient, batch: str) -> None:
    url = server.allocate(batch)
    for images in ({"a.jpg": b"one"}, {"a.jpg": b"one"}, {"a.jpg": b"one", "b.jpg": b"two"}):
        assert server.put(url, archive(images)).status_code == 200
        (shard,) = server.shards(batch)
        assert shard["shardObjectsCount"] == server.count(batch) == len(images)


def test_archive_cut_or_damaged_is_an_error_shard_that_can_be_put_again(server: ServerClient, batch: str) -> None:
    whole = archive({"a.jpg": bytes(5000), "b.jpg": bytes(5000)})
    url = server.allocate(batch)
    for broken in (whole[:3000], whole[:6000], b"no archive at all", b"", whole[:5632] + b"x" * 512 + whole[6144:]):
        assert server.put(url, broken).status_code == 200
        (shard,) = server.shards(batch)
        assert shard["statusType"] == "error"
        assert "archive" in shard["statusMetadata"]["error"]
        assert server.count(batch) == 0
    server.put(url, whole)
    assert server.shards(batch)[0]["statusType"] == "success"


def test_archive_members_that_are_not_images_are_left_out(server: ServerClient, batch: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(mode="w", fileobj=buffer) as tar:
        for name, kind in [("good.jpg", tarfile.REGTYPE), ("link.jpg", tarfile.SYMTYPE), ("folder", tarfile.DIRTYPE)]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        for name in ("../up.jpg", "/etc/up.jpg", "sub/in.jpg", "good.jpg", "notification_config.json", "\udcff.jpg"):
            tar.addfile(tarfile.TarInfo(name))
    server.put(server.allocate(batch), buffer.getvalue())
    (shard,) = server.shards(batch)
    assert names_in(server, batch) == ["good.jpg"]
    failed = {(entry["type"], entry["file_name"]) for entry in shard["statusMetadata"]["failedFiles"]}
    assert failed == {
        ("not-a-regular-file", "link.jpg"),
        ("not-a-regular-file", "folder"),
        ("invalid-file-name", "../up.jpg"),
        ("invalid-file-name", "/etc/up.jpg"),
        ("invalid-file-name", "sub/in.jpg"),
        ("duplicate-file-name", "good.jpg"),
        ("invalid-file-name", "\\udcff.jpg"),
    }


def test_archive_with_an_image_over_the_limit_takes_the_others(server: ServerClient, batch: str) -> None:
    server.fill(batch, {"over.jpg": bytes(MAX_IMAGE_BYTES + 1), "good.jpg": b"one"})
    (failed,) = server.shards(batch)[0]["statusMetadata"]["failedFiles"]
    assert failed["type"] == "file-size-limit-exceeded"
    assert names_in(server, batch) == ["good.jpg"]


def test_archive_of_more_than_500_images_is_an_error(server: ServerClient, batch: str) -> None:
    server.put(server.allocate(batch), archive({f"{number}.jpg": b"" for number in range(501)}))
    assert "500" in server.shards(batch)[0]["statusMetadata"]["error"]
    assert server.count(batch) == 0


def test_pages_hold_every_file_once(server: ServerClient, batch: str) -> None:
    images = {f"{number}.jpg": b"" for number in range(25)}
    server.fill(batch, images)
    seen: list[str] = []
    params: dict[str, str] = {"pageSize": "10"}
    sizes = []
    while True:
        page = server.staging("GET", f"/{batch}/list", params=params).json()
        sizes.append(len(page["filesMetadata"]))
        seen += [entry["fileName"] for entry in page["filesMetadata"]]
        if page["nextPageToken"] is None:
            break
        params["nextPageToken"] = page["nextPageToken"]
    assert sizes == [10, 10, 5]
    assert seen == list(images)


def test_batches_are_listed_newest_first_in_pages(server: ServerClient, batch: str) -> None:
    for suffix in ("x", "y", "z"):
        server.allocate(f"{batch}-{suffix}")
    first = server.staging("GET", "", params={"pageSize": "2"}).json()
    second = server.staging("GET", "", params={"pageSize": "2", "nextPageToken": first["nextPageToken"]}).json()
    seen = [entry["batchId"] for entry in first["batches"] + second["batches"]]
    assert seen[:3] == [f"{batch}-z", f"{batch}-y", f"{batch}-x"]


def test_batch_unknown_is_404_and_part_of_a_simple_batch_is_400(server: ServerClient, batch: str) -> None:
    for path in ("", "/count", "/shards", "/parts", "/list"):
        assert server.staging("GET", f"/{batch}{path}").status_code == 404
    server.upload(batch, "a.jpg", b"one")
    assert server.staging("GET", f"/{batch}/parts").json() == {"batchParts": [], "nextPageToken": None}
    assert server.staging("GET", f"/{batch}/count", params={"partName": "p"}).status_code == 400


def test_eight_archives_at_a_time_lose_nothing(server: ServerClient, batch: str) -> None:
    def send(number: int) -> int:
        images = {f"{number}-{index}.jpg": bytes(20_000) for index in range(50)}
        return server.put(server.allocate(batch), archive(images)).status_code

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(send, range(16))) == [200] * 16
    assert len(server.shards(batch)) == 16
    assert server.count(batch) == len(set(names_in(server, batch))) == 800
