"""Ingest: bring every staged file into the batch, once, and know that it is there.

A shard's life in the journal is *intent* (before a signed URL is asked for), then *confirmation* (its bytes are there).
What an earlier process intended and never confirmed is settled by asking the platform which names the batch holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.errors import NotFound, RunFailed, RunIncomplete, UrlExpired
from tasks.core.files import appearing
from tasks.core.records import Ingested
from tasks.core.threads import map_bounded
from tasks.media.manifest import ManifestRow, read_manifest
from tasks.roboflow_api.polling import poll_until
from tasks.sources.base import SourceChanged
from tasks.steps.context import Run, gone
from tasks.transfer.shards import FileChanged, Shard, ShardLimits, plan_shards, stream_file, stream_shard

STEP = "ingest"
SIMPLE_UPLOAD_MOST = 32
"""Up to this many files go up one by one; the official client draws the line there as well."""
PARALLEL_UPLOADS = 4
NEW_URLS_PER_SHARD = 5
DEADLINE = 6 * 3600.0
QUIET_SETTLES = 20
"""A batch that lacks files is given up when for so many times the platform's settling time nothing has moved in it."""
SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("key", pa.string()),
        ("part", pa.string()),
        ("state", pa.string()),
        ("reason", pa.string()),
    ],
    metadata={"darkroom.schema": "ingest/1"},
)


@dataclass(frozen=True)
class BatchState:
    """What the platform says of the batch.

    Attributes:
        count: files that are in.
        refused: files that it would not take, as pairs of name and reason.
        indexing: shards that it is still working on.
        broken: names of the states of shards that failed as a whole.
        exists: there is such a batch.
    """

    count: int
    refused: tuple[tuple[str, str], ...] = ()
    indexing: int = 0
    broken: tuple[str, ...] = ()
    exists: bool = True


class Quiet:
    """How long a batch has not moved though nothing is being indexed.

    Time in which the platform could not be asked counts for one pause at most.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._last: BatchState | None = None
        self._looked = 0.0
        self._seconds = 0.0

    def seconds(self, seen: BatchState) -> float:
        """Takes one more look into account; gives the seconds of quiet up to it."""
        now = self._run.timing.clock()
        if seen != self._last or seen.indexing:
            self._seconds = 0.0
        else:
            self._seconds += min(now - self._looked, self._run.platform.pace.longest)
        self._last, self._looked = seen, now
        return self._seconds


def ingest(run: Run, files: int) -> Ingested:
    """Sends every staged file and waits until the platform has all of them, failures counted.

    Args:
        run: the run.
        files: files to send.

    Raises:
        RunFailed: the platform took none of them.
        RunIncomplete: files are missing when the deadline has passed, or the platform has lost some.
    """
    return run.once(STEP, Ingested, lambda: _ingest(run, files))


def _ingest(run: Run, files: int) -> Ingested:
    begun = run.timing.clock()
    limits = _limits(run, files)
    bring = _upload_one if limits.images == 1 else _upload_shard
    for sent in map_bounded(lambda shard: bring(run, shard), _unsent(run, limits), PARALLEL_UPLOADS):
        run.progress.advance(STEP, sent, files)
    changed: dict[str, str] = {}
    for shard in _plan(run, limits):
        changed |= _changed(run, shard.part)
    refused = _watch(run, files - len(changed)) if len(changed) < files else {}
    lost = changed | refused
    if len(lost) == files:
        raise RunFailed(f"none of the {files} files could be ingested; the first reason: {next(iter(lost.values()))}")
    shards, size = _write_outcome(run, limits, lost)
    return Ingested(
        batch_id=run.remote_id,
        sent=files - len(lost),
        failed=len(lost),
        shards=0 if limits.images == 1 else shards,
        bytes=size,
        seconds=run.timing.clock() - begun,
    )


def _plan(run: Run, limits: ShardLimits) -> Iterator[Shard]:
    return plan_shards(read_manifest(run.folder.manifest, "staged"), limits)


def _limits(run: Run, files: int) -> ShardLimits:
    """The limits that the run was begun with, so that a shard of one number always holds the same files."""
    known = run.journal.confirmed(STEP, "limits")
    if known is None:
        limits = ShardLimits(images=1)
        if files > SIMPLE_UPLOAD_MOST:
            allowed = run.platform.staging.shard_upload(run.remote_id, run.remote_id)
            limits = ShardLimits().within(allowed.max_archive_images, allowed.max_archive_bytes)
        run.journal.confirm(STEP, "limits", images=limits.images, bytes=limits.bytes)
        return limits
    return ShardLimits(known["images"], known["bytes"])


def _unsent(run: Run, limits: ShardLimits) -> Iterator[Shard]:
    """The shards still to send; those that turn out to have arrived are confirmed on the way."""
    uncertain = frozenset(run.journal.uncertain(STEP))
    arrived = _arrived(run) if uncertain else frozenset()
    for shard in _plan(run, limits):
        if run.journal.confirmed(STEP, shard.part):
            run.progress.advance(STEP, len(shard.rows))
        elif any(row.name in arrived for row in shard.rows):
            reasons = {row.name: "changed while it was sent" for row in shard.rows if row.name not in arrived}
            run.journal.confirm(STEP, shard.part, changed=reasons)
            run.progress.advance(STEP, len(shard.rows))
        else:
            yield shard


def _arrived(run: Run) -> frozenset[str]:
    """The names that the platform took or refused, once what was under way at an earlier process's end has shown up."""
    run.timing.sleep(run.platform.settle)
    settled = poll_until(
        lambda: _look(run),
        lambda state: not state.indexing,
        deadline=DEADLINE,
        pace=run.platform.pace,
        timing=run.timing,
    )
    if settled is None or not settled.exists:
        return frozenset()
    refused = frozenset(name for name, _reason in settled.refused)
    return refused.union(file.file_name for file in run.platform.staging.files(run.remote_id))


