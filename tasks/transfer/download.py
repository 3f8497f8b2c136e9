"""Downloads that resume, are checked, and appear whole or not at all.

The bytes of ``<target>`` gather in ``<target>.part``; a note beside it, ``<target>.part.json``, keeps the
validator (ETag or Last-Modified) that those bytes were sent under. A later try asks for the rest with
``Range`` and ``If-Range`` and starts over whenever the service does not answer with exactly that rest
(RFC 9110, sections 13.1.5 and 14). A file so small that nothing could be left of it for a later try has no note.

What has been received is flushed to disk and given its name by :func:`keep`, many files at a time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from urllib3.exceptions import DecodeError, HTTPError

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
from tasks.transfer.checksums import Checksum, checksum_of

CHUNK_BYTES = 1 << 16
"""Bytes read at a time; what a cut chunk held is lost to the next try, so it is small."""
EXPIRED_STATUSES = frozenset({400, 401, 403, 410})
"""What stores answer to a signed URL past its time; Google Cloud Storage says 400 ``ExpiredToken``."""
UNFINISHED = (".part", ".part.json")
"""Endings of the files that a download under way has."""
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)")
_LENGTH = re.compile(r"[0-9]{1,18}")
_MAX_NAME_BYTES = 240


class TransferError(Transient):
    """The bytes received are not the bytes announced; the next try starts over."""


class Response(Protocol):
    """The part of a streamed HTTP answer that a download needs; urllib3's have it."""

    @property
    def status(self) -> int:
        """HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers, looked up without regard to case."""

    def stream(self, amt: int | None = None, /) -> Iterator[bytes]:
        """The body in pieces."""


class Fetch(Protocol):
    """Starts one GET; ``Transport.fetch`` is one."""

    def __call__(self, url: str, headers: Mapping[str, str]) -> AbstractContextManager[Response]:
        """The streamed answer to a GET of ``url``."""


@dataclass(frozen=True)
class Received:
    """A file that arrived whole and waits for :func:`keep`.

    Attributes:
        part: where its bytes are.
        note: the note beside them, if there is one.
        target: where they belong.
        size: bytes.
    """

    part: Path
    note: Path | None
    target: Path
    size: int


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
        validator: what its bytes are sent under, if anything.
        checksum: of the whole file, where the service gives one.
    """

    start: int
    total: int | None
    validator: str = ""
    checksum: Checksum | None = None


def receive(fetch: Fetch, url: str, target: Path, chunk: int = CHUNK_BYTES) -> Received:
    """Fetches ``url`` beside ``target``, going on where a former try stopped.

    Args:
        fetch: starts one streamed GET. It may retry and raise errors of its own before the body begins.
        url: where the bytes lie; a secret if signed, so errors name ``target`` and the host only.
        target: final path; its folder is made. Nothing is there before :func:`keep`.
        chunk: bytes read at a time; at most so many are lost when the body is cut.

    Raises:
        ConnectionFailed: the body was cut short; what came is kept for the next try.
        TransferError: size or checksum are wrong; what came is thrown away.
        UrlExpired: the signed URL was refused: list again for a new one.
        ServiceBusy: 408, 429 or 5xx.
        NotFound, RequestRefused: any other refusal.
        LocalFault: the disk is full or the folder cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return _Download(fetch, url, target, chunk).run()
    except OSError as error:
        raise local_fault(error) from error


def keep(files: Collection[Received]) -> None:
    """Makes files durable under their names; when it returns, neither a kill nor a power cut can undo it.

    Raises:
        LocalFault: the disk is full or a folder cannot be written.
    """
    try:
        for file in files:
            _flush(file.part)
        for file in files:
            file.part.replace(file.target)
            if file.note:
                file.note.unlink(missing_ok=True)
        for folder in {file.target.parent for file in files}:
            sync_folder(folder)
    except OSError as error:
        raise local_fault(error) from error


def part_path(target: Path) -> Path:
    """Where the bytes of ``target`` gather; a name too long for ``.part`` to fit is replaced by its hash."""
    name = target.name
    if len(os.fsencode(name)) > _MAX_NAME_BYTES:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return target.with_name(name + UNFINISHED[0])


