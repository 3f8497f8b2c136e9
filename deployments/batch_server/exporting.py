"""The export stage: results of all tasks put together, and packed image by image."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from deployments.batch_server.archives import FAST, ArchiveMember, replacing, sha256_of, write_archive
from deployments.batch_server.blobs import make_folder
from deployments.batch_server.chunks import IMAGES_FILE, RESULTS_FILE
from deployments.batch_server.store.stages import AGGREGATED, IMAGES_ARCHIVES, RESULTS_ARCHIVES, OutputFile


@dataclass(frozen=True)
class ExportPlan:
    """What is exported, and how."""

    data: Path
    job_folder: Path
    tasks: Mapping[str, str]
    """The processing tasks, in order, and the names of their folders, which are complete."""
    csv: bool
    """Whether aggregated results are CSV rather than JSON lines."""
    lines_per_file: int


def export_job(plan: ExportPlan, on_progress: Callable[[float], None]) -> list[OutputFile]:
    """Write every file of the export stage; what an earlier attempt completed is kept.

    Args:
        plan: What to export.
        on_progress: Called often with the fraction done, from 0 to 1; what it raises ends the export.

    Returns:
        The files, by part.
    """
    folder = plan.job_folder / "export"
    make_folder(folder)
    archives: list[OutputFile] = []
    for task_id, made in _told(plan, 0.0, on_progress):
        archives += _archives(plan, folder, task_id, made)
    return _aggregate(plan, folder, on_progress) + archives


def _archives(plan: ExportPlan, folder: Path, task_id: str, made: Path) -> Iterator[OutputFile]:
    results = made / RESULTS_FILE
    if results.stat().st_size:
        path = folder / f"{task_id}.tar.gz"
        if not path.exists():
            modified = results.stat().st_mtime
            with results.open("rb") as lines:
                members = (
                    ArchiveMember(f"{json.loads(line)['image']}/results.json", line.rstrip(b"\n"), modified)
                    for line in lines
                )
                write_archive(path, members, FAST)
        yield _output(plan, RESULTS_ARCHIVES.name, path.name, path)
    images = made / IMAGES_FILE
    if images.exists():
        yield _output(plan, IMAGES_ARCHIVES.name, f"{task_id}.tar.gz", images)


def _aggregate(plan: ExportPlan, folder: Path, on_progress: Callable[[float], None]) -> list[OutputFile]:
    suffix = "csv" if plan.csv else "jsonl"
    columns = _columns(plan, on_progress) if plan.csv else []
    lines = _lines(plan, on_progress)
    files: list[OutputFile] = []
    first = next(lines, None)
    while first is not None or not files:
        path = folder / f"{AGGREGATED.name}-{len(files):05d}.{suffix}"
        page = chain([first] if first is not None else [], islice(lines, plan.lines_per_file - 1))
        with replacing(path) as file:
            if plan.csv:
                _write_csv(file, columns, page)
            else:
                file.writelines(page)
        files.append(_output(plan, AGGREGATED.name, path.name, path))
        first = next(lines, None)
    return files


def _told(plan: ExportPlan, start: float, on_progress: Callable[[float], None]) -> Iterator[tuple[str, Path]]:
    """The tasks and their folders, each told of; packing is one half of the work and putting together the other."""
    for done, (task_id, made) in enumerate(plan.tasks.items()):
        on_progress(start + done / len(plan.tasks) / 2)
        yield task_id, plan.job_folder / made


def _lines(plan: ExportPlan, on_progress: Callable[[float], None]) -> Iterator[bytes]:
    for _, made in _told(plan, 0.5, on_progress):
        with (made / RESULTS_FILE).open("rb") as file:
            yield from file


def _columns(plan: ExportPlan, on_progress: Callable[[float], None]) -> list[str]:
    # Outputs may be missing from some lines, so all are read before the header is written.
    columns: dict[str, None] = {"image": None}
    for line in _lines(plan, on_progress):
        columns.update(dict.fromkeys(json.loads(line)))
    return list(columns)


def _write_csv(file: BinaryIO, columns: list[str], lines: Iterable[bytes]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    for line in lines:
        values = json.loads(line)
        writer.writerow([_cell(values.get(column)) for column in columns])
    # The file is flushed to disk and closed by its owner.
    text.detach()


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | bool) else value


def _output(plan: ExportPlan, part: str, name: str, path: Path) -> OutputFile:
    return OutputFile(part, name, path.relative_to(plan.data), path.stat().st_size, sha256_of(path))
