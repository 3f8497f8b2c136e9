import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.core.errors import BadInput
from tasks.core.run_folder import RunFolder
from tasks.results.sameness import MOST_EXAMPLES, Sameness, compare_rows
from tasks.results.schemas import PREDICTIONS_SCHEMA
from tasks.results.tables import build_tables, write_failures
from tests.tasks.results.finished import tables
from tests.tasks.results.run_on_disk import Entry, detections


class Two:
    """Two runs with results of their own."""

    def __init__(self, folder: Path) -> None:
        self.before = folder / "before"
        self.now = folder / "now"

    def compare(
        self,
        before: Mapping[str, dict[str, Any]],
        now: Mapping[str, dict[str, Any]],
        failed_before: Mapping[str, str] | None = None,
        failed_now: Mapping[str, str] | None = None,
    ) -> Sameness:
        tables(self.before, before, failed_before)
        tables(self.now, now, failed_now)
        return compare_rows(self.before, self.now)


@pytest.fixture
def two(tmp_path: Path) -> Two:
    return Two(tmp_path)


def files(sameness: Sameness) -> tuple[int, int, int, int]:
    return sameness.same, sameness.different, sameness.only_before, sameness.only_now


def several(**changes: Any) -> dict[str, dict[str, Any]]:
    """Results of five files, some with predictions; those of ``c`` can be changed."""
    plain = {name: {"n": place, "o": detections(*"xy"[: place % 3])} for place, name in enumerate("abcde")}
    return plain | {"c": plain["c"] | changes}


@pytest.mark.parametrize("rows_read", [1, 2, 100])
def test_equal_runs_are_the_same(two: Two, monkeypatch: pytest.MonkeyPatch, rows_read: int) -> None:
    monkeypatch.setattr("tasks.results.writer._ROWS_READ", rows_read)
    sameness = two.compare(several(), several(), {"f": "failed"}, {"f": "failed"})
    assert sameness == Sameness(same=6)
    assert sameness.identical
    assert sameness.line() == "the results are the same, row by row (6 files)"


@pytest.mark.parametrize("rows_read", [1, 2, 100])
@pytest.mark.parametrize(
    ("changes", "example"),
    [
        ({"n": 7}, "c: n 2 → 7"),
        ({"n": None}, "c: n 2 → nothing"),
        ({"o": detections("x")}, "c: o_count 2 → 1, predictions 2 → 1"),
        ({"o": detections("x", "z")}, "c: predictions[1].class 'y' → 'z'"),
        ({"o": detections("y", "x")}, "c: predictions[0].class 'x' → 'y', predictions[1].class 'y' → 'x'"),
    ],
)
def test_difference_is_told_with_both_values(
    two: Two, monkeypatch: pytest.MonkeyPatch, rows_read: int, changes: dict[str, Any], example: str
) -> None:
    monkeypatch.setattr("tasks.results.writer._ROWS_READ", rows_read)
    sameness = two.compare(several(), several(**changes))
    assert sameness == Sameness(same=4, different=1, examples=(example,))
    assert not sameness.identical
    assert sameness.line() == "the results differ: 1 of 5 files are different"


def test_least_difference_of_a_number_counts(two: Two) -> None:
    one, other = 0.1 + 0.2, 0.3
    sameness = two.compare({"a": {"n": one}}, {"a": {"n": other}})
    assert sameness.examples == ("a: n 0.30000000000000004 → 0.3",)


def test_many_differences_of_a_file_and_long_values_are_cut(two: Two) -> None:
    sameness = two.compare({"a": dict.fromkeys("bcdef", "x" * 99)}, {"a": dict.fromkeys("bcdef", "y")})
    (example,) = sameness.examples
    assert example.count("→") == 3
    assert example.endswith(", and more")
    assert f"b '{'x' * 38}… → 'y'" in example


def test_ids_that_are_random_by_nature_do_not_count(two: Two) -> None:
    def result(number: int) -> dict[str, Any]:
        ids = {"detection_id": f"id {number}", "parent_id": f"crop {number}"}
        model = {"inference_id": f"i {number}", "time": number / 7, "top": "cat"}
        return {
            "o": detections("x", **ids),
            "model": {"inference_id": f"i {number}", "predictions": detections("y", **ids)},
            "nested": model,
            "text": [model, {"mixed": {}}, 1],
            "also": detections("x", image={"root_parent_id": f"r {number}"}),
        }

    assert two.compare({"a": result(1)}, {"a": result(2)}) == Sameness(same=1)
    columns = pq.read_schema(two.now / "results.parquet").names
    assert {"model_inference_id", "nested", "text"} <= set(columns)


