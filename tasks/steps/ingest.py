"""Ingest: bring every staged file into the batch, once, and know that it is there."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.errors import RunFailed
from tasks.core.files import appearing
from tasks.core.records import Ingested
from tasks.media.manifest import ManifestRow, read_manifest
from tasks.media.versions import VersionIndex, version_of
from tasks.sources.base import ReferenceSource
from tasks.sources.roboql import RoboqlSource
from tasks.steps.arrival import has_settled, watch
from tasks.steps.context import INGEST, Run
from tasks.steps.picking import Picking
from tasks.steps.referencing import Referral
from tasks.steps.uploads import Upload
from tasks.transfer.shards import Shard

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
Sender = Upload | Referral | Picking
CHANGED = "changed after it was staged: the platform may have fetched the new version"


def ingest(run: Run, files: int) -> Ingested:
    """Sends every staged file and waits until the platform has all of them, failures counted.

    Args:
        run: the run.
        files: files to send.

    Raises:
        RunFailed: the platform took none of them.
        RunIncomplete: files are missing when the deadline has passed, or the platform has lost some.
    """
    return run.once(INGEST, Ingested, lambda: _ingest(run, files))


def send(run: Run, files: int) -> bool:
    """Sends what the platform fetches by itself, and does not wait for it; :func:`ingest` does.

    Args:
        run: the run.
        files: files to send.

    Returns:
        Whether the platform is still at it; never where files are uploaded from here.
    """
    if run.journal.confirmed(INGEST, "record"):
        return False
    sender = sender_of(run, files)
    if not isinstance(sender, Referral):
        return False
    sender.send()
    return not has_settled(run.platform, run.remote_id, files)


def _ingest(run: Run, files: int) -> Ingested:
    begun = run.timing.clock()
    sender = sender_of(run, files)
    sender.send()
    if isinstance(sender, Picking):
        files = run.platform.staging.count(run.remote_id)
    changed: dict[str, str] = {}
    for part in sender.parts():
        changed |= _changed(run, part.part)
    refused: dict[str, str] = {}
    if len(changed) < files:
        shards = sender.shards() if isinstance(sender, Referral) else None
        refused = watch(run, files - len(changed), by_reference=sender.by_reference, shards=shards)
    lost = changed | refused
    if sender.by_reference:
        lost = _outdated(run) | lost
    if len(lost) == files:
        raise _none_ingested(sender, lost)
    parts, size = _write_outcome(run, sender, lost)
    return Ingested(
        batch_id=run.remote_id,
        sent=files - len(lost),
        failed=len(lost),
        by_reference=sender.by_reference,
        parts=0 if sender.one_by_one else parts,
        bytes=size,
        seconds=run.timing.clock() - begun,
    )


def _none_ingested(sender: Sender, lost: dict[str, str]) -> RunFailed:
    """The error; what the platform could not fetch it is asked to fetch again by the next process."""
    what = "pass --rerun LABEL for a run afresh"
    if isinstance(sender, Referral):
        sender.give_up()
        what = "run the same command again"
    reason = next(iter(lost.values())).rstrip(".")
    return RunFailed(
        f"none of the {len(lost)} files could be ingested; the first reason: {reason}. After mending the cause, {what}"
    )


def sender_of(run: Run, files: int) -> Sender:
    """The way in which the run was begun, else the one that is asked for."""
    source = run.target.source
    if isinstance(source, RoboqlSource):
        return Picking(run, source)
    begun = run.journal.confirmed(INGEST, "way")
    by_reference = "references" in begun if begun else run.target.transfer == "reference"
    return Referral(run) if by_reference else Upload(run, files)


def _changed(run: Run, part: str) -> dict[str, str]:
    entry = run.journal.confirmed(INGEST, part)
    return dict(entry["changed"]) if entry else {}


def _outdated(run: Run) -> dict[str, str]:
    """Files whose object is another one by now, where a URL does not lead to a version: what was fetched is unknown.

    One that is gone by now was fetched before, or the platform has said that it could not be.
    """
    source = run.target.source
    if not isinstance(source, ReferenceSource) or source.pins_versions:
        return {}
    with VersionIndex() as now:
        for item in source.list():
            now.add(item.key, version_of(item))
        rows = read_manifest(run.folder.manifest, "staged")
        return {row.name: CHANGED for row in rows if now.get(row.key) not in (None, version_of(row.item()))}


def _write_outcome(run: Run, sender: Sender, lost: dict[str, str]) -> tuple[int, int]:
    """Writes ``ingest.parquet``, a row a file; gives the number of parts and the bytes that are in."""
    parts = size = 0
    with appearing(run.folder.ingest) as partial, pq.ParquetWriter(partial, SCHEMA) as writer:
        for part in sender.parts():
            parts += 1
            size += sum(row.size or 0 for row in part.rows if row.name not in lost)
            writer.write_table(pa.Table.from_pylist([_outcome(row, part, lost) for row in part.rows], SCHEMA))
    return parts, size


def _outcome(row: ManifestRow, part: Shard, lost: dict[str, str]) -> dict[str, str | None]:
    state = "failed" if row.name in lost else "ingested"
    return {"name": row.name, "key": row.key, "part": part.part, "state": state, "reason": lost.get(row.name)}
