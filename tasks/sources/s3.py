"""A bucket on Amazon S3, or on a store that speaks its protocol (R2, MinIO …)."""

from __future__ import annotations

import io
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, NoCredentialsError
from botocore.parsers import ResponseParserError

from tasks.core.redaction import WithoutDetails, redact
from tasks.core.threads import in_background
from tasks.sources.base import MediaObject
from tasks.sources.s3_errors import Place, refuse_redirects, s3_errors
from tasks.sources.s3_listing import PAGE, Page, read_pages_early
from tasks.sources.s3_signing import Presigner

CONNECTIONS = 16
CONNECT_SECONDS = 10
READ_SECONDS = 60
BUFFER_BYTES = 1 << 18

# Session tokens and signatures stand in the requests that these log, and keys in the answers when a role is assumed.
for _logger in ("botocore.auth", "botocore.endpoint", "botocore.parsers"):
    logging.getLogger(_logger).addFilter(WithoutDetails())


def open_s3(name: str) -> S3Bucket:
    """The bucket ``name``, with the credentials and settings that AWS's own tools would use.

    These come from the environment, profiles, files and roles, as botocore finds them; ``AWS_REGION`` counts before
    ``AWS_DEFAULT_REGION``. Tries a request three times in all, or ``AWS_MAX_ATTEMPTS`` times. Sends nothing yet.

    Raises:
        BadInput: no credentials, or settings that cannot work.
    """
    region = os.environ.get("AWS_REGION") or None
    with s3_errors(Place(name, region or os.environ.get("AWS_DEFAULT_REGION", "what the profile names"))):
        session = boto3.Session(region_name=region)
        client = session.client("s3", config=_config(os.environ))
        credentials = session.get_credentials()
        if credentials is None:
            raise NoCredentialsError
    refuse_redirects(client)
    read_pages_early(client)
    return S3Bucket(name, client, credentials)


class S3Bucket:
    """One bucket; a :class:`~tasks.sources.bucket.Bucket`.

    Args:
        name: the bucket's.
        client: boto3's client, prepared by :func:`open_s3`.
        credentials: what the client signs with.
        clock: seconds since 1970.
    """

    scheme = "s3"
    pins_versions = False
    """A listing does not tell the version, and a URL cannot carry the condition that the etag still be the same."""

    def __init__(self, name: str, client: Any, credentials: Any, clock: Callable[[], float] = time.time) -> None:
        self.name = name
        self._client = client
        self._credentials = credentials
        self._clock = clock
        self._place = Place(name, client.meta.region_name, redact(client.meta.endpoint_url))
        self._presigner = Presigner(client, credentials, name)

    def list(self, prefix: str) -> Iterator[MediaObject]:
        """Every object whose key begins with ``prefix``, in the order of the keys' bytes."""
        for page in self._pages(Prefix=prefix):
            yield from page.objects

    def folders(self, prefix: str) -> Iterator[str]:
        """The names of the folders right below ``prefix``, which ends in ``/`` or is empty."""
        for page in self._pages(Prefix=prefix, Delimiter="/"):
            for folder in page.folders:
                yield folder[len(prefix) :].removesuffix("/")

    def open(self, item: MediaObject, offset: int = 0) -> BinaryIO:
        """The bytes of the object that was listed, from ``offset`` on, streamed.

        Raises:
            SourceChanged: it is gone, or has another etag.
        """
        conditions = {"IfMatch": f'"{item.etag}"'} if item.etag else {}
        if offset:
            conditions["Range"] = f"bytes={offset}-"
        with s3_errors(self._place):
            try:
                answer = self._client.get_object(Bucket=self.name, Key=item.key, **conditions)
            except ClientError as error:
                if error.response["Error"]["Code"] not in ("InvalidRange", "416"):
                    raise
                return io.BytesIO()
        return cast(BinaryIO, io.BufferedReader(_Body(answer["Body"], self._place), BUFFER_BYTES))

    def find(self, key: str) -> MediaObject | None:
        """The object of that key as it is now, or ``None``; where there is no bucket there is no object either."""
        with s3_errors(self._place):
            try:
                answer = self._client.head_object(Bucket=self.name, Key=key)
            except ClientError as error:
                if error.response["Error"]["Code"] != "404":
                    raise
                return None
        etag, modified = answer.get("ETag", "").strip('"'), answer.get("LastModified")
        return MediaObject(key, answer["ContentLength"], etag or None, modified and modified.astimezone(UTC))

    def upload(self, key: str, file: Path) -> None:
        """Writes a local file as the object ``key``, whole or not at all; a large one in parts, several at once."""
        with s3_errors(self._place), file.open("rb") as body:
            self._client.upload_fileobj(body, self.name, key)

    def remove(self, key: str) -> None:
        """Removes the object ``key``, if it is there."""
        with s3_errors(self._place):
            self._client.delete_object(Bucket=self.name, Key=key)

    def endpoint(self) -> str:
        """Scheme and host that presigned URLs lead to."""
        with s3_errors(self._place):
            parts = urlsplit(self._presigner.template(seconds=1))
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    def longest_lifetime(self) -> float | None:
        """Seconds until the credentials end, after which their URLs are refused; ``None`` where no end is known."""
        with s3_errors(self._place):
            self._credentials.get_frozen_credentials()
        end = getattr(self._credentials, "_expiry_time", None)  # renewable credentials have it, and no public name
        return max(0.0, end.timestamp() - self._clock()) if end else None

    def presign(self, items: Iterable[MediaObject], seconds: int) -> Iterator[str]:
        """URLs to GET the objects with, valid for ``seconds`` from this call on.

        Raises:
            BadInput: longer than S3 allows, or the credentials cannot sign.
        """
        with s3_errors(self._place):
            return self._presigner.urls((item.key for item in items), seconds)

    def _pages(self, **request: str) -> Iterator[Page]:
        """The pages of a listing; each is asked for while the one before is being used."""
        page = self._page(**request)
        while page.following:
            coming = in_background(partial(self._page, **request, ContinuationToken=page.following))
            yield page
            page = coming.result()
        yield page

    def _page(self, **request: str) -> Page:
        with s3_errors(self._place):
            answer = self._client.list_objects_v2(Bucket=self.name, EncodingType="url", **request)
            if PAGE not in answer:
                raise ResponseParserError("no listing")
        page: Page = answer[PAGE]
        return page


class _Body(io.RawIOBase):
    """The body of an answer, raising errors of our own tree."""

    def __init__(self, body: Any, place: Place) -> None:
        self._body = body
        self._place = place

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with s3_errors(self._place):
            count: int = self._body.readinto(buffer)
        return count

    def close(self) -> None:
        self._body.close()
        super().close()


def _config(environment: Mapping[str, str]) -> Config:
    """Settings of the client; a store that is not Amazon's may not know the newer checksums of uploads."""
    elsewhere = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    checksums = environment.get("AWS_REQUEST_CHECKSUM_CALCULATION") or ("when_required" if elsewhere else None)
    return Config(
        signature_version="s3v4",
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        max_pool_connections=CONNECTIONS,
        retries={"mode": "standard"},
        request_checksum_calculation=checksums,
    )
