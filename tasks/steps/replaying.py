"""Replays: exactly the files of a finished run once more, under a label of their own.

A replay is a run like any other, with a folder and a key. Its label counts the finished replays of the run before it,
so that one that was killed is gone on with, and the next one is done afresh.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq

from tasks.core.errors import BadInput, damaged
from tasks.core.job_options import WaitOptions
from tasks.core.options import ComparisonOptions, DatasetOptions, Expectations
from tasks.core.pilot import PilotOptions
from tasks.core.redaction import redact
from tasks.core.request import RunRequest
from tasks.core.run_folder import RunFolder, list_runs, read_lock
from tasks.media.manifest import read_manifest
from tasks.media.versions import VersionIndex, version_of
from tasks.sources.base import MediaObject, ReferenceSource, Source
from tasks.sources.roboql import RoboqlSource
from tasks.steps.context import Target
from tasks.steps.filtered import FilteredReferences, FilteredSource, stored_key
from tasks.steps.previous import request_of
from tasks.steps.runs import Runs, outlined_runs

SHOWN_FILES = 5
PACKAGE = "darkroom"


@dataclass(frozen=True)
class Replay:
    """What it takes to do a run again.

    Attributes:
        request: for the replay.
        warnings: why its results may be others, a line each.
    """

    request: RunRequest
    warnings: tuple[str, ...]


def replay_request(folder: RunFolder, runs: Runs, named: str) -> Replay:
    """The request that replays a finished run.

    It asks for what the run was asked for, less what comes after the results: datasets, expectations, a comparison, a
    destination.

    Args:
        folder: of the run, with its lock and its summary.
        runs: where the replay's folder will lie, beside those of earlier replays.
        named: how the user names that place.

    Raises:
        BadInput: the run is not finished.
        LocalFault: its lock is damaged.
    """
    if folder.finished() is None:
        raise BadInput(f"run {folder.key} is not finished: `darkroom show {folder.key}` tells how to go on with it")
    asked = request_of(folder)
    if asked is None:
        raise damaged(folder.lock_file)
    own: dict[str, Any] = {
        "runs": named,
        "rerun": f"{_label(folder.key)}{1 + _last_replay(runs, folder.key)}",
        "replays": folder.key,
        "only_new": False,
        "destination": "",
        "datasets": DatasetOptions(),
        "expectations": Expectations(),
        "comparison": ComparisonOptions(),
        "wait": WaitOptions(),
        "pilot": PilotOptions(),
        "pilot_of": "",
    }
    return Replay(asked.model_copy(update=own), tuple(filter(None, [_of_another_version(folder)])))


@contextmanager
def replayed(target: Target) -> Iterator[Target]:
    """The target of a replay, with the files of the replayed run for its source, and a note where it may differ.

    Raises:
        BadInput: there is no such run, or no file can be told for its own: that of a query.
        LocalFault: its manifest or lock is damaged.
    """
    key = target.request.replays
    if isinstance(target.source, RoboqlSource):
        raise BadInput(f"run {key} cannot be replayed: nobody can say whether a query picks the same images again")
    with TemporaryDirectory() as scratch, VersionIndex() as versions:
        folder = RunFolder(Path(scratch))
        place = target.runs.place.sub(key)
        if not all(place.get(file.name, file) for file in (folder.lock_file, folder.manifest)):
            raise BadInput(f"no run {key} in {target.runs.place.url} that could be replayed")
        for row in read_manifest(folder.manifest):
            versions.add(row.key, version_of(row.item()))
        files = pq.read_metadata(folder.manifest).num_rows
        source = same_files(target.source, versions, files=files, key=key)
        yield replace(target, source=source, replay_note=_changed_workflow(folder, key, target))


class ManifestSource(FilteredSource):
    """The objects of a source that a run's manifest holds, in the very same version.

    Args:
        source: the run's source.
        versions: of the manifest's files, by key.
        files: how many there are.
        key: of the run.
    """

    def __init__(self, source: Source, versions: VersionIndex, *, files: int, key: str) -> None:
        super().__init__(source)
        self._versions = versions
        self._files = files
        self._key = key

    def list(self) -> Iterator[MediaObject]:
        """Every file of the manifest, in the source's order.

        Raises:
            BadInput: at the end, where files have changed or are missing; naming some of them.
        """
        same, changed, names = 0, 0, []
        for item in self._source.list():
            known = self._versions.get(stored_key(item.key))
            if known == version_of(item):
                same += 1
                yield item
            elif known is not None:
                changed += 1
                names += [stored_key(item.key)] if changed <= SHOWN_FILES else []
        missing = self._files - same - changed
        if changed or missing:
            told = [_told(changed, "changed", names)] if changed else []
            told += [_told(missing, "missing", islice(self._missing(), SHOWN_FILES))] if missing else []
            raise BadInput(
                f"run {self._key} cannot be replayed: of its {self._files} files in {redact(self.url)} "
                f"{' and '.join(told)}; run its command again for what is there now"
            )

    def _missing(self) -> Iterator[str]:
        """The keys that the source does not have any more."""
        with VersionIndex() as there:
            for item in self._source.list():
                there.add(stored_key(item.key), "")
            yield from (key for key, _version in self._versions.items() if there.get(key) is None)


class ManifestReferences(ManifestSource, FilteredReferences):
    """The same of a source whose objects a platform can fetch."""


def same_files(source: Source, versions: VersionIndex, *, files: int, key: str) -> ManifestSource:
    """``source`` with the files of a manifest only; arguments as of :class:`ManifestSource`."""
    kind = ManifestReferences if isinstance(source, ReferenceSource) else ManifestSource
    return kind(source, versions, files=files, key=key)


def _told(count: int, what: str, names: Iterator[str] | list[str]) -> str:
    shown = [repr(name) for name in names]
    more = [f"{count - len(shown)} more"] if count > len(shown) else []
    return f"{count} {'is' if count == 1 else 'are'} {what} ({', '.join(shown + more)})"


def _last_replay(runs: Runs, key: str) -> int:
    """The highest number among the finished replays of that run, or 0."""
    with outlined_runs(runs) as place:
        done = [request_of(folder) for folder in list_runs(place) if folder.summary.exists()]
    labels = [asked.rerun.removeprefix(_label(key)) for asked in done if asked is not None and asked.replays == key]
    return max((int(label) for label in labels if label.isdecimal()), default=0)


def _label(key: str) -> str:
    return f"replay-{key}-"


def _of_another_version(folder: RunFolder) -> str:
    was, here = read_lock(folder).get("versions", {}).get(PACKAGE, ""), version(PACKAGE)
    if was == here:
        return ""
    return (
        f"run {folder.key} was made by {PACKAGE} {was or 'of another version'}, and this is {here}: results may differ"
    )


def _changed_workflow(folder: RunFolder, key: str, target: Target) -> str:
    """What is to be said where the workflow is not, or may not be, the one that the run used."""
    was, here = read_lock(folder).get("identity", {}).get("workflow_digest"), target.workflow.digest
    if was is None or here is None:
        return (
            f"{target.platform.name} does not show workflow {target.workflow.id}: it may have changed since run {key}"
        )
    if was != here:
        return f"workflow {target.workflow.id} has changed since run {key}: the results may differ by that"
    return ""
