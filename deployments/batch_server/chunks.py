"""The folder of a processing task: from what the engine wrote to the task's output files."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from deployments.batch_server.archives import STORED, ArchiveMember, sha256_of, write_archive
from deployments.batch_server.blobs import flush_folder
from deployments.batch_server.engine.interface import EngineFailure
from deployments.batch_server.store.stages import IMAGES, RESULTS, OutputFile, TaskRecord, folder_name

RESULTS_FILE, FAILURES_FILE, IMAGES_FILE = "results.jsonl", "failures.jsonl", "images.tar.gz"


class ChunkFolder:
    """One task's folder in a run of its job; it bears its final name only once everything in it is complete."""

    def __init__(self, data: Path, job_folder: Path, task_id: str, run: int = 0) -> None:
        self._data = data
        self._task_id = task_id
        self._final, self._part = _paths(job_folder, task_id, run)
        self._earlier = [path for before in range(run) for path in _paths(job_folder, task_id, before)]

    @property
    def is_complete(self) -> bool:
        """Whether the task was run to its end, by this server or one before it."""
        return self._final.exists()

    def fresh(self) -> Path:
        """An empty folder for the engine to write into; what earlier runs of the job left of the task goes."""
        for path in self._earlier:
            shutil.rmtree(path, ignore_errors=True)
        self.discard()
        self._part.mkdir(parents=True)
        return self._part

    def discard(self) -> None:
        """Remove what an attempt left that did not end well."""
        shutil.rmtree(self._part, ignore_errors=True)

    def complete(self, images: int) -> None:
        """Pack the image outputs, flush everything and give the folder its final name.

        Args:
            images: How many images the task has.

        Raises:
            EngineFailure: The engine did not account for each of them.
        """
        for name in (RESULTS_FILE, FAILURES_FILE):
            (self._part / name).touch()
        accounted = _lines(self._part / RESULTS_FILE) + _lines(self._part / FAILURES_FILE)
        if accounted != images:
            raise EngineFailure(f"the engine accounted for {accounted} of {images} images")
        self._pack_images()
        for name in (RESULTS_FILE, FAILURES_FILE):
            _flush(self._part / name)
        flush_folder(self._part)
        self._part.replace(self._final)
        for folder in (self._final.parent, self._final.parent.parent):  # the job's folder may be as new
            flush_folder(folder)

    def record(self) -> TaskRecord:
        """What a complete folder holds."""
        files = [self._output(RESULTS.name, f"{self._task_id}.jsonl", RESULTS_FILE)]
        if (self._final / IMAGES_FILE).exists():
            files.append(self._output(IMAGES.name, f"{self._task_id}.tar.gz", IMAGES_FILE))
        failures = tuple(_read_lines(self._final / FAILURES_FILE))
        return TaskRecord(_lines(self._final / RESULTS_FILE), failures, tuple(files))

    def _pack_images(self) -> None:
        folder = self._part / "images"
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        if paths:
            members = (ArchiveMember(path.relative_to(folder).as_posix(), path, path.stat().st_mtime) for path in paths)
            write_archive(self._part / IMAGES_FILE, members, STORED)
        shutil.rmtree(folder, ignore_errors=True)

    def _output(self, part: str, name: str, file: str) -> OutputFile:
        path = self._final / file
        return OutputFile(part, name, path.relative_to(self._data), path.stat().st_size, sha256_of(path))


def _paths(job_folder: Path, task_id: str, run: int) -> tuple[Path, Path]:
    """The final and the first name of the folder."""
    name = folder_name(task_id, run)
    return job_folder / name, job_folder / f".{name}.part"


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    with path.open("rb") as file:
        return [json.loads(line) for line in file]


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
