import base64
import hashlib
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from deployments.batch_server.routes import blobs
from tests.deployments.batch_server.running import ServerClient, archive, job_body, settings_for, thread_server
from tests.deployments.batch_server.small_engine import SmallEngine
from tests.waiting import wait_for


@pytest.fixture
def image_url(server: ServerClient, batch: str) -> str:
    server.fill(batch, {"before.jpg": b"zzz", "digits.jpg": b"0123456789", "after.jpg": b"zzz"})
    listed = server.staging("GET", f"/{batch}/list").json()["filesMetadata"]
    return str(listed[1]["downloadURL"])


@pytest.mark.parametrize(
    ("wanted", "content", "content_range"),
    [
        ("bytes=0-3", b"0123", "bytes 0-3/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-2", b"89", "bytes 8-9/10"),
        ("bytes=5-500", b"56789", "bytes 5-9/10"),
    ],
)
def test_range_is_served(server: ServerClient, image_url: str, wanted: str, content: bytes, content_range: str) -> None:
    answer = server.bare.get(image_url, headers={"Range": wanted})
    assert answer.status_code == 206
    assert answer.content == content
    assert answer.headers["content-range"] == content_range
    assert answer.headers["content-length"] == str(len(content))


def test_range_is_left_aside_when_the_file_is_another_and_refused_outside(server: ServerClient, image_url: str) -> None:
    whole = server.bare.get(image_url)
    assert (whole.status_code, whole.content) == (200, b"0123456789")
    same = {"Range": "bytes=4-", "If-Range": whole.headers["etag"]}
    assert server.bare.get(image_url, headers=same).content == b"456789"
    other = {"Range": "bytes=4-", "If-Range": '"other"'}
    assert server.bare.get(image_url, headers=other).status_code == 200
    absurd = {"Range": f"bytes={'9' * 5000}-"}
    assert server.bare.get(image_url, headers=absurd).status_code == 200
    outside = server.bare.get(image_url, headers={"Range": "bytes=10-"})
    assert (outside.status_code, outside.headers["content-range"]) == (416, "bytes */10")


def test_signature_that_is_forged_or_for_another_use_is_403(server: ServerClient, image_url: str, batch: str) -> None:
    put_url = server.allocate(batch)
    forged = [
        image_url[:-1] + ("0" if image_url[-1] != "0" else "1"),
        image_url.replace("expires=", "expires=9"),
        image_url.split("?")[0],
        f"{put_url.split('?')[0]}?{image_url.split('?')[1]}",
    ]
    assert [server.bare.get(url).status_code for url in forged[:3]] == [403] * 3
    assert server.put(forged[3], b"").status_code == 403
    assert server.bare.get(image_url.split("?")[0], params={"signature": "é"}).status_code == 403


def test_signed_url_that_has_expired_is_403(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "data", url_lifetime=-10)
    with thread_server(settings, SmallEngine()) as server:
        answer = server.put(server.allocate("b"), archive({"a.jpg": b"one"}))
        assert answer.status_code == 403
        assert "expired" in answer.json()["error"]
        assert server.count("b") == 0


def test_signed_url_has_the_host_of_the_request_or_the_public_one(server: ServerClient, tmp_path: Path) -> None:
    path = "/data-staging/v1/external/local/batches/hosts/bulk-upload/image-files"
    headers = {"Host": "images.example:8443", "X-Forwarded-Proto": "https"}
    details = server.http.post(path, headers=headers).json()["signedURLDetails"]
    assert details["uploadURL"].startswith("https://images.example:8443/blobs/")
    settings = settings_for(tmp_path / "data", public_url="https://public.example")
    with thread_server(settings, SmallEngine()) as other:
        assert other.allocate("b").startswith("https://public.example/blobs/")


@pytest.fixture
def result_url(server: ServerClient, batch: str, job: str) -> str:
    """Of a file that a job has made."""
    server.fill(batch, {"a.jpg": b"one"})
    assert server.jobs("POST", f"/{job}", json=job_body(batch)).status_code == 200
    server.finished(job)
    listed = server.staging("GET", f"/{job}-export/list", params={"partName": "aggregated-results"}).json()
    return str(listed["filesMetadata"][0]["downloadURL"])


def test_result_comes_with_its_checksum_and_in_ranges(server: ServerClient, result_url: str) -> None:
    whole = server.bare.get(result_url)
    digest = base64.b64encode(hashlib.sha256(whole.content).digest()).decode()
    assert json.loads(whole.content)["image"] == "a.jpg"
    assert (whole.status_code, whole.headers["content-length"]) == (200, str(len(whole.content)))
    assert whole.headers["etag"] == f'"{hashlib.sha256(whole.content).hexdigest()}"'
    part = server.bare.get(result_url, headers={"Range": "bytes=3-"})
    assert (part.status_code, part.content) == (206, whole.content[3:])
    assert whole.headers["repr-digest"] == part.headers["repr-digest"] == f"sha-256=:{digest}:"


