"""Incremental runs: only what is new or has changed since it was last processed.

A state file for each source and workflow remembers, by key, the version that was processed. It advances when a run has
been reconciled, and by nothing else; files that could not be sent are not remembered, so that they are tried again.

Runs of one machine that end at the same time wait for each other. Where the state lies in a bucket and two machines
advance it at the same time, the last one wins: what the other one remembered is processed once more, never left out.
"""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.errors import LocalFault, RunIncomplete
from tasks.core.identity import MediaKind, ResultOptions, digest_json
from tasks.core.run_folder import RunFolder
from tasks.media.versions import VersionIndex, version_of, version_text
from tasks.results.writer import read_batches
from tasks.sources.base import MediaObject, ReferenceSource, Source
from tasks.steps.filtered import FilteredReferences, FilteredSource, stored_key
from tasks.steps.runs import STATES
from tasks.transfer.places import Place

INGEST = "ingest"
ROWS_PER_GROUP = 50_000
_ROWS_AT_ONCE = 5_000
_NAME_DIGITS = 16
_URL = re.compile(r"[a-z][a-z0-9+.-]+:", re.IGNORECASE)
SCHEMA = pa.schema(
    [
        ("key", pa.string()),  # below the source's root
        ("version", pa.string()),
        ("run", pa.string()),  # key of the run that processed it
        ("time", pa.timestamp("us", tz="UTC")),  # when that run was asked for
    ],
    metadata={"darkroom.schema": "state/1"},
)


def state_name(
    *,
    source: str,
    workflow_id: str,
    workflow_digest: str | None,
    parameters: dict[str, Any],
    options: ResultOptions,
    workspace: str,
    media: MediaKind = "images",
) -> str:
    """The name of the state that runs of this kind share: everything that makes the same file give another result.

    A label for doing work afresh is no part of it, nor is the platform's address.

    Args:
        source: as the user names it; a relative path counts from the current folder.
        workflow_id: the workflow.
        workflow_digest: SHA-256 of its definition, where the platform shows it.
        parameters: its parameters.
        options: what is kept of the results.
        workspace: platform and workspace.
        media: what is processed.
    """
    facts = {
        "source": place_named(source),
        "workflow_id": workflow_id,
        "workflow_digest": workflow_digest,
        "parameters": parameters,
        "options": options.model_dump(mode="json"),
        "workspace": workspace,
        "media": media,
    }
    return f"state-{digest_json(facts)[:_NAME_DIGITS]}.parquet"


def place_named(source: str) -> str:
    """The place that a source's name means here: paths in full, nothing behind the last folder's name."""
    place = source if _URL.match(source) else str(Path(source).expanduser().resolve())
    return place.rstrip("/")


class OnlyNew(FilteredSource):
    """The objects of a source that were not processed in the version they have now.

    Args:
        source: the source.
        processed: the versions that were.
        has_state: whether an earlier run was remembered.
    """

    def __init__(self, source: Source, processed: VersionIndex, *, has_state: bool) -> None:
        super().__init__(source)
        self._processed = processed
        self.has_state = has_state
        """Whether an earlier run was remembered."""
        self.known = 0
        """Objects that the last listing left out."""

    def list(self) -> Iterator[MediaObject]:
        """Every object that is new or has changed."""
        self.known = 0
        for item in self._source.list():
            if self._processed.get(stored_key(item.key)) == version_of(item):
                self.known += 1
            else:
                yield item


class OnlyNewReferences(OnlyNew, FilteredReferences):
    """The same of a source whose objects a platform can fetch."""


@contextmanager
def only_new(source: Source, states: Place, name: str) -> Iterator[OnlyNew]:
    """``source`` without what the state of that name remembers; without a state everything is new.

    Raises:
        LocalFault: the state is damaged.
    """
    with VersionIndex() as processed:
        has_state = False
        with TemporaryDirectory() as scratch:
            for batch in _read(states, name, Path(scratch)):
                has_state = True
                for key, version in zip(batch["key"].to_pylist(), batch["version"].to_pylist(), strict=True):
                    processed.add(key, version)
        kind = OnlyNewReferences if isinstance(source, ReferenceSource) else OnlyNew
        yield kind(source, processed, has_state=has_state)


