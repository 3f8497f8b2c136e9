from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.results.facts import OTHER_CLASSES
from tasks.results.report import distributions
from tasks.results.report.distributions import all_confidences, count_classes, detections_per_image, histograms
from tasks.results.report.model import ClassCount, Histogram
from tasks.results.tables import ResultTables, build_tables
from tests.tasks.results.run_on_disk import Entry, Run


def tables(run: Run, rows: list[dict[str, Any]]) -> ResultTables:
    run.lines({"image": f"{n:05d}", **row} for n, row in enumerate(rows))
    return build_tables(run.export, [Entry(f"{n:05d}", f"key {n}") for n in range(len(rows))], run.root)


def bins(**counts: int) -> tuple[int, ...]:
    return tuple(counts.get(f"b{place}", 0) for place in range(20))


def test_classes_are_counted_with_their_confidences(run, boxes, monkeypatch):
    monkeypatch.setattr("tasks.results.writer._ROWS_READ", 2)
    made = tables(
        run,
        [
            {"a": boxes("car", "car"), "b": boxes("person")},
            {"a": boxes("car", confidence=1.25), "b": boxes("bus", confidence=None)},
            {"a": boxes("car", confidence=None), "b": boxes("person", confidence=-1.0)},
            {"a": boxes(), "b": {"image": None, "predictions": [{"x": 1, "y": 1, "width": 1, "height": 1}]}},
        ],
    )
    classes = count_classes(made.predictions_file)
    assert classes == [
        ClassCount("car", 4, Histogram("car", 0, 1, 0.75, bins(b10=2, b19=1), missing=1)),
        ClassCount("person", 2, Histogram("person", 0, 1, -0.25, bins(b0=1, b10=1))),
        ClassCount("(no class)", 1),
        ClassCount("bus", 1),
    ]
    assert all_confidences(classes) == Histogram("confidence", 0, 1, 0.35, bins(b0=1, b10=3, b19=1), missing=3)


def test_confidences_lie_in_the_bin_that_begins_with_them(run, boxes):
    made = tables(run, [{"a": boxes("car", confidence=value)} for value in (0.0, 0.049, 0.05, 0.95, 0.999, 1.0)])
    (car,) = count_classes(made.predictions_file)
    assert car.confidence is not None
    assert car.confidence.counts == bins(b0=2, b1=1, b19=3)


def test_no_predictions_have_no_confidences(run, boxes):
    made = tables(run, [{"a": boxes()}])
    assert count_classes(made.predictions_file) == []
    assert all_confidences([]) is None
    assert all_confidences([ClassCount("car", 3)]) is None


def test_too_many_classes_are_counted_together(run, boxes, monkeypatch):
    monkeypatch.setattr(distributions, "MAX_CLASSES", 3)
    made = tables(run, [{"a": boxes("a", "b", "c", "d", "e", "a")}])
    counts = {item.name: item.count for item in count_classes(made.predictions_file)}
    assert sum(counts.values()) == 6
    assert len(counts) == 4
    assert OTHER_CLASSES in counts


def test_predictions_an_image_are_those_of_all_outputs(run, boxes, monkeypatch):
    monkeypatch.setattr("tasks.results.writer._ROWS_READ", 2)
    counts = [(0, 0), (1, 1), (3, 0), (0, 0), (1, 0)]
    rows = [{"a": boxes(*["car"] * a), "b": boxes(*["bus"] * b)} for a, b in counts]
    found = detections_per_image(tables(run, [*rows, {"a": boxes("car")}]).results)
    assert found is not None
    assert found.none == 2
    assert found.some == Histogram("predictions", 1, 3, 1.75, (2, 1, 1), whole=True)


def test_images_without_any_prediction_are_counted_alone(run, boxes):
    found = detections_per_image(tables(run, [{"a": boxes()}, {"a": boxes()}]).results)
    assert found is not None
    assert (found.none, found.some) == (2, None)


def test_workflow_without_predictions_has_none_an_image(run, tmp_path):
    assert detections_per_image(tables(run, [{"n": 1}]).results) is None
    assert detections_per_image(tmp_path / "nothing.parquet") is None


def test_histograms_of_numeric_outputs(run, boxes, monkeypatch):
    monkeypatch.setattr("tasks.results.writer._ROWS_READ", 7)
    rows = [{"n": n % 3, "share": n / 10, "name": "x", "ok": True, "a.b": 5, "a": {"b": n}} for n in range(30)]
    made = tables(run, [*rows, {"n": None, "found": boxes("car")}])
    small, share, same = histograms(made.results)
    assert (small.name, small.counts, small.missing, small.mean, small.whole) == ("n", (10, 10, 10), 1, 1.0, True)
    assert (share.name, share.low, share.high, share.total, share.whole) == ("share", 0.0, 2.9, 30, False)
    assert len(share.counts) == distributions.BINS
    assert (same.name, same.counts) == ("a.b", (30,))


def test_histogram_of_many_whole_numbers_has_bins_of_several(run):
    (wide,) = histograms(tables(run, [{"n": n} for n in range(100)]).results)
    assert (len(wide.counts), wide.whole, wide.total) == (distributions.BINS, False, 100)


def test_histogram_of_extreme_numbers(run):
    made = tables(run, [{"huge": 1.7e308, "none": None}, {"huge": -1.7e308, "none": None}])
    assert histograms(made.results) == []


def test_tables_of_another_writer_will_do(tmp_path):
    pq.write_table(pa.table({"file": ["a"], "n": pa.array([3], pa.int8())}), tmp_path / "results.parquet")
    assert [histogram.name for histogram in histograms(tmp_path / "results.parquet")] == ["n"]
    assert histograms(tmp_path / "nothing.parquet") == []
