"""Where runs lie: in a folder of this machine, or in a bucket and worked on in a folder here."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from tasks.core.errors import LocalFault
from tasks.core.run_folder import RunFolder, is_key, list_runs, read_lock
from tasks.core.settings import Settings
from tasks.core.threads import map_bounded
from tasks.sources.registry import is_bucket_url
from tasks.steps.mirror import Mirror
from tasks.transfer.places import Place, open_place

STATES = ".state"
PARALLEL_FETCHES = 8


@dataclass(frozen=True)
class Runs:
    """The place of all runs.

    Attributes:
        folder: on this machine; each run has a folder in it.
        place: the same, or the bucket that it mirrors.
        mirror: brings runs into the bucket and from it; ``None`` where there is no bucket.
    """

    folder: Path
    place: Place
    mirror: Mirror | None

    @property
    def states(self) -> Place:
        """Where incremental runs keep what they have processed."""
        return self.place.sub(STATES)


def runs_folder(url: str, settings: Settings) -> Path:
    """The folder of this machine that holds the runs of ``url``.

    Raises:
        BadInput: it is no place that can be written to.
    """
    if is_bucket_url(url):
        return settings.home / "runs" / hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]
    return Path(open_place(url).url)


def open_runs(url: str, settings: Settings) -> Runs:
    """The runs below ``url``.

    Raises:
        BadInput: it is no place that can be written to.
    """
    folder, place = runs_folder(url, settings), open_place(url)
    if not is_bucket_url(url):
        return Runs(folder, place, None)
    next(place.folders(), None)  # a bucket that cannot be used is told before any work
    return Runs(folder, place, Mirror(place))


@contextmanager
def visible_runs(url: str, settings: Settings) -> Iterator[Path]:
    """A folder with the runs below ``url`` as far as listing and showing them needs it.

    Raises:
        BadInput: the bucket cannot be read.
    """
    with outlined_runs(open_runs(url, settings)) as folder:
        yield folder


@contextmanager
def outlined_runs(runs: Runs, key: str = "") -> Iterator[Path]:
    """The folder of the runs, or one with lock and summary of those in the bucket.

    Args:
        runs: the place of all runs.
        key: only runs whose key begins so are wanted.
    """
    if runs.mirror is None:
        yield runs.folder
        return
    with TemporaryDirectory(prefix="darkroom-runs-") as name:
        found = (known for known in runs.place.folders() if is_key(known) and known.startswith(key))
        fetched = map_bounded(
            lambda known: _fetch_outline(runs.place.sub(known), Path(name) / known), found, PARALLEL_FETCHES
        )
        for _ in fetched:
            pass
        yield Path(name)


def unfinished_folders(runs: Runs, key: str = "") -> Iterator[RunFolder]:
    """The folders of the unfinished runs, with lock and journal.

    Args:
        runs: the place of all runs.
        key: only runs whose key begins so.
    """
    with outlined_runs(runs, key) as place:
        for folder in list_runs(place):
            if folder.summary.exists() or not folder.key.startswith(key):
                continue
            if runs.mirror is not None:
                runs.place.sub(folder.key).get(folder.journal.name, folder.journal)
            yield folder


def _fetch_outline(place: Place, folder: Path) -> None:
    """The lock and the summary of one run, in a folder that bears the time at which the run was begun.

    One run's damage does not hide the others; it is told when that run is looked at.
    """
    folder.mkdir()
    run = RunFolder(folder)
    for file in (run.lock_file, run.summary):
        place.get(file.name, file)
    if run.lock_file.exists():
        with suppress(LocalFault, LookupError, ValueError, TypeError):
            begun = datetime.fromisoformat(read_lock(run)["started"]).timestamp()
            os.utime(folder, (begun, begun))
