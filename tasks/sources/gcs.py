"""A bucket of Google Cloud Storage."""

from __future__ import annotations

import base64
import logging
import mimetypes
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any, BinaryIO

import google.auth
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError
from google.auth.transport.requests import Request

from tasks.core.errors import BadInput, local_fault
from tasks.core.redaction import RedactingFilter
from tasks.sources.base import MediaObject, SourceChanged
from tasks.sources.gcs_errors import CREDENTIALS, told
from tasks.sources.gcs_library import DEFAULT_RETRY, Retry, storage
from tasks.sources.gcs_signing import REMOTE_SECONDS, Signer, sign_urls, signer_of, signs_remotely
from tasks.sources.ranged import PIECE_BYTES, open_ranged

TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and to wait for the next byte."""
RETRY = DEFAULT_RETRY.with_timeout(120.0).with_delay(initial=0.5, maximum=16.0, multiplier=2.0)
"""At most two minutes for one request, all tries together."""
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
"""The account's permissions decide, not the scope; signing through Google's service needs it."""
_FIELDS = "items(name,size,generation,updated,md5Hash,crc32c),nextPageToken"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_EMULATOR = "STORAGE_EMULATOR_HOST"

logging.getLogger("urllib3.connectionpool").addFilter(RedactingFilter())  # it logs whole URLs at level DEBUG


def open_gcs(name: str) -> GcsBucket:
    """The bucket of that name, with the credentials that Google's tools find.

    Those are the file in ``GOOGLE_APPLICATION_CREDENTIALS``, ``gcloud``'s application-default login, or the machine's
    metadata server. With ``STORAGE_EMULATOR_HOST`` requests go there without any, and only the file signs.

    Raises:
        BadInput: no bucket can have that name, or the credentials are missing or damaged.
    """
    if not _NAME.fullmatch(name):
        raise BadInput(f"gs://{name} is no bucket: names have lower-case letters, digits, dots, dashes and underscores")
    host = os.environ.get(_EMULATOR)
    with told(name):
        credentials = _anonymous() if host and not os.environ.get(CREDENTIALS) else _find_credentials()
        return GcsBucket(_client(host, credentials), name, credentials)


class GcsBucket:
    """One bucket; an object's etag is its generation, the exact name of one version.

    Args:
        client: Google's.
        name: the bucket's.
        credentials: what signs URLs.
        retry: how requests are tried again.
    """

    scheme = "gs"
    pins_versions = True

    def __init__(self, client: Any, name: str, credentials: Any, retry: Retry | None = RETRY) -> None:
        self.name = name
        self._client = client
        self._bucket = client.bucket(name)
        self._credentials = credentials
        self._ask: dict[str, Any] = {"timeout": TIMEOUT, "retry": retry}

    def list(self, prefix: str) -> Iterator[MediaObject]:
        """Every object whose key begins with ``prefix``, as a stream of pages."""
        with told(self.name):
            for blob in self._client.list_blobs(self._bucket, prefix=prefix or None, fields=_FIELDS, **self._ask):
                yield _media_object(blob)

    def folders(self, prefix: str) -> Iterator[str]:
        """The names of the folders right below ``prefix``."""
        fields = "prefixes,nextPageToken"
        with told(self.name):
            found = self._client.list_blobs(
                self._bucket, prefix=prefix or None, delimiter="/", fields=fields, **self._ask
            )
            for page in found.pages:
                yield from (folder[len(prefix) : -1] for folder in page.prefixes)

    def open(self, item: MediaObject, offset: int = 0) -> BinaryIO:
        """The bytes of the generation that was listed, as they are stored."""
        assert item.size is not None  # every listing of a bucket tells it
        return open_ranged(partial(self._fetch, item), item.size, offset)

    def find(self, key: str) -> MediaObject | None:
        """The object of that key as it is now, or ``None``."""
        blob = self._bucket.blob(key)
        try:
            with told(self.name, one_object=True):
                blob.reload(**self._ask)
        except SourceChanged:
            return None
        return _media_object(blob)

    def upload(self, key: str, file: Path) -> None:
        """Writes a local file as the object ``key``; it appears when all of it has come."""
        blob = self._bucket.blob(key, chunk_size=PIECE_BYTES)
        kind = mimetypes.guess_type(file.name)[0]
        try:
            content = file.open("rb")
        except OSError as error:
            raise local_fault(error) from None
        with content, told(self.name):
            blob.upload_from_file(content, size=file.stat().st_size, content_type=kind, **self._ask)

    def remove(self, key: str) -> None:
        """Removes the object ``key``, if it is there."""
        if self.find(key) is not None:
            with told(self.name):
                self._bucket.blob(key).delete(**self._ask)

    def endpoint(self) -> str:
        """Scheme and host of signed URLs."""
        return str(self._client.api_endpoint)

    def longest_lifetime(self) -> float | None:
        """Twelve hours where Google's service signs, whose keys change; a key file signs for as long as asked."""
        return REMOTE_SECONDS if signs_remotely(self._credentials) else None

    def presign(self, items: Iterable[MediaObject], seconds: int) -> Iterator[str]:
        """URLs to GET just the generations that were listed."""
        return sign_urls(items, (self.endpoint(), self.name), self._signer, seconds)

    @cached_property
    def _signer(self) -> Signer:
        with told(self.name):
            return signer_of(self._credentials, Request())

    def _fetch(self, item: MediaObject, start: int, stop: int) -> bytes:
        blob = self._bucket.blob(item.key, generation=int(item.etag) if item.etag else None)
        span = {"start": start, "end": stop - 1} if stop else {}
        with told(self.name, one_object=True):
            content: bytes = blob.download_as_bytes(raw_download=True, checksum=None, **span, **self._ask)
        return content


def _find_credentials() -> Any:
    logging.getLogger("google.auth._default").setLevel(logging.ERROR)  # it warns of a missing project; none is needed
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Your application has authenticated using end user credentials", UserWarning)
        try:
            credentials, _ = google.auth.default(scopes=[SCOPE])
        except (AttributeError, KeyError, TypeError, ValueError):  # a file that holds JSON of another shape
            raise DefaultCredentialsError("malformed") from None  # type: ignore[no-untyped-call]
    return credentials


def _client(host: str | None, credentials: Any) -> Any:
    """Google's client, which needs no project to read a bucket; an emulator is asked without a token."""
    if not host:
        return storage.Client(project=None, credentials=credentials)
    address = (host if "://" in host else f"http://{host}").rstrip("/")
    options = {"api_endpoint": address}
    return storage.Client(project=None, credentials=_anonymous(), client_options=options)


def _anonymous() -> Any:
    return AnonymousCredentials()  # type: ignore[no-untyped-call]


def _media_object(blob: Any) -> MediaObject:
    return MediaObject(blob.name, blob.size, str(blob.generation), blob.updated, _checksum(blob.md5_hash, blob.crc32c))


def _checksum(md5: str | None, crc32c: str | None) -> str | None:
    """MD5 where there is one; composed objects have the other alone."""
    if md5:
        return f"md5:{base64.b64decode(md5).hex()}"
    return f"crc32c:{base64.b64decode(crc32c).hex()}" if crc32c else None
