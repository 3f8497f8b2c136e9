"""A platform's output over loopback, with whatever names and contents a test gives it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretStr

from tasks.roboflow_api.retrying import RetryPolicy, Timing
from tasks.roboflow_api.staging import StagingApi
from tasks.roboflow_api.transport import Transport
from tasks.steps.context import Run

BATCH = "out"
PAGE = 25


@dataclass
class Part:
    """A part of the batch: its files as they are listed, in this order."""

    name: str
    files: list[tuple[str, bytes]]
    content: str = "metadata"
    nested: str | None = None


@dataclass
class Outlet:
    """The batch, what is wrong with it, and what was asked for."""

    url: str = ""
    parts: list[Part] = field(default_factory=list)
    signature: int = 0
    """Of the URLs that are good; others are refused."""
    stale: bool = False
    """Listings give URLs that are refused."""
    digests: dict[str, str] = field(default_factory=dict)
    """``Repr-Digest`` by file name, where it is not that of the content."""
    missing: set[str] = field(default_factory=set)
    """Names of files that are listed and answered with 404."""
    listed: Counter[str] = field(default_factory=Counter)
    """First pages of listings, by part."""
    fetched: Counter[str] = field(default_factory=Counter)
    """Downloads answered, by file name."""

    def answer(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers for a GET."""
        parts = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        words = parts.path.strip("/").split("/")
        if words[0] == "blob":
            return self._blob(int(words[1]), int(words[2]), query["signature"])
        found = {"parts": self._parts, "count": self._count, "list": self._list}[words[-1]](query)
        return 200, json.dumps(found).encode(), {}

    def _parts(self, _: dict[str, str]) -> dict[str, object]:
        shown = [
            {"partName": part.name, "partType": "x", "contentType": part.content, "nestedContentType": part.nested}
            for part in self.parts
        ]
        return {"batchParts": shown}

    def _count(self, query: dict[str, str]) -> dict[str, object]:
        return {"count": len(self._part(query).files)}

    def _list(self, query: dict[str, str]) -> dict[str, object]:
        part, start = self._part(query), int(query.get("nextPageToken", 0))
        self.listed[part.name] += not start
        signature = self.signature - self.stale
        files = [
            {
                "downloadURL": f"{self.url}/blob/{self.parts.index(part)}/{number}?signature={signature}",
                "fileName": name,
                "contentType": part.content,
            }
            for number, (name, _) in enumerate(part.files)
        ]
        more = str(start + PAGE) if start + PAGE < len(files) else None
        return {"filesMetadata": files[start : start + PAGE], "nextPageToken": more}

    def _part(self, query: dict[str, str]) -> Part:
        return next(part for part in self.parts if part.name == query["partName"])

    def _blob(self, part: int, number: int, signature: str) -> tuple[int, bytes, dict[str, str]]:
        name, content = self.parts[part].files[number]
        if signature != str(self.signature):
            return 403, b"", {}
        if name in self.missing:
            return 404, b"", {}
        self.fetched[name] += 1
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        return 200, content, {"Repr-Digest": self.digests.get(name, f"sha-256=:{digest}:")}


@contextmanager
def outlet() -> Iterator[Outlet]:
    """The server, for as long as the block lasts."""
    found = Outlet()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with lock:
                status, body, headers = found.answer(self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        found.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def taking_from(run: Run, source: Outlet, told: list[str]) -> Iterator[Run]:
    """The run, with this outlet as its platform's staging, no patience, and what it tells written down."""
    timing = Timing(sleep=lambda _: None)
    with Transport(source.url, SecretStr("key"), RetryPolicy(attempts=3), timing=timing) as transport:
        platform = replace(run.platform, staging=StagingApi(transport, "w"))
        yield replace(run, target=replace(run.target, platform=platform), tell=told.append, timing=timing)


def packed(*members: tuple[tarfile.TarInfo | str, bytes], gz: bool = True) -> bytes:
    """An archive."""
    buffer = io.BytesIO()
    with tarfile.open(mode="w:gz" if gz else "w", fileobj=buffer) as tar:
        for named, content in members:
            info = tarfile.TarInfo(named) if isinstance(named, str) else named
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def special(name: str, kind: bytes, leads_to: str = "") -> tuple[tarfile.TarInfo, bytes]:
    """A member that is no regular file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, leads_to
    return info, b""
