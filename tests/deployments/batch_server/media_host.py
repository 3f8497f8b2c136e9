"""A host of media on loopback, which answers path by path as a test says, and remembers who asked."""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, cast

HOLD_SECONDS = 20.0


@dataclass(frozen=True)
class Answer:
    """What a path gives."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    announced: int | None = None
    """A `Content-Length` other than the body's."""
    chunked: bool = False
    raw: bytes | None = None
    """Sent in place of all that."""
    drips: bool = False
    """An endless body, a byte every hundredth of a second."""
    hold: Event | None = None
    """Nothing is answered before this is set."""


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes
    connection: int

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class MediaHost:
    """The running host; a list of answers is given one after the other, its last one for ever."""

    port: int
    answers: dict[str, Answer | list[Answer]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def url(self, path: str, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    def paths(self) -> list[str]:
        return [request.path for request in self.asked]

    def answer(self, path: str) -> Answer:
        found = self.answers.get(path.partition("?")[0], Answer(404))
        if isinstance(found, Answer):
            return found
        return found.pop(0) if len(found) > 1 else found[0]


class _Server(ThreadingHTTPServer):
    media: MediaHost
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gives up is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        media = cast(_Server, self.server).media
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        port: int = self.client_address[1]
        media.asked.append(Asked(self.path, headers, body, port))
        answer = media.answer(self.path)
        if answer.hold is not None:
            answer.hold.wait(HOLD_SECONDS)
        if answer.drips:
            self._drip()
        self.wfile.write(answer.raw if answer.raw is not None else _written(answer))
        self.close_connection = answer.raw is not None or answer.announced is not None

    do_GET = do_POST = _serve

    def _drip(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not Event().wait(0.01):
            self.wfile.write(b"1\r\nx\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the record says it all."""


def _written(answer: Answer) -> bytes:
    length = len(answer.body) if answer.announced is None else answer.announced
    framing = {"Transfer-Encoding": "chunked"} if answer.chunked else {"Content-Length": str(length)}
    head = "".join(f"{name}: {value}\r\n" for name, value in {**framing, **answer.headers}.items())
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(answer.body), answer.body) if answer.chunked else answer.body
    return f"HTTP/1.1 {answer.status} Said\r\n{head}\r\n".encode() + body


@contextmanager
def media_host(context: ssl.SSLContext | None = None) -> Iterator[MediaHost]:
    """The host on a free port, for as long as the block lasts."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        server.media = MediaHost(server.server_address[1])
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.media
        finally:
            server.shutdown()
            thread.join()
