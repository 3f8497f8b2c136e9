"""Collecting a batch: its files fetched in parallel, kept in groups, unpacked, each once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.errors import NotFound, UrlExpired
from tasks.core.threads import map_bounded
from tasks.results.exported import ARCHIVES
from tasks.roboflow_api.models import BatchPart, FileMetadata
from tasks.roboflow_api.retrying import retry
from tasks.roboflow_api.urls import FreshUrls
from tasks.steps.choosing import RESULTS, choose_parts
from tasks.steps.context import Run, gone
from tasks.transfer.download import UNFINISHED, Received, keep, part_path, receive
from tasks.transfer.members import are_there, has_size, note_members
from tasks.transfer.refusals import Refusals, plain_name
from tasks.transfer.shelf import Shelf
from tasks.transfer.unpack import DamagedArchive, UnsafeArchive, unpack_tar

STEP = "export"
PARALLEL = 8
MOST_IN_GROUP = 50
"""Files that are fetched one after the other and then flushed and written down together."""
UNPACKED = ".unpacked"
"""Folder of notes about archives, below the run's."""
SHOWN = "shown"
"""Part of the journal's entry that says which batch lies in ``export/``."""
ASIDE = ".aside"
"""Folder of what an earlier choice has brought, below the run's."""


@dataclass(frozen=True)
class Wanted:
    """One file of the batch and what becomes of it.

    Attributes:
        file: as listed, with a signed URL.
        part: the part it belongs to.
        target: where it goes.
        unpack: take the archive apart there; otherwise it stays as it is.
        name: in the journal.
    """

    file: FileMetadata
    part: str
    target: Path
    unpack: bool
    name: str


@dataclass
class Collected:
    """What came.

    Attributes:
        files: files fetched, now or before.
        bytes: their sizes added up.
        members: members of archives that were left out.
        refused: listed files and parts, and archives, that were left out as a whole.
    """

    files: int = 0
    bytes: int = 0
    members: int = 0
    refused: int = 0


def choose(run: Run, batch: str) -> Collection:
    """The chosen parts of a batch; nothing is changed yet.

    Raises:
        RunIncomplete: the platform does not have the batch any more.
        BadInput: there is no such part, or the chosen parts hold no results.
    """
    try:
        listed = run.platform.staging.parts(batch)
    except NotFound:
        raise gone(run, "export batch of job") from None
    refusals = Refusals(run.tell)
    parts = choose_parts(list(_plain(listed, refusals)), run.target.request.export.parts)
    return Collection(run, batch, parts, refusals)


