"""How a run's numbers are spread: outputs, confidences, predictions by class and by image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial, reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.results.facts import CONFIDENCE_BINS, MAX_CLASSES, NO_CLASS, OTHER_CLASSES
from tasks.results.report.images import count_columns
from tasks.results.report.model import ClassCount, DetectionsPerImage, Histogram
from tasks.results.schemas import RESULT_FIELDS
from tasks.results.writer import read_batches

BINS = 24
MAX_HISTOGRAMS = 12

Values = Callable[[], Iterator[Any]]
"""Gives the numbers of a column anew, an array of ``float64`` at a time."""


@dataclass
class _Tally:
    """Predictions of one class."""

    count: int = 0
    total: float = 0.0
    bins: list[int] = field(default_factory=lambda: [0] * CONFIDENCE_BINS)

    def histogram(self, name: str) -> Histogram | None:
        rated = sum(self.bins)
        if not rated:
            return None
        return Histogram(name, 0.0, 1.0, self.total / rated, tuple(self.bins), self.count - rated)


def count_classes(predictions: Path) -> list[ClassCount]:
    """Classes of ``predictions.parquet`` with their confidences, most frequent first, then by name."""
    tallies: dict[str, _Tally] = {}
    for batch in read_batches(predictions, ["class", "confidence"]):
        for row in _by_class_and_bin(batch):
            name = row["class"] or NO_CLASS
            if name not in tallies and len(tallies) >= MAX_CLASSES:
                name = OTHER_CLASSES
            tally = tallies.setdefault(name, _Tally())
            tally.count += row["count_all"]
            if row["bin"] is not None:
                tally.bins[row["bin"]] += row["count_all"]
                tally.total += row["confidence_sum"]
    ordered = sorted(tallies.items(), key=lambda item: (-item[1].count, item[0]))
    return [ClassCount(name, tally.count, tally.histogram(name)) for name, tally in ordered]


def all_confidences(classes: list[ClassCount]) -> Histogram | None:
    """The confidences of all classes together."""
    rated = [item.confidence for item in classes if item.confidence]
    if not rated:
        return None
    counts = tuple(sum(bins) for bins in zip(*(histogram.counts for histogram in rated), strict=True))
    mean = sum(histogram.mean * histogram.total for histogram in rated) / sum(counts)
    return Histogram("confidence", 0.0, 1.0, mean, counts, sum(item.count for item in classes) - sum(counts))


def detections_per_image(results: Path) -> DetectionsPerImage | None:
    """Predictions of all outputs together by image; ``None`` where no output holds predictions."""
    names = count_columns(results) if results.exists() else []
    if not names:
        return None
    none = sum(pc.sum(pc.equal(counts, 0)).as_py() or 0 for counts in _sums(results, names))
    some = _histogram("predictions", partial(_without_zero, results, names), whole=True)
    return DetectionsPerImage(none, some)


def histograms(results: Path) -> list[Histogram]:
    """One histogram for each of the first numeric outputs in ``results.parquet`` that has values."""
    if not results.exists():
        return []
    known = {field.name for field in RESULT_FIELDS} | set(count_columns(results))
    fields = [field for field in pq.read_schema(results) if field.name not in known]
    numeric = [f for f in fields if pa.types.is_integer(f.type) or pa.types.is_floating(f.type)]
    found = (
        _histogram(f.name, partial(_column, results, f.name), whole=pa.types.is_integer(f.type))
        for f in numeric[:MAX_HISTOGRAMS]
    )
    return [histogram for histogram in found if histogram is not None]


def _by_class_and_bin(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Counts and sums of confidence; without a confidence the bin is null."""
    confidence = batch.column("confidence")
    place = pc.floor(pc.multiply(confidence, float(CONFIDENCE_BINS)))
    # What claims to be surer than 1 or less than 0 belongs to the last bin, or the first.
    inside = pc.min_element_wise(
        pc.max_element_wise(place, 0.0, skip_nulls=False), CONFIDENCE_BINS - 1, skip_nulls=False
    )
    table = pa.table({"class": batch.column("class"), "bin": inside.cast(pa.int64()), "confidence": confidence})
    grouped: list[dict[str, Any]] = (
        table.group_by(["class", "bin"]).aggregate([("confidence", "sum"), ([], "count_all")]).to_pylist()
    )
    return grouped


def _histogram(name: str, values: Values, *, whole: bool) -> Histogram | None:
    low, high, total, count, missing = math.inf, -math.inf, 0.0, 0, 0
    for array in values():
        missing += array.null_count
        if array.null_count < len(array):
            bounds = pc.min_max(array).as_py()
            low, high = min(low, bounds["min"]), max(high, bounds["max"])
            total += pc.sum(array).as_py()
            count += len(array) - array.null_count
    if not count or not math.isfinite(high - low):
        return None
    size = _bin_count(low, high, whole=whole)
    single = whole and size == int(high - low) + 1
    return Histogram(name, low, high, total / count, _bins(values, low, high, size), missing, single)


def _bin_count(low: float, high: float, *, whole: bool) -> int:
    """Whole numbers of a small range get a bin each."""
    if high == low:
        return 1
    return min(BINS, int(high - low) + 1) if whole else BINS


def _bins(values: Values, low: float, high: float, size: int) -> tuple[int, ...]:
    counts = [0] * size
    width = (high - low) / size or 1.0
    for array in values():
        places = pc.floor(pc.divide(pc.subtract(array.drop_null(), low), width))
        for place in pc.value_counts(places).to_pylist():
            counts[min(int(place["values"]), size - 1)] += place["counts"]
    return tuple(counts)


def _column(results: Path, name: str) -> Iterator[Any]:
    for batch in read_batches(results, [name]):
        yield batch.column(name).cast(pa.float64(), safe=False)


def _sums(results: Path, names: list[str]) -> Iterator[Any]:
    """Sums over the columns of each row; what is missing counts as 0."""
    for batch in read_batches(results, names):
        yield reduce(pc.add, (pc.fill_null(batch.column(name), 0) for name in names))


def _without_zero(results: Path, names: list[str]) -> Iterator[Any]:
    for counts in _sums(results, names):
        yield counts.filter(pc.not_equal(counts, 0)).cast(pa.float64())
