"""Fetches what references name, and ingests it.

An ingest goes through three steps: its list of references is fetched, where it has one; every host is checked before
anything is fetched; its shards are fetched. A shard counts when all of its files have come or failed: their bytes lie
one after another in one file then, and one transaction records them. A killed server's successor fetches the shards
that are not recorded.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import uuid4

from deployments.batch_server.blobs import BlobFolder, NewBlob
from deployments.batch_server.reference_files import ReferenceFiles
from deployments.batch_server.reference_requests import IngestRequest, parse_lines
from deployments.batch_server.refusals import BadRequest
from deployments.batch_server.remote.connections import ConnectionPool
from deployments.batch_server.remote.failures import FetchFailed, Transient
from deployments.batch_server.remote.fetching import Fetcher, SizeLimit
from deployments.batch_server.remote.targets import Target, parse_target, shown_url
from deployments.batch_server.store.ingests import CHECKING, LISTING, Accepted, IngestStore
from deployments.batch_server.store.uploads import Member, RejectedMember, duplicate
from tasks.roboflow_api.models import MAX_IMAGE_BYTES, Reference

LOG = logging.getLogger(__name__)
FILES_A_SHARD = 256
SHARDS_AT_ONCE = 4
FILES_AT_ONCE = 16
"""In each shard."""
INGESTS_AT_ONCE = 2
"""Being listed or checked."""
HOSTS_AT_ONCE = 16
IN_MEMORY = 256 * 1024
"""Largest image that is held in memory until it is complete; larger ones wait on disk."""
MAX_LIST_BYTES = 64 * 1024 * 1024
IMAGE, LIST = SizeLimit(MAX_IMAGE_BYTES, "image"), SizeLimit(MAX_LIST_BYTES, "list of references")
INVALID_LIST, LOST = "invalid-references", "references-lost"
RETRY_SECONDS = 5.0
"""From a step that failed here, as on a full disk, to its next try: its batch must not hang."""
T = TypeVar("T")


@dataclass
class _Collected:
    """What has come of a shard."""

    members: dict[str, Member] = field(default_factory=dict)
    rejected: dict[str, RejectedMember] = field(default_factory=dict)


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
    ) -> None:
        self._store = store
        self._files = files
        self._blobs = blobs
        self._pool = pool
        self._fetcher = fetcher
        self._on_progress = on_progress
        self._ingests: asyncio.Queue[int] = asyncio.Queue()
        self._shards: asyncio.Queue[tuple[int, str]] = asyncio.Queue()
        self._busy = 0

    def take(self, request: IngestRequest) -> Accepted:
        """Accept a request for good: from here on it survives a restart. Give its `seq` to `add` in the loop.

        Raises:
            Conflict: The batch is filled in another way.
        """
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
        self._ingests.put_nowait(seq)

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(INGESTS_AT_ONCE):
                    tasks.create_task(self._serve(self._ingests, self._prepare))
                for _ in range(SHARDS_AT_ONCE):
                    tasks.create_task(self._serve(self._shards, self._fetch_shard))
        finally:
            self._pool.close_idle()

    async def _serve(self, waiting: asyncio.Queue[T], work: Callable[[T], Awaitable[None]]) -> None:
        while True:
            item = await waiting.get()
            self._busy += 1
            try:
                await work(item)
            except Exception:
                LOG.exception("a step of an ingest failed and is tried again in %g s", RETRY_SECONDS)
                asyncio.get_running_loop().call_later(RETRY_SECONDS, waiting.put_nowait, item)
            finally:
                self._busy -= 1
            self._on_progress()
            if not self._busy and self._shards.empty():
                self._pool.close_idle()

    async def _prepare(self, seq: int) -> None:
        try:
            if await asyncio.to_thread(self._store.state, seq) == LISTING:
                await self._list(seq)
            if await asyncio.to_thread(self._store.state, seq) == CHECKING:
                await self._check(seq)
        except FetchFailed as failure:
            await self._fail(seq, failure)
        except FileNotFoundError:
            await self._fail(seq, FetchFailed(LOST, "the server has lost the references: send them again"))
        for shard_id in await asyncio.to_thread(self._store.waiting, seq):
            self._shards.put_nowait((seq, shard_id))

    async def _list(self, seq: int) -> None:
        (first,) = await asyncio.to_thread(self._store.waiting, seq)
        url = await asyncio.to_thread(self._files.list_url, first)
        with self._blobs.scratch(IN_MEMORY) as file:
            await self._fetcher.fetch(url, file, LIST)
            file.seek(0)
            try:
                references = await asyncio.to_thread(parse_lines, file)
            except BadRequest as error:
                raise FetchFailed(INVALID_LIST, f"{shown_url(url)}: {error}") from None
        shards = divide(references, first)
        await asyncio.to_thread(self._files.keep, shards)
        await asyncio.to_thread(self._store.begin_checking, seq, [key for key in shards if key != first])
        self._files.remove_list(first)

    async def _check(self, seq: int) -> None:
        shard_ids = await asyncio.to_thread(self._store.waiting, seq)
        origins = await asyncio.to_thread(self._origins, shard_ids)
        await _each(HOSTS_AT_ONCE, origins, self._check_origin)
        await asyncio.to_thread(self._store.begin_fetching, seq)

    def _origins(self, shard_ids: Iterable[str]) -> list[Target]:
        found: dict[Any, Target] = {}
        for shard_id in shard_ids:
            for reference in self._files.references(shard_id):
                target = parse_target(reference.url)
                found.setdefault(target.origin, target)
        return list(found.values())

    async def _check_origin(self, target: Target) -> None:
        try:
            await self._pool.guard.addresses(target)
        except Transient:
            return  # a name that is not known now is a matter of its files

    async def _fail(self, seq: int, failure: FetchFailed) -> None:
        shard_ids = await asyncio.to_thread(self._store.waiting, seq)
        names = await asyncio.to_thread(self._names, shard_ids)
        await asyncio.to_thread(self._store.fail, seq, failure, names)
        await asyncio.to_thread(self._files.remove, shard_ids)

    def _names(self, shard_ids: Iterable[str]) -> dict[str, list[str]]:
        names = {}
        for shard_id in shard_ids:
            try:
                names[shard_id] = [reference.name for reference in self._files.references(shard_id)]
            except FileNotFoundError:
                names[shard_id] = []
        return names

    async def _fetch_shard(self, item: tuple[int, str]) -> None:
        seq, shard_id = item
        try:
            references = await asyncio.to_thread(self._files.references, shard_id)
        except FileNotFoundError:
            await self._fail(seq, FetchFailed(LOST, "the server has lost the references: send them again"))
            return
        taken = await asyncio.to_thread(self._store.taken, shard_id, [reference.name for reference in references])
        found = _Collected(rejected={name: duplicate(name) for name in taken})
        with self._blobs.begin(".images") as blob:
            await self._collect([reference for reference in references if reference.name not in taken], blob, found)
            path = await asyncio.to_thread(blob.finish) if found.members else None
            order = [reference.name for reference in references]
            members = [found.members[name] for name in order if name in found.members]
            rejected = [found.rejected[name] for name in order if name in found.rejected]
            await asyncio.to_thread(self._store.record, shard_id, path, members, rejected)
        await asyncio.to_thread(self._files.remove, [shard_id])

    async def _collect(self, references: list[Reference], blob: NewBlob, found: _Collected) -> None:
        async def fetch(reference: Reference) -> None:
            with self._blobs.scratch(IN_MEMORY) as file:
                try:
                    await self._fetcher.fetch(reference.url, file, IMAGE)
                except FetchFailed as failure:
                    found.rejected[reference.name] = RejectedMember(failure.kind, reference.name, str(failure))
                    return
                offset, size = blob.append(file)
            found.members[reference.name] = Member(reference.name, offset, size)

        await _each(FILES_AT_ONCE, references, fetch)


def divide(references: Sequence[Reference], first: str | None = None) -> dict[str, Sequence[Reference]]:
    """References cut into shards, under new ids; the first one may be given."""
    starts = range(0, len(references), FILES_A_SHARD)
    ids = [first if first is not None and not start else uuid4().hex for start in starts]
    return {key: references[start : start + FILES_A_SHARD] for key, start in zip(ids, starts, strict=True)}


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
