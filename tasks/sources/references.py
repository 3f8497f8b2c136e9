"""A list of references: a ``.jsonl`` file, here or behind a URL, whose lines name files and where to fetch them.

``{"name": "day 1/a.jpg", "url": "https://…"}``; further fields and empty lines are ignored. The URLs are secrets, and
so is the query of the list's own URL.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, NamedTuple

import httpx

from tasks.core.errors import BadInput
from tasks.sources.base import MediaObject
from tasks.sources.fetching import TIMEOUT, check_safe, download, open_url, shown
from tasks.sources.signed_urls import UrlParts, split_url

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MOST_LINE_BYTES = 64 * 1024
READ_BYTES = 256 * 1024
_BOM = b"\xef\xbb\xbf"


def open_references(
    url: str, *, now: Callable[[], float] = time.time, sleep: Callable[[float], None] = time.sleep
) -> References:
    """The source that a list of references makes; it is read when something is asked of it.

    Args:
        url: a path, an https URL, or an http URL of this machine; the query is a secret.
        now: seconds since 1970.
        sleep: waits between the tries to fetch the list.

    Raises:
        BadInput: the list cannot be fetched from such a URL.
    """
    if "://" not in url:
        return References(url, lambda: _open_file(Path(url)), now)
    check_safe(url)
    return References(shown(url), lambda: _fetch(url, sleep), now)


def _open_file(path: Path) -> IO[bytes]:
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        raise BadInput(f"the references file {path} cannot be read: {error.strerror}") from None


def _fetch(url: str, sleep: Callable[[float], None]) -> IO[bytes]:
    """The list in a file that has no name, for it holds secrets."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - it stays open as long as the source lives
    try:
        download(url, file, sleep)
        file.flush()
    except BaseException:
        file.close()
        raise
    return file


class _Place(NamedTuple):
    """Between two lines of the list."""

    offset: int
    line: int
    """Lines before it."""


class _Line(NamedTuple):
    """One reference; the URL is a secret."""

    name: str
    url: str
    parts: UrlParts
    end: _Place


_START = _Place(0, 0)


