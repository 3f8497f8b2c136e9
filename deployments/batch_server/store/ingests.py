"""Ingests by reference: accepted, fetched shard by shard, ended, and who is told."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from deployments.batch_server.database import Database, IngestRow, IngestShardRow, ShardRow
from deployments.batch_server.notifications import IngestEvent
from deployments.batch_server.reference_requests import FILES_STATUS, INGEST_STATUS, IngestRequest
from deployments.batch_server.remote.failures import UNSAFE, FetchFailed
from deployments.batch_server.store.batches import SHARDED, BatchStore
from deployments.batch_server.store.outbox import enqueue
from deployments.batch_server.store.uploads import (
    DUPLICATE,
    FAILED,
    FETCHING,
    Member,
    RejectedMember,
    add_images,
    last_failure,
    nothing_ingested,
    settle,
    settle_failed,
    taken_names,
)

LISTING, CHECKING, FETCHED, ENDED = "listing", "checking", "fetching", "ended"


@dataclass(frozen=True)
class Accepted:
    """An ingest that was taken."""

    seq: int
    ingest_id: str
    shard_ids: list[str]
    duplicated: bool = False
    """Whether it was there before."""


class IngestStore:
    """Records ingests; a call that returns has its effect on disk."""

    def __init__(self, database: Database, batches: BatchStore, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._batches = batches
        self._clock = clock

    def find(self, batch_id: str, ingest_id: str) -> Accepted | None:
        """The ingest of this id in a batch, if there is one."""
        with self._database.read() as session:
            return _find(session, batch_id, ingest_id)

    def accept(self, request: IngestRequest, shard_ids: Iterable[str]) -> Accepted:
        """Take an ingest, unless the batch has one of this id.

        Args:
            request: What is to be fetched; its references, or where the list of them is, are on disk already.
            shard_ids: The shards it is divided into, or the first one where the list is to be fetched.

        Raises:
            Conflict: The batch is filled in another way.
        """
        with self._database.write() as session:
            found = _find(session, request.batch_id, request.ingest_id)
            if found is not None:
                return found
            self._batches.ensure(session, request.batch_id, SHARDED, request.display_name)
            ingest = IngestRow(
                batch_id=request.batch_id,
                ingest_id=request.ingest_id,
                state=CHECKING if request.list_url is None else LISTING,
                notifications_url=request.notifications_url,
                categories=list(request.categories),
                created_at=self._clock(),
            )
            session.add(ingest)
            session.flush()
            self._add_shards(session, ingest, shard_ids)
            return Accepted(ingest.seq, ingest.ingest_id, list(shard_ids))

    def unfinished(self) -> list[int]:
        """The ingests that have not ended, oldest first."""
        with self._database.read() as session:
            return list(session.scalars(select(IngestRow.seq).where(IngestRow.state != ENDED).order_by(IngestRow.seq)))

    def state(self, seq: int) -> str:
        """How far an ingest has come."""
        with self._database.read() as session:
            return session.get_one(IngestRow, seq).state

    def waiting(self, seq: int) -> list[str]:
        """The shards of an ingest that are still to be fetched, in order."""
        with self._database.read() as session:
            return [shard.shard_id for shard in _waiting(session, seq)]

    def begin_checking(self, seq: int, shard_ids: Iterable[str]) -> None:
        """Add the shards that a list made necessary, besides the first."""
        with self._database.write() as session:
            ingest = session.get_one(IngestRow, seq)
            self._add_shards(session, ingest, shard_ids)
            ingest.state = CHECKING

    def begin_fetching(self, seq: int) -> None:
        """Mark an ingest whose hosts have been checked."""
        with self._database.write() as session:
            session.get_one(IngestRow, seq).state = FETCHED

    def taken(self, shard_id: str, names: list[str]) -> set[str]:
        """Those of the names that the shard's batch has already."""
        with self._database.read() as session:
            return taken_names(session, _shard(session, shard_id).batch_id, names)

    def record(self, shard_id: str, path: str | None, members: list[Member], rejected: list[RejectedMember]) -> None:
        """Ingest the files of a shard that were fetched, and end the ingest with its last shard.

        Args:
            shard_id: The shard.
            path: Where the files lie, one after another; `None`: there are none.
            members: The files.
            rejected: Those that could not be fetched.
        """
        with self._database.write() as session:
            shard = _shard(session, shard_id)
            ingest = _ingest_of(session, shard_id)
            if shard.state != FETCHING:
                return
            shard.path = path
            new, rejected = add_images(session, shard, path, members, rejected)
            unsafe = next((entry for entry in rejected if entry.kind == UNSAFE), None)
            worst = unsafe or next((entry for entry in rejected if entry.kind != DUPLICATE), None)
            if new or worst is None:
                settle(shard, self._clock(), new, rejected)
            else:
                _settle_failed(shard, self._clock(), worst.kind, worst.reason, rejected)
            ingest.ingested += len(new)
            ingest.last_failure = last_failure(rejected) or ingest.last_failure
            if ingest.error is None and unsafe is not None:
                ingest.error = {"type": unsafe.kind, "reason": unsafe.reason}
            self._tell_files(session, ingest, shard, [member.name for member in new], rejected)
            self._end_with_last_shard(session, ingest)

    def fail_shard(self, shard_id: str, failure: FetchFailed, names: list[str]) -> None:
        """Give one shard up, and end the ingest with its last shard.

        Args:
            shard_id: The shard.
            failure: Why.
            names: The names of its files.
        """
        with self._database.write() as session:
            shard = _shard(session, shard_id)
            if shard.state != FETCHING:
                return
            ingest = _ingest_of(session, shard_id)
            self._give_up(session, ingest, shard, failure, names)
            if ingest.error is None:
                ingest.error = {"type": failure.kind, "reason": str(failure)}
            self._end_with_last_shard(session, ingest)

    def fail(self, seq: int, failure: FetchFailed, names: Mapping[str, list[str]]) -> None:
        """End an ingest of which nothing more is fetched.

        Args:
            seq: The ingest.
            failure: Why.
            names: The names of the files in each of its shards, as far as they are known.
        """
        with self._database.write() as session:
            ingest = session.get_one(IngestRow, seq)
            if ingest.state == ENDED:
                return
            for shard in _waiting(session, seq):
                self._give_up(session, ingest, shard, failure, names.get(shard.shard_id, []))
            ingest.error = {"type": failure.kind, "reason": str(failure)}
            self._end(session, ingest)

    def secret_files(self) -> tuple[list[str], list[str]]:
        """The shards whose references, and those whose list, are still needed."""
        shards = (
            select(ShardRow.shard_id)
            .join(IngestShardRow, IngestShardRow.shard_id == ShardRow.shard_id)
            .join(IngestRow, IngestRow.seq == IngestShardRow.ingest_seq)
            .where(ShardRow.state == FETCHING)
        )
        with self._database.read() as session:
            waiting = session.scalars(shards.where(IngestRow.state != LISTING)).all()
            return list(waiting), list(session.scalars(shards.where(IngestRow.state == LISTING)))

    def _add_shards(self, session: Session, ingest: IngestRow, shard_ids: Iterable[str]) -> None:
        for shard_id in shard_ids:
            session.add(ShardRow(shard_id=shard_id, batch_id=ingest.batch_id, state=FETCHING, event_at=self._clock()))
            session.flush()
            session.add(IngestShardRow(shard_id=shard_id, ingest_seq=ingest.seq))

    def _give_up(
        self, session: Session, ingest: IngestRow, shard: ShardRow, failure: FetchFailed, names: list[str]
    ) -> None:
        kind, reason = failure.kind, str(failure)
        rejected = [RejectedMember(kind, name, reason) for name in names]
        _settle_failed(shard, self._clock(), kind, reason, rejected)
        self._tell_files(session, ingest, shard, [], rejected)

    def _tell_files(
        self, session: Session, ingest: IngestRow, shard: ShardRow, new: list[str], rejected: list[RejectedMember]
    ) -> None:
        if ingest.notifications_url is not None and FILES_STATUS in ingest.categories:
            event = IngestEvent(ingest.ingest_id, ingest.batch_id, shard.shard_id)
            told = event.files(shard.state != FAILED, new, [entry.wire() for entry in rejected])
            enqueue(session, ingest.notifications_url, told, self._clock())

    def _end_with_last_shard(self, session: Session, ingest: IngestRow) -> None:
        if _waiting(session, ingest.seq):
            return
        if ingest.error is None:
            ingest.error = nothing_ingested(ingest.ingested, ingest.last_failure)
        self._end(session, ingest)

    def _end(self, session: Session, ingest: IngestRow) -> None:
        if ingest.notifications_url is not None and INGEST_STATUS in ingest.categories:
            told = IngestEvent(ingest.ingest_id, ingest.batch_id).status(ingest.error)
            enqueue(session, ingest.notifications_url, told, self._clock())
        ingest.notifications_url, ingest.state = None, ENDED


