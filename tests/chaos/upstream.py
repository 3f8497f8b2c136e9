"""A tiny real server for the tests of the proxy: takes bodies, gives bodies, and tells what it saw."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast

PIECE = bytes(64 * 1024)


@dataclass(frozen=True)
class Seen:
    """One request as the server saw it."""

    method: str
    path: str
    host: str
    received: int
    """Bytes of body that came."""
    broken: bool
    """Whether the body ended before its time."""


@dataclass
class Upstream:
    """The running server."""

    url: str
    seen: list[Seen] = field(default_factory=list)
    """Complete and broken requests, in the order in which they ended."""


class _Server(ThreadingHTTPServer):
    record: Upstream

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Gives ``/signed`` a URL built from Host, ``/blob/<n>`` n bytes, ``/chunked/<n>`` n in chunks."""
        self._note(0, broken=False)
        if self.path.startswith("/signed"):
            self._give(f"http://{self.headers['Host']}/blob/5".encode())
        elif self.path.startswith("/chunked/"):
            self._chunks(int(self.path.rpartition("/")[2]))
        else:
            self._stream(int(self.path.rpartition("/")[2]))

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        """Takes a body of known length or in chunks, and answers how long it was."""
        received, broken = self._take()
        self._note(received, broken=broken)
        if broken:
            self.close_connection = True
        else:
            self._give(str(received).encode())

    do_POST = do_PUT

    def _take(self) -> tuple[int, bool]:
        if self.headers.get("Transfer-Encoding") == "chunked":
            return self._take_chunks()
        left = length = int(self.headers.get("Content-Length", 0))
        while left and (piece := self.rfile.read1(min(left, len(PIECE)))):
            left -= len(piece)
        return length - left, bool(left)

    def _take_chunks(self) -> tuple[int, bool]:
        received = 0
        while size := int(self.rfile.readline() or "-1", 16):
            if size < 0 or len(self.rfile.read(size + 2)) < size + 2:
                return received, True
            received += size
        self.rfile.readline()
        return received, False

    def _stream(self, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command == "HEAD":
            return
        for start in range(0, length, len(PIECE)):
            self.wfile.write(PIECE[: length - start])

    def _chunks(self, length: int) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, length, len(PIECE)):
            piece = PIECE[: length - start]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def _give(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _note(self, received: int, *, broken: bool) -> None:
        seen = Seen(self.command, self.path, self.headers["Host"], received, broken)
        cast(_Server, self.server).record.seen.append(seen)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the record says it all."""


@contextmanager
def upstream() -> Iterator[Upstream]:
    """The server on a free port, for as long as the block lasts."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.record = Upstream(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.record
        finally:
            server.shutdown()
            thread.join()
