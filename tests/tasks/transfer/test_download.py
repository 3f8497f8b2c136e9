import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from tasks.core.errors import (
    ConnectionFailed,
    LocalFault,
    NotFound,
    RequestRefused,
    ServiceBusy,
    UrlExpired,
    is_transient,
)
from tasks.transfer.download import Response, TransferError, download, part_path

CONTENT = bytes(range(256)) * 4096  # 1 MiB
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Store:
    """What the server does next, and what it was asked."""

    url: str = ""
    content: bytes = CONTENT
    etag: str | None = '"one"'
    status: int | None = None
    cut_after: int | None = None
    ignore_range: bool = False
    shift_range: int = 0
    announce: int | None = None
    chunked: bool = False
    encoding: str | None = None
    requests: list[dict[str, str]] = field(default_factory=list)


def make_handler(store: Store) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            store.requests.append({name.lower(): value for name, value in self.headers.items()})
            if store.status is not None:
                self.send_response(store.status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = self._start()
            if start is None:
                self.send_response(200)
                body = store.content
            elif start >= len(store.content):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            else:
                start += store.shift_range
                self.send_response(206)
                end = len(store.content) - 1
                self.send_header("Content-Range", f"bytes {start}-{end}/{len(store.content)}")
                body = store.content[start:]
            self._send(body)

        def _start(self) -> int | None:
            wanted = self.headers.get("Range")
            if wanted is None or store.ignore_range or self.headers.get("If-Range") != store.etag:
                return None
            return int(wanted.removeprefix("bytes=").removesuffix("-"))

        def _send(self, body: bytes) -> None:
            if store.etag is not None:
                self.send_header("ETag", store.etag)
            if store.encoding is not None:
                self.send_header("Content-Encoding", store.encoding)
            if store.chunked:
                self.send_header("Transfer-Encoding", "chunked")
                body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            else:
                self.send_header("Content-Length", str(store.announce or len(body)))
            self.end_headers()
            self.wfile.write(body if store.cut_after is None else body[: store.cut_after])
            if store.cut_after is not None or store.announce is not None:
                self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    return Handler


class Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that refuse an answer hang up in the middle of it; that is no news."""


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    server = Server(("127.0.0.1", 0), make_handler(store))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    store.url = f"http://127.0.0.1:{server.server_address[1]}/file?signature=s3cret"
    yield store
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=5, trust_env=False) as client:
        yield client


@pytest.fixture
def fetch(client: httpx.Client):
    def fetch(url: str, headers: Mapping[str, str]) -> AbstractContextManager[Response]:
        return client.stream("GET", url, headers=dict(headers))

    return fetch


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def cut_once(fetch, store: Store, target: Path, after: int = 300_000) -> None:
    store.cut_after = after
    with pytest.raises(ConnectionFailed) as caught:
        download(fetch, store.url, target)
    assert is_transient(caught.value)
    assert not target.exists()
    store.cut_after = None


def test_download_of_a_whole_file(fetch, store, tmp_path):
    target = tmp_path / "deep" / "file.bin"
    done = download(fetch, store.url, target, expected_size=len(CONTENT), sha256=DIGEST.upper())
    assert (done.path, done.size, done.sha256) == (target, len(CONTENT), DIGEST)
    assert target.read_bytes() == CONTENT
    assert files_in(target.parent) == ["file.bin"]


def test_download_of_an_empty_file(fetch, store, tmp_path):
    store.content = b""
    assert download(fetch, store.url, tmp_path / "empty", expected_size=0).size == 0
    assert (tmp_path / "empty").read_bytes() == b""


def test_cut_body_is_resumed_from_where_it_stopped(fetch, store, tmp_path):
    target = tmp_path / "file.bin"
    cut_once(fetch, store, target)
    kept = part_path(target).stat().st_size
    assert 0 < kept <= 300_000
    done = download(fetch, store.url, target, sha256=DIGEST)
    assert store.requests[-1]["range"] == f"bytes={kept}-"
    assert store.requests[-1]["if-range"] == '"one"'
    assert done.sha256 == DIGEST
    assert files_in(tmp_path) == ["file.bin"]


def test_body_cut_again_and_again_arrives(fetch, store, tmp_path):
    target = tmp_path / "file.bin"
    for _ in range(4):
        cut_once(fetch, store, target, after=200_000)
    assert part_path(target).stat().st_size > 400_000
    assert download(fetch, store.url, target).sha256 == DIGEST


def test_service_that_ignores_range_restarts(fetch, store, tmp_path):
    target = tmp_path / "file.bin"
    cut_once(fetch, store, target)
    store.ignore_range = True
    assert download(fetch, store.url, target).sha256 == DIGEST


def test_changed_etag_restarts_with_the_new_content(fetch, store, tmp_path):
    target = tmp_path / "file.bin"
    cut_once(fetch, store, target)
    store.etag, store.content = '"two"', CONTENT[::-1]
    download(fetch, store.url, target)
    assert target.read_bytes() == CONTENT[::-1]


def test_part_without_a_validator_is_not_trusted(fetch, store, tmp_path):
    target = tmp_path / "file.bin"
    store.etag = None
    cut_once(fetch, store, target)
    download(fetch, store.url, target)
    assert "range" not in store.requests[-1]
    assert target.read_bytes() == CONTENT


def test_weak_etag_is_not_used_for_a_range(fetch, store, tmp_path):
    target = tmp_path / "file.bin"
    store.etag = 'W/"one"'
    cut_once(fetch, store, target)
    download(fetch, store.url, target)
    assert "range" not in store.requests[-1]


def test_damaged_note_restarts(fetch, store, tmp_path):
    target = tmp_path / "file.bin"
    cut_once(fetch, store, target)
    (tmp_path / "file.bin.part.json").write_text('{"valid')
    assert download(fetch, store.url, target).sha256 == DIGEST


def test_range_other_than_asked_restarts(fetch, store, tmp_path):
    target = tmp_path / "file.bin"
    cut_once(fetch, store, target)
    store.shift_range = 7
    assert download(fetch, store.url, target).sha256 == DIGEST
    assert "range" not in store.requests[-1]


def test_whole_part_of_a_killed_process_is_fetched_again(fetch, store, tmp_path):
    target = tmp_path / "file.bin"
    part_path(target).write_bytes(CONTENT)
    (tmp_path / "file.bin.part.json").write_text('{"validator": "\\"one\\""}')
    assert download(fetch, store.url, target).sha256 == DIGEST
    assert len(store.requests) == 2


def test_size_other_than_expected_is_refused_before_the_body(fetch, store, tmp_path):
    with pytest.raises(TransferError, match="1048576 bytes offered, 5 expected"):
        download(fetch, store.url, tmp_path / "file.bin", expected_size=5)
    assert files_in(tmp_path) == []


def test_announced_length_too_long_is_a_cut(fetch, store, tmp_path):
    store.announce = len(CONTENT) + 10
    with pytest.raises(ConnectionFailed):
        download(fetch, store.url, tmp_path / "file.bin")
    assert not (tmp_path / "file.bin").exists()


def test_announced_length_too_short_fails_the_checksum(fetch, store, tmp_path):
    store.announce = len(CONTENT) - 10
    with pytest.raises(TransferError, match="checksum"):
        download(fetch, store.url, tmp_path / "file.bin", sha256=DIGEST)
    assert files_in(tmp_path) == []


def test_chunked_body_is_checked_against_the_expected_size(fetch, store, tmp_path):
    store.chunked = True
    assert download(fetch, store.url, tmp_path / "a", expected_size=len(CONTENT)).size == len(CONTENT)
    with pytest.raises(TransferError, match="received, 5 announced"):
        download(fetch, store.url, tmp_path / "b", expected_size=5)
    with pytest.raises(ConnectionFailed, match="cut short"):
        download(fetch, store.url, tmp_path / "c", expected_size=len(CONTENT) + 1)
    assert not (tmp_path / "c").exists()


def test_wrong_checksum_throws_the_part_away(fetch, store, tmp_path):
    with pytest.raises(TransferError, match="checksum"):
        download(fetch, store.url, tmp_path / "file.bin", sha256="0" * 64)
    assert files_in(tmp_path) == []


def test_damaged_content_encoding_is_transient(fetch, store, tmp_path):
    store.encoding = "gzip"
    with pytest.raises(TransferError, match="encoding"):
        download(fetch, store.url, tmp_path / "file.bin")
    assert not (tmp_path / "file.bin").exists()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, UrlExpired),
        (403, UrlExpired),
        (410, UrlExpired),
        (404, NotFound),
        (405, RequestRefused),
        (429, ServiceBusy),
        (500, ServiceBusy),
        (503, ServiceBusy),
    ],
)
def test_refusal_becomes_our_error_without_the_signature(fetch, store, tmp_path, status, error):
    store.status = status
    with pytest.raises(error) as caught:
        download(fetch, store.url, tmp_path / "file.bin")
    assert caught.value.status == status
    assert "s3cret" not in str(caught.value)
    assert "file.bin" in str(caught.value)


def test_refused_url_keeps_the_part(fetch, store, tmp_path):
    target = tmp_path / "file.bin"
    cut_once(fetch, store, target)
    store.status = 403
    with pytest.raises(UrlExpired):
        download(fetch, store.url, target)
    store.status = None
    assert download(fetch, store.url, target).sha256 == DIGEST
    assert "range" in store.requests[-1]


def test_existing_file_stays_until_the_new_one_is_whole(fetch, store, tmp_path):
    target = tmp_path / "file.bin"
    target.write_bytes(b"old")
    store.cut_after = 1000
    with pytest.raises(ConnectionFailed):
        download(fetch, store.url, target)
    assert target.read_bytes() == b"old"


def test_long_name_has_a_part_of_its_own(fetch, store, tmp_path):
    target = tmp_path / ("n" * 251 + ".bin")
    assert download(fetch, store.url, target).sha256 == DIGEST
    assert files_in(tmp_path) == [target.name]


def test_folder_that_cannot_be_made_is_a_local_fault(fetch, store, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LocalFault):
        download(fetch, store.url, tmp_path / "file" / "below")
