"""Signed URLs of Google Cloud Storage (V4), for whole listings.

https://cloud.google.com/storage/docs/authentication/canonical-requests; the URLs are the vendor library's own, byte for
byte, but what all of a batch share is put together once, and signing goes on in several threads: with a key file it is
RSA outside Python's lock, otherwise a request each to Google's signing service.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from urllib.parse import quote, urlsplit

from google.auth import compute_engine, iam
from google.auth.credentials import Signing
from google.oauth2 import service_account

from tasks.core.errors import BadInput
from tasks.sources.base import MediaObject
from tasks.sources.gcs_errors import CREDENTIALS, told

MOST_SECONDS = 7 * 24 * 3600
"""V4's own limit."""
REMOTE_SECONDS = 12 * 3600.0
"""How long a signature by a key that Google keeps is sure to hold: those keys change."""
_REMOTE_WORKERS = 8
_BATCH = 64
_UNKNOWN_EMAIL = "default"


@dataclass(frozen=True)
class Signer:
    """Who signs.

    Attributes:
        email: the service account's.
        sign: the signature of some bytes.
        workers: how many threads to sign in.
    """

    email: str
    sign: Callable[[bytes], bytes]
    workers: int


def signs_remotely(credentials: Any) -> bool:
    """Whether signatures of ``credentials`` are made by Google's signing service."""
    return not isinstance(credentials, service_account.Credentials) and _may_sign(credentials)


def signer_of(credentials: Any, request: Any) -> Signer:
    """What signs for ``credentials``.

    Args:
        credentials: Google's.
        request: Google's transport, for the signing service.

    Raises:
        BadInput: they cannot sign.
    """
    if not _may_sign(credentials):
        raise BadInput(
            "these Google credentials cannot sign URLs: "
            f"set {CREDENTIALS} to a service-account file, or pass --transfer upload"
        )
    if isinstance(credentials, service_account.Credentials):
        return Signer(credentials.signer_email, credentials.sign_bytes, len(os.sched_getaffinity(0)))
    if isinstance(credentials, Signing):
        return Signer(credentials.signer_email, credentials.sign_bytes, _REMOTE_WORKERS)
    if credentials.service_account_email == _UNKNOWN_EMAIL:
        credentials.refresh(request)
    email = credentials.service_account_email
    return Signer(email, iam.Signer(request, credentials, email).sign, _REMOTE_WORKERS)  # type: ignore[no-untyped-call]


def _may_sign(credentials: Any) -> bool:
    own = isinstance(credentials, (Signing, compute_engine.Credentials))
    return own or bool(getattr(credentials, "service_account_email", None))


def sign_urls(
    items: Iterable[MediaObject],
    place: tuple[str, str],
    signer: Signer,
    seconds: int,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Iterator[str]:
    """A URL for each item, in order, that leads to the generation which its etag names, or to nothing.

    Args:
        items: what to sign; read a little ahead of what is taken.
        place: endpoint, without a slash at its end, and bucket.
        signer: who signs.
        seconds: how long each is valid, at most :data:`MOST_SECONDS`, from when its batch is signed.
        now: the time in UTC.

    Raises:
        BadInput: ``seconds`` is too long.
    """
    if seconds > MOST_SECONDS:
        raise BadInput(
            f"Google Cloud Storage signs URLs for {MOST_SECONDS} s (7 days) at most: {seconds} s is too long"
        )
    return _sign_batches(iter(items), lambda batch: _Head(place, signer, seconds, now()).urls(batch), signer.workers)


def _sign_batches(
    items: Iterator[MediaObject], sign: Callable[[list[MediaObject]], list[str]], workers: int
) -> Iterator[str]:
    with ThreadPoolExecutor(workers, thread_name_prefix="gcs-sign") as pool:
        under_way: deque[Future[list[str]]] = deque()
        while batch := list(islice(items, _BATCH)):
            under_way.append(pool.submit(sign, batch))
            if len(under_way) > workers:
                yield from under_way.popleft().result()
        while under_way:
            yield from under_way.popleft().result()


class _Head:
    """What the URLs of one batch share."""

    def __init__(self, place: tuple[str, str], signer: Signer, seconds: int, now: datetime) -> None:
        self._endpoint, self._bucket = place
        self._sign = signer.sign
        stamp = now.strftime("%Y%m%dT%H%M%SZ")
        scope = f"{stamp[:8]}/auto/storage/goog4_request"
        self._query = (
            f"X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential={quote(f'{signer.email}/{scope}', safe='~')}"
            f"&X-Goog-Date={stamp}&X-Goog-Expires={seconds}&X-Goog-SignedHeaders=host"
        )
        self._end = f"\nhost:{urlsplit(self._endpoint).netloc.lower()}\n\nhost\nUNSIGNED-PAYLOAD"
        self._start = f"GOOG4-RSA-SHA256\n{stamp}\n{scope}\n"

    def urls(self, items: list[MediaObject]) -> list[str]:
        with told(self._bucket):
            return [self._url(item) for item in items]

    def _url(self, item: MediaObject) -> str:
        resource = f"/{self._bucket}/{quote(item.key, safe='/~')}"
        query = f"{self._query}&generation={item.etag}" if item.etag else self._query
        request = hashlib.sha256(f"GET\n{resource}\n{query}{self._end}".encode()).hexdigest()
        signature = self._sign((self._start + request).encode()).hex()
        return f"{self._endpoint}{resource}?{query}&X-Goog-Signature={signature}"
