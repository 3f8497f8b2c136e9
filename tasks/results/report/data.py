"""Reading a run's tables for its report, a batch of rows at a time."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from tasks.results.report.distributions import all_confidences, count_classes, detections_per_image, histograms
from tasks.results.report.images import OpenSource, contact_sheet
from tasks.results.report.model import CONTACT_SHEET_IMAGES, EXAMPLES_PER_REASON, FailureGroup, ReportData
from tasks.results.tables import FAILURES_FILE, PREDICTIONS_FILE, RESULTS_FILE
from tasks.results.writer import read_batches


def read_report_data(
    run_dir: Path, open_source: OpenSource | None = None, images: int = CONTACT_SHEET_IMAGES
) -> ReportData:
    """What the tables in a run's folder say; a table that is not there counts as empty.

    Args:
        run_dir: holds the parquet files, and the images they name.
        open_source: opens a source image by its key.
        images: most pictures on the contact sheet.
    """
    results, predictions = run_dir / RESULTS_FILE, run_dir / PREDICTIONS_FILE
    classes = count_classes(predictions)
    return ReportData(
        classes=tuple(classes),
        confidence=all_confidences(classes),
        detections=detections_per_image(results),
        numbers=tuple(histograms(results)),
        failures=tuple(group_failures(run_dir / FAILURES_FILE)),
        images=tuple(contact_sheet(run_dir, results, predictions, open_source, images)),
    )


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