def _flush(file: Path) -> None:
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _Download:
    """One call of :func:`receive`."""

    def __init__(self, fetch: Fetch, url: str, target: Path, chunk: int) -> None:
        self.fetch = fetch
        self.url = url
        self.target = target
        self.chunk = chunk
        self.part = part_path(target)
        self.note = self.part.with_name(self.part.name + ".json")
        self.what = f"{target.name!r} from {_host(url)}"

    def run(self) -> Received:
        had = self._read_part()
        done = self._attempt(had)
        if done is None:
            # The service would not give the rest of what we have: once more, from the start.
            self._discard()
            done = self._attempt(_Part())
        if done is None:
            raise TransferError(f"{self.what}: the service answered with a range that was not asked for")
        return done

    def _attempt(self, had: _Part) -> Received | None:
        headers = {"Accept-Encoding": "identity"}
        if had.size:
            headers |= {"Range": f"bytes={had.size}-", "If-Range": had.validator}
        with self.fetch(self.url, headers) as response:
            if had.size and response.status == 416:
                return None
            self._check_status(response.status)
            body = _place(response, had)
            if body is None:
                return None
            size = self._receive(response, body)
        return Received(self.part, None if self._is_small(body) else self.note, self.target, size)

    def _check_status(self, status: int) -> None:
        if status in (200, 206):
            return
        error, advice = _refusal(status)
        raise error(f"{self.what}: {advice} (status {status})", status=status)

    def _receive(self, response: Response, body: _Body) -> int:
        """Writes the body behind the bytes that stay, and checks the whole; gives its size."""
        self._write_note(body)
        summing = body.checksum.begin() if body.checksum else None
        with self.part.open("r+b" if body.start else "wb") as file:
            if summing and body.start:
                for kept in iter(lambda: file.read(self.chunk), b""):
                    summing.update(kept)
            size = file.seek(body.start)
            for data in self._pieces(response):
                size += file.write(data)
                if summing:
                    summing.update(data)
        self._check_size(size, body.total)
        if body.checksum and summing and summing.digest() != body.checksum.value:
            self._discard()
            raise TransferError(f"{self.what}: the checksum does not match ({body.checksum.name})")
        return size

    def _pieces(self, response: Response) -> Iterator[bytes]:
        try:
            yield from response.stream(self.chunk)
        except DecodeError as error:
            self._discard()
            raise TransferError(f"{self.what}: the body's content encoding is damaged") from error
        except (HTTPError, OSError) as error:
            raise ConnectionFailed(
                f"{self.what}: the connection broke in the middle of the file ({type(error).__name__})"
            ) from error

    def _check_size(self, size: int, total: int | None) -> None:
        if total is not None and size < total:
            raise ConnectionFailed(f"{self.what}: cut short after {size} of {total} bytes")
        if total is not None and size > total:
            self._discard()
            raise TransferError(f"{self.what}: {size} bytes received, {total} announced")

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
        if self._is_small(body):
            self.note.unlink(missing_ok=True)
            return
        # A killed process must never leave old bytes beside a new validator, so the bytes go first.
        self.part.unlink(missing_ok=True)
        self.note.write_text(json.dumps({"validator": body.validator}), encoding="utf-8")

    def _is_small(self, body: _Body) -> bool:
        """Whether it comes at once or not at all."""
        return body.total is not None and body.total <= self.chunk

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _place(response: Response, had: _Part) -> _Body | None:
    """Where the body goes, or ``None`` when it is not what was asked for."""
    status, headers = response.status, response.headers
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        # Lengths, checksums and validators speak of the encoded bytes, we have decoded ones.
        return _Body(0, None) if status == 200 else None
    validator = _validator(headers)
    checksum = checksum_of(status, headers)
    if status == 200:
        return _Body(0, _length(headers), validator, checksum)
    match = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
    if match is None or int(match[1]) != had.size or not had.size:
        return None
    if validator and validator != had.validator:
        return None
    return _Body(had.size, None if match[2] == "*" else int(match[2]), had.validator, checksum)


def _validator(headers: Mapping[str, str]) -> str:
    """A validator fit for ``If-Range``: weak ETags are not, nor is what cannot be sent back."""
    etag = headers.get("etag", "").strip()
    found = etag if etag else headers.get("last-modified", "").strip()
    return found if found.isascii() and found.isprintable() and not found.startswith("W/") else ""


def _length(headers: Mapping[str, str]) -> int | None:
    match = _LENGTH.fullmatch(headers.get("content-length", "").strip())
    return int(match[0]) if match else None


def _host(url: str) -> str:
    """The host alone; a URL from a server may be no URL at all."""
    try:
        return urlsplit(url).hostname or "nowhere"
    except ValueError:
        return "an invalid URL"


def _refusal(status: int) -> tuple[type[DarkroomError], str]:
    if status in EXPIRED_STATUSES:
        return UrlExpired, "the signed URL was refused, a new one is needed"
    if status in (408, 429) or status >= 500:
        return ServiceBusy, "the service is busy"
    if status == 404:
        return NotFound, "the file is no longer there; batches expire seven days after they are made"
    return RequestRefused, "the service refused the download"
