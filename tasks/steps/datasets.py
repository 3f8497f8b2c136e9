"""Datasets: the predictions of a finished run in the formats that labelling and training tools read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import IO

from tasks.core.errors import BadInput
from tasks.core.options import DatasetOptions
from tasks.core.progress import Progress
from tasks.media.manifest import read_manifest
from tasks.media.versions import VersionIndex
from tasks.results.exporters.datasets import write_datasets
from tasks.results.exporters.description import WrittenDataset
from tasks.results.exporters.registry import load_exporter
from tasks.sources.base import MediaObject, Source
from tasks.steps.context import Run

STEP = "datasets"


def check_datasets(options: DatasetOptions, source: Source) -> None:
    """Looks whether what is wanted can be had, so that it is told before any work.

    Raises:
        BadInput: there is no such format, or images that are not on this machine are to be linked.
    """
    for name in options.formats:
        load_exporter(name)
    if options.formats and options.images == "link" and options.zipped:
        raise BadInput("an archive cannot hold links: use --images copy with --zip, or leave one of them out")
    if options.formats and options.images == "link" and not source.is_local:
        raise BadInput(f"the images of {source.url} are not on this machine: use --images copy instead of link")


def make_datasets(run: Run, progress: Progress) -> tuple[WrittenDataset, ...]:
    """Writes every format that is asked for to ``datasets/`` in the run's folder; one that is there stays.

    Raises:
        LocalFault: the disk is full.
    """
    options, folder = run.target.request.datasets, run.folder
    with source_images(run) as images:
        return write_datasets(folder.root, folder.datasets, options, images, lambda n: progress.advance(STEP, n))


class RunImages:
    """The source images of a run, by their keys, in the version that was processed."""

    def __init__(self, source: Source, items: VersionIndex) -> None:
        self._source = source
        self._items = items
        self._lock = Lock()

    def open_source(self, key: str) -> IO[bytes]:
        """The image's bytes.

        Raises:
            SourceChanged: it is not what was processed any more.
        """
        return self._source.open(self._item(key))

    def local_path(self, key: str) -> Path | None:
        """Where it lies on this machine, or ``None``.

        Raises:
            SourceChanged: it is not what was processed any more.
        """
        if not self._source.is_local:
            return None
        with self._source.open(self._item(key)) as file:
            return Path(file.name)

    def _item(self, key: str) -> MediaObject:
        with self._lock:  # images are fetched by several threads
            known = self._items.get(key)
        assert known is not None, "results are of staged files only"
        size, etag, modified, checksum = json.loads(known)
        return MediaObject(key, size, etag, datetime.fromisoformat(modified) if modified else None, checksum)


@contextmanager
def source_images(run: Run) -> Iterator[RunImages]:
    """The images of the run's manifest, found by key without holding the manifest in memory."""
    with VersionIndex() as items:
        for row in read_manifest(run.folder.manifest, "staged"):
            modified = row.modified.isoformat() if row.modified else None
            items.add(row.key, json.dumps([row.size, row.etag, modified, row.checksum]))
        yield RunImages(run.target.source, items)
