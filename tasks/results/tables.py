"""From what a service exported to ``results.parquet``, ``predictions.parquet`` and ``failures.parquet``.

Two passes: the first notes where every result stands and learns the types of the outputs
(:mod:`~tasks.results.gather`); the second takes the results out in the order of their files' names and writes
(:mod:`~tasks.results.arrange`). Both hold a few megabytes at a time, so a result set may be larger than memory; the
disk needs about the size of the results once more while it lasts.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.core.errors import LocalFault, local_fault
from tasks.core.files import appearing
from tasks.results.ahead import map_ahead
from tasks.results.arrange import Arranger, windows
from tasks.results.blocks import LineFiles, spool
from tasks.results.columns import OutputColumn
from tasks.results.exported import OnUnreadable, line_files, read_loose
from tasks.results.gather import Gathering, Problems
from tasks.results.images import ImageFinder
from tasks.results.parse import parse_result
from tasks.results.runs import SortedRuns
from tasks.results.schemas import FAILURES_SCHEMA, PREDICTIONS_SCHEMA
from tasks.results.store import ManifestEntry, ResultStore
from tasks.results.writer import ROWS_PER_GROUP, RowWriter, TableWriter

RESULTS_FILE = "results.parquet"
PREDICTIONS_FILE = "predictions.parquet"
FAILURES_FILE = "failures.parquet"
_STORE_FILE, _RUNS_FILE, _SPOOL_FILE = ".results.sqlite", ".results.arrow", ".results.jsonl"
"""Scratch, in the folder of the tables."""
PREDICTIONS_PER_GROUP = 64 * 1024
_REPEATING = ["file", "source_key", "output", "class", "parent_id", "keypoints.list.element.class"]
"""Columns of ``predictions.parquet`` in which the same text comes again and again."""


@dataclass(frozen=True)
class ResultTables:
    """What the tables hold, and what was left out of them."""

    results: Path
    predictions_file: Path
    outputs: tuple[OutputColumn, ...]
    """The workflow's columns of ``results.parquet``."""
    rows: int
    """Rows of ``results.parquet``: images."""
    predictions: int
    """Rows of ``predictions.parquet``: detections."""
    duplicates: Problems
    """Names of files with a second result; the first is kept."""
    unknown: Problems
    """Names of files that the manifest does not have."""
    unreadable: Problems
    """Places of results that are not what they should be."""


@dataclass(frozen=True)
class Failure:
    """A file without a result."""

    file: str
    source_key: str
    state: Literal["failed", "rejected"]
    step: str
    """The step in which it ended: ``stage``, ``ingest`` or ``wait``."""
    reason: str


def build_tables(export_dir: Path, manifest: Iterable[ManifestEntry], out_dir: Path) -> ResultTables:
    """Turns the exported results into parquet.

    Args:
        export_dir: the run's export folder, with a folder for each part, archives of images unpacked.
        manifest: the files that were staged; read once, as a stream.
        out_dir: where the tables appear, whole or not at all.

    Raises:
        LocalFault: the disk is full or ``out_dir`` cannot be written.
        UnsafeArchive, DamagedArchive: a packed archive of results cannot be taken apart.
    """
    try:
        with ExitStack() as scratch:
            store = scratch.enter_context(ResultStore(out_dir / _STORE_FILE))
            runs = scratch.enter_context(SortedRuns(out_dir / _RUNS_FILE))
            scratch.callback((out_dir / _SPOOL_FILE).unlink, missing_ok=True)
            return _build(export_dir, manifest, out_dir, store, runs)
    except OSError as error:
        raise local_fault(error) from error
    except sqlite3.OperationalError as error:
        raise LocalFault(f"{out_dir} cannot hold the results ({error}): is there space left?") from error


def write_failures(path: Path, failures: Iterable[Failure]) -> int:
    """Writes ``failures.parquet`` in the order given and says how many rows it has."""
    with appearing(path) as partial, RowWriter(partial, FAILURES_SCHEMA) as writer:
        for failure in failures:
            writer.write(vars(failure))
    return writer.count


def _build(
    export_dir: Path, manifest: Iterable[ManifestEntry], out_dir: Path, store: ResultStore, runs: SortedRuns
) -> ResultTables:
    unreadable = Problems()
    store.expect(manifest)
    files = _lines_of(export_dir, out_dir / _SPOOL_FILE, unreadable.add)
    gathering = Gathering(store, runs, unreadable.add)
    gathering.take_all(files)
    with files.reader() as read:
        columns = gathering.kinds.columns(lambda file: list(parse_result(read(store.place_of(file))).outputs))
    arranger = Arranger(columns, files, runs, ImageFinder(export_dir))
    results, predictions = out_dir / RESULTS_FILE, out_dir / PREDICTIONS_FILE
    rows, detections = _write(store, arranger, results, predictions)
    left_out = (gathering.duplicates, gathering.unknown, unreadable)
    return ResultTables(results, predictions, columns, rows, detections, *left_out)


def _lines_of(export_dir: Path, spool_file: Path, on_unreadable: OnUnreadable) -> LineFiles:
    """The results as lines; those that came in another form are first written as lines."""
    names = line_files(export_dir)
    if names:
        return LineFiles(export_dir, names)
    spool(read_loose(export_dir, on_unreadable), spool_file)
    return LineFiles(spool_file.parent, [spool_file.name])


def _write(store: ResultStore, arranger: Arranger, results: Path, predictions: Path) -> tuple[int, int]:
    # The results appear last: where they are, the predictions are too.
    with (
        appearing(results) as results_part,
        appearing(predictions) as predictions_part,
        TableWriter(results_part, arranger.schema, ROWS_PER_GROUP) as result_rows,
        TableWriter(predictions_part, PREDICTIONS_SCHEMA, PREDICTIONS_PER_GROUP, _REPEATING) as prediction_rows,
    ):
        for tables in map_ahead(arranger.tables, windows(store)):
            result_rows.write(tables.results, tables.size)
            prediction_rows.write(tables.predictions, tables.size)
    return result_rows.count, prediction_rows.count
