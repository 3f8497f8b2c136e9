from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.core.errors import BadInput, LocalFault
from tasks.results import facts
from tasks.results.facts import OTHER_CLASSES, RunFacts, facts_of, read_facts
from tasks.results.schemas import PREDICTIONS_SCHEMA
from tests.tasks.results.finished import KEY, finished, tables
from tests.tasks.results.run_on_disk import detections


def read(folder: Path, **more: Any) -> RunFacts:
    return read_facts(folder, key="k", files=9, failed=2, rejected=1, seconds=5.0, **more)


def rated(*confidences: float | None) -> dict[str, Any]:
    """An output with a detection of each confidence."""
    found = detections(*("car" for _ in confidences))
    for detection, confidence in zip(found["predictions"], confidences, strict=True):
        detection["confidence"] = confidence
    return {"codes": found}


@pytest.mark.parametrize("rows_read", [1, 2, 3, 100])
def test_facts_add_the_tables_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_read: int) -> None:
    monkeypatch.setattr("tasks.results.writer._ROWS_READ", rows_read)
    unclassed = {"image": None, "predictions": [{"x": 1, "y": 1, "width": 1, "height": 1}]}
    rows = {
        "a": {"one": detections("car", "car", confidence=0.8), "two": detections("bus", confidence=0.3)},
        "b": {"one": detections(), "two": detections()},
        "c": {"one": detections(), "two": detections("car", confidence=0.7)},
        "d": {"one": detections("car", confidence=0.9), "two": unclassed},
        "e": {"one": detections(), "two": detections()},
    }
    found = read(tables(tmp_path / "run", rows).root)
    assert (found.key, found.files, found.failed, found.rejected, found.seconds) == ("k", 9, 2, 1, 5.0)
    assert (found.processed, found.predictions, found.empty, found.without_result) == (5, 6, 2, 3)
    assert found.classes == {"car": 4, "bus": 1, "": 1}
    assert found.mean_confidence == pytest.approx((0.8 + 0.8 + 0.3 + 0.7 + 0.9) / 5)
    assert found.least_confidence == 0.3
    assert sum(found.confidences) == 5


def test_confidences_are_counted_in_equal_bins(tmp_path: Path) -> None:
    run = tables(tmp_path / "run", {"a": rated(0.0, 0.04999, 0.05, 0.3, 0.95, 1.0, 1.25, -0.5, None)})
    bins = read(run.root).confidences
    assert {place: count for place, count in enumerate(bins) if count} == {0: 3, 1: 1, 6: 1, 19: 3}
    assert len(bins) == facts.CONFIDENCE_BINS


def test_confidences_that_are_no_numbers_count_nowhere(tmp_path: Path) -> None:
    rows = [{"file": "a", "source_key": "a", "output": "o", "confidence": value} for value in (float("nan"), 0.5, None)]
    pq.write_table(pa.Table.from_pylist(rows, schema=PREDICTIONS_SCHEMA), tmp_path / "predictions.parquet")
    found = read(tmp_path)
    assert (found.predictions, sum(found.confidences)) == (3, 1)
    assert (found.mean_confidence, found.least_confidence) == (0.5, 0.5)


@pytest.mark.parametrize("rows_read", [1, 2, 100])
def test_frames_of_a_video_are_empty_or_not_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_read: int
) -> None:
    monkeypatch.setattr("tasks.results.writer._ROWS_READ", rows_read)
    frames = [("a", 0), ("a", 0), ("a", 2), ("b", 2), ("b", 2), ("c", None), ("d", None)]
    rows = [{"file": file, "source_key": file, "output": "o", "frame": frame} for file, frame in frames]
    pq.write_table(pa.Table.from_pylist(rows, schema=PREDICTIONS_SCHEMA), tmp_path / "predictions.parquet")
    images = [{"file": file, "frame": frame} for file in "ab" for frame in range(3)]
    images += [{"file": file, "frame": None} for file in "cde"]
    pq.write_table(pa.Table.from_pylist(images), tmp_path / "results.parquet")
    found = read(tmp_path)
    assert (found.processed, found.predictions, found.empty) == (9, 7, 4)


@pytest.mark.parametrize(("confidence", "times"), [(0.35, 3), (0.7, 3), (0.1, 6), (0.95, 3)])
def test_mean_of_equal_confidences_is_not_below_them(tmp_path: Path, confidence: float, times: int) -> None:
    found = read(tables(tmp_path / "run", {"a": rated(*[confidence] * times)}).root)
    assert found.mean_confidence is not None
    assert found.mean_confidence >= confidence
    assert found.mean_confidence == pytest.approx(confidence)


def test_predictions_without_confidence_have_no_mean(tmp_path: Path) -> None:
    found = read(tables(tmp_path / "run", {"a": rated(None, None)}).root)
    assert (found.predictions, found.mean_confidence, found.least_confidence) == (2, None, None)


def test_too_many_classes_are_counted_together_but_for_those_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "MAX_CLASSES", 2)
    run = tables(tmp_path / "run", {"a": {"o": detections("a", "b")}, "b": {"o": detections("c", "c", "d", "a")}})
    assert read(run.root).classes == {"a": 2, "b": 1, OTHER_CLASSES: 3}
    assert read(run.root, watched=["d", "z"]).classes == {"a": 2, "b": 1, "d": 1, "z": 0, OTHER_CLASSES: 2}


def test_run_without_tables_has_no_facts(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert (found.processed, found.predictions, found.empty, found.classes) == (0, 0, 0, {})


def test_facts_of_a_finished_run_are_those_of_its_summary(tmp_path: Path) -> None:
    run = finished(tmp_path / KEY, {"a": rated(0.5), "b": rated()}, files=5, failed=2, rejected=1, wait_seconds=60.0)
    found = facts_of(run)
    assert (found.key, found.files, found.processed, found.failed, found.rejected) == (KEY, 5, 2, 2, 1)
    assert (found.predictions, found.empty) == (1, 1)
    assert found.seconds == 66.0  # four other steps of 1.5 s, and not the time of the report
    assert facts_of(run, watched=["x"]).classes == {"car": 1, "x": 0}


def test_facts_of_an_unfinished_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"run {KEY} is not finished"):
        facts_of(tables(tmp_path / KEY, {"a": rated(0.5)}))


@pytest.mark.parametrize("name", ["results.parquet", "predictions.parquet"])
def test_facts_of_a_run_whose_tables_cannot_be_used_are_refused(tmp_path: Path, name: str) -> None:
    run = finished(tmp_path / KEY, {"a": rated(0.5)})
    file = run.root / name
    table = pq.read_table(file)
    pq.write_table(table.replace_schema_metadata({"darkroom.schema": f"{file.stem}/99"}), file)
    with pytest.raises(BadInput, match=f"another version of darkroom .{name} is {file.stem}/99"):
        facts_of(run)
    file.write_bytes(b"junk")
    with pytest.raises(LocalFault, match=f"{name} is damaged"):
        facts_of(run)
    file.unlink()
    with pytest.raises(BadInput, match=f"has no {name} any more"):
        facts_of(run)


def test_table_that_is_damaged_inside_is_told(tmp_path: Path) -> None:
    run = finished(tmp_path / KEY, {"a": rated(0.5)})
    content = bytearray(run.predictions.read_bytes())
    content[4:200] = b"\xff" * 196
    run.predictions.write_bytes(content)
    with pytest.raises(LocalFault, match=r"predictions\.parquet is damaged"):
        facts_of(run)
