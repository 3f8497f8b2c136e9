"""From what a service exported to ``results.parquet``, ``predictions.parquet`` and ``failures.parquet``.

Two passes: the first puts every result into a :class:`~tasks.results.store.ResultStore` and learns the
types of the outputs; the second takes them out in order and writes. Both hold a few hundred results at a
time, so a result set may be larger than memory; the disk needs about the size of the results once more
while it lasts.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tasks.core.errors import LocalFault, local_fault
from tasks.core.files import appearing
from tasks.results.columns import OutputColumn, OutputKinds
from tasks.results.images import ImageFinder
from tasks.results.kinds import PREDICTIONS
from tasks.results.parse import read_results
from tasks.results.predictions import detection_row, image_size
from tasks.results.schemas import FAILURES_SCHEMA, PREDICTIONS_SCHEMA, results_schema
from tasks.results.store import ManifestEntry, ResultStore, StoredResult
from tasks.results.writer import RowWriter

RESULTS_FILE = "results.parquet"
PREDICTIONS_FILE = "predictions.parquet"
EXAMPLES = 20
_SCRATCH_FILE = ".results.sqlite"


@dataclass
class Problems:
    """Results that were left out: how many, and the first few."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, what: str) -> None:
        """Counts one more."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(what)


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
        with ResultStore(out_dir / _SCRATCH_FILE) as store:
            return _build(export_dir, manifest, out_dir, store)
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


def _build(export_dir: Path, manifest: Iterable[ManifestEntry], out_dir: Path, store: ResultStore) -> ResultTables:
    duplicates, unknown, unreadable = Problems(), Problems(), Problems()
    kinds = OutputKinds()
    store.expect(manifest)
    for result in read_results(export_dir, unreadable.add):
        if not store.knows(result.file):
            unknown.add(result.file)
        elif not store.add(result.file, result.outputs):
            duplicates.add(result.file)
        else:
            kinds.look(result.file, result.outputs)
    columns = kinds.columns()
    results, predictions = out_dir / RESULTS_FILE, out_dir / PREDICTIONS_FILE
    rows, detections = _write(store, columns, ImageFinder(export_dir), results, predictions)
    return ResultTables(results, predictions, columns, rows, detections, duplicates, unknown, unreadable)


def _write(
    store: ResultStore,
    columns: tuple[OutputColumn, ...],
    images: ImageFinder,
    results: Path,
    predictions: Path,
) -> tuple[int, int]:
    schema = results_schema(column.arrow_field() for column in columns)
    counted = [column for column in columns if column.kind == PREDICTIONS]
    # The results appear last: where they are, the predictions are too.
    with (
        appearing(results) as results_part,
        appearing(predictions) as predictions_part,
        RowWriter(results_part, schema) as result_rows,
        RowWriter(predictions_part, PREDICTIONS_SCHEMA) as prediction_rows,
    ):
        for result in store:
            result_rows.write(_result_row(result, columns, counted, images), result.size)
            for column in counted:
                _write_predictions(prediction_rows, result, column)
    return result_rows.count, prediction_rows.count


def _result_row(
    result: StoredResult, columns: tuple[OutputColumn, ...], counted: list[OutputColumn], images: ImageFinder
) -> dict[str, Any]:
    def image_path(value: Any, place: str) -> str | None:
        return images.find(value, result.file, place)

    width, height = _size(result, counted)
    row = {"file": result.file, "source_key": result.key, "width": width, "height": height}
    return row | {column.name: column.value(result.outputs, image_path) for column in columns}


def _size(result: StoredResult, counted: list[OutputColumn]) -> tuple[int | None, int | None]:
    """Pixels as the workflow saw them (it may have turned the image), else as the manifest has them."""
    for column in counted:
        value = column.pick(result.outputs)
        width, height = image_size(value) if value is not None else (None, None)
        if width is not None and height is not None:
            return width, height
    return result.width, result.height


def _write_predictions(writer: RowWriter, result: StoredResult, column: OutputColumn) -> None:
    value = column.pick(result.outputs)
    if value is None:
        return
    width, height = image_size(value)
    about: dict[str, Any] = {"file": result.file, "source_key": result.key, "output": column.source}
    about |= {"image_width": width, "image_height": height}
    detections = value["predictions"]
    for detection in detections:
        writer.write(about | detection_row(detection), result.size // len(detections))
