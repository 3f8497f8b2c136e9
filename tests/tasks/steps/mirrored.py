"""Run folders at every stage of a run, and places that watch what is mirrored to them."""

from __future__ import annotations

from pathlib import Path

from tasks.core.errors import ConnectionFailed
from tasks.core.journal import Journal
from tasks.core.run_folder import RunFolder
from tasks.steps.mirror import EXPORT, INGEST
from tasks.transfer.places import LocalPlace, Place
from tests.tasks.core.summaries import summary

KEY = "0123456789abcdef"
EXPORTED = {"export/results/a.jsonl": "{}", "export/images/a.png/annotated.jpg": "picture"}


class Watched(LocalPlace):
    """A place that says what was put, and that fails when a file of a certain name is."""

    def __init__(self, folder: Path, puts: list[str], failing: str = "") -> None:
        super().__init__(folder)
        self._folder_of_all = folder
        self._puts = puts
        self._failing = failing

    def sub(self, name: str) -> Place:
        return Watched(self._folder_of_all / name, self._puts, self._failing)

    def put(self, name: str, file: Path) -> None:
        if name == self._failing:
            raise ConnectionFailed("the connection broke")
        super().put(name, file)
        self._puts.append(name)


def begun(machine: Path) -> RunFolder:
    """A run as staging leaves it on a machine."""
    folder = RunFolder(machine / KEY)
    folder.root.mkdir(parents=True)
    folder.lock_file.write_text("lock")
    folder.manifest.write_text("manifest")
    return folder


def exported(folder: RunFolder, *, whole: bool = True) -> RunFolder:
    """The same with its export done, or under way."""
    for name, text in EXPORTED.items():
        path = folder.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with Journal(folder.journal) as journal:
        journal.confirm(INGEST, "record", record={})
        journal.confirm(EXPORT, "results/a.jsonl", bytes=2, refused=0)
        if whole:
            journal.confirm(EXPORT, "record", record={})
    return folder


def finished(folder: RunFolder) -> RunFolder:
    exported(folder)
    folder.report.write_text("report")
    for table in (folder.ingest, folder.job, folder.results, folder.predictions, folder.failures):
        table.write_text(table.name)
    folder.finish(summary(KEY, folder=folder.root))
    return folder


def on(machine: Path) -> RunFolder:
    return RunFolder(machine / KEY)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def uncertain(folder: RunFolder) -> list[str]:
    with Journal(folder.journal) as journal:
        return journal.uncertain(INGEST)