def test_field_called_time_is_a_result_where_it_is_not_the_engines(two: Two) -> None:
    sameness = two.compare({"a": {"clock": {"time": 1.5}}}, {"a": {"clock": {"time": 2.5}}})
    assert files(sameness) == (0, 1, 0, 0)


def test_unknown_fields_of_predictions_are_compared_as_json(two: Two) -> None:
    one, other = detections("x", deep={"a": 1, "b": 2}), detections("x", deep={"b": 2, "a": 1})
    assert two.compare({"a": {"o": one}}, {"a": {"o": other}}).identical


@pytest.mark.parametrize(("one", "other"), [({"a": 1}, {"a": 2}), ({"a": 1}, {"a": True}), ([1, "x"], ["x", 1])])
def test_json_that_differs_is_different(two: Two, one: Any, other: Any) -> None:
    rest = [{"mixed": {}}, 1]  # makes JSON of the column
    sameness = two.compare({"a": {"n": [one, *rest]}}, {"a": {"n": [other, *rest]}})
    assert files(sameness) == (0, 1, 0, 0)


def test_column_that_was_of_another_type_is_compared_by_value(two: Two) -> None:
    before = {"a": {"n": 1, "yes": True}, "b": {"n": 2, "yes": True}}
    now = {"a": {"n": 1.0, "yes": 1}, "b": {"n": 2.5, "yes": 1}}
    sameness = two.compare(before, now)
    assert sameness.examples == ("a: yes True → 1", "b: n 2 → 2.5, yes True → 1")


def test_rows_of_a_video_are_compared_frame_by_frame(tmp_path: Path) -> None:
    def filmed(name: str, numbers: list[int]) -> Path:
        folder = tables(tmp_path / name, {"a": {"n": 1}})
        row = pq.read_table(folder.results).to_pylist()[0]
        rows = [row | {"frame": frame, "n": n} for frame, n in enumerate(numbers)]
        pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(folder.results)), folder.results)
        return folder.root

    before = filmed("before", [1, 2, 3])
    assert compare_rows(before, filmed("same", [1, 2, 3])).identical
    assert compare_rows(before, filmed("other", [1, 2, 4])).examples == ("a: results[2].n 3 → 4",)
    assert compare_rows(before, filmed("shorter", [1, 2])).examples == ("a: results 3 → 2",)


def test_nan_equals_nan(tmp_path: Path) -> None:
    for name in ("before", "now"):
        folder = tables(tmp_path / name, {"a": {"n": 1.0}})
        table = pq.read_table(folder.results)
        values = pa.array([float("nan")])
        pq.write_table(
            table.set_column(table.schema.get_field_index("n"), table.schema.field("n"), values), folder.results
        )
    assert compare_rows(tmp_path / "before", tmp_path / "now").identical


def test_order_of_outputs_does_not_count_and_that_of_predictions_does(tmp_path: Path) -> None:
    def written(name: str, rows: list[tuple[str, str]]) -> Path:
        folder = tables(tmp_path / name, {"a": {"n": 1}})
        known = [{"file": "a", "source_key": "a", "output": output, "class": found} for output, found in rows]
        pq.write_table(pa.Table.from_pylist(known, schema=PREDICTIONS_SCHEMA), folder.predictions)
        return folder.root

    before = written("before", [("o", "x"), ("o", "y"), ("p", "z")])
    assert compare_rows(before, written("other", [("p", "z"), ("o", "x"), ("o", "y")])).identical
    assert not compare_rows(before, written("turned", [("o", "y"), ("o", "x"), ("p", "z")])).identical


