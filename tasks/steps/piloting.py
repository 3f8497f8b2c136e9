"""Pilots: some files of a run first, as a run of their own.

A pilot has a folder, a batch and a job of its own. It is found again when it is done, so that nothing is paid twice;
the run itself then processes all of its files, the pilot's among them.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.core.errors import BadInput, LocalFault
from tasks.core.identity import remote_id
from tasks.core.journal import Journal, read_confirmed
from tasks.core.options import ComparisonOptions, DatasetOptions, Expectations
from tasks.core.pilot import PilotOptions
from tasks.core.records import Staged
from tasks.core.run_folder import RunFolder
from tasks.media.manifest import read_manifest
from tasks.sources.base import MediaObject, ReferenceSource, Source
from tasks.sources.roboql import RoboqlSource
from tasks.steps.context import Target
from tasks.steps.filtered import FilteredReferences, FilteredSource
from tasks.steps.runs import Runs, unfinished_folders

STEP = "pilot"


def check_pilot(options: PilotOptions, source: Source) -> None:
    """Sees that the pilot, and what is wished of it, can be.

    Raises:
        BadInput: a limit has nothing to be held against, or nobody can choose files of a query.
    """
    if options.max_credits is not None and options.credits_per_machine_hour is None:
        raise BadInput("max_credits needs the rate of your plan: add --budget credits_per_machine_hour=RATE")
    if not options.files and options != PilotOptions():
        raise BadInput("a budget is held against a pilot's estimate: add --pilot N, or leave out --budget")
    if options.files and isinstance(source, RoboqlSource):
        raise BadInput(
            "a pilot cannot be made of a query, whose images nobody but the platform knows: leave out --pilot"
        )


def pilot_target(target: Target, staged: Staged) -> Target | None:
    """The target of a run's pilot, or ``None`` where there is none.

    None is made where none was asked for, where it would be the whole run, and where the run's job is on the platform
    already: a command that was killed goes on where it was.

    Args:
        target: of the run.
        staged: the run.
    """
    count, folder = target.request.pilot.files, RunFolder(staged.folder)
    if (
        not 0 < count < staged.to_send
        or folder.summary.exists()
        or target.platform.processing.find(remote_id(folder.key))
    ):
        return None
    own: dict[str, Any] = {
        "pilot_of": staged.key,
        "destination": "",
        "datasets": DatasetOptions(),
        "expectations": Expectations(),
        "comparison": ComparisonOptions(),
        "wait": target.request.wait.model_copy(update={"mode": "poll"}),
    }
    source = only(target.source, chosen(folder.manifest, count))
    return replace(target, request=target.request.model_copy(update=own), source=source, destination=None)


def chosen(manifest: Path, count: int) -> frozenset[str]:
    """The keys of so many of a manifest's staged files, drawn by a stable hash: the same ones every time."""
    keys = (row.key for row in read_manifest(manifest, "staged"))
    return frozenset(heapq.nsmallest(count, keys, key=lambda key: hashlib.sha256(key.encode()).digest()))


class ChosenSource(FilteredSource):
    """The objects of a source that have certain keys.

    Args:
        source: the source.
        keys: of the objects that are meant.
    """

    def __init__(self, source: Source, keys: frozenset[str]) -> None:
        super().__init__(source)
        self._keys = keys

    def list(self) -> Iterator[MediaObject]:
        """The objects that are meant, in the source's order."""
        return (item for item in self._source.list() if item.key in self._keys)


class ChosenReferences(ChosenSource, FilteredReferences):
    """The same of a source whose objects a platform can fetch."""


def only(source: Source, keys: frozenset[str]) -> ChosenSource:
    """``source`` with the objects of these keys only."""
    kind = ChosenReferences if isinstance(source, ReferenceSource) else ChosenSource
    return kind(source, keys)


def note_asked(journal: Journal, flow_run: str) -> bool:
    """Writes down, with a run, that a flow run shows its pilot to a person; whether that is new."""
    if journal.confirmed(STEP, flow_run):
        return False
    journal.confirm(STEP, flow_run)
    return True


def run_asked_by(runs: Runs, flow_run: str) -> str | None:
    """The key of the unfinished run whose pilot a flow run has shown to a person, or ``None``."""
    return next((folder.key for folder in unfinished_folders(runs) if _is_asked(folder, flow_run)), None)


def _is_asked(folder: RunFolder, flow_run: str) -> bool:
    try:
        return read_confirmed(folder.journal, STEP, flow_run) is not None
    except LocalFault:
        return False  # it is told when somebody looks at that run
