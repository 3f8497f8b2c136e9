"""Runs on a folder of images, one after the other, as far as the state of incremental runs is concerned."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq

from tasks.core.progress import Silent
from tasks.core.run_folder import RunFolder
from tasks.media.manifest import write_manifest
from tasks.results.tables import Failure, write_failures
from tasks.sources.local import LocalSource
from tasks.steps.incremental import advance, only_new
from tasks.steps.runs import STATES
from tasks.transfer.places import LocalPlace
from tests.tasks.core.summaries import summary

NAME = "state-0123456789abcdef.parquet"
NOON = datetime(2026, 9, 15, 12, tzinfo=UTC)
KEYS = ("1" * 16, "2" * 16, "3" * 16)


class Shop:
    """Runs on a folder of images, one after the other, as far as the state is concerned."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "source"
        self.source.mkdir()
        self.runs = folder / "runs"
        self.states = LocalPlace(self.runs / STATES)

    def run(self, number: int, failures: Iterable[Failure] = ()) -> RunFolder:
        """A reconciled run of everything that is new, begun ``number`` hours after noon."""
        folder = RunFolder(self.runs / KEYS[number])
        folder.root.mkdir(parents=True)
        with only_new(LocalSource(self.source), self.states, NAME) as source:
            write_manifest(source, folder.manifest, Silent())
        write_failures(folder.failures, failures)
        folder.finish(summary(folder.key, started=NOON + timedelta(hours=number), folder=folder.root))
        return folder

    def remember(self, folder: RunFolder, asked: datetime | None = None) -> None:
        """Remembers a run that was asked for when it began, or later once more."""
        found = folder.finished()
        advance(folder, self.states, NAME, asked or (found.started if found else NOON))

    def new(self) -> list[str]:
        """The keys that are new now."""
        with only_new(LocalSource(self.source), self.states, NAME) as source:
            return [item.key for item in source.list()]

    def rows(self) -> dict[str, tuple[str, datetime]]:
        """Run and time by key."""
        rows = pq.read_table(self.runs / STATES / NAME).to_pylist()
        assert len({row["key"] for row in rows}) == len(rows)
        return {row["key"]: (row["run"], row["time"]) for row in rows}
