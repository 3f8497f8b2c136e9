"""A real HTTP server on loopback that answers, request by request, as a script says."""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

KEPT_BYTES = 1 << 20
PIECE = 1 << 16
HOLD_SECONDS = 10.0


@dataclass(frozen=True)
class Reply:
    """One answer."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    """Only so many bytes of the announced body are sent, then the connection ends."""
    reset: bool = False
    """The connection is reset instead of an answer."""
    hold: threading.Event | None = None
    """Nothing is answered before this is set."""
    unread: bool = False
    """The request's body is not read: the answer comes at once and the connection ends."""
    raw: bytes | None = None
    """Sent as it is, in place of an answer."""


@dataclass(frozen=True)
class Seen:
    """One request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """With lower-case names."""
    length: int
    """Bytes of body that came."""
    sha256: str
    body: bytes
    """The first megabyte."""
    connection: int
    """The client's port, which tells connections apart."""

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Scripted:
    """The running server."""

    url: str
    script: list[Reply] = field(default_factory=list)
    """Answers still to give, the next first; after the last one every answer is ``{}``."""
    seen: list[Seen] = field(default_factory=list)

    def answers(self, *bodies: Any) -> None:
        """Appends 200s with these values as JSON."""
        self.script += [Reply(body=json.dumps(body).encode()) for body in bodies]

    def replies(self, replies: Iterable[Reply]) -> None:
        self.script += replies


class _Server(ThreadingHTTPServer):
    scripted: Scripted
    lock = threading.Lock()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gives up is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        server = cast(_Server, self.server)
        with server.lock:
            script = server.scripted.script
            reply = script.pop(0) if script else Reply()
        seen = self._take(read=not reply.unread)
        server.scripted.seen.append(seen)
        if reply.hold:
            reply.hold.wait(HOLD_SECONDS)
        self._answer(reply)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = _serve

    def _take(self, *, read: bool) -> Seen:
        left = int(self.headers.get("Content-Length", 0)) if read else 0
        digest, kept, length = hashlib.sha256(), bytearray(), 0
        while left and (piece := self.rfile.read1(min(left, PIECE))):
            digest.update(piece)
            kept += piece[: KEPT_BYTES - len(kept)]
            length, left = length + len(piece), left - len(piece)
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        port: int = self.client_address[1]
        return Seen(self.command, parts.path, query, headers, length, digest.hexdigest(), bytes(kept), port)

    def _answer(self, reply: Reply) -> None:
        self.close_connection = reply.unread or reply.reset or reply.cut is not None or reply.raw is not None
        if reply.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif reply.raw is not None:
            self.wfile.write(reply.raw)
        else:
            self.send_response(reply.status)
            end = {"Connection": "close"} if self.close_connection else {}
            for name, value in {"Content-Length": str(len(reply.body)), **end, **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body[: reply.cut])

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the record says it all."""


@contextmanager
def scripted_server() -> Iterator[Scripted]:
    """The server on a free port, for as long as the block lasts."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        server.scripted = Scripted(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.scripted
        finally:
            server.shutdown()
            thread.join()
