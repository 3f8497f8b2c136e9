"""Runs that lie in a bucket: worked on in a folder of this machine, and mirrored to ``<place>/<key>/``.

What is pushed tells at any moment how far the run is: the journal goes after the files that it speaks of, and
``summary.parquet`` last. A machine that takes an unfinished run over says so in the journal, in the bucket as well,
before it does anything else. So a machine that comes back later finds that the run is not its own any more and takes
it over in turn, and one that has never stopped is told at its next push. Two machines that take over in the very same
moment are not told apart; a bucket has no locks.
"""

from __future__ import annotations

import fcntl
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from tasks.core.errors import Terminal
from tasks.core.files import sync_folder, write_text
from tasks.core.journal import Journal
from tasks.core.run_folder import STAGING, RunFolder, adopt, staging_folder
from tasks.sources.base import MediaObject
from tasks.sources.local import LocalSource
from tasks.transfer.download import UNFINISHED
from tasks.transfer.places import Place, get_all, put_all
from tasks.transfer.sent import SentFiles

# The steps' own names; they cannot be imported from the steps, which know of the mirror.
INGEST, EXPORT = "ingest", "export"
ELSEWHERE = "elsewhere"
"""The part of ingest that stands for whatever another machine may have sent since its last push."""


class TakenOver(Terminal):
    """Another machine goes on with the run."""


class Mirror:
    """Runs in a place, by their keys.

    Args:
        place: where the runs lie; it holds a folder for each.
    """

    def __init__(self, place: Place) -> None:
        self.place = place

    def push(self, folder: RunFolder) -> None:
        """Uploads what is new or has changed since the last push; the caller holds the run.

        Raises:
            TakenOver: another machine goes on with the run.
        """
        remote = self._remote(folder)
        with TemporaryDirectory() as scratch, SentFiles(folder.root, remote.url) as sent:
            if not remote.has(folder.lock_file.name):
                sent.clear()
            # A copy from before the files are listed: it speaks of no file that is not there yet.
            journal = Path(scratch) / folder.journal.name
            exported = folder.journal.exists() and _copy_journal(folder.journal, journal)
            if not _is_own(remote, journal):
                raise TakenOver(_taken_over(folder))
            reopened = not folder.summary.exists() and remote.has(folder.summary.name)
            if reopened:
                remote.remove(folder.summary.name)
            for item in put_all(remote, folder.root, _unsent(folder, sent, exported)):
                sent.add(item)
            if reopened:
                remove_stale(remote, folder)
            if journal.exists():
                remote.put(journal.name, journal)
            if folder.summary.exists():
                remote.put(folder.summary.name, folder.summary)

    def pull(self, folder: RunFolder) -> bool:
        """Brings a run here that another machine has begun or gone on with; the caller does not hold it.

        An unfinished run comes with its files and a journal that makes ingest ask the platform what has arrived; of a
        step of export that was not finished nothing is taken, so that it is done anew. A finished run comes without
        ``export/``, see :meth:`complete`.

        Args:
            folder: the run's folder on this machine, which may be there or not.

        Returns:
            Whether something was brought. If not, this machine has all there is, or the place does not have the run.
        """
        if not self._is_ahead(folder):
            return False
        with _only_one_pull(folder), folder.held(lambda: _tell_wait(folder)) if folder.root.exists() else nullcontext():
            if not self._is_ahead(folder):
                return False  # another process has brought it meanwhile
            with staging_folder(folder.root.parent) as staged:
                self._bring(self._remote(folder), RunFolder(staged))
                _settle(RunFolder(staged), folder)
        return True

    def is_elsewhere(self, folder: RunFolder) -> bool:
        """Whether another machine has begun the run, or gone on with it, and has not finished it."""
        return self._is_ahead(folder) and not self._remote(folder).has(folder.summary.name)

    def complete(self, folder: RunFolder) -> None:
        """Brings the exported files of a finished run that was pulled; of any other run nothing is missing."""
        if not is_whole(folder):
            remote = self._remote(folder)
            bring_export(remote, folder)
            _note_sent(remote, folder)
            folder.without_export.unlink()

    def _remote(self, folder: RunFolder) -> Place:
        return self.place.sub(folder.key)

    def _is_ahead(self, folder: RunFolder) -> bool:
        """Whether the place has a run that this machine has not, or has not got so far."""
        remote = self._remote(folder)
        if folder.summary.exists() or not all(remote.has(file.name) for file in (folder.lock_file, folder.manifest)):
            return False
        if remote.has(folder.summary.name):
            return True
        return not (folder.journal.exists() and _is_own(remote, folder.journal))

    def _bring(self, remote: Place, brought: RunFolder) -> None:
        """Fetches the run; the files after the journal, so that those of which it speaks are there."""
        finished, begun = (remote.get(file.name, file) for file in (brought.summary, brought.journal))
        tables = (brought.ingest, brought.job, brought.results, brought.predictions, brought.failures)
        others = (brought.lock_file, brought.manifest, *tables, brought.report)
        for _ in get_all(remote, brought.root, (file.name for file in others)):
            pass
        if finished:
            brought.without_export.touch()
        elif begun and _forget_unfinished_export(brought.journal):
            bring_export(remote, brought)
        _note_sent(remote, brought)
        if not finished:
            with Journal(brought.journal) as journal:
                journal.intend(INGEST, ELSEWHERE, by=uuid4().hex)
            remote.put(brought.journal.name, brought.journal)