def _settle_failed(shard: ShardRow, now: float, kind: str, reason: str, rejected: list[RejectedMember]) -> None:
    failed_files = [entry.wire() for entry in rejected]
    settle_failed(shard, now, {"type": kind, "error": reason, "failedFiles": failed_files})


def _find(session: Session, batch_id: str, ingest_id: str) -> Accepted | None:
    query = select(IngestRow).where(IngestRow.batch_id == batch_id, IngestRow.ingest_id == ingest_id)
    ingest = session.scalar(query)
    if ingest is None:
        return None
    shards = (
        select(ShardRow.shard_id)
        .join(IngestShardRow, IngestShardRow.shard_id == ShardRow.shard_id)
        .where(IngestShardRow.ingest_seq == ingest.seq)
    )
    return Accepted(ingest.seq, ingest_id, list(session.scalars(shards.order_by(ShardRow.seq))), duplicated=True)


def _waiting(session: Session, seq: int) -> list[ShardRow]:
    session.flush()
    query = select(ShardRow).join(IngestShardRow, IngestShardRow.shard_id == ShardRow.shard_id)
    query = query.where(IngestShardRow.ingest_seq == seq, ShardRow.state == FETCHING)
    return list(session.scalars(query.order_by(ShardRow.seq)))


def _shard(session: Session, shard_id: str) -> ShardRow:
    return session.scalars(select(ShardRow).where(ShardRow.shard_id == shard_id)).one()


def _ingest_of(session: Session, shard_id: str) -> IngestRow:
    return session.get_one(IngestRow, session.get_one(IngestShardRow, shard_id).ingest_seq)