def _upload_one(run: Run, shard: Shard) -> int:
    (row,) = shard.rows
    run.journal.intend(STEP, shard.part)
    changed: dict[str, str] = {}
    try:
        content = b"".join(stream_file(run.target.source, row))
        run.platform.staging.upload_image(run.remote_id, row.name, content, run.remote_id)
    except FileChanged as error:
        changed[error.name] = str(error)
    run.journal.confirm(STEP, shard.part, changed=changed)
    return 1


def _upload_shard(run: Run, shard: Shard) -> int:
    run.journal.intend(STEP, shard.part)
    changed: dict[str, str] = {}
    while rows := shard.without(changed).rows:
        try:
            _put(run, Shard(shard.part, rows))
            break
        except FileChanged as error:
            changed |= {error.name: str(error)} | _recheck(run, rows)
    run.journal.confirm(STEP, shard.part, changed=changed)
    return len(shard.rows)


def _put(run: Run, shard: Shard) -> None:
    """PUTs the shard, under a new signed URL where the old one has expired on the way."""
    staging = run.platform.staging
    for _ in range(NEW_URLS_PER_SHARD):
        place = staging.shard_upload(run.remote_id, run.remote_id)
        try:
            return staging.transport.put(
                place.upload_url,
                place.extension_headers,
                shard.length(),
                lambda: stream_shard(run.target.source, shard),
            )
        except UrlExpired as error:
            expired = error
    raise expired


def _recheck(run: Run, rows: tuple[ManifestRow, ...]) -> dict[str, str]:
    """Which of the files cannot be sent any more, all of them at once rather than one a try."""
    changed = {}
    for row in rows:
        try:
            run.target.source.open(row.item()).close()
        except SourceChanged as error:
            changed[row.name] = str(error)
    return changed


def _changed(run: Run, part: str) -> dict[str, str]:
    entry = run.journal.confirmed(STEP, part)
    return dict(entry["changed"]) if entry else {}


def _watch(run: Run, expected: int) -> dict[str, str]:
    """Waits until ``expected`` files are in or refused; gives the refused ones with their reasons."""
    patient = run.timing.clock() + run.platform.settle
    quiet = Quiet(run)

    def ended(seen: BatchState) -> bool:
        if not seen.exists and run.timing.clock() > patient:
            raise gone(run, "batch")
        if seen.count + len(seen.refused) >= expected or (seen.broken and not seen.indexing):
            return True
        if quiet.seconds(seen) > QUIET_SETTLES * run.platform.settle:
            raise RunIncomplete(
                f"batch {run.remote_id} holds {seen.count} of {expected} files and gets no more, though all were sent: "
                f"{run.platform.name} has lost some; pass --rerun LABEL to do the work afresh"
            )
        return False

    state = poll_until(
        lambda: _look(run, expected),
        ended,
        deadline=DEADLINE,
        pace=run.platform.pace,
        timing=run.timing,
    )
    if state is None:
        count = run.platform.staging.count(run.remote_id)
        raise RunIncomplete(f"batch {run.remote_id} holds {count} of {expected} files after {DEADLINE / 3600:.0f} h")
    refused = dict(state.refused)
    if state.broken:
        present = {file.file_name for file in run.platform.staging.files(run.remote_id)}
        missing = (row.name for row in read_manifest(run.folder.manifest, "staged") if row.name not in present)
        refused = dict.fromkeys(missing, f"its shard could not be indexed: {state.broken[0]}") | refused
    return refused


def _look(run: Run, expected: int | None = None) -> BatchState:
    """The batch as it is; its shards are asked for only where the count leaves something open."""
    staging = run.platform.staging
    try:
        count = staging.count(run.remote_id)
        if expected is not None and count >= expected:
            return BatchState(count)
        shards = list(staging.shards(run.remote_id))
    except NotFound:
        return BatchState(0, exists=False)
    refused = {
        (str(file["file_name"]), str(file.get("reason", "refused")))
        for shard in shards
        for file in (shard.status_metadata or {}).get("failedFiles", ())
        if file.get("type") != "duplicate-file-name"
    }
    kinds = [shard.status_type.lower() for shard in shards]
    return BatchState(
        count=count,
        refused=tuple(sorted(refused)),
        indexing=sum("error" not in kind and "success" not in kind for kind in kinds),
        broken=tuple(shard.status_name for shard, kind in zip(shards, kinds, strict=True) if "error" in kind),
    )


def _write_outcome(run: Run, limits: ShardLimits, lost: dict[str, str]) -> tuple[int, int]:
    """Writes ``ingest.parquet``, a row a file; gives the number of shards and the bytes that are in."""
    shards = size = 0
    with appearing(run.folder.ingest) as partial, pq.ParquetWriter(partial, SCHEMA) as writer:
        for shard in _plan(run, limits):
            shards += 1
            size += sum(row.size for row in shard.rows if row.name not in lost)
            writer.write_table(pa.Table.from_pylist([_outcome(row, shard, lost) for row in shard.rows], SCHEMA))
    return shards, size


def _outcome(row: ManifestRow, shard: Shard, lost: dict[str, str]) -> dict[str, str | None]:
    state = "failed" if row.name in lost else "ingested"
    return {"name": row.name, "key": row.key, "part": shard.part, "state": state, "reason": lost.get(row.name)}
