"""A container of Azure Blob Storage."""

from __future__ import annotations

import logging
import mimetypes
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit

from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.storage.blob import BlobPrefix, ContainerClient, ContentSettings, ExponentialRetry, generate_blob_sas

from tasks.core.errors import BadInput, local_fault
from tasks.core.redaction import RedactingFilter
from tasks.sources.azure_errors import Asked, told
from tasks.sources.azure_listing import FOLDER_MARK, PAGE, checksum, list_objects
from tasks.sources.azure_settings import AzureLogin, AzureSettings, find_login
from tasks.sources.base import MediaObject, SourceChanged
from tasks.sources.ranged import PIECE_BYTES, open_ranged

CONNECT_SECONDS, READ_SECONDS = 10, 60
RETRY = ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=4, random_jitter_range=1)
"""Five tries with about 15 s of waiting between them."""
_NAME = re.compile(r"\$root|\$web|\$logs|[a-z0-9](?:-?[a-z0-9])*")
_NAME_LENGTHS = range(3, 64)

logging.getLogger("urllib3.connectionpool").addFilter(RedactingFilter())  # it logs whole URLs at level DEBUG


def open_azure(container: str, account: str | None = None) -> AzureContainer:
    """The container of that name.

    Args:
        container: its name.
        account: the account it lies in; the environment's by default, as the credentials are.

    Raises:
        BadInput: no container can have that name, or account or credentials are missing, malformed or expired.
    """
    if not _NAME.fullmatch(container) or len(container) not in _NAME_LENGTHS:
        raise BadInput(
            f"az://{container} is no container: names have 3 to 63 lower-case letters, digits and single dashes"
        )
    return AzureContainer(container, find_login(account, AzureSettings(), datetime.now(UTC)))


class AzureContainer:
    """One container.

    Args:
        name: the container's.
        login: account and credentials.
        retry: how requests are tried again.
        now: the time in UTC.
    """

    scheme = "az"
    pins_versions = False

    def __init__(
        self,
        name: str,
        login: AzureLogin,
        retry: Any = RETRY,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name = name
        self._login = login
        self._now = now
        self._asked = Asked(name, login)
        self._one = replace(self._asked, one_object=True)
        self._client = ContainerClient(
            login.endpoint,
            name,
            credential=_credential(login),
            retry_policy=retry,
            connection_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            max_single_get_size=PIECE_BYTES,
            max_single_put_size=PIECE_BYTES,
            max_block_size=PIECE_BYTES,
        )

    def list(self, prefix: str) -> Iterator[MediaObject]:
        """Every object whose key begins with ``prefix``, as a stream of pages; markers of folders are left out."""
        self._require("l", "listing")
        with told(self._asked):
            yield from list_objects(self._client, prefix)

    def folders(self, prefix: str) -> Iterator[str]:
        """The names of the folders right below ``prefix``."""
        self._require("l", "listing")
        with told(self._asked):
            for entry in self._client.walk_blobs(prefix or None, delimiter="/", results_per_page=PAGE):
                if isinstance(entry, BlobPrefix):
                    yield entry.name[len(prefix) : -1]

    def open(self, item: MediaObject, offset: int = 0) -> BinaryIO:
        """The bytes of the version that was listed, as they are stored."""
        self._require("r", "reading")
        assert item.size is not None  # every listing of a bucket tells it
        return open_ranged(partial(self._fetch, item), item.size, offset)

    def find(self, key: str) -> MediaObject | None:
        """The object of that key as it is now, or ``None``; a folder's marker is none."""
        try:
            with told(self._one):
                found = self._client.get_blob_client(key).get_blob_properties()
        except SourceChanged:
            return None
        if (found.metadata or {}).get(FOLDER_MARK, "").lower() == "true":
            return None
        md5 = checksum(found.content_settings.content_md5)
        return MediaObject(key, found.size, found.etag.strip('"'), found.last_modified, md5)

    def upload(self, key: str, file: Path) -> None:
        """Writes a local file as the object ``key``; it appears when all of its blocks have come."""
        self._require("wc", "writing")
        kind = ContentSettings(content_type=mimetypes.guess_type(file.name)[0] or "application/octet-stream")
        try:
            content = file.open("rb")
        except OSError as error:
            raise local_fault(error) from None
        with content, told(self._asked):
            blob = self._client.get_blob_client(key)
            blob.upload_blob(content, overwrite=True, max_concurrency=2, content_settings=kind)

    def remove(self, key: str) -> None:
        """Removes the object ``key``, if it is there."""
        if self.find(key) is not None:
            self._require("d", "removing")
            with told(self._asked):
                self._client.get_blob_client(key).delete_blob()

    def endpoint(self) -> str:
        """Scheme and host of signed URLs."""
        parts = urlsplit(self._login.endpoint)
        return f"{parts.scheme}://{parts.netloc}"

    def longest_lifetime(self) -> float | None:
        """What is left of a SAS token, which URLs carry as it is; a key signs for as long as asked."""
        sas = self._login.sas
        if sas is None or sas.ends is None:
            return None
        return max(0.0, (sas.ends - self._now()).total_seconds())

    def presign(self, items: Iterable[MediaObject], seconds: int) -> Iterator[str]:
        """URLs to GET the objects with: each with a signature for it alone, or with the SAS token."""
        self._require("r", "reading")
        base = f"{self._login.endpoint}/{quote(self.name)}/"
        return (f"{base}{quote(item.key, safe='/~')}?{self._signature(item.key, seconds)}" for item in items)

    def _signature(self, key: str, seconds: int) -> str:
        login = self._login
        if login.sas is not None or login.key is None:
            return login.sas.text if login.sas else ""
        return str(
            generate_blob_sas(
                login.account,
                self.name,
                key,
                account_key=login.key.get_secret_value(),
                permission="r",
                expiry=f"{self._now() + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}",
                protocol="https" if login.endpoint.startswith("https:") else None,
            )
        )

    def _fetch(self, item: MediaObject, start: int, stop: int) -> bytes:
        wanted: dict[str, Any] = {"offset": start, "length": stop - start} if stop else {}
        if item.etag:
            wanted |= {"etag": f'"{item.etag}"', "match_condition": MatchConditions.IfNotModified}
        with told(self._one):
            blob = self._client.get_blob_client(item.key)
            content: bytes = blob.download_blob(decompress=False, **wanted).readall()
        return content

    def _require(self, letters: str, deed: str) -> None:
        if self._login.sas is not None:
            self._login.sas.require(letters, deed)


def _credential(login: AzureLogin) -> Any:
    if login.sas is not None:
        return AzureSasCredential(login.sas.text)
    return AzureNamedKeyCredential(login.account, login.key.get_secret_value() if login.key else "")
