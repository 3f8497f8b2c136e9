"""What clients upload: single images, and shards (tar archives) that are indexed afterwards."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, delete, insert, or_, select
from sqlalchemy.orm import Session

from deployments.batch_server.blobs import Blob, BlobFolder
from deployments.batch_server.database import Database, ImageRow, JobRow, ShardRow
from deployments.batch_server.notifications import IngestEvent, Subscription
from deployments.batch_server.refusals import Conflict, NotFound
from deployments.batch_server.store.batches import SHARDED, SIMPLE, BatchStore, find_batch
from deployments.batch_server.store.outbox import enqueue

ALLOCATED, INDEXING, FETCHING, INGESTED, FAILED = "allocated", "indexing", "fetching", "ingested", "failed"
PENDING = (INDEXING, FETCHING)
"""Shards whose images are still to come."""

DUPLICATE = "duplicate-file-name"


@dataclass(frozen=True)
class Member:
    """An image inside a shard's file."""

    name: str
    offset: int
    """Where its bytes begin in the file."""
    size: int


@dataclass(frozen=True)
class RejectedMember:
    """A file of a shard that is not ingested."""

    kind: str
    """What is wrong with it, for programs: `duplicate-file-name`, `reference-not-found`, …"""
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

    def record_index(
        self,
        shard_id: str,
        path: str,
        members: list[Member],
        rejected: list[RejectedMember],
        subscription: Subscription | None = None,
    ) -> None:
        """Ingest an archive's images, and have whoever asked for it told.

        Args:
            shard_id: The shard.
            path: Its archive; nothing is done when another one has come since.
            members: The images; those whose name the batch has already are rejected as well.
            rejected: What is not taken.
            subscription: Who asked to be told.
        """
        with self._database.write() as session:
            shard = session.scalar(select(ShardRow).where(ShardRow.shard_id == shard_id))
            if shard is None or shard.path != path:
                return  # replaced meanwhile: the new archive has its own turn
            new, rejected = add_images(session, shard, path, members, rejected)
            settle(shard, self._clock(), new, rejected)
            if subscription is not None:
                event = IngestEvent(subscription.ingest_id, shard.batch_id, shard_id)
                told = event.status(nothing_ingested(len(new), last_failure(rejected)))
                enqueue(session, subscription.url, told, self._clock())

    def record_broken(self, shard_id: str, path: str, reason: str) -> None:
        """Mark a shard whose archive cannot be read."""
        with self._database.write() as session:
            shard = session.scalar(select(ShardRow).where(ShardRow.shard_id == shard_id))
            if shard is not None and shard.path == path:
                settle_failed(shard, self._clock(), {"error": reason, "failedFiles": []})

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
            shard.state, shard.images, shard.outcome, shard.event_at = INDEXING, 0, None, self._clock()
            return discarded


def add_images(
    session: Session, shard: ShardRow, path: str | None, members: list[Member], rejected: list[RejectedMember]
) -> tuple[list[Member], list[RejectedMember]]:
    """Record a shard's images; gives those that are new, and the rejected with those whose name the batch has."""
    taken = taken_names(session, shard.batch_id, [member.name for member in members])
    new = [member for member in members if member.name not in taken]
    if new:
        common = {"batch_id": shard.batch_id, "shard_id": shard.shard_id, "path": path}
        rows = [{**common, "name": member.name, "offset": member.offset, "size": member.size} for member in new]
        session.execute(insert(ImageRow), rows)
    return new, rejected + [duplicate(member.name) for member in members if member.name in taken]


def last_failure(rejected: list[RejectedMember]) -> str | None:
    """Why the last of the files that are not in the batch under their name is not, if there is one."""
    reasons = [entry.reason for entry in rejected if entry.kind != DUPLICATE]
    return reasons[-1] if reasons else None


def nothing_ingested(ingested: int, failure: str | None) -> dict[str, str] | None:
    """The error of an ingest that brought nothing but failures, else `None`."""
    if ingested or failure is None:
        return None
    return {"type": "no-files-ingested", "reason": f"no file could be ingested; the last: {failure}"}


def duplicate(name: str) -> RejectedMember:
    """A file whose name the batch has already."""
    return RejectedMember(DUPLICATE, name, "another shard of the batch has this name")


def taken_names(session: Session, batch_id: str, names: list[str]) -> set[str]:
    """Those of the names that the batch has already."""
    query = select(ImageRow.name).where(ImageRow.batch_id == batch_id, ImageRow.name.in_(names))
    return set(session.scalars(query))


def settle(shard: ShardRow, now: float, new: list[Member], rejected: list[RejectedMember]) -> None:
    """Mark a shard whose images are in."""
    shard.state, shard.images, shard.event_at = INGESTED, len(new), now
    shard.outcome = {"failedFiles": [entry.wire() for entry in rejected]} if rejected else None


def settle_failed(shard: ShardRow, now: float, outcome: dict[str, Any]) -> None:
    """Mark a shard that failed as a whole."""
    shard.state, shard.images, shard.outcome, shard.event_at = FAILED, 0, outcome, now


def refuse_while_used(session: Session, batch_id: str, condition: ColumnElement[bool]) -> None:
    """Raise Conflict when a job on the batch fulfils the condition."""
    job_id = session.scalar(select(JobRow.job_id).where(JobRow.batch_id == batch_id, condition).limit(1))
    if job_id is not None:
        raise Conflict(
            f"job {job_id} uses batch {batch_id}, so what is in it cannot be replaced: "
            "put the new content into another batch"
        )
