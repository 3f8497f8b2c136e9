"""Writing datasets: each appears whole or not at all, and what is there already is not written again.

A dataset lies in ``<out>/<format>/`` or ``<out>/<format>.zip``. It is made in a hidden folder beside that and renamed;
one of other options or of other results is replaced. ``dataset.json`` in it says what it holds, and what was left out
for which reason.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tasks.core.errors import BadInput, local_fault
from tasks.core.files import sync_folder
from tasks.core.options import DatasetOptions
from tasks.results.exporters.base import Dataset, Exporter, Tally
from tasks.results.exporters.description import DATASET_FILE, WrittenDataset, describe, find, fingerprint, written
from tasks.results.exporters.facts import look
from tasks.results.exporters.pictures import Pictures, SourceImages
from tasks.results.exporters.reading import RunTables
from tasks.results.exporters.registry import load_exporter
from tasks.results.exporters.target import FolderTarget, Target, ZipTarget


def write_datasets(
    run_dir: Path,
    out_dir: Path,
    options: DatasetOptions,
    images: SourceImages,
    progress: Callable[[int], None] = lambda _images: None,
) -> tuple[WrittenDataset, ...]:
    """Writes a run's predictions in every format that was asked for.

    Args:
        run_dir: the run's folder, with ``results.parquet`` and ``predictions.parquet``.
        out_dir: where datasets go; made where it is missing. One process at a time writes there.
        options: which formats and outputs, with or without images, split, packed.
        images: where source images can be had.
        progress: told how many more images are written, in each format anew.

    Raises:
        BadInput: a format or output is unknown, an exporter cannot be loaded, or links were asked for where there can
            be none.
        LocalFault: the disk is full, a folder cannot be written, or a table is damaged.
        Transient: the source does not answer.
    """
    exporters = {name: load_exporter(name) for name in options.formats}
    if not exporters:
        return ()
    tables = RunTables(run_dir, options)
    if not (tables.results.exists() and tables.predictions.exists()):
        raise BadInput(f"{run_dir} has no results yet: datasets are made when a run is through its export")
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        writing = _Writing(tables, look(run_dir, options), images, progress)
        return tuple(_dataset(name, exporter, out_dir, writing) for name, exporter in exporters.items())
    except OSError as error:
        raise local_fault(error) from error


@dataclass(frozen=True)
class _Writing:
    """What the datasets of one run share."""

    tables: RunTables
    dataset: Dataset
    images: SourceImages
    progress: Callable[[int], None]


def _dataset(name: str, exporter: type[Exporter], out_dir: Path, writing: _Writing) -> WrittenDataset:
    zipped = writing.dataset.options.zipped
    place = out_dir / (f"{name}.zip" if zipped else name)
    mark = fingerprint(exporter, writing.dataset, (writing.tables.results, writing.tables.predictions))
    found = find(place, mark)
    if found is not None:
        return found
    with _workplace(out_dir / f".{place.name}.part") as work:
        made = work / "dataset"
        with (ZipTarget if zipped else FolderTarget)(made, work) as target:
            tally = _fill(exporter(), target, writing)
            content = describe(name, mark, writing.dataset, tally, target)
            target.write(DATASET_FILE, json.dumps(content, indent=2) + "\n")
        _appear(made, place, work / "replaced")
    return written(content, place, fresh=True)


def _fill(exporter: Exporter, target: Target, writing: _Writing) -> Tally:
    tally = Tally()
    pictures = Pictures(writing.dataset.options.images, writing.images, target)
    exporter.before(writing.dataset, target, tally)
    with closing(pictures.beside(writing.tables.items(tally.skipped))) as items:
        for item, picture in items:
            converted = exporter.convert(item)
            for name, text in converted.files.items():
                target.write(name, text)
            present = pictures.place(picture, converted.images)
            if not converted.refused:
                exporter.after(item, present)
                tally.skipped.update([picture.missing] if picture.missing else ())
            tally.add(item, converted, present)
            writing.progress(1)
    exporter.finish()
    target.finish_streams()
    return tally


@contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """An empty folder that is gone afterwards; the leftover of a killed process is of no use."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _appear(made: Path, place: Path, replaced: Path) -> None:
    """Puts what was made in its place. A folder cannot be renamed over another, so that one steps aside first."""
    if made.is_file():
        with made.open("rb+") as archive:
            os.fsync(archive.fileno())
    if place.is_dir():
        place.rename(replaced)
    made.replace(place)
    sync_folder(place.parent)
