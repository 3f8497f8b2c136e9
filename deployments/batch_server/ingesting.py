"""Fetches what references name, and ingests it.

An ingest goes through three steps: its list of references is fetched, where it has one; every host is checked before
anything is fetched, as far as the time for that reaches, and at each connection again; its shards are fetched, by turns
with those of other ingests. A shard counts when all of its files have come or failed: their bytes lie one after another
in one file then, and one transaction records them. A killed server's successor fetches the shards that are not
recorded.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

from deployments.batch_server.blobs import BlobFolder, NewBlob
from deployments.batch_server.names import file_name_problem, printable
from deployments.batch_server.reference_files import ReferenceFiles
from deployments.batch_server.reference_requests import IngestRequest, parse_lines
from deployments.batch_server.refusals import BadRequest
from deployments.batch_server.remote.connections import ConnectionPool
from deployments.batch_server.remote.failures import FetchFailed, UnknownHost
from deployments.batch_server.remote.fetching import Fetcher, Patience, SizeLimit
from deployments.batch_server.remote.listeners import check_listener
from deployments.batch_server.remote.targets import Target, parse_target, shown_url
from deployments.batch_server.store.ingests import CHECKING, LISTING, Accepted, IngestStore
from deployments.batch_server.store.uploads import DUPLICATE, Member, RejectedMember, duplicate
from deployments.batch_server.troubles import Troubles
from deployments.batch_server.turns import Turns
from tasks.roboflow_api.models import MAX_IMAGE_BYTES, Reference

LOG = logging.getLogger(__name__)
FILES_A_SHARD = 256
SHARDS_AT_ONCE, SHARDS_OF_AN_INGEST = 6, 4
"""The others are for other ingests, however slow the hosts of one are."""
FILES_AT_ONCE = 16
"""In each shard."""
INGESTS_AT_ONCE = 2
"""Being listed or checked."""
HOSTS_AT_ONCE = 16
IN_MEMORY = 256 * 1024
"""Largest image that is held in memory until it is complete; larger ones wait on disk."""
MAX_LIST_BYTES = 64 * 1024 * 1024
IMAGE, LIST = SizeLimit(MAX_IMAGE_BYTES, "image"), SizeLimit(MAX_LIST_BYTES, "list of references")
INVALID_LIST, INVALID_NAME, LOST = "invalid-references", "invalid-file-name", "references-lost"
LONGEST_SHOWN_NAME = 1024
T = TypeVar("T")


@dataclass(frozen=True)
class _Shard:
    """A shard to be fetched."""

    seq: int
    """Its ingest."""
    shard_id: str
    patience: Patience = field(compare=False)
    """Shared by the shards of an ingest."""


@dataclass
class _Collected:
    """What has come of a shard, by the place of its reference."""

    members: dict[int, Member] = field(default_factory=dict)
    rejected: dict[int, RejectedMember] = field(default_factory=dict)


class Ingester:
    """Takes ingests and works on them, several shards at a time."""

    def __init__(
        self,
        store: IngestStore,
        files: ReferenceFiles,
        blobs: BlobFolder,
        pool: ConnectionPool,
        fetcher: Fetcher,
        on_progress: Callable[[], None],
        check_seconds: float,
        retries: tuple[float, ...],
    ) -> None:
        self._store = store
        self._files = files
        self._blobs = blobs
        self._pool = pool
        self._fetcher = fetcher
        self._on_progress = on_progress
        self._check_seconds = check_seconds
        self._troubles = Troubles(retries)
        self._ingests: Turns[int] = Turns(1)
        self._shards: Turns[_Shard] = Turns(SHARDS_OF_AN_INGEST)
        self._busy = 0

    def take(self, request: IngestRequest) -> Accepted:
        """Accept a request for good: from here on it survives a restart. Give its `seq` to `add` in the loop.

        Raises:
            BadRequest: Notifications would go where this server does not.
            Conflict: The batch is filled in another way.
        """
        check_listener(self._pool.guard, request.notifications_url)
        found = self._store.find(request.batch_id, request.ingest_id)
        if found is not None:
            return found
        shards = divide(request.references)
        shard_ids = list(shards) or [uuid4().hex]
        kept = False
        try:
            if request.list_url is None:
                self._files.keep(shards)
            else:
                self._files.keep_list(shard_ids[0], request.list_url)
            accepted = self._store.accept(request, shard_ids)
            kept = not accepted.duplicated
            return accepted
        finally:
            if not kept:
                self._files.remove(shard_ids)

    def recover(self) -> None:
        """Go on with what an earlier server left, and remove its other secrets; before the first request."""
        self._files.sweep(*self._store.secret_files())
        for seq in self._store.unfinished():
            self.add(seq)

    def add(self, seq: int) -> None:
        """Have an accepted ingest worked on; to be called in the loop."""
        self._ingests.put(seq, seq)

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(INGESTS_AT_ONCE):
                    tasks.create_task(self._serve(self._ingests, self._prepare, self._fail))
                for _ in range(SHARDS_AT_ONCE):
                    tasks.create_task(self._serve(self._shards, self._fetch_shard, self._fail_shard))
        finally:
            self._pool.close_idle()

    async def _serve(
        self,
        waiting: Turns[T],
        work: Callable[[T], Awaitable[None]],
        give_up: Callable[[T, FetchFailed], Awaitable[None]],
    ) -> None:
        while True:
            async with waiting.turn() as (owner, item):
                self._busy += 1
                try:
                    failure = self._troubles.given_up(item)
                    await (work(item) if failure is None else give_up(item, failure))
                    self._troubles.forget(item)
                except Exception as error:
                    seconds = self._troubles.note(item, error)
                    LOG.exception("a step of an ingest failed and is tried again, or given up, in %g s", seconds)
                    asyncio.get_running_loop().call_later(seconds, waiting.put, owner, item)
                finally:
                    self._busy -= 1
            self._on_progress()
            if not self._busy and self._shards.is_empty:
                self._pool.close_idle()

    async def _prepare(self, seq: int) -> None:
        patience = Patience()
        try:
            if await asyncio.to_thread(self._store.state, seq) == LISTING:
                await self._list(seq, patience)
            if await asyncio.to_thread(self._store.state, seq) == CHECKING:
                await self._check(seq, patience)
        except FetchFailed as failure:
            await self._fail(seq, failure)
        except FileNotFoundError:
            await self._fail(seq, FetchFailed(LOST, "the server has lost the references: send them again"))
        for shard_id in await asyncio.to_thread(self._store.waiting, seq):
            self._shards.put(seq, _Shard(seq, shard_id, patience))

    async def _list(self, seq: int, patience: Patience) -> None:
        (first,) = await asyncio.to_thread(self._store.waiting, seq)
        url = await asyncio.to_thread(self._files.list_url, first)
        with self._blobs.scratch(IN_MEMORY) as file:
            await self._fetcher.fetch(url, file, LIST, patience)
            file.seek(0)
            try:
                references = await asyncio.to_thread(parse_lines, file)
            except BadRequest as error:
                raise FetchFailed(INVALID_LIST, f"{shown_url(url)}: {error}") from None
        shards = divide(references, first)
        others = [key for key in shards if key != first]
        try:
            await asyncio.to_thread(self._files.keep, shards)
            await asyncio.to_thread(self._store.begin_checking, seq, others)
        except Exception:
            # The next try divides the list anew.
            await asyncio.to_thread(self._files.remove, others)
            raise
        self._files.remove_list(first)

    async def _check(self, seq: int, patience: Patience) -> None:
        shard_ids = await asyncio.to_thread(self._store.waiting, seq)
        origins = await asyncio.to_thread(self._origins, shard_ids)
        for origin in origins:  # what needs no name service is told however long that one takes
            self._pool.guard.check_early(origin)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._check_seconds):
                await _each(HOSTS_AT_ONCE, origins, partial(self._check_origin, patience))
        await asyncio.to_thread(self._store.begin_fetching, seq)

    def _origins(self, shard_ids: Iterable[str]) -> list[Target]:
        found: dict[Any, Target] = {}
        for shard_id in shard_ids:
            for reference in self._files.references(shard_id):
                target = parse_target(reference.url)
                found.setdefault(target.origin, target)
        return list(found.values())

    async def _check_origin(self, patience: Patience, target: Target) -> None:
        try:
            await self._pool.guard.addresses(target)
        except UnknownHost as failure:
            patience.miss(target, failure)  # a name that is not known now is a matter of its files

    async def _fail(self, seq: int, failure: FetchFailed) -> None:
        shard_ids = await asyncio.to_thread(self._store.waiting, seq)
        names = await asyncio.to_thread(self._names, shard_ids)
        await asyncio.to_thread(self._store.fail, seq, failure, names)
        await asyncio.to_thread(self._files.remove, shard_ids)

    def _names(self, shard_ids: Iterable[str]) -> dict[str, list[str]]:
        names = {}
        for shard_id in shard_ids:
            try:
                names[shard_id] = [_shown_name(reference) for reference in self._files.references(shard_id)]
            except FileNotFoundError:
                names[shard_id] = []
        return names

    async def _fail_shard(self, shard: _Shard, failure: FetchFailed) -> None:
        names = await asyncio.to_thread(self._names, [shard.shard_id])
        await asyncio.to_thread(self._store.fail_shard, shard.shard_id, failure, names[shard.shard_id])
        await asyncio.to_thread(self._files.remove, [shard.shard_id])

    async def _fetch_shard(self, shard: _Shard) -> None:
        shard_id = shard.shard_id
        try:
            references = await asyncio.to_thread(self._files.references, shard_id)
        except FileNotFoundError:
            await self._fail(shard.seq, FetchFailed(LOST, "the server has lost the references: send them again"))
            return
        found = _Collected(rejected=_unusable(references))
        wanted = {place: entry for place, entry in enumerate(references) if place not in found.rejected}
        taken = await asyncio.to_thread(self._store.taken, shard_id, [entry.name for entry in wanted.values()])
        found.rejected |= {place: duplicate(entry.name) for place, entry in wanted.items() if entry.name in taken}
        wanted = {place: entry for place, entry in wanted.items() if entry.name not in taken}
        with self._blobs.begin(".images") as blob:
            await self._collect(wanted, blob, found, shard.patience)
            path = await asyncio.to_thread(blob.finish) if found.members else None
            members = [found.members[place] for place in sorted(found.members)]
            rejected = [found.rejected[place] for place in sorted(found.rejected)]
            await asyncio.to_thread(self._store.record, shard_id, path, members, rejected)
        await asyncio.to_thread(self._files.remove, [shard_id])

    async def _collect(
        self, wanted: Mapping[int, Reference], blob: NewBlob, found: _Collected, patience: Patience
    ) -> None:
        async def fetch(item: tuple[int, Reference]) -> None:
            place, reference = item
            with self._blobs.scratch(IN_MEMORY) as file:
                try:
                    await self._fetcher.fetch(reference.url, file, IMAGE, patience)
                except FetchFailed as failure:
                    found.rejected[place] = RejectedMember(failure.kind, reference.name, str(failure))
                    return
                offset, size = blob.append(file)
            found.members[place] = Member(reference.name, offset, size)

        await _each(FILES_AT_ONCE, wanted.items(), fetch)


def divide(references: Sequence[Reference], first: str | None = None) -> dict[str, Sequence[Reference]]:
    """References cut into shards, under new ids; the first one may be given."""
    starts = range(0, len(references), FILES_A_SHARD)
    ids = [first if first is not None and not start else uuid4().hex for start in starts]
    return {key: references[start : start + FILES_A_SHARD] for key, start in zip(ids, starts, strict=True)}


def _unusable(references: Sequence[Reference]) -> dict[int, RejectedMember]:
    """The references that nothing can be fetched for, whatever is behind them, by their places."""
    rejected: dict[int, RejectedMember] = {}
    names: set[str] = set()
    for place, reference in enumerate(references):
        problem = file_name_problem(reference.name)
        if problem is not None:
            rejected[place] = RejectedMember(INVALID_NAME, _shown_name(reference), problem)
        elif reference.name in names:
            rejected[place] = RejectedMember(DUPLICATE, reference.name, "the request has this name twice")
        names.add(reference.name)
    return rejected


def _shown_name(reference: Reference) -> str:
    return printable(reference.name)[:LONGEST_SHOWN_NAME]


async def _each(at_once: int, items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Do work on each item, some at a time; the first failure ends it and is raised as it is."""
    waiting = iter(items)

    async def serve() -> None:
        for item in waiting:
            await work(item)

    tasks = [asyncio.create_task(serve()) for _ in range(at_once)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
