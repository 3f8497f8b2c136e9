"""The one place where HTTP happens: retries, time-outs, error mapping, and keeping the key out of sight."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx
import urllib3
from pydantic import SecretStr, ValidationError
from urllib3.exceptions import HTTPError, LocationValueError, ProxySchemeUnsupported

from tasks.core.errors import (
    BadInput,
    Conflict,
    ConnectionFailed,
    DarkroomError,
    KeyRefused,
    NotFound,
    RequestRefused,
    ServiceBusy,
    UrlExpired,
    is_transient,
)
from tasks.core.redaction import RedactingFilter, redact
from tasks.roboflow_api.models import Page, WireModel
from tasks.roboflow_api.retrying import RetryPolicy, Timing, parse_retry_after, retry
from tasks.roboflow_api.streaming import Streams, leave

M = TypeVar("M", bound=WireModel)
P = TypeVar("P", bound=Page)

TRANSIENT_STATUS = frozenset({408, 425, 429, *range(500, 600)} - {501, 505, 507, 511})
"""What may pass by itself; not so what is not implemented over there, a full disk, or a network's log-in page."""
EXCERPT_CHARACTERS = 300
PAGE_SIZE = 1000
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

_BY_EXCEPTION: tuple[tuple[type[Exception], type[DarkroomError]], ...] = (
    (httpx.UnsupportedProtocol, BadInput),
    (httpx.InvalidURL, BadInput),
    (httpx.LocalProtocolError, BadInput),
    (httpx.TransportError, ConnectionFailed),
    (httpx.RequestError, ConnectionFailed),
    (httpx.StreamError, ConnectionFailed),
    (httpx.HTTPError, ConnectionFailed),
    (httpx.CookieConflict, ConnectionFailed),
    (LocationValueError, BadInput),
    (ProxySchemeUnsupported, BadInput),
    (HTTPError, ConnectionFailed),
)
_THEIRS = tuple(theirs for theirs, _ in _BY_EXCEPTION)
_BY_STATUS: dict[int, type[DarkroomError]] = {401: KeyRefused, 404: NotFound, 409: Conflict}

logging.getLogger("httpx").addFilter(RedactingFilter())  # it logs whole URLs, the key among them


@dataclass(frozen=True)
class Limits:
    """Time-outs in seconds and the number of connections.

    A time-out is for one connect, read or write, so a large body may take as long as it moves.
    """

    connect: float = 10.0
    read: float = 60.0
    write: float = 60.0
    connections: int = 16


