"""Reading a run's tables for its report, a batch of rows at a time."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.results.report_images import OpenSource, contact_sheet
from tasks.results.report_model import (
    CONTACT_SHEET_IMAGES,
    EXAMPLES_PER_REASON,
    ClassCount,
    FailureGroup,
    Histogram,
    ReportData,
)
from tasks.results.schemas import RESULT_FIELDS
from tasks.results.tables import PREDICTIONS_FILE, RESULTS_FILE
from tasks.results.writer import read_batches

FAILURES_FILE = "failures.parquet"
BINS = 24
MAX_HISTOGRAMS = 12
MAX_CLASSES = 10_000
"""Different class names counted one by one; text recognition makes a class of every word."""
OTHER_CLASSES = "(other classes)"


def read_report_data(
    run_dir: Path, open_source: OpenSource | None = None, images: int = CONTACT_SHEET_IMAGES
) -> ReportData:
    """What the tables in a run's folder say; a table that is not there counts as empty.

    Args:
        run_dir: holds the parquet files, and the images they name.
        open_source: opens a source image by its key, for images without an image output.
        images: most pictures on the contact sheet.
    """
    results, predictions = run_dir / RESULTS_FILE, run_dir / PREDICTIONS_FILE
    return ReportData(
        classes=tuple(count_classes(predictions)),
        numbers=tuple(histograms(results)),
        failures=tuple(group_failures(run_dir / FAILURES_FILE)),
        images=tuple(contact_sheet(run_dir, results, predictions, open_source, images)),
    )


def count_classes(predictions: Path) -> list[ClassCount]:
    """Classes of ``predictions.parquet`` with their mean confidence, most frequent first, then by name."""
    counts: Counter[str] = Counter()
    sums: defaultdict[str, float] = defaultdict(float)
    rated: Counter[str] = Counter()
    for batch in read_batches(predictions, ["class", "confidence"]):
        table = pa.Table.from_batches([batch]).group_by("class")
        aggregates = [("confidence", "sum"), ("confidence", "count"), ([], "count_all")]
        for row in table.aggregate(aggregates).to_pylist():
            name = row["class"] or "(no class)"
            if name not in counts and len(counts) >= MAX_CLASSES:
                name = OTHER_CLASSES
            counts[name] += row["count_all"]
            rated[name] += row["confidence_count"]
            sums[name] += row["confidence_sum"] or 0.0
    return [
        ClassCount(name, count, sums[name] / rated[name] if rated[name] else None)
        for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def histograms(results: Path) -> list[Histogram]:
    """One histogram for each of the first numeric outputs in ``results.parquet`` that has values."""
    if not results.exists():
        return []
    fixed = {field.name for field in RESULT_FIELDS}
    fields = [field for field in pq.read_schema(results) if field.name not in fixed]
    numeric = [f.name for f in fields if pa.types.is_integer(f.type) or pa.types.is_floating(f.type)]
    found = (_histogram(results, name) for name in numeric[:MAX_HISTOGRAMS])
    return [histogram for histogram in found if histogram is not None]


def group_failures(failures: Path) -> list[FailureGroup]:
    """Rows of ``failures.parquet`` by reason, most frequent first."""
    counts: Counter[tuple[str, str, str]] = Counter()
    examples: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for batch in read_batches(failures, ["state", "step", "reason", "source_key"]):
        for row in batch.to_pylist():
            group = (row["state"], row["step"], row["reason"])
            counts[group] += 1
            if len(examples[group]) < EXAMPLES_PER_REASON:
                examples[group].append(row["source_key"])
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [FailureGroup(*group, count, tuple(examples[group])) for group, count in ordered]


def _histogram(results: Path, name: str) -> Histogram | None:
    low, high, total, count, missing = math.inf, -math.inf, 0.0, 0, 0
    for values in _columns(results, name):
        missing += values.null_count
        if values.null_count < len(values):
            bounds = pc.min_max(values).as_py()
            low, high = min(low, bounds["min"]), max(high, bounds["max"])
            total += pc.sum(values).as_py()
            count += len(values) - values.null_count
    if not count or not math.isfinite(high - low):
        return None
    return Histogram(name, low, high, total / count, _bins(results, name, low, high), missing)


def _bins(results: Path, name: str, low: float, high: float) -> tuple[int, ...]:
    """Counts over equal bins; whole numbers of a small range get a bin each."""
    whole = pa.types.is_integer(pq.read_schema(results).field(name).type)
    size = min(BINS, int(high - low) + 1) if whole else BINS
    if high == low:
        size = 1
    counts = [0] * size
    width = (high - low) / size or 1.0
    for values in _columns(results, name):
        places = pc.floor(pc.divide(pc.subtract(values.drop_null(), low), width))
        for place in pc.value_counts(places).to_pylist():
            counts[min(int(place["values"]), size - 1)] += place["counts"]
    return tuple(counts)


def _columns(results: Path, name: str) -> Iterator[Any]:
    for batch in read_batches(results, [name]):
        yield batch.column(name).cast(pa.float64(), safe=False)