def test_files_of_one_run_only_are_counted_apart(two: Two) -> None:
    sameness = two.compare(
        {"a": {"n": 1}, "b": {"n": 1}, "c": {"n": 1}},
        {"b": {"n": 1}, "d": {"n": 1}, "e": {"n": 1}},
        {"d": "failed", "g": "failed", "h": "failed", "i": "rejected", "k": "failed"},
        {"a": "failed", "h": "rejected", "i": "rejected", "j": "failed", "k": "failed"},
    )
    assert files(sameness) == (3, 1, 3, 3)
    assert sameness.examples == (
        "a: processed → failed",
        "c: processed → not there",
        "d: failed → processed",
        "e: not there → processed",
        "g: failed → not there",
        "h: failed → rejected",
        "j: not there → failed",
    )
    assert sameness.line() == (
        "the results differ: 1 of 10 files are different; 3 have a result in the earlier run only; "
        "3 have a result now only"
    )


def test_predictions_do_not_slip_to_another_file(two: Two) -> None:
    before = {"a": {"o": detections()}, "b": {"o": detections("x")}, "c": {"o": detections()}}
    now = {"a": {"o": detections()}, "c": {"o": detections()}}
    sameness = two.compare(before, now)
    assert files(sameness) == (2, 0, 1, 0)


def test_columns_of_one_run_only_are_told(two: Two) -> None:
    sameness = two.compare({"a": {"n": 1, "old": 1}}, {"a": {"n": 1, "new": detections("x")}})
    assert (sameness.columns_before, sameness.columns_now) == (("results.old",), ("results.new_count",))
    assert files(sameness) == (0, 1, 0, 0)
    alone = Sameness(same=1, columns_now=("results.new",))
    assert not alone.identical
    assert alone.line() == "the results differ: columns now only: results.new"


def test_examples_are_the_first_ones(two: Two) -> None:
    names = [f"{number:03}" for number in range(30)]
    sameness = two.compare({name: {"n": 1} for name in names}, {name: {"n": 2} for name in names})
    assert sameness.different == 30
    assert [example[:3] for example in sameness.examples] == names[:MOST_EXAMPLES]


def pictured(root: Path, part: str, content: bytes) -> RunFolder:
    """A run with an image output, an image in a list, one in a struct, and a text that looks like a path."""
    for place in ("photo", "crops/0", "deep/cut"):
        path = root / "export" / part / "a" / f"{place}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if place == "deep/cut" else b"same")
    image = {"type": "image", "value": "<deducted_image>"}
    result = {"image": "a", "photo": image, "crops": [image], "deep": {"cut": image, "n": 1}, "text": "export/x.jpg"}
    lines = root / "export" / "results" / "results-0.jsonl"
    lines.parent.mkdir()
    lines.write_text(json.dumps(result) + "\n")
    build_tables(root / "export", [Entry("a", "a")], root)
    folder = RunFolder(root)
    write_failures(folder.failures, [])
    return folder


def test_images_are_compared_by_their_bytes(tmp_path: Path) -> None:
    before = pictured(tmp_path / "before", "images-one", b"picture")
    row = pq.read_table(before.results).to_pylist()[0]
    assert (row["photo"], row["deep"]["cut"]) == ("export/images-one/a/photo.jpg", "export/images-one/a/deep/cut.jpg")
    same = pictured(tmp_path / "same", "images-two", b"picture")
    assert compare_rows(before.root, same.root).identical
    other = pictured(tmp_path / "other", "images-one", b"another")
    (example,) = compare_rows(before.root, other.root).examples
    assert example.startswith("a: deep {'cut': 'sha256:")
    (other.root / "export" / "images-one" / "a" / "photo.jpg").write_bytes(b"changed")
    assert "photo 'sha256:" in compare_rows(before.root, other.root).examples[0]


def test_images_that_are_gone_are_not_the_same(tmp_path: Path) -> None:
    runs = [pictured(tmp_path / name, "images", b"picture") for name in ("before", "now")]
    for run in runs:
        (run.export / "images" / "a" / "photo.jpg").unlink()
    (example,) = compare_rows(runs[0].root, runs[1].root).examples
    assert example.startswith("a: photo 'nothing at ")


@pytest.mark.parametrize("name", ["results.parquet", "predictions.parquet", "failures.parquet"])
def test_run_without_a_table_cannot_be_compared(tmp_path: Path, name: str) -> None:
    runs = [tables(tmp_path / folder, {"a": {"n": 1}}).root for folder in ("before", "now")]
    (runs[1] / name).unlink()
    for pair in (runs, runs[::-1]):
        with pytest.raises(BadInput, match=f"now has no {name}"):
            compare_rows(*pair)