def advance(folder: RunFolder, states: Place, name: str, asked: datetime) -> None:
    """Remembers the files of a reconciled run, in place of what the state had of them; doing so again changes nothing.

    These are all that were processed, rejected, or failed in processing. A file that a later run processed stays as
    that one left it.

    Args:
        folder: of the run.
        states: where states lie.
        name: of the state.
        asked: when the run was asked for, the last time: the source was as it says after that.

    Raises:
        RunIncomplete: the run is not reconciled.
        LocalFault: the state is damaged.
    """
    summary = folder.finished()
    if summary is None:
        raise RunIncomplete(f"run {folder.key} is not finished: what it processed cannot be remembered yet")
    with _alone(folder.root.parent / STATES, name), TemporaryDirectory() as scratch:
        merged = Path(scratch) / f"new-{name}"
        with pq.ParquetWriter(merged, SCHEMA, compression="zstd") as writer:
            for table in _grouped(_merged(folder, asked, _read(states, name, Path(scratch)))):
                writer.write_table(table, row_group_size=ROWS_PER_GROUP)
        states.put(name, merged)


@contextmanager
def _alone(place: Path, name: str) -> Iterator[None]:
    place.mkdir(parents=True, exist_ok=True)
    with (place / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _merged(folder: RunFolder, asked: datetime, old: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with VersionIndex() as ours:
        for key, version in _remembered(folder):
            ours.add(key, version)
        for batch in old:
            yield batch.filter(pa.array([_stays(row, ours, asked) for row in batch.to_pylist()], pa.bool_()))
        rows = ours.items()
        while some := list(islice(rows, _ROWS_AT_ONCE)):
            keys, versions = zip(*some, strict=True)
            columns = (keys, versions, [folder.key] * len(some), [asked] * len(some))
            arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
            yield pa.record_batch(arrays, schema=SCHEMA)


def _stays(row: dict[str, Any], ours: VersionIndex, asked: datetime) -> bool:
    """Whether the state's row stays; where it does, ours is dropped."""
    if ours.get(row["key"]) is None:
        return True
    if row["time"] > asked:
        ours.discard(row["key"])
        return True
    return False


def _remembered(folder: RunFolder) -> Iterator[tuple[str, str]]:
    """Key and version of every file whose fate will not change by trying again."""
    with VersionIndex() as unsent:
        for batch in read_batches(folder.failures, ["file", "step"]):
            for name, step in zip(batch["file"].to_pylist(), batch["step"].to_pylist(), strict=True):
                if step == INGEST:
                    unsent.add(name, step)
        for batch in read_batches(folder.manifest, ["key", "name", "size", "etag", "modified"]):
            columns = [batch[name].to_pylist() for name in ("key", "name", "size", "etag")]
            times = batch["modified"].cast(pa.int64()).to_pylist()
            for key, name, size, etag, modified in zip(*columns, times, strict=True):
                if unsent.get(name) is None:
                    yield key, version_text(size, etag, modified)


def _read(states: Place, name: str, scratch: Path) -> Iterator[pa.RecordBatch]:
    """The state's rows; none where it is not there."""
    copy = scratch / name
    if not states.get(name, copy):
        return
    try:
        with pq.ParquetFile(copy) as file:
            if not file.schema_arrow.equals(SCHEMA, check_metadata=True):
                raise _unreadable(states, name, "was written by another version")
            yield from file.iter_batches(batch_size=_ROWS_AT_ONCE)
    except pa.ArrowException:
        raise _unreadable(states, name, "is damaged") from None


def _unreadable(states: Place, name: str, why: str) -> LocalFault:
    return LocalFault(f"{states.url}/{name} {why}: remove it, and the next run takes every file for new")


def _grouped(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The rows in tables of the size of a row group."""
    gathered: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        gathered.append(batch)
        rows += batch.num_rows
        if rows >= ROWS_PER_GROUP:
            yield pa.Table.from_batches(gathered, SCHEMA)
            gathered, rows = [], 0
    yield pa.Table.from_batches(gathered, SCHEMA)
