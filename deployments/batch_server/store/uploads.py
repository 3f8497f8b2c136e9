"""What clients upload: single images, and shards (tar archives) that are indexed afterwards."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, delete, or_, select
from sqlalchemy.orm import Session

from deployments.batch_server.blobs import Blob, BlobFolder
from deployments.batch_server.database import Database, ImageRow, JobRow, ShardRow
from deployments.batch_server.refusals import Conflict, NotFound
from deployments.batch_server.store.batches import SHARDED, SIMPLE, BatchStore, find_batch

ALLOCATED, INDEXING, INGESTED, FAILED = "allocated", "indexing", "ingested", "failed"


@dataclass(frozen=True)
class Member:
    """An image inside an archive."""

    name: str
    offset: int
    """Where its bytes begin in the archive."""
    size: int


@dataclass(frozen=True)
class RejectedMember:
    """A file of an archive that is not ingested."""

    kind: str
    """What is wrong with it, for programs: `duplicate-file-name`, `file-too-large`, …"""
    name: str
    reason: str

    def wire(self) -> dict[str, str]:
        """The entry in the vendor's `failed_files` form."""
        return {"type": self.kind, "file_name": self.name, "reason": self.reason}


class UploadStore:
    """Records uploads; a call that returns has its effect on disk."""

    def __init__(
        self,
        database: Database,
        batches: BatchStore,
        blobs: BlobFolder,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._batches = batches
        self._blobs = blobs
        self._clock = clock

    def put_image(self, batch_id: str, name: str, blob: Blob, display_name: str | None) -> None:
        """Take a single image; the same bytes again change nothing, other bytes replace it.

        Raises:
            Conflict: The batch is filled with archives, or a running job reads the image.
        """
        try:
            discarded = self._record_image(batch_id, name, blob, display_name)
        except BaseException:
            self._blobs.delete(blob.path)
            raise
        if discarded is not None:
            self._blobs.delete(discarded)

    def allocate_shard(self, batch_id: str, display_name: str | None) -> str:
        """Make an empty shard that one archive can be put into; gives its id."""
        shard_id = uuid4().hex
        with self._database.write() as session:
            self._batches.ensure(session, batch_id, SHARDED, display_name)
            session.add(ShardRow(shard_id=shard_id, batch_id=batch_id, state=ALLOCATED, event_at=self._clock()))
        return shard_id

    def put_archive(self, shard_id: str, blob: Blob) -> None:
        """Take a shard's archive, to be indexed; the same bytes again change nothing, other bytes replace it.

        Raises:
            NotFound: No such shard was allocated.
            Conflict: A job has used what was there before.
        """
        try:
            discarded = self._record_archive(shard_id, blob)
        except BaseException:
            self._blobs.delete(blob.path)
            raise
        if discarded is not None:
            self._blobs.delete(discarded)

    def unindexed(self) -> list[str]:
        """Ids of the shards that wait to be indexed, oldest first."""
        with self._database.read() as session:
            query = select(ShardRow.shard_id).where(ShardRow.state == INDEXING).order_by(ShardRow.seq)
            return list(session.scalars(query))

    def archive(self, shard_id: str) -> str | None:
        """Path of the archive of a shard that waits to be indexed, else `None`."""
        with self._database.read() as session:
            row = session.scalar(select(ShardRow).where(ShardRow.shard_id == shard_id))
            return row.path if row is not None and row.state == INDEXING else None

    def record_index(self, shard_id: str, path: str, members: list[Member], rejected: list[RejectedMember]) -> None:
        """Ingest an archive's images; those whose name the batch has already are rejected as well."""
        with self._database.write() as session:
            shard = session.scalar(select(ShardRow).where(ShardRow.shard_id == shard_id))
            if shard is None or shard.path != path:
                return  # replaced meanwhile: the new archive has its own turn
            names = [member.name for member in members]
            taken = set(
                session.scalars(
                    select(ImageRow.name).where(ImageRow.batch_id == shard.batch_id, ImageRow.name.in_(names))
                )
            )
            new = [member for member in members if member.name not in taken]
            rejected = rejected + [
                RejectedMember("duplicate-file-name", name, "another shard of the batch has this name")
                for name in names
                if name in taken
            ]
            session.add_all(
                ImageRow(
                    batch_id=shard.batch_id,
                    shard_id=shard_id,
                    name=member.name,
                    path=path,
                    offset=member.offset,
                    size=member.size,
                )
                for member in new
            )
            failed = {"failedFiles": [entry.wire() for entry in rejected]} if rejected else None
            self._settle(shard, INGESTED, len(new), failed)

    def record_broken(self, shard_id: str, path: str, reason: str) -> None:
        """Mark a shard whose archive cannot be read."""
        with self._database.write() as session:
            shard = session.scalar(select(ShardRow).where(ShardRow.shard_id == shard_id))
            if shard is not None and shard.path == path:
                self._settle(shard, FAILED, 0, {"error": reason, "failedFiles": []})

    def shards(self, batch_id: str, after: int, limit: int) -> list[ShardRow]:
        """The shards of a batch whose archive has arrived, in the order they were allocated."""
        with self._database.read() as session:
            find_batch(session, batch_id)
            query = select(ShardRow).where(
                ShardRow.batch_id == batch_id, ShardRow.state != ALLOCATED, ShardRow.seq > after
            )
            return list(session.scalars(query.order_by(ShardRow.seq).limit(limit)))

    def image(self, seq: int) -> ImageRow:
        """An image by its sequence number, or NotFound."""
        with self._database.read() as session:
            row = session.get(ImageRow, seq)
            if row is None:
                raise NotFound("this image is not here any more: list the batch again")
            return row

    def paths(self) -> set[str]:
        """Every blob that a row names."""
        with self._database.read() as session:
            shards = session.scalars(select(ShardRow.path).where(ShardRow.path.is_not(None)))
            images = session.scalars(select(ImageRow.path).where(ImageRow.shard_id.is_(None)))
            return {path for path in shards if path is not None} | set(images)

    def _settle(self, shard: ShardRow, state: str, images: int, outcome: dict[str, Any] | None) -> None:
        shard.state, shard.images, shard.outcome = state, images, outcome
        shard.event_at = self._clock()

    def _record_image(self, batch_id: str, name: str, blob: Blob, display_name: str | None) -> str | None:
        with self._database.write() as session:
            self._batches.ensure(session, batch_id, SIMPLE, display_name)
            row = session.scalar(select(ImageRow).where(ImageRow.batch_id == batch_id, ImageRow.name == name))
            if row is None:
                row = ImageRow(batch_id=batch_id, name=name)
                session.add(row)
                discarded = None
            elif row.sha256 == blob.sha256:
                return blob.path
            else:
                refuse_while_used(session, batch_id, JobRow.outcome.is_(None))
                discarded = row.path
            row.path, row.offset, row.size, row.sha256 = blob.path, 0, blob.size, blob.sha256
            return discarded

    def _record_archive(self, shard_id: str, blob: Blob) -> str | None:
        with self._database.write() as session:
            shard = session.scalar(select(ShardRow).where(ShardRow.shard_id == shard_id))
            if shard is None:
                raise NotFound("this shard is not known here: ask for a new upload URL")
            if shard.sha256 == blob.sha256:
                return blob.path
            discarded = shard.path
            if discarded is not None:
                used = or_(JobRow.planned_at.is_(None), JobRow.planned_at >= shard.uploaded_at)
                refuse_while_used(session, shard.batch_id, used)
                session.execute(delete(ImageRow).where(ImageRow.shard_id == shard_id))
            shard.path, shard.sha256, shard.uploaded_at = blob.path, blob.sha256, self._clock()
            self._settle(shard, INDEXING, 0, None)
            return discarded


def refuse_while_used(session: Session, batch_id: str, condition: ColumnElement[bool]) -> None:
    """Raise Conflict when a job on the batch fulfils the condition."""
    job_id = session.scalar(select(JobRow.job_id).where(JobRow.batch_id == batch_id, condition).limit(1))
    if job_id is not None:
        raise Conflict(
            f"job {job_id} uses batch {batch_id}, so what is in it cannot be replaced: "
            "put the new content into another batch"
        )