class Transport:
    """Requests to one host, with the key as a query parameter.

    Args:
        base_url: such as ``https://api.roboflow.com``.
        api_key: sent as ``api_key``; never shown.
        policy: when and how often to try again.
        limits: time-outs and connections.
        timing: clock and sleep.

    Raises:
        BadInput: ``base_url`` is not an http(s) URL.
    """

    def __init__(
        self,
        base_url: str,
        api_key: SecretStr,
        policy: RetryPolicy | None = None,
        limits: Limits | None = None,
        timing: Timing | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.policy = policy or RetryPolicy()
        self.timing = timing or Timing()
        self._key = api_key
        self._client, self._streams = _clients(self.base_url, limits or Limits())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        self._streams.close()

    def get(self, path: str, answer: type[M], policy: RetryPolicy | None = None, **params: str | int | None) -> M:
        """``GET path``, read as ``answer``, under a retry policy of the call's or of the transport's own.

        Raises:
            Transient: it failed until the retry policy was used up.
            Terminal: it was refused.
        """
        return self._request("GET", path, answer, params, policy)

    def pages(self, path: str, answer: type[P], **params: str | int | None) -> Iterator[P]:
        """Every page of a list, asked for as they are used; raises like :meth:`get`."""
        token: str | None = None
        while True:
            page = self.get(path, answer, None, pageSize=PAGE_SIZE, nextPageToken=token, **params)
            yield page
            before, token = token, page.next_page_token
            if not token:
                return
            if token == before:
                raise RequestRefused(f"GET {_place(self.base_url + path)} gives the same page again and again")

    def post(
        self,
        path: str,
        answer: type[M],
        *,
        json: Any = None,
        files: Mapping[str, tuple[str, bytes]] | None = None,
        policy: RetryPolicy | None = None,
        **params: str | int | None,
    ) -> M:
        """``POST path`` with a JSON or multipart body, read as ``answer``; raises like :meth:`get`.

        Args:
            path: below the host.
            answer: what the answer is read as.
            json: the body, as JSON.
            files: the body, as a form.
            policy: for a call that must not be repeated blindly; ``None``: the transport's own.
            params: query parameters.
        """
        return self._request("POST", path, answer, params, policy, json=json, files=files)

    def put(self, url: str, headers: Mapping[str, str], length: int, body: Callable[[], Iterator[bytes]]) -> None:
        """Streams a body of ``length`` bytes to a signed URL.

        Args:
            url: the signed URL, kept out of every message.
            headers: what the signature covers.
            length: bytes that ``body`` yields.
            body: makes the stream anew for each try.

        Raises:
            UrlExpired: the signature is refused, at once and without a second try: ask for a new URL.
        """
        sent = {**headers, "Content-Length": str(length)}

        def once() -> None:
            with _mapped("PUT", url):
                answer = self._client.put(url, headers=sent, content=body())
            self._check(answer, "PUT", url, signed=True)

        retry(once, self.policy, self.timing, again=_may_pass_with_same_url)

    @contextmanager
    def fetch(self, url: str, headers: Mapping[str, str]) -> Iterator[urllib3.BaseHTTPResponse]:
        """Opens a signed URL for streaming; the status is the caller's to look at, retryable ones excepted."""

        def once() -> urllib3.BaseHTTPResponse:
            with _mapped("GET", url):
                answer = self._streams.open(url, headers)
            if answer.status in TRANSIENT_STATUS:
                leave(answer)
                raise self._busy(answer.status, answer.headers, "GET", url, "")
            return answer

        answer = retry(once, self.policy, self.timing)
        try:
            with _mapped("GET", url):
                yield answer
        finally:
            leave(answer)

    def _request(
        self,
        method: str,
        path: str,
        answer: type[M],
        params: Mapping[str, str | int | None],
        policy: RetryPolicy | None = None,
        **body: Any,
    ) -> M:
        url = self.base_url + path
        query = {name: value for name, value in params.items() if value is not None}

        def once() -> M:
            with _mapped(method, url):
                response = self._client.request(
                    method, url, params={**query, "api_key": self._key.get_secret_value()}, **body
                )
            self._check(response, method, url)
            return _read(response, answer, method, url)

        return retry(once, policy or self.policy, self.timing)

    def _check(self, response: httpx.Response, method: str, url: str, signed: bool = False) -> None:
        status = response.status_code
        if status < 300:
            return
        excerpt = _excerpt(response, self._key)
        if status in TRANSIENT_STATUS:
            raise self._busy(status, response.headers, method, url, excerpt)
        if signed and (status in (401, 403, 410) or (status == 400 and "expired" in excerpt.lower())):
            raise UrlExpired(f"{method} {_place(url)} was refused with {status}: its signature expired", status=status)
        kind = _BY_STATUS.get(status, RequestRefused)
        raise kind(_explain(kind, method, url, status, excerpt), status=status, excerpt=excerpt)

    def _busy(self, status: int, headers: Mapping[str, str], method: str, url: str, excerpt: str) -> ServiceBusy:
        advice = "look whether the service is well"
        if status == 429:
            advice = "too many requests, or no credits left: look at the workspace's plan"
        return ServiceBusy(
            f"{method} {_place(url)} answered {status} until the retries were used up"
            f"{f' ({excerpt})' if excerpt else ''}: {advice}, then run the same command again",
            status=status,
            excerpt=excerpt or None,
            retry_after=parse_retry_after(headers.get("Retry-After"), self.timing.now()),
        )


def _clients(base_url: str, limits: Limits) -> tuple[httpx.Client, Streams]:
    """One for calls, and one for bodies that stream from signed URLs; they trust the same certificates and proxies."""
    try:
        parts = urlsplit(base_url)
        host = parts.hostname if parts.scheme in ("http", "https") and not (parts.query or parts.fragment) else None
    except ValueError:
        host = None
    if host and "@" in parts.netloc:
        raise BadInput(f"{redact(base_url)} holds a login, and inputs are kept: the key goes into ROBOFLOW_API_KEY")
    if not host:
        raise BadInput(
            f"{redact(base_url)!r} is not a platform: use embedded, roboflow or a URL such as http://host:port"
        )
    trust_env = host not in LOOPBACK  # a proxy of the environment cannot reach this machine's loopback
    context = httpx.create_ssl_context(trust_env=trust_env)
    client = httpx.Client(
        timeout=httpx.Timeout(limits.read, connect=limits.connect, write=limits.write, pool=None),
        limits=httpx.Limits(max_connections=limits.connections, max_keepalive_connections=limits.connections),
        verify=context,
        trust_env=trust_env,
    )
    streams = Streams(
        connect=limits.connect,
        read=limits.read,
        connections=limits.connections,
        context=context,
        trust_env=trust_env,
    )
    return client, streams


@contextmanager
def _mapped(method: str, url: str) -> Iterator[None]:
    """Turns every exception of the HTTP libraries into one of our tree."""
    try:
        yield
    except _THEIRS as error:
        kind = next(ours for theirs, ours in _BY_EXCEPTION if isinstance(error, theirs))
        detail = redact(str(error)) or type(error).__name__
        raise kind(f"{method} {_place(url)} failed: {detail}") from None


def _read(response: httpx.Response, answer: type[M], method: str, url: str) -> M:
    try:
        return answer.model_validate_json(response.content or b"{}")
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ConnectionFailed(
            f"{method} {_place(url)} gave an answer that cannot be read ({where}: {problem['msg']})"
        ) from None


def _excerpt(response: httpx.Response, key: SecretStr) -> str:
    """The service's own words on one line: ``error`` or ``message`` of a JSON body, else its text. Never raises."""
    try:
        body = response.json()
        text = str(body.get("error") or body.get("message") or body)
    except (ValueError, AttributeError, RecursionError):
        text = response.text
    text = text.encode(errors="replace").decode()  # JSON may hold half a surrogate pair, which no output can take
    if secret := key.get_secret_value():
        text = text.replace(secret, "…")
    return " ".join(redact(text).split())[:EXCERPT_CHARACTERS]


def _explain(kind: type[DarkroomError], method: str, url: str, status: int, excerpt: str) -> str:
    if kind is KeyRefused:
        return f"{_host(url)} refused the API key (401): set ROBOFLOW_API_KEY to a key of that platform"
    plan = ", as the workspace's plan does not include it" if status == 402 else ""
    return f"{method} {_place(url)} was refused with {status}{plan}: {excerpt or 'no reason given'}"


def _may_pass_with_same_url(error: DarkroomError) -> bool:
    return is_transient(error) and not isinstance(error, UrlExpired)


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _place(url: str) -> str:
    """Host and path: a URL without query and password; a URL from a server may be no URL at all."""
    try:
        return _host(url) + urlsplit(url).path
    except ValueError:
        return "an invalid URL"
