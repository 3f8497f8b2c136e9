"""A store of one file over loopback that can be told to misbehave, and downloads from it."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tasks.core.errors import ConnectionFailed, is_transient
from tasks.transfer.download import Fetch, keep, receive

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
    content_range: str | None = None
    announce: int | None = None
    chunked: bool = False
    encoding: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
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
                content_range = f"bytes {start}-{end}/{len(store.content)}"
                self.send_header("Content-Range", content_range if store.content_range is None else store.content_range)
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
            for name, value in store.headers.items():
                self.send_header(name, value)
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


@dataclass(frozen=True)
class Downloaded:
    path: Path
    size: int
    sha256: str


def download(fetch: Fetch, url: str, target: Path) -> Downloaded:
    """Receives a file and keeps it."""
    received = receive(fetch, url, target)
    keep([received])
    return Downloaded(target, received.size, hashlib.sha256(target.read_bytes()).hexdigest())


def repr_digest(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def cut_once(fetch, store: Store, target: Path, after: int = 300_000) -> None:
    store.cut_after = after
    with pytest.raises(ConnectionFailed) as caught:
        download(fetch, store.url, target)
    assert is_transient(caught.value)
    assert not target.exists()
    store.cut_after = None
