"""Data staging: batches, and how files get into them and out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

from tasks.roboflow_api.models import (
    Acknowledged,
    BatchAnswer,
    BatchMetadata,
    BatchPart,
    CountAnswer,
    FileMetadata,
    FilesPage,
    IngestAnswer,
    PartsAnswer,
    RoboqlIngest,
    ShardDetails,
    ShardsPage,
    SignedUrlAnswer,
    SignedUrlDetails,
)
from tasks.roboflow_api.transport import Transport


class StagingApi:
    """The calls below ``/data-staging/v1/external/{workspace}``; errors as in :class:`Transport`.

    Args:
        transport: where the requests go.
        workspace: whose batches.
    """

    def __init__(self, transport: Transport, workspace: str) -> None:
        self.transport = transport
        self._root = f"/data-staging/v1/external/{quote(workspace, safe='')}/batches"

    def batch(self, batch_id: str) -> BatchMetadata:
        """What a batch is."""
        return self.transport.get(f"{self._root}/{batch_id}", BatchAnswer).batch

    def upload_image(self, batch_id: str, name: str, content: bytes, display_name: str) -> None:
        """One image into a simple batch; sending the same file under the same name again changes nothing."""
        self.transport.post(
            f"{self._root}/{batch_id}/upload/image",
            Acknowledged,
            files={name: (name, content)},
            fileName=name,
            displayName=display_name,
        )

    def shard_upload(self, batch_id: str, display_name: str) -> SignedUrlDetails:
        """Where to PUT the next tar shard. A URL that is never used leaves nothing behind."""
        return self.transport.post(
            f"{self._root}/{batch_id}/bulk-upload/image-files", SignedUrlAnswer, displayName=display_name
        ).signed_url_details

    def ingest_references(
        self,
        batch_id: str,
        references: Iterable[tuple[str, str]],
        ingest_id: str,
        display_name: str,
        notifications_url: str = "",
    ) -> IngestAnswer:
        """Has the platform fetch images itself; the same ``ingest_id`` again changes nothing.

        Args:
            batch_id: the batch they go into.
            references: names and URLs, which are secrets; at most :data:`MAX_REFERENCES`.
            ingest_id: the client's name for this request.
            display_name: the batch's name for people.
            notifications_url: where the platform tells what has become of it; empty: nowhere.
        """
        # As :class:`ImageReferencesIngest` would write it, at a fifth of the cost for each of a million.
        body: dict[str, Any] = {
            "imageReferences": [{"name": name, "url": url} for name, url in references],
            "ingestId": ingest_id,
        }
        if notifications_url:
            body["notificationsURL"] = notifications_url
        return self.transport.post(
            f"{self._root}/{batch_id}/bulk-upload/image-references",
            IngestAnswer,
            json=body,
            displayName=display_name,
        )

    def ingest_query(self, batch_id: str, query: str, ingest_id: str, display_name: str) -> None:
        """Has the platform fill a batch from its own library; the same ``ingest_id`` again changes nothing."""
        body = RoboqlIngest(query=query, display_name=display_name, ingest_id=ingest_id)
        self.transport.post(f"{self._root}/{batch_id}/roboql-ingest", Acknowledged, json=body.wire())

    def count(self, batch_id: str, part: str | None = None) -> int:
        """Files that are ingested so far."""
        return self.transport.get(f"{self._root}/{batch_id}/count", CountAnswer, partName=part).count

    def shards(self, batch_id: str) -> Iterator[ShardDetails]:
        """Every shard and its state."""
        for page in self.transport.pages(f"{self._root}/{batch_id}/shards", ShardsPage):
            yield from page.shards

    def parts(self, batch_id: str) -> list[BatchPart]:
        """The parts of a multipart batch."""
        return self.transport.get(f"{self._root}/{batch_id}/parts", PartsAnswer).batch_parts

    def files(self, batch_id: str, part: str | None = None) -> Iterator[FileMetadata]:
        """Every file of a batch or of one of its parts, with fresh signed URLs."""
        for page in self.transport.pages(f"{self._root}/{batch_id}/list", FilesPage, partName=part):
            yield from page.files_metadata
