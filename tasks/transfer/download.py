"""Downloads that resume, are checked, and appear whole or not at all.

The bytes of ``<target>`` gather in ``<target>.part``; a note beside it, ``<target>.part.json``, keeps the
validator (ETag or Last-Modified) that those bytes were sent under. A later try asks for the rest with
``Range`` and ``If-Range`` and starts over whenever the service does not answer with exactly that rest
(RFC 9110, sections 13.1.5 and 14).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import httpx

from tasks.core.errors import (
    ConnectionFailed,
    DarkroomError,
    NotFound,
    RequestRefused,
    ServiceBusy,
    Transient,
    UrlExpired,
    local_fault,
)
from tasks.core.files import sync_folder

CHUNK_BYTES = 1 << 16
"""Bytes read at a time; what a cut chunk held is lost to the next try, so it is small."""
EXPIRED_STATUSES = frozenset({400, 401, 403, 410})
"""What stores answer to a signed URL past its time; Google Cloud Storage says 400 ``ExpiredToken``."""
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_MAX_NAME_BYTES = 240


class TransferError(Transient):
    """The bytes received are not the bytes announced; the next try starts over."""


class Response(Protocol):
    """The part of a streamed HTTP answer that a download needs; ``httpx.Response`` has it."""

    @property
    def status_code(self) -> int:
        """HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers, looked up without regard to case."""

    def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """The body in pieces."""


class Fetch(Protocol):
    """Starts one GET; ``lambda url, headers: client.stream("GET", url, headers=headers)`` is one."""

    def __call__(self, url: str, headers: Mapping[str, str]) -> AbstractContextManager[Response]:
        """The streamed answer to a GET of ``url``."""


@dataclass(frozen=True)
class DownloadedFile:
    """A file that arrived whole."""

    path: Path
    size: int
    """Bytes."""
    sha256: str
    """Hex digest of the content."""


@dataclass(frozen=True)
class _Part:
    """What a former try left: ``size`` bytes sent under ``validator``."""

    size: int = 0
    validator: str = ""


@dataclass(frozen=True)
class _Body:
    """Where an answer's body belongs in the file.

    Attributes:
        start: offset of its first byte.
        total: size of the whole file, ``None`` where the service does not say.
    """

    start: int
    total: int | None
    validator: str


def download(
    fetch: Fetch,
    url: str,
    target: Path,
    *,
    expected_size: int | None = None,
    sha256: str | None = None,
    chunk: int = CHUNK_BYTES,
) -> DownloadedFile:
    """Fetches ``url`` into ``target``, going on where a former try stopped.

    Args:
        fetch: starts one streamed GET. It may retry and raise errors of its own before the body begins.
        url: where the bytes lie; a secret if signed, so errors name ``target`` and the host only.
        target: final path; its folder is made. Nothing is there until the file is whole.
        expected_size: bytes, where known beforehand.
        sha256: hex digest, where known beforehand.
        chunk: bytes read at a time; at most so many are lost when the body is cut.

    Raises:
        ConnectionFailed: the body was cut short; what came is kept for the next try.
        TransferError: size or checksum are wrong; what came is thrown away.
        UrlExpired: the signed URL was refused: list again for a new one.
        ServiceBusy: 408, 429 or 5xx.
        NotFound, RequestRefused: any other refusal.
        LocalFault: the disk is full or the folder cannot be written.
    """
    job = _Download(fetch, url, target, expected_size, sha256, chunk)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return job.run()
    except OSError as error:
        raise local_fault(error) from error


def part_path(target: Path) -> Path:
    """Where the bytes of ``target`` gather; a name too long for ``.part`` to fit is replaced by its hash."""
    name = target.name
    if len(os.fsencode(name)) > _MAX_NAME_BYTES:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return target.with_name(name + ".part")


class _Download:
    """One call of :func:`download`."""

    def __init__(
        self,
        fetch: Fetch,
        url: str,
        target: Path,
        expected_size: int | None,
        sha256: str | None,
        chunk: int,
    ) -> None:
        self.fetch = fetch
        self.url = url
        self.target = target
        self.expected_size = expected_size
        self.sha256 = sha256
        self.chunk = chunk
        self.part = part_path(target)
        self.note = self.part.with_name(self.part.name + ".json")
        self.what = f"{target.name!r} from {urlsplit(url).hostname}"

    def run(self) -> DownloadedFile:
        had = self._read_part()
        done = self._attempt(had)
        if done is None:
            # The service would not give the rest of what we have: once more, from the start.
            self._discard()
            done = self._attempt(_Part())
        if done is None:
            raise TransferError(f"{self.what}: the service answered with a range that was not asked for")
        return done

    def _attempt(self, had: _Part) -> DownloadedFile | None:
        headers = {"Accept-Encoding": "identity"}
        if had.size:
            headers |= {"Range": f"bytes={had.size}-", "If-Range": had.validator}
        with self.fetch(self.url, headers) as response:
            if had.size and response.status_code == 416:
                return None
            self._check_status(response)
            body = _place(response, had)
            if body is None:
                return None
            self._check_total(body.total)
            digest, size = self._receive(response, body)
        return self._finish(digest, size, body.total)

    def _check_status(self, response: Response) -> None:
        status = response.status_code
        if status in (200, 206):
            return
        error, advice = _refusal(status)
        raise error(f"{self.what}: {advice} (status {status})", status=status)

    def _check_total(self, total: int | None) -> None:
        if total is not None and self.expected_size not in (None, total):
            self._discard()
            raise TransferError(f"{self.what}: {total} bytes offered, {self.expected_size} expected")

    def _receive(self, response: Response, body: _Body) -> tuple[str, int]:
        """Writes the body behind the bytes that stay; gives digest and size of the whole."""
        self._write_note(body)
        digest = hashlib.sha256()
        with self.part.open("r+b" if body.start else "wb") as file:
            if body.start:
                for kept in iter(lambda: file.read(self.chunk), b""):
                    digest.update(kept)
            size = body.start
            for data in self._pieces(response):
                file.write(data)
                digest.update(data)
                size += len(data)
            file.flush()
            os.fsync(file.fileno())
        return digest.hexdigest(), size

    def _pieces(self, response: Response) -> Iterator[bytes]:
        try:
            yield from response.iter_bytes(self.chunk)
        except (httpx.TransportError, httpx.StreamError, OSError) as error:
            raise ConnectionFailed(
                f"{self.what}: the connection broke in the middle of the file ({type(error).__name__})"
            ) from error
        except httpx.DecodingError as error:
            self._discard()
            raise TransferError(f"{self.what}: the body's content encoding is damaged") from error

    def _finish(self, digest: str, size: int, total: int | None) -> DownloadedFile:
        wanted = self.expected_size if total is None else total
        if wanted is not None and size < wanted:
            raise ConnectionFailed(f"{self.what}: cut short after {size} of {wanted} bytes")
        if wanted is not None and size > wanted:
            self._discard()
            raise TransferError(f"{self.what}: {size} bytes received, {wanted} announced")
        if self.sha256 is not None and digest != self.sha256.lower():
            self._discard()
            raise TransferError(f"{self.what}: the checksum does not match")
        self.part.replace(self.target)
        self.note.unlink(missing_ok=True)
        sync_folder(self.target.parent)
        return DownloadedFile(path=self.target, size=size, sha256=digest)

    def _read_part(self) -> _Part:
        try:
            size = self.part.stat().st_size
            validator = json.loads(self.note.read_text(encoding="utf-8"))["validator"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return _Part()
        return _Part(size, validator) if isinstance(validator, str) and validator else _Part()

    def _write_note(self, body: _Body) -> None:
        if body.start:
            return
        # A killed process must never leave old bytes beside a new validator, so the bytes go first.
        self.part.unlink(missing_ok=True)
        self.note.write_text(json.dumps({"validator": body.validator}), encoding="utf-8")

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _place(response: Response, had: _Part) -> _Body | None:
    """Where the body goes, or ``None`` when it is not what was asked for."""
    if _is_encoded(response):
        # Lengths and validators speak of the encoded bytes, we count decoded ones.
        return _Body(0, None, "") if response.status_code == 200 else None
    validator = _validator(response.headers)
    if response.status_code == 200:
        return _Body(0, _length(response.headers), validator)
    match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "").strip())
    if match is None or int(match[1]) != had.size or not had.size:
        return None
    if validator and validator != had.validator:
        return None
    return _Body(had.size, None if match[3] == "*" else int(match[3]), had.validator)


def _is_encoded(response: Response) -> bool:
    return response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity")


def _validator(headers: Mapping[str, str]) -> str:
    """A validator fit for ``If-Range``: weak ETags are not."""
    etag = headers.get("etag", "").strip()
    if etag:
        return "" if etag.startswith("W/") else etag
    return headers.get("last-modified", "").strip()


def _length(headers: Mapping[str, str]) -> int | None:
    value = headers.get("content-length", "").strip()
    return int(value) if value.isascii() and value.isdigit() else None


def _refusal(status: int) -> tuple[type[DarkroomError], str]:
    if status in EXPIRED_STATUSES:
        return UrlExpired, "the signed URL was refused, a new one is needed"
    if status in (408, 429) or status >= 500:
        return ServiceBusy, "the service is busy"
    if status == 404:
        return NotFound, "the file is no longer there; batches expire seven days after they are made"
    return RequestRefused, "the service refused the download"
