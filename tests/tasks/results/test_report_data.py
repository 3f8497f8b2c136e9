from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.results import report_data
from tasks.results.report_data import count_classes, group_failures, histograms, read_report_data
from tasks.results.report_model import ClassCount, FailureGroup, ReportData
from tasks.results.tables import Failure, ResultTables, build_tables, write_failures
from tests.tasks.results.run_on_disk import Entry, Run


def tables(run: Run, rows: list[dict[str, Any]]) -> ResultTables:
    run.lines({"image": f"{n:05d}", **row} for n, row in enumerate(rows))
    return build_tables(run.export, [Entry(f"{n:05d}", f"key {n}") for n in range(len(rows))], run.root)


def test_classes_are_counted_with_their_confidence(run, boxes, monkeypatch):
    monkeypatch.setattr("tasks.results.writer._ROWS_READ", 2)
    made = tables(
        run,
        [
            {"a": boxes("car", "car"), "b": boxes("person")},
            {"a": boxes("car", confidence=1.25), "b": boxes("bus", confidence=None)},
            {"a": boxes(), "b": {"image": None, "predictions": [{"x": 1, "y": 1, "width": 1, "height": 1}]}},
        ],
    )
    assert count_classes(made.predictions_file) == [
        ClassCount("car", 3, 0.75),
        ClassCount("(no class)", 1, None),
        ClassCount("bus", 1, None),
        ClassCount("person", 1, 0.5),
    ]


def test_too_many_classes_are_counted_together(run, boxes, monkeypatch):
    monkeypatch.setattr(report_data, "MAX_CLASSES", 3)
    made = tables(run, [{"a": boxes("a", "b", "c", "d", "e", "a")}])
    counts = {item.name: item.count for item in count_classes(made.predictions_file)}
    assert sum(counts.values()) == 6
    assert len(counts) == 4
    assert report_data.OTHER_CLASSES in counts


def test_histograms_of_numeric_outputs(run, monkeypatch):
    monkeypatch.setattr("tasks.results.writer._ROWS_READ", 7)
    rows = [{"n": n % 3, "share": n / 10, "name": "x", "ok": True, "a.b": 5, "a": {"b": n}} for n in range(30)]
    made = tables(run, [*rows, {"n": None}])
    small, share, same = histograms(made.results)
    assert (small.name, small.counts, small.missing, small.mean) == ("n", (10, 10, 10), 1, 1.0)
    assert (share.name, share.low, share.high, share.total) == ("share", 0.0, 2.9, 30)
    assert len(share.counts) == report_data.BINS
    assert (same.name, same.counts) == ("a.b", (30,))


def test_histogram_of_extreme_numbers(run):
    made = tables(run, [{"huge": 1.7e308, "none": None}, {"huge": -1.7e308, "none": None}])
    assert histograms(made.results) == []


def test_failures_are_grouped_by_reason(tmp_path):
    rows = [Failure(str(n), f"key {n}", "failed", "wait", "broken") for n in range(30)]
    write_failures(tmp_path / "f.parquet", [Failure("x", "key x", "rejected", "stage", "empty"), *rows])
    groups = group_failures(tmp_path / "f.parquet")
    examples = tuple(f"key {n}" for n in range(20))
    assert groups == [
        FailureGroup("failed", "wait", "broken", 30, examples),
        FailureGroup("rejected", "stage", "empty", 1, ("key x",)),
    ]


def test_run_without_tables_has_no_data(tmp_path):
    assert read_report_data(tmp_path) == ReportData()


def test_empty_tables_have_no_data(run):
    tables(run, [])
    write_failures(run.root / "failures.parquet", [])
    assert read_report_data(run.root) == ReportData()


def test_tables_of_another_writer_will_do(tmp_path):
    pq.write_table(pa.table({"file": ["a"], "n": pa.array([3], pa.int8())}), tmp_path / "results.parquet")
    assert [histogram.name for histogram in histograms(tmp_path / "results.parquet")] == ["n"]