class References:
    """The files that a list names.

    Args:
        shown: how the list is named in messages, without secrets.
        read: opens the list.
        now: seconds since 1970.
    """

    is_local = False
    by_extension = False
    pins_versions = True
    only_by_reference = True

    def __init__(self, shown: str, read: Callable[[], IO[bytes]], now: Callable[[], float]) -> None:
        self.url = shown
        self._read = read
        self._now = now
        self._lock = threading.Lock()
        self._opened: IO[bytes] | None = None
        self._client: httpx.Client | None = None
        self._cursor = _START
        self._first_end: float | None = None

    def check(self) -> None:
        """Reads the first line."""
        next(self.list(), None)

    def list(self) -> Iterator[MediaObject]:
        """Every file, in the order of the lines.

        Raises:
            BadInput: the list cannot be read, a line is not as it has to be, or a name occurs twice.
        """
        names: set[int] = set()  # hashes: a million take a tenth of a gigabyte, the names would take more
        for line in self._lines(_START):
            if hash(line.name) in names:
                self._refuse_second(line)
            names.add(hash(line.name))
            yield MediaObject(line.name, None, f"url:{line.parts.version}", None)

    def open(self, item: MediaObject, offset: int = 0) -> BinaryIO:
        """The file's bytes from ``offset`` on, fetched from its URL.

        Raises:
            SourceChanged: the URL does not lead to it any more.
            BadInput: the list has changed.
            Transient: it cannot be fetched just now; reading may raise it as well.
        """
        with self._lock:
            if self._client is None:
                self._client = httpx.Client(timeout=TIMEOUT, follow_redirects=True)
                weakref.finalize(self, self._client.close)
        return open_url(self._client, next(self.presign([item], 0)), offset, keep=self)

    def endpoint(self) -> str:
        """Scheme and host of the first URL.

        Raises:
            BadInput: there is none.
        """
        first = next(self._lines(_START), None)
        if first is None:
            raise BadInput(f"{self.url} holds no references")
        return first.parts.origin

    def longest_lifetime(self) -> float | None:
        """Seconds until the first of the URLs read so far expires, as they say themselves."""
        return None if self._first_end is None else max(0.0, self._first_end - self._now())

    def presign(self, items: Iterable[MediaObject], seconds: int) -> Iterator[str]:  # noqa: ARG002 - they are signed
        """The URLs as the list has them.

        Each call reads on where the last one ended, so that all of them together read the list once as long as the
        items come in its order.

        Raises:
            BadInput: the list has another URL for a name, or none, since it was listed.
        """
        place = self._cursor
        lines = self._lines(place)
        for item in items:
            lines, line = self._find(item, lines, place)
            place = self._cursor = line.end
            yield line.url

    def _find(self, item: MediaObject, lines: Iterator[_Line], place: _Place) -> tuple[Iterator[_Line], _Line]:
        """The item's line, from ``place`` on and once round, and the lines after it."""
        for line in lines:
            if line.name == item.key:
                return lines, self._same(item, line)
        lines = self._lines(_START)
        for line in lines:
            if line.end.offset > place.offset:
                break
            if line.name == item.key:
                return lines, self._same(item, line)
        raise BadInput(f"{self.url} has changed since it was listed: {item.key} is missing; start a new run")

    def _same(self, item: MediaObject, line: _Line) -> _Line:
        if item.etag not in (None, f"url:{line.parts.version}"):
            raise BadInput(
                f"{self.url} has changed since it was listed: {item.key} in line {line.end.line} has another URL; "
                "start a new run"
            )
        return line

    def _refuse_second(self, line: _Line) -> None:
        """Raises if a line above has the same name, not just the same hash."""
        for earlier in self._lines(_START):
            if earlier.end == line.end:
                return
            if earlier.name == line.name:
                raise BadInput(
                    f"{self.url} has the name {line.name} twice, in lines {earlier.end.line} and {line.end.line}: "
                    "give each file a name of its own"
                )

    def _lines(self, place: _Place) -> Iterator[_Line]:
        offset, number = place
        with io.BufferedReader(_Reading(self._file(), offset), READ_BYTES) as file:
            while text := file.readline(MOST_LINE_BYTES + 1):
                offset, number = offset + len(text), number + 1
                if text := (text.removeprefix(_BOM) if number == 1 else text).strip():
                    line = self._parse(text, _Place(offset, number))
                    self._note_end(line.parts.end)
                    yield line

    def _parse(self, text: bytes, end: _Place) -> _Line:
        if len(text) > MOST_LINE_BYTES:
            raise self._bad(end, f"is longer than {MOST_LINE_BYTES} bytes")
        try:
            found = json.loads(text.decode())
        except (ValueError, RecursionError):
            raise self._bad(end, "is no JSON in UTF-8") from None
        if not isinstance(found, dict):
            raise self._bad(end, "is no JSON object")
        name, url = found.get("name"), found.get("url")
        if not isinstance(name, str) or not name or not _is_unicode(name):
            raise self._bad(end, "has no name")
        if not isinstance(url, str) or (parts := split_url(url)) is None:
            raise self._bad(end, "has no http or https URL without spaces")
        return _Line(name, url, parts, end)

    def _bad(self, place: _Place, what: str) -> BadInput:
        return BadInput(
            f'{self.url}, line {place.line}, {what}: each line has to be {{"name": "…", "url": "https://…"}}'
        )

    def _note_end(self, end: float | None) -> None:
        if end is not None and (self._first_end is None or end < self._first_end):
            self._first_end = end

    def _file(self) -> IO[bytes]:
        with self._lock:
            if self._opened is None:
                self._opened = self._read()
                weakref.finalize(self, self._opened.close)
            return self._opened


class _Reading(io.RawIOBase):
    """Reads a file from a place of its own, so that several can do so at once."""

    def __init__(self, file: IO[bytes], offset: int) -> None:
        self._file = file
        self._offset = offset

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        room = memoryview(buffer).cast("B")
        data = os.pread(self._file.fileno(), len(room), self._offset)
        room[: len(data)] = data
        self._offset += len(data)
        return len(data)


def _is_unicode(name: str) -> bool:
    """Whether it can be written at all: JSON can hold half a character."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