def test_result_is_given_out_for_a_good_signature_only(server: ServerClient, result_url: str) -> None:
    forged = [result_url.split("?")[0], result_url.replace("expires=", "expires=9"), result_url[:-4] + "0000"]
    assert [server.bare.get(url).status_code for url in forged] == [403] * 3
    assert server.bare.put(result_url).status_code == 405
    assert server.bare.get(result_url.replace("/blobs/files/", "/blobs/files/x")).status_code == 404


def test_result_larger_than_a_piece_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "PIECE", 100)
    with thread_server(settings_for(tmp_path / "data"), SmallEngine()) as server:
        server.fill("b", {f"{number}.jpg": b"one" for number in range(20)})
        server.jobs("POST", "/j", json=job_body("b"))
        server.finished("j")
        (lines,) = server.files("j-export", "aggregated-results").values()
        assert sorted(json.loads(line)["image"] for line in lines.splitlines()) == sorted(
            f"{number}.jpg" for number in range(20)
        )


def test_result_that_is_gone_from_the_disk_is_404(tmp_path: Path) -> None:
    with thread_server(settings_for(tmp_path / "data"), SmallEngine()) as server:
        server.fill("b", {"a.jpg": b"one"})
        server.jobs("POST", "/j", json=job_body("b"))
        server.finished("j")
        listed = server.staging("GET", "/j-export/list", params={"partName": "aggregated-results"}).json()
        for path in (tmp_path / "data").rglob("aggregated-results*"):
            path.unlink()
        answer = server.bare.get(listed["filesMetadata"][0]["downloadURL"])
        assert (answer.status_code, answer.json()["error"][:15]) == (404, "this file is no")


def test_body_that_is_cut_leaves_nothing(tmp_path: Path) -> None:
    with thread_server(settings_for(tmp_path / "data"), SmallEngine()) as server:
        url = urlsplit(server.allocate("b"))
        head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n"
        with socket.create_connection((url.hostname, url.port)) as connection:
            connection.sendall(head.encode() + bytes(2_000_000))
            written = wait_for(lambda: list((tmp_path / "data/blobs").glob("*/*")), "the first bytes")
        wait_for(lambda: not written[0].exists(), "the end of the cut file")
        assert server.staging("GET", "/b/shards").json()["shards"] == []
        assert server.put(url.geturl(), archive({"a.jpg": b"one"})).status_code == 200
        assert len(server.shards("b")) == 1


def test_chunked_body_is_taken(server: ServerClient, batch: str) -> None:
    whole = archive({"a.jpg": bytes(100_000)})
    pieces = (whole[start : start + 1000] for start in range(0, len(whole), 1000))
    assert server.put(server.allocate(batch), pieces).status_code == 200
    assert server.shards(batch)[0]["shardObjectsCount"] == 1


def test_shard_that_a_job_used_takes_the_same_bytes_and_no_others(server: ServerClient, batch: str, job: str) -> None:
    url = server.allocate(batch)
    server.put(url, archive({"a.jpg": b"one"}))
    assert server.jobs("POST", f"/{job}", json=job_body(batch)).status_code == 200
    assert not server.finished(job)["error"]
    assert server.put(url, archive({"a.jpg": b"one"})).status_code == 200
    answer: httpx.Response = server.put(url, archive({"a.jpg": b"other"}))
    assert answer.status_code == 409
    assert job in answer.json()["error"]
    assert server.count(batch) == 1


def test_archives_put_to_one_url_at_once_leave_one_of_them(server: ServerClient, batch: str) -> None:
    url = server.allocate(batch)
    bodies = [archive({"a.jpg": str(number % 3).encode(), f"{number % 3}.jpg": b""}) for number in range(12)]
    with ThreadPoolExecutor(6) as threads:
        assert {answer.status_code for answer in threads.map(lambda body: server.put(url, body), bodies)} == {200}
    (shard,) = server.shards(batch)
    listed = server.staging("GET", f"/{batch}/list").json()["filesMetadata"]
    contents = {entry["fileName"]: server.bare.get(entry["downloadURL"]).content for entry in listed}
    number = contents["a.jpg"].decode()
    assert contents == {"a.jpg": number.encode(), f"{number}.jpg": b""}
    assert shard["shardObjectsCount"] == server.count(batch) == 2


def test_signed_url_of_an_image_that_was_replaced_leads_to_no_other(server: ServerClient, batch: str) -> None:
    url = server.allocate(batch)
    server.put(url, archive({"a.jpg": b"one"}))
    server.shards(batch)
    (old,) = server.staging("GET", f"/{batch}/list").json()["filesMetadata"]
    server.put(url, archive({"b.jpg": b"two"}))
    server.shards(batch)
    assert server.bare.get(old["downloadURL"]).status_code == 404
