"""Fetching from URLs that are secrets: a whole list to disk, and one object as a stream."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, BinaryIO

import httpx

from tasks.core.errors import BadInput, ConnectionFailed, DarkroomError, ServiceBusy, Terminal, Transient, local_fault
from tasks.core.redaction import RedactingFilter, redact
from tasks.sources.base import SourceChanged
from tasks.sources.signed_urls import split_url

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

TIMEOUT = httpx.Timeout(60.0, connect=10.0)
TRIES = 4
FIRST_PAUSE_SECONDS = 1.0
READ_BYTES = 256 * 1024
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_AS_IT_IS = {"Accept-Encoding": "identity"}
_BUSY = frozenset({408, 425, 429})

logging.getLogger("httpx").addFilter(RedactingFilter())  # it logs whole URLs


def check_safe(url: httpx.URL | str) -> None:
    """Refuses to send a secret over a network in the clear.

    Raises:
        BadInput: the URL is not https, and not one of this machine.
    """
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        raise BadInput("the URL of the references file cannot be understood: check how it is written") from None
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.host in LOOPBACK):
        raise BadInput(f"{shown(str(url))} is not https: a references file is fetched over https only")


def shown(url: str) -> str:
    """A URL as messages may show it."""
    parts = split_url(url)
    return parts.shown if parts else redact(url)


def download(url: str, target: IO[bytes], sleep: Callable[[float], None]) -> None:
    """Fetches a whole list, trying again what may pass.

    Args:
        url: a secret.
        target: an empty file that can be written and truncated.
        sleep: waits so many seconds between the tries.

    Raises:
        BadInput: it is not there or may not be read.
        Transient: the last try's failure.
    """
    for tries_left in reversed(range(TRIES)):
        try:
            return _download(url, target)
        except Transient:
            if not tries_left:
                raise
        sleep(FIRST_PAUSE_SECONDS * 2 ** (TRIES - 1 - tries_left))
        target.seek(0)
        target.truncate()


def _download(url: str, target: IO[bytes]) -> None:
    hooks = {"request": [lambda request: check_safe(request.url)]}  # redirects come by here, too
    with (
        _translated(url, BadInput),
        httpx.Client(timeout=TIMEOUT, follow_redirects=True, event_hooks=hooks) as client,
        client.stream("GET", url) as response,
    ):
        _check(response, url, _list_refused)
        try:
            for block in response.iter_bytes(READ_BYTES):
                target.write(block)
        except OSError as error:
            raise local_fault(error) from error


def open_url(client: httpx.Client, url: str, offset: int, keep: object) -> BinaryIO:
    """One object's bytes from ``offset`` on, streamed.

    Args:
        client: sends the request; it follows redirects.
        url: a secret.
        offset: bytes to leave out.
        keep: lives as long as the stream.

    Raises:
        SourceChanged: it is gone or refused.
        ServiceBusy: the server cannot give it just now.
        ConnectionFailed: the server cannot be reached; reading may raise it as well.
    """
    headers = _AS_IT_IS | ({"Range": f"bytes={offset}-"} if offset else {})
    with _translated(url, SourceChanged):
        response = client.send(client.build_request("GET", url, headers=headers), stream=True)
        try:
            _check(response, url, _object_refused)
        except DarkroomError:
            response.close()
            raise
        body = io.BufferedReader(_Body(response, url, keep), READ_BYTES)
        left = offset if response.status_code == httpx.codes.OK else 0
        while left and (block := body.read(min(left, READ_BYTES))):
            left -= len(block)
    return body


class _Body(io.RawIOBase):
    """An answer's body as a file."""

    def __init__(self, response: httpx.Response, url: str, keep: object) -> None:
        self._response = response
        self._url = url
        self._keep = keep
        self._blocks = response.iter_bytes()
        self._block = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        room = memoryview(buffer).cast("B")
        with _translated(self._url, SourceChanged):
            while not self._block and (block := next(self._blocks, None)) is not None:
                self._block = memoryview(block)
        used = min(len(self._block), len(room))
        room[:used] = self._block[:used]
        self._block = self._block[used:]
        return used

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._response.close()


def _check(response: httpx.Response, url: str, refused: Callable[[str, int], Terminal]) -> None:
    status = response.status_code
    if status in _BUSY or status >= 500:
        raise ServiceBusy(f"{shown(url)} answers with status {status}", status=status)
    if status not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
        raise refused(shown(url), status)


def _list_refused(place: str, status: int) -> BadInput:
    if status in (404, 410):
        return BadInput(f"there is no references file at {place}: check the URL", status=status)
    return BadInput(
        f"the references file at {place} is refused (status {status}): has its signed URL expired?", status=status
    )


def _object_refused(_place: str, status: int) -> SourceChanged:
    if status in (404, 410):
        return SourceChanged(f"is not at its URL any more (status {status})", status=status)
    return SourceChanged(f"its URL was refused (status {status}): has its signature expired?", status=status)


@contextmanager
def _translated(url: str, unusable: type[Terminal]) -> Iterator[None]:
    """Raises errors of our tree for the library's."""
    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.TooManyRedirects) as error:
        raise unusable(f"{shown(url)} cannot be fetched: {redact(str(error))}") from None
    except (httpx.HTTPError, httpx.StreamError) as error:
        why = redact(str(error)) or type(error).__name__
        raise ConnectionFailed(f"fetching {shown(url)} failed: {why}") from None
