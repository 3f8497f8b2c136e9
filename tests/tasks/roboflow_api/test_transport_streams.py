"""Bodies that stream: PUT to a signed URL, and GET of one."""

import hashlib
import logging
import tracemalloc
from collections.abc import Iterator

import pytest

from tasks.core.errors import (
    BadInput,
    ConnectionFailed,
    NotFound,
    RequestRefused,
    ServiceBusy,
    Terminal,
    UrlExpired,
)
from tasks.roboflow_api.transport import Transport
from tests.fake_time import FakeTime
from tests.scripted import Reply, Scripted
from tests.tasks.roboflow_api.conftest import KEY

MEGABYTE = 1 << 20
BLOCK = bytes(range(256)) * 1024
EXPIRED = b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Message>Invalid argument.</Message></Error>"


class Body:
    """A body of 256 KiB blocks, which counts how often it is made."""

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        self.length = blocks * len(BLOCK)
        self.made = 0

    def __call__(self) -> Iterator[bytes]:
        self.made += 1
        return iter([BLOCK] * self.blocks)

    def sha256(self) -> str:
        return hashlib.sha256(BLOCK * self.blocks).hexdigest()


def signed(server: Scripted) -> str:
    return f"{server.url}/blobs/one?X-Goog-Signature=abcdef0123"


def test_put_streams_in_constant_memory(server: Scripted, transport: Transport) -> None:
    body = Body(192)
    transport.put(signed(server), {}, 4 * len(BLOCK), Body(4))
    tracemalloc.start()
    try:
        transport.put(signed(server), {"x-goog-meta": "a"}, body.length, body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    seen = server.seen[1]
    assert (seen.method, seen.path, seen.length) == ("PUT", "/blobs/one", 48 * MEGABYTE)
    assert (seen.headers["content-length"], seen.headers["x-goog-meta"]) == (str(body.length), "a")
    assert "transfer-encoding" not in seen.headers
    assert peak < 6 * MEGABYTE


def test_put_sends_the_bytes_and_no_key(server: Scripted, transport: Transport) -> None:
    body = Body(8)
    transport.put(signed(server), {}, body.length, body)
    assert server.seen[0].sha256 == body.sha256()
    assert KEY not in str(server.seen[0])


def test_put_makes_its_body_anew_for_each_try(server: Scripted, transport: Transport, time: FakeTime) -> None:
    body = Body(8)
    server.replies([Reply(503), Reply(reset=True), Reply(408, unread=True), Reply(200, b"")])
    transport.put(signed(server), {}, body.length, body)
    assert body.made == 4
    assert len(time.pauses) == 3
    assert {seen.sha256 for seen in (server.seen[0], server.seen[1], server.seen[3])} == {body.sha256()}


@pytest.mark.parametrize("status", [401, 403, 410])
def test_put_tells_an_expired_url_at_once(
    server: Scripted, transport: Transport, time: FakeTime, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    caplog.set_level(logging.INFO)
    server.replies([Reply(status, EXPIRED)])
    with pytest.raises(UrlExpired) as caught:
        transport.put(signed(server), {}, len(BLOCK), Body(1))
    assert caught.value.status == status
    assert (len(server.seen), time.pauses) == (1, [])
    assert "abcdef0123" not in str(caught.value) + caplog.text


def test_put_knows_how_google_says_expired(server: Scripted, transport: Transport) -> None:
    server.replies([Reply(400, EXPIRED)])
    with pytest.raises(UrlExpired):
        transport.put(signed(server), {}, len(BLOCK), Body(1))


@pytest.mark.parametrize(("status", "kind"), [(400, RequestRefused), (404, NotFound), (413, RequestRefused)])
def test_put_refused_is_final(server: Scripted, transport: Transport, status: int, kind: type[Terminal]) -> None:
    server.replies([Reply(status, b'{"error": "no such shard"}')])
    with pytest.raises(kind, match="no such shard") as caught:
        transport.put(signed(server), {}, len(BLOCK), Body(1))
    assert "abcdef0123" not in str(caught.value)
    assert len(server.seen) == 1


def test_put_passes_on_what_the_body_raises(server: Scripted, transport: Transport, time: FakeTime) -> None:
    def broken() -> Iterator[bytes]:
        yield BLOCK
        raise Terminal("the file changed")

    with pytest.raises(Terminal, match="the file changed"):
        transport.put(signed(server), {}, 2 * len(BLOCK), broken)
    assert time.pauses == []
    transport.put(signed(server), {}, len(BLOCK), Body(1))


@pytest.mark.parametrize("url", ["ftp://host/x?sig=abc", "http://[::1/x?sig=abc", "no url"])
def test_put_to_no_url_is_final(transport: Transport, url: str) -> None:
    with pytest.raises(BadInput) as caught:
        transport.put(url, {}, len(BLOCK), Body(1))
    assert "abc" not in str(caught.value)


def test_fetch_streams(server: Scripted, transport: Transport) -> None:
    server.replies([Reply(body=BLOCK * 64, headers={"ETag": '"e"'})])
    digest = hashlib.sha256()
    with transport.fetch(signed(server), {"Range": "bytes=0-"}) as answer:
        for piece in answer.stream(65536):
            digest.update(piece)
    assert digest.hexdigest() == hashlib.sha256(BLOCK * 64).hexdigest()
    assert answer.headers["etag"] == '"e"'
    assert server.seen[0].headers["range"] == "bytes=0-"
    assert "api_key" not in server.seen[0].query


def test_fetch_retries_before_the_body(server: Scripted, transport: Transport, time: FakeTime) -> None:
    server.replies([Reply(429, headers={"Retry-After": "3"}), Reply(reset=True), Reply(500), Reply(body=b"data")])
    with transport.fetch(signed(server), {}) as answer:
        assert answer.read() == b"data"
    assert len(server.seen) == 4
    assert time.pauses[0] == 3.0


def test_fetch_gives_up(server: Scripted, transport: Transport) -> None:
    server.replies([Reply(503)] * 20)
    with pytest.raises(ServiceBusy) as caught, transport.fetch(signed(server), {}):
        pass
    assert "abcdef0123" not in str(caught.value)
    assert len(server.seen) == transport.policy.attempts


@pytest.mark.parametrize("status", [206, 304, 307, 400, 403, 404, 410, 416])
def test_fetch_leaves_other_statuses_to_its_caller(server: Scripted, transport: Transport, status: int) -> None:
    server.replies([Reply(status, b"" if status == 304 else b"reason")])
    with transport.fetch(signed(server), {}) as answer:
        assert answer.status == status
    assert len(server.seen) == 1


def test_fetch_maps_a_body_cut_short(server: Scripted, transport: Transport) -> None:
    server.replies([Reply(body=BLOCK, cut=1000)])
    with pytest.raises(ConnectionFailed) as caught, transport.fetch(signed(server), {}) as answer:
        answer.read()
    assert "abcdef0123" not in str(caught.value)


def test_fetch_frees_its_connection_when_left_early(server: Scripted, transport: Transport) -> None:
    server.replies([Reply(body=BLOCK)] * 40)
    for _ in range(40):
        with transport.fetch(signed(server), {}) as answer:
            next(answer.stream(100))
    assert len(server.seen) == 40
