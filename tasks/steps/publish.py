"""Publish: write the results of a finished run to where their users look for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from tasks.core.errors import LocalFault, RunIncomplete
from tasks.core.progress import Progress
from tasks.core.records import Record
from tasks.core.run_folder import RunFolder
from tasks.media.versions import VersionIndex
from tasks.sources.base import MediaObject
from tasks.sources.local import LocalSource
from tasks.steps.mirror import is_hidden, is_whole, remove_stale
from tasks.transfer.places import Place, put_all
from tasks.transfer.sent import SentFiles

STEP = "publish"


class Published(Record):
    """Where the results lie now."""

    url: str
    """Path or URL of the run's folder at the destination."""
    files: int
    """Files of the run that lie there."""
    bytes: int
    """Sum of their sizes."""
    sent: int
    """Files that were written now; the others were there."""
    seconds: float


def publish(
    folder: RunFolder, destination: Place, progress: Progress, clock: Callable[[], float] = time.monotonic
) -> Published:
    """Writes the results to ``<destination>/<key>/``, ``summary.parquet`` last: its presence means that all is there.

    What is there already is not written again, whoever wrote it: datasets that were asked for later join the rest.

    Args:
        folder: of the run, which the caller holds.
        destination: where the folder of results is made.
        progress: told of each file.
        clock: a monotonic clock, in seconds.

    Raises:
        RunIncomplete: the run is not finished.
        LocalFault: its exported files are not on this machine.
        Transient: a store failed until its retries were used up; what was written is kept.
    """
    begun = clock()
    _check(folder)
    place = destination.sub(folder.key)
    files, size = 1, folder.summary.stat().st_size
    for item in _results(folder):
        files, size = files + 1, size + (item.size or 0)
    sent = _send(folder, place, progress, files)
    return Published(url=place.url, files=files, bytes=size, sent=sent, seconds=clock() - begun)


def _check(folder: RunFolder) -> None:
    if not folder.summary.exists():
        raise RunIncomplete(f"run {folder.key} is not finished: there is nothing to publish yet")
    if not is_whole(folder):
        raise LocalFault(f"the exported files of run {folder.key} are not in {folder.root}: bring them there first")


def _results(folder: RunFolder) -> Iterator[MediaObject]:
    """The files to publish, but the summary."""
    tables = (folder.results, folder.predictions, folder.failures, folder.manifest)
    names = {file.name for file in (*tables, folder.report, folder.lock_file)}
    for item in LocalSource(folder.root).list():
        dataset = item.key.startswith(folder.datasets.name + "/") and not is_hidden(item.key)
        if item.key in names or dataset or item.key.startswith(folder.export.name + "/"):
            yield item


def _send(folder: RunFolder, place: Place, progress: Progress, total: int) -> int:
    """Writes what is not there; gives the number of files."""
    there = _read(place, folder.summary.name)
    published = there == folder.summary.read_bytes()
    sent = 0
    with SentFiles(folder.root, place.url) as known:
        if there is not None and not published:
            known.clear()  # results of another execution of this run were written over ours
        unsent = _unsent(folder, place, known, progress, published=published)
        first = next(unsent, None)
        if there is not None and (first is not None or not published):
            place.remove(folder.summary.name)  # until all is there again
            remove_stale(place, folder)
        for item in put_all(place, folder.root, chain(filter(None, [first]), unsent)):
            known.add(item)
            sent += 1
            progress.advance(STEP, 1, total)
    if sent or not published:
        place.put(folder.summary.name, folder.summary)
        sent += 1
    progress.advance(STEP, 1, total)
    return sent


def _unsent(
    folder: RunFolder, place: Place, known: SentFiles, progress: Progress, *, published: bool
) -> Iterator[MediaObject]:
    """The files that were not written yet, or have vanished from there since.

    Where this very execution was published, files that this machine has no note of were written by another one.
    """
    with VersionIndex() as sizes:
        if known or published:
            for item in place.files():
                sizes.add(item.key, str(item.size))
        for item in _results(folder):
            by_another = not item.key.startswith(folder.datasets.name + "/") and not known.has_any(item.key)
            noted = known.has(item) or (published and by_another)
            if noted and sizes.get(item.key) == str(item.size):
                progress.advance(STEP, 1)
            else:
                yield item


def _read(place: Place, name: str) -> bytes | None:
    with TemporaryDirectory() as scratch:
        copy = Path(scratch) / name
        return copy.read_bytes() if place.get(name, copy) else None