class Collection:
    """The chosen parts of a batch, on their way into ``export/<part>/``.

    What is there already and whole is not fetched again.

    Args:
        run: whose export it is.
        batch: the batch.
        parts: its parts that are wanted, with plain and different names.
        refusals: told what is left out.
    """

    def __init__(self, run: Run, batch: str, parts: Sequence[BatchPart], refusals: Refusals) -> None:
        self._run = run
        self.batch = batch
        self._parts = parts
        self._refusals = refusals
        self._names: dict[str, set[str]] = {}
        self._urls = FreshUrls(run.platform.staging, batch)

    def fetch(self) -> Collected:
        """Fetches everything; nothing else is in sight in ``export/`` afterwards.

        Raises:
            Transient: a download failed until the retries were used up; what has come is kept.
            RequestRefused: a download was refused for good.
            LocalFault: the disk is full or a folder cannot be written.
        """
        _show(self._run, self.batch, [part.part_name for part in self._parts])
        sizes = [self._run.platform.staging.count(self.batch, part.part_name) for part in self._parts]
        collected = Collected()
        for entries in map_bounded(self._bring, self._groups(sizes), PARALLEL):
            for entry in entries:
                collected.files += 1
                collected.bytes += entry["bytes"]
                collected.members += entry["refused"]
            size = sum(entry["bytes"] for entry in entries)
            self._run.progress.advance(STEP, len(entries), sum(sizes), size)
        collected.refused = self._refusals.count
        self._refusals.conclude()
        return collected

    def _groups(self, sizes: Iterable[int]) -> Iterator[list[Wanted]]:
        """Every file: archives, which may be large, for themselves; others so that all workers have some."""
        for part, size in zip(self._parts, sizes, strict=True):
            most = max(1, min(MOST_IN_GROUP, size // (2 * PARALLEL)))
            group: list[Wanted] = []
            for wanted in self._wanted(part):
                if wanted.target.name.endswith(ARCHIVES):
                    yield [wanted]
                    continue
                group.append(wanted)
                if len(group) == most:
                    yield group
                    group = []
            if group:
                yield group

    def _wanted(self, part: BatchPart) -> Iterator[Wanted]:
        """The files of a part; archives of results stay packed where the same results lie aggregated beside them."""
        aggregated = any(other.content_type == RESULTS for other in self._parts)
        unpack = not (aggregated and part.nested_content_type == RESULTS)
        folder = self._run.folder.export / part.part_name
        names = self._names.setdefault(part.part_name, set())
        for file in self._run.platform.staging.files(self.batch, part.part_name):
            try:
                name = plain_name(file.file_name)
                if name in names:
                    raise UnsafeArchive(f"the name {name[:200]!r} is refused: listed twice")
            except UnsafeArchive as error:
                self._refusals.add(f"file of {part.part_name}: {error}")
                continue
            names.add(name)
            known_as = f"{part.part_name}/{name}@{self.batch}"
            yield Wanted(file, part.part_name, folder / name, unpack and name.endswith(ARCHIVES), known_as)

    def _bring(self, group: list[Wanted]) -> list[dict[str, Any]]:
        """Fetches a group, and unpacks it where that is wanted; gives what the journal has of it."""
        free = [wanted for wanted in group if self._has_place(wanted)]
        self._fetch([wanted for wanted in free if not self._is_there(wanted)])
        for wanted in free:
            if wanted.unpack:
                self._unpack(wanted, self._entry(wanted))
        return [self._entry(wanted) for wanted in free]

    def _has_place(self, wanted: Wanted) -> bool:
        """Whether no archive has put a folder where the file is to go."""
        taken = wanted.target.is_dir() or part_path(wanted.target).is_dir()
        if taken:
            self._refusals.add(f"file of {wanted.part}: {wanted.target.name!r} is a folder of an archive as well")
        return not taken

    def _entry(self, wanted: Wanted) -> dict[str, Any]:
        return self._run.journal.confirmed(STEP, wanted.name) or {}

    def _is_there(self, wanted: Wanted) -> bool:
        """Whether an earlier process has brought it, and nobody has touched it since."""
        entry = self._entry(wanted)
        if not entry or entry["reason"]:
            return bool(entry)
        if entry["unpacked"]:
            return are_there(self._note(wanted), wanted.target.parent)
        return has_size(wanted.target, entry["bytes"])

    def _fetch(self, missing: list[Wanted]) -> None:
        arrived: dict[str, Received] = {}
        try:
            for wanted in missing:
                arrived[wanted.name] = self._receive(wanted)
        finally:
            if arrived:  # also what came before an error
                keep(arrived.values())
                facts = {name: _facts(file.size) for name, file in arrived.items()}
                self._run.journal.confirm_all(STEP, facts)

    def _receive(self, wanted: Wanted) -> Received:
        transport = self._run.platform.staging.transport

        def once() -> Received:
            url = self._urls.of(wanted.part, wanted.file)
            try:
                return receive(transport.fetch, url, wanted.target)
            except UrlExpired:
                self._urls.renew(wanted.part, wanted.file, url)
                raise

        return retry(once, transport.policy, self._run.timing)

    def _unpack(self, wanted: Wanted, entry: dict[str, Any]) -> None:
        """Takes an archive apart beside itself, unless that is done, and drops it."""
        archive = wanted.target
        if entry["reason"]:
            self._refusals.add(entry["reason"])
        elif not entry["unpacked"]:
            self._take_apart(wanted, entry["bytes"])
        archive.unlink(missing_ok=True)

    def _take_apart(self, wanted: Wanted, size: int) -> None:
        try:
            unpacked = unpack_tar(wanted.target, wanted.target.parent, taken=self._taken(wanted.part))
        except (UnsafeArchive, DamagedArchive) as error:
            reason = f"archive of {wanted.part}: {error}"
            self._refusals.add(reason)
            self._run.journal.confirm(STEP, wanted.name, **_facts(size, reason=reason))
            return
        note_members(self._note(wanted), unpacked.files)
        self._run.journal.confirm(STEP, wanted.name, **_facts(size, len(unpacked.refused), unpacked=True))

    def _taken(self, part: str) -> set[str]:
        """Names of the part's own files and of what they leave while they come: no archive may write there."""
        return {name + ending for name in tuple(self._names[part]) for ending in ("", *UNFINISHED)}

    def _note(self, wanted: Wanted) -> Path:
        digest = hashlib.sha256(wanted.name.encode()).hexdigest()
        return self._run.folder.root / UNPACKED / f".{digest}"


def _facts(size: int, refused: int = 0, *, unpacked: bool = False, reason: str = "") -> dict[str, Any]:
    return {"bytes": size, "refused": refused, "unpacked": unpacked, "reason": reason}


def _plain(parts: Iterable[BatchPart], refusals: Refusals) -> Iterator[BatchPart]:
    """The parts of which the name can be that of a folder, each once."""
    names: set[str] = set()
    for part in parts:
        try:
            name = plain_name(part.part_name)
            if name in names:
                raise UnsafeArchive(f"the name {name[:200]!r} is refused: listed twice")
        except UnsafeArchive as error:
            refusals.add(f"part: {error}")
            continue
        names.add(name)
        yield part


def _show(run: Run, batch: str, parts: list[str]) -> None:
    """Makes ``export/`` hold these parts of the batch and nothing else."""
    shelf = Shelf(run.folder.export, run.folder.root / ASIDE)
    known = run.journal.confirmed(STEP, SHOWN)
    if known is None or known["batch"] != batch:
        if known is not None:
            shelf.clear(known["batch"])
        run.journal.confirm(STEP, SHOWN, batch=batch)
    shelf.clear(batch, parts)
    shelf.show(batch, parts)
