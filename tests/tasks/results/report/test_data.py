from tasks.results.report.data import group_failures, read_report_data
from tasks.results.report.model import FailureGroup, ReportData
from tasks.results.tables import Failure, build_tables, write_failures
from tests.tasks.results.run_on_disk import Entry


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
    build_tables(run.export, [], run.root)
    write_failures(run.root / "failures.parquet", [])
    assert read_report_data(run.root) == ReportData()


def test_all_of_a_run_is_read(run, boxes):
    run.lines([{"image": "a", "found": boxes("car"), "n": 5}])
    build_tables(run.export, [Entry("a", "key of a")], run.root)
    data = read_report_data(run.root)
    assert [item.name for item in data.classes] == ["car"]
    assert data.confidence is not None
    assert data.detections is not None
    assert [histogram.name for histogram in data.numbers] == ["n"]
    assert [image.caption for image in data.images] == ["key of a"]
