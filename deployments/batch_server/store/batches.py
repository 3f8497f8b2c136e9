"""Batches, and what is in them."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from deployments.batch_server.database import BatchRow, Database, FileRow, ImageRow, PartRow
from deployments.batch_server.refusals import BadRequest, Conflict, NotFound

SIMPLE, SHARDED, MULTIPART = "simple-batch", "sharded-batch", "multipart-batch"


@dataclass(frozen=True)
class BatchFile:
    """One file of a batch as `list` tells of it."""

    seq: int
    """Grows along the listing; the page token."""
    blob: str
    """Where it can be had, below the blob routes: `images/7` or `files/3`."""
    name: str
    content_type: str
    part: str | None = None
    shard_id: str | None = None
    nested_content_type: str | None = None


class BatchStore:
    """Reads batches; makes them inside another store's transaction."""

    def __init__(self, database: Database, lifetime: float, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._lifetime = lifetime
        self._clock = clock

    def ensure(self, session: Session, batch_id: str, batch_type: str, display_name: str | None) -> None:
        """Make a batch of images unless it is there.

        Raises:
            Conflict: It is there and filled in another way.
        """
        row = session.scalar(select(BatchRow).where(BatchRow.batch_id == batch_id))
        if row is None:
            self.create(session, batch_id, batch_type, display_name or batch_id, "images")
        elif row.batch_type != batch_type:
            raise Conflict(
                f"batch {batch_id} is a {row.batch_type} and this upload makes a {batch_type}: "
                "a batch is filled either by single uploads or by archives; use another batch id"
            )

    def create(self, session: Session, batch_id: str, batch_type: str, display_name: str, content_type: str) -> None:
        """Make a batch.

        Raises:
            Conflict: The id is taken.
        """
        if session.scalar(select(BatchRow.seq).where(BatchRow.batch_id == batch_id)) is not None:
            raise Conflict(f"batch {batch_id} exists already")
        now = self._clock()
        session.add(
            BatchRow(
                batch_id=batch_id,
                display_name=display_name,
                batch_type=batch_type,
                content_type=content_type,
                created_at=now,
                expires_at=now + self._lifetime,
            )
        )
        session.flush()

    def get(self, batch_id: str) -> BatchRow:
        """The batch, or NotFound."""
        with self._database.read() as session:
            return find_batch(session, batch_id)

    def page(self, before: int | None, limit: int) -> list[BatchRow]:
        """Batches from the newest to the oldest, from before a sequence number on."""
        query = select(BatchRow).order_by(BatchRow.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(BatchRow.seq < before)
        with self._database.read() as session:
            return list(session.scalars(query))

    def count(self, batch_id: str, part: str | None) -> int:
        """How many files are in a batch, or in one of its parts."""
        with self._database.read() as session:
            batch = find_batch(session, batch_id)
            if batch.batch_type == MULTIPART:
                files = select(func.count()).select_from(FileRow).where(FileRow.batch_id == batch_id)
                if part is not None:
                    _find_part(session, batch, part)
                    files = files.where(FileRow.part == part)
                return session.scalar(files) or 0
            _refuse_part(batch, part)
            return count_images(session, batch_id)

    def parts(self, batch_id: str) -> list[PartRow]:
        """The parts of a multipart batch; no other batch has any."""
        with self._database.read() as session:
            find_batch(session, batch_id)
            return list(session.scalars(select(PartRow).where(PartRow.batch_id == batch_id).order_by(PartRow.seq)))

    def files(self, batch_id: str, part: str | None, after: int, limit: int) -> list[BatchFile]:
        """Files of a batch, or of one part, in the order they came, from after a sequence number on."""
        with self._database.read() as session:
            batch = find_batch(session, batch_id)
            if batch.batch_type == MULTIPART:
                return _produced_files(session, batch, part, after, limit)
            _refuse_part(batch, part)
            rows = session.scalars(
                select(ImageRow)
                .where(ImageRow.batch_id == batch_id, ImageRow.seq > after)
                .order_by(ImageRow.seq)
                .limit(limit)
            )
            return [BatchFile(row.seq, f"images/{row.seq}", row.name, "images", shard_id=row.shard_id) for row in rows]


def find_batch(session: Session, batch_id: str) -> BatchRow:
    """The batch, or NotFound."""
    row = session.scalar(select(BatchRow).where(BatchRow.batch_id == batch_id))
    if row is None:
        raise NotFound(f"batch {batch_id} is not known here")
    return row


def count_images(session: Session, batch_id: str) -> int:
    """How many images of a batch are ingested."""
    query = select(func.count()).select_from(ImageRow).where(ImageRow.batch_id == batch_id)
    return session.scalar(query) or 0


def _produced_files(session: Session, batch: BatchRow, part: str | None, after: int, limit: int) -> list[BatchFile]:
    query = select(FileRow).where(FileRow.batch_id == batch.batch_id, FileRow.seq > after)
    if part is not None:
        _find_part(session, batch, part)
        query = query.where(FileRow.part == part)
    parts = {row.name: row for row in session.scalars(select(PartRow).where(PartRow.batch_id == batch.batch_id))}
    return [
        BatchFile(
            row.seq,
            f"files/{row.seq}",
            row.name,
            parts[row.part].content_type,
            part=row.part,
            nested_content_type=parts[row.part].nested_content_type,
        )
        for row in session.scalars(query.order_by(FileRow.seq).limit(limit))
    ]


def _find_part(session: Session, batch: BatchRow, part: str) -> None:
    known = list(session.scalars(select(PartRow.name).where(PartRow.batch_id == batch.batch_id)))
    if part not in known:
        raise NotFound(f"batch {batch.batch_id} has no part {part!r}; it has: {', '.join(known) or 'none'}")


def _refuse_part(batch: BatchRow, part: str | None) -> None:
    if part is not None:
        raise BadRequest(f"batch {batch.batch_id} is a {batch.batch_type} and has no parts: leave partName out")