def remove_stale(place: Place, folder: RunFolder) -> None:
    """Removes from a place the exported files and datasets that the run does not have any more."""
    for name in (folder.export.name, folder.datasets.name):
        for item in list(place.sub(name).files()):
            if is_hidden(item.key) or not (folder.root / name / item.key).is_file():
                place.sub(name).remove(item.key)


def is_hidden(key: str) -> bool:
    """Whether a file is one that is being written, or lies in a folder that is."""
    return key.startswith(".") or "/." in key


def is_whole(folder: RunFolder) -> bool:
    """Whether the exported files of a finished run are on this machine."""
    return not folder.without_export.exists()


def _data(folder: RunFolder, *, exported: bool) -> Iterator[MediaObject]:
    """The files to mirror, but journal and summary; ``export/`` only when it is whole."""
    for item in LocalSource(folder.root).list():
        unfinished = item.key.startswith(folder.datasets.name + "/") and is_hidden(item.key)
        own = item.key.startswith(".") or unfinished or item.key in (folder.journal.name, folder.summary.name)
        early = item.key.startswith(folder.export.name + "/") and not exported
        if not (own or early or item.key.endswith(UNFINISHED)):
            yield item


def _unsent(folder: RunFolder, sent: SentFiles, exported: bool) -> Iterator[MediaObject]:
    return (item for item in _data(folder, exported=exported) if not sent.has(item))


def _copy_journal(journal: Path, copy: Path) -> bool:
    """Copies the whole lines; tells whether they say that export is done."""
    shutil.copyfile(journal, copy)
    with Journal(copy) as copied:
        return copied.confirmed(EXPORT, "record") is not None


def _taken_over(folder: RunFolder) -> str:
    return (
        f"run {folder.key} was taken over by another machine: let that one finish it, "
        "or run the same command again to go on with it here"
    )


def _is_own(remote: Place, journal: Path) -> bool:
    """Whether what the place knows of the run was written by this machine: its journal is the beginning of ours."""
    with TemporaryDirectory() as scratch:
        theirs = Path(scratch) / journal.name
        if not remote.get(journal.name, theirs):
            return True
        known = theirs.read_bytes()
    return journal.exists() and journal.read_bytes().startswith(known)


def _forget_unfinished_export(journal: Path) -> bool:
    """Whether export is done; if not, what the journal has of it is taken out, as the files have not come along."""
    with Journal(journal) as read:
        if read.confirmed(EXPORT, "record"):
            return True
    lines = journal.read_text(encoding="utf-8").splitlines(keepends=True)
    write_text(journal, "".join(line for line in lines if json.loads(line)["step"] != EXPORT))
    return False


def bring_export(remote: Place, folder: RunFolder) -> None:
    """Fetches the exported files of the run that lies in ``remote``."""
    exported = remote.sub(folder.export.name)
    names = (item.key for item in exported.files())
    for _ in get_all(exported, folder.export, names):
        pass


def _note_sent(remote: Place, brought: RunFolder) -> None:
    """What came from the place does not have to go back there."""
    with SentFiles(brought.root, remote.url) as sent:
        for item in _data(brought, exported=True):
            sent.add(item)


def _settle(brought: RunFolder, folder: RunFolder) -> None:
    """Makes what was brought the run's folder; in between, the missing journal says that the run is not here."""
    if not folder.root.exists():
        adopt(brought.root, folder)
        return
    folder.journal.unlink(missing_ok=True)
    sync_folder(folder.root)
    for path in folder.root.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()
    order = ("", brought.journal.name, brought.summary.name)
    for path in sorted(brought.root.iterdir(), key=lambda path: order.index(path.name) if path.name in order else 0):
        path.rename(folder.root / path.name)
        sync_folder(folder.root)


@contextmanager
def _only_one_pull(folder: RunFolder) -> Iterator[None]:
    """Keeps other processes from bringing the same run at the same time, also while it has no folder to hold."""
    place = folder.root.parent / STAGING
    place.mkdir(parents=True, exist_ok=True)
    with (place / f"{folder.key}.pull").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _tell_wait(folder: RunFolder) -> None:
    logging.getLogger(__name__).warning("run %s is under way in another process: waiting for it", folder.key)
