"""Export: fetch what the job made, unpack it, and turn it into tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from tasks.core.errors import NotFound, ServiceBusy, UrlExpired
from tasks.core.records import Exported, Finished
from tasks.core.threads import map_bounded
from tasks.media.manifest import read_manifest
from tasks.results.tables import build_tables
from tasks.roboflow_api.models import BatchPart, FileMetadata
from tasks.roboflow_api.retrying import retry
from tasks.steps.context import Run, gone
from tasks.transfer.download import download
from tasks.transfer.unpack import safe_name, unpack_tar

STEP = "export"
PARALLEL_DOWNLOADS = 4
ARCHIVES = (".tar.gz", ".tgz", ".tar")


@dataclass(frozen=True)
class Wanted:
    """One file of the export batch and what becomes of it.

    Attributes:
        part: the part it belongs to.
        file: as listed, with a signed URL.
        unpack: take the archive apart; otherwise it stays as it is.
    """

    part: BatchPart
    file: FileMetadata
    unpack: bool

    @property
    def name(self) -> str:
        """Its name in the journal."""
        return f"{self.part.part_name}/{self.file.file_name}"


def export(run: Run, finished: Finished) -> Exported:
    """Fetches the export batch into ``export/<part>/`` and writes ``results.parquet`` and ``predictions.parquet``.

    What is there already and whole is not fetched again.

    Raises:
        Transient: a download failed until the retries were used up; what has come is kept.
        UnsafeArchive: an archive is beyond all limits.
    """
    return run.once(STEP, Exported, lambda: _export(run, finished))


def _export(run: Run, finished: Finished) -> Exported:
    begun = run.timing.clock()
    lost = _lost(run)
    files, size, refused = _fetch_all(run, finished.export_batch)
    staged = (row for row in read_manifest(run.folder.manifest, "staged") if row.name not in lost)
    tables = build_tables(run.folder.export, staged, run.folder.root)
    return Exported(
        files=files,
        bytes=size,
        refused=refused,
        rows=tables.rows,
        predictions=tables.predictions,
        duplicates=tables.duplicates.count,
        unknown=tables.unknown.count,
        unreadable=tables.unreadable.count,
        seconds=run.timing.clock() - begun,
    )


def _lost(run: Run) -> set[str]:
    """Names that count as failed whatever came back: of a file that changed, nobody knows which version was fetched."""
    failed = pq.read_table(run.folder.ingest, columns=["name"], filters=[("state", "=", "failed")])
    return set(failed["name"].to_pylist())


def _fetch_all(run: Run, batch: str) -> tuple[int, int, int]:
    """Fetches every file of the batch; gives files, bytes, and archive members refused."""
    try:
        parts = run.platform.staging.parts(batch)
    except NotFound:
        raise gone(run, "export batch of job") from None
    total = sum(run.platform.staging.count(batch, part.part_name) for part in parts)
    files = size = refused = 0
    for entry in map_bounded(
        lambda wanted: _bring(run, batch, wanted),
        _wanted(run, batch, parts),
        PARALLEL_DOWNLOADS,
    ):
        files, size, refused = files + 1, size + entry["bytes"], refused + entry["refused"]
        run.progress.advance(STEP, 1, total)
    return files, size, refused


def _wanted(run: Run, batch: str, parts: list[BatchPart]) -> Iterator[Wanted]:
    """Every file; archives of metadata stay packed where the same results lie aggregated beside them."""
    aggregated = any(part.content_type == "metadata" for part in parts)
    for part in parts:
        unpack = not (aggregated and part.nested_content_type == "metadata")
        for file in run.platform.staging.files(batch, part.part_name):
            yield Wanted(part, file, unpack and file.file_name.endswith(ARCHIVES))


def _bring(run: Run, batch: str, wanted: Wanted) -> dict[str, int]:
    """Fetches one file, unless an earlier process did; gives its size and the members refused."""
    target = run.folder.export / safe_name(wanted.part.part_name) / safe_name(wanted.file.file_name)
    known = run.journal.confirmed(STEP, wanted.name)
    if known is None:
        size = _download(run, batch, wanted, target)
        refused = _unpack(target) if wanted.unpack else 0
        run.journal.confirm(STEP, wanted.name, bytes=size, refused=refused)
        return {"bytes": size, "refused": refused}
    return {"bytes": known["bytes"], "refused": known["refused"]}


def _download(run: Run, batch: str, wanted: Wanted, target: Path) -> int:
    staging = run.platform.staging
    url = wanted.file.download_url

    def once() -> int:
        nonlocal url
        try:
            return download(staging.transport.fetch, url, target).size
        except UrlExpired:
            url = _sign_again(run, batch, wanted)
            raise

    return retry(once, staging.transport.policy, run.timing)


def _sign_again(run: Run, batch: str, wanted: Wanted) -> str:
    for file in run.platform.staging.files(batch, wanted.part.part_name):
        if file.file_name == wanted.file.file_name:
            return file.download_url
    raise ServiceBusy(f"{wanted.name} of batch {batch} is not listed any more")


def _unpack(archive: Path) -> int:
    """Takes an archive apart beside itself and drops it; gives the number of members that were refused."""
    unpacked = unpack_tar(archive, archive.parent)
    archive.unlink()
    return len(unpacked.refused)
