"""What a run's tables say as a whole: the numbers that expectations and comparisons judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import fsum
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.core.errors import BadInput, damaged
from tasks.core.records import RunSummary
from tasks.core.run_folder import RunFolder
from tasks.results.schemas import SCHEMA_KEY, SCHEMA_VERSION
from tasks.results.tables import PREDICTIONS_FILE, RESULTS_FILE
from tasks.results.writer import read_batches

CONFIDENCE_BINS = 20
"""Equal bins from 0 to 1."""
MAX_CLASSES = 10_000
"""Different class names counted one by one; text recognition makes a class of every word."""
OTHER_CLASSES = "(other classes)"
NO_CLASS = "(no class)"
"""How predictions without a class are called for people."""


@dataclass(frozen=True)
class RunFacts:
    """Counts and distributions of one run."""

    key: str
    files: int
    """Files of the wanted kind that the source held."""
    processed: int
    """Images, or frames of videos, with a result."""
    failed: int
    rejected: int
    predictions: int
    empty: int
    """Processed images or frames without one prediction."""
    classes: Mapping[str, int] = field(default_factory=dict)
    """Predictions by class; those without one count under the empty name, and past :data:`MAX_CLASSES` names the rest
    under :data:`OTHER_CLASSES`. A class that was watched for is there even with none."""
    confidences: tuple[int, ...] = (0,) * CONFIDENCE_BINS
    """Predictions by confidence, in :data:`CONFIDENCE_BINS` equal bins; those without one count nowhere."""
    mean_confidence: float | None = None
    least_confidence: float | None = None
    seconds: float = 0.0
    """What the steps from stage to export took together, also where different processes did them."""

    @property
    def without_result(self) -> int:
        """Files without a result, rejected ones included."""
        return self.failed + self.rejected


def read_facts(
    run_dir: Path,
    *,
    key: str,
    files: int,
    failed: int,
    rejected: int,
    seconds: float,
    watched: Iterable[str] = (),
) -> RunFacts:
    """The facts of a run whose tables are written; memory does not grow with them.

    Args:
        run_dir: holds ``results.parquet`` and ``predictions.parquet``, both sorted by file; one that is not there
            counts as empty.
        key: of the run.
        files: of the wanted kind in the source.
        failed: files that were sent and have no result.
        rejected: files that were not sent.
        seconds: what the steps from stage to export took.
        watched: classes to count by name however many there are.
    """
    tally = _Tally(watched)
    for batch in read_batches(run_dir / PREDICTIONS_FILE, ["file", "frame", "class", "confidence"]):
        tally.add(batch)
    processed = _rows(run_dir / RESULTS_FILE)
    return RunFacts(
        key=key,
        files=files,
        processed=processed,
        failed=failed,
        rejected=rejected,
        predictions=tally.rows,
        empty=processed - tally.images,
        classes=tally.classes,
        confidences=tuple(tally.bins),
        mean_confidence=tally.mean(),
        least_confidence=tally.least,
        seconds=seconds,
    )


def facts_of(folder: RunFolder, watched: Iterable[str] = ()) -> RunFacts:
    """The facts of a finished run.

    Args:
        folder: the run's; holds its summary and its tables.
        watched: classes to count by name however many there are.

    Raises:
        BadInput: it is not finished, or its tables are missing or of another version.
        LocalFault: a file is damaged.
    """
    summary = folder.finished()
    if summary is None:
        raise BadInput(f"run {folder.key} is not finished: `darkroom show {folder.key}` tells how to go on with it")
    check_tables(folder)
    try:
        return read_facts(
            folder.root,
            key=folder.key,
            files=summary.files,
            failed=summary.failed,
            rejected=summary.rejected,
            seconds=seconds_of(summary),
            watched=watched,
        )
    except (pa.ArrowException, OSError):
        raise damaged(folder.predictions) from None


def seconds_of(summary: RunSummary) -> float:
    """What the steps from stage to export took; the summary's own seconds are those of the process that ended it."""
    begun = summary.stage_seconds + summary.ingest_seconds + summary.launch_seconds
    return begun + summary.wait_seconds + summary.export_seconds


def check_tables(folder: RunFolder) -> None:
    """Looks whether the run's results can be read by this version.

    Raises:
        BadInput: a table is missing or of another version.
        LocalFault: it is damaged.
    """
    for file in (folder.results, folder.predictions):
        _check(folder.key, file)


class _Tally:
    """Adds predictions up, a batch of rows at a time."""

    def __init__(self, watched: Iterable[str]) -> None:
        self.rows = 0
        self.images = 0
        """Different images or frames; the rows of one lie together."""
        self.classes: Counter[str] = Counter(dict.fromkeys(watched, 0))
        self.bins = [0] * CONFIDENCE_BINS
        self.least: float | None = None
        self._most_names = MAX_CLASSES + len(self.classes)
        self._last: tuple[str, int] | None = None
        self._sums: list[float] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Takes some rows in."""
        if batch.num_rows:
            self.rows += batch.num_rows
            self._add_images(batch.column("file"), batch.column("frame").fill_null(-1))
            self._add_classes(batch.column("class"))
            self._add_confidences(batch.column("confidence"))

    def mean(self) -> float | None:
        """The mean of all confidences, where there is one."""
        if self.least is None:
            return None
        # Rounding may bring the mean of equal numbers below each of them, and so below a limit that they meet.
        return max(self.least, fsum(self._sums) / sum(self.bins))

    def _add_images(self, files: pa.Array, frames: pa.Array) -> None:
        self.images += (files[0].as_py(), frames[0].as_py()) != self._last
        self.images += pc.sum(pc.or_(_changes(files), _changes(frames))).as_py() or 0
        self._last = (files[-1].as_py(), frames[-1].as_py())

    def _add_classes(self, classes: pa.Array) -> None:
        for entry in pc.value_counts(classes).to_pylist():
            name = entry["values"] or ""
            if name not in self.classes and len(self.classes) >= self._most_names:
                name = OTHER_CLASSES
            self.classes[name] += entry["counts"]

    def _add_confidences(self, confidences: pa.Array) -> None:
        rated = confidences.filter(pc.is_finite(confidences), null_selection_behavior="drop")
        if not len(rated):
            return
        self._sums.append(pc.sum(rated).as_py())
        least = pc.min(rated).as_py()
        self.least = least if self.least is None else min(self.least, least)
        for entry in pc.value_counts(pc.floor(pc.multiply(rated, CONFIDENCE_BINS))).to_pylist():
            self.bins[min(max(int(entry["values"]), 0), CONFIDENCE_BINS - 1)] += entry["counts"]


def _changes(values: pa.Array) -> pa.Array:
    """Whether each value but the first is another than the one before it."""
    return pc.not_equal(values.slice(1), values.slice(0, len(values) - 1))


def _rows(table: Path) -> int:
    return int(pq.read_metadata(table).num_rows) if table.exists() else 0


def _check(key: str, file: Path) -> None:
    """Refuses a table that is missing or that another version has written."""
    if not file.exists():
        raise BadInput(f"run {key} has no {file.name} any more: pass --rerun LABEL to do the work afresh")
    try:
        metadata = pq.read_schema(file).metadata or {}
    except (pa.ArrowException, OSError):
        raise damaged(file) from None
    found, wanted = metadata.get(SCHEMA_KEY.encode(), b"").decode(), f"{file.stem}/{SCHEMA_VERSION}"
    if found != wanted:
        raise BadInput(
            f"run {key} was written by another version of darkroom ({file.name} is {found or 'of no version'}, "
            f"not {wanted}): pass --rerun LABEL to do the work afresh"
        )
