import json
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.core.errors import LocalFault
from tasks.results import arrange, blocks, runs, writer
from tasks.results import tables as tables_module
from tasks.results.schemas import FAILURES_SCHEMA, PREDICTIONS_SCHEMA, RESULT_FIELDS
from tasks.results.tables import Failure, ResultTables, build_tables, write_failures
from tests.tasks.results.run_on_disk import Entry, Run, detections


def read(tables: ResultTables) -> tuple[pa.Table, pa.Table]:
    return pq.read_table(tables.results), pq.read_table(tables.predictions_file)


def test_rows_are_typed_and_sorted(run, manifest, boxes):
    run.write("images-archives/b.jpg/annotated.jpg", b"")
    image = {"type": "image", "file": "b.jpg/annotated.jpg"}
    run.lines(
        [
            {"image": "b.jpg", "focus": 7, "codes": boxes("qr", "bar", data="hi"), "annotated": image, "rgb": [1, 2]},
            {"image": "a.jpg", "focus": 0.5, "codes": boxes(), "annotated": {"type": "image"}, "rgb": []},
        ]
    )
    tables = build_tables(run.export, manifest("a.jpg", "b.jpg", "c.jpg"), run.root)
    results, predictions = read(tables)
    assert results.to_pylist() == [
        {
            "file": "a.jpg",
            "source_key": "key of a.jpg",
            "frame": None,
            "width": 640,
            "height": 480,
            "focus": 0.5,
            "codes_count": 0,
            "annotated": None,
            "rgb": [],
        },
        {
            "file": "b.jpg",
            "source_key": "key of b.jpg",
            "frame": None,
            "width": 100,
            "height": 80,
            "focus": 7.0,
            "codes_count": 2,
            "annotated": "export/images-archives/b.jpg/annotated.jpg",
            "rgb": [1, 2],
        },
    ]
    assert results.schema.metadata[b"darkroom.schema"] == b"results/2"
    assert results.schema.field("codes_count").metadata == {b"darkroom.output": b"codes", b"darkroom.kind": b"count"}
    assert predictions.schema.equals(PREDICTIONS_SCHEMA)
    assert predictions.schema.metadata[b"darkroom.schema"] == b"predictions/2"
    first = predictions.to_pylist()[0]
    assert (first["file"], first["source_key"], first["output"]) == ("b.jpg", "key of b.jpg", "codes")
    assert (first["class"], first["data"], first["image_width"], first["x"]) == ("qr", "hi", 100, 50.0)
    assert (tables.rows, tables.predictions) == (2, 2)
    assert sorted(path.name for path in run.root.iterdir()) == ["export", "predictions.parquet", "results.parquet"]


def test_no_results_give_empty_tables_with_their_schemas(run, manifest):
    tables = build_tables(run.export, manifest("a"), run.root)
    results, predictions = read(tables)
    assert results.schema.equals(pa.schema(RESULT_FIELDS))
    assert predictions.schema.equals(PREDICTIONS_SCHEMA)
    assert (results.num_rows, predictions.num_rows, tables.outputs) == (0, 0, ())


def test_duplicates_unknown_and_unreadable_results_are_told(run, manifest):
    run.lines([{"image": "a", "n": 1}, {"image": "b", "n": 2}, {"image": "a", "n": "three"}])
    run.lines([{"image": "x", "n": "four"}, {"image": "b", "n": 5}, {"n": 6}], number=1)
    tables = build_tables(run.export, manifest("a", "b", "c"), run.root)
    assert read(tables)[0].select(["file", "n"]).to_pylist() == [{"file": "a", "n": 1}, {"file": "b", "n": 2}]
    assert (tables.duplicates.count, tables.duplicates.examples) == (2, ["a", "b"])
    assert (tables.unknown.count, tables.unknown.examples) == (1, ["x"])
    assert tables.unreadable.count == 1


def test_tables_are_the_same_whatever_the_chunks(tmp_path, manifest):
    choice = random.Random(3)
    values = [1, 2.5, None, "text", [1], {"a": 1}, True]
    rows = [
        {"image": f"{n:03d}", "mixed": choice.choice(values), "n": n, "found": detections("car"), f"own {n % 7}": n}
        for n in range(60)
    ]
    written = []
    for attempt in range(3):
        (tmp_path / str(attempt)).mkdir()
        run = Run(tmp_path / str(attempt))
        choice.shuffle(rows)
        for part in range(3):
            run.lines(rows[part::3], number=part)
        tables = build_tables(run.export, manifest(*[row["image"] for row in rows]), run.root)
        written.append((tables.results.read_bytes(), tables.predictions_file.read_bytes()))
    assert written[0] == written[1] == written[2]


def test_mixed_types_fall_back_to_json(run, manifest):
    run.lines([{"image": "a", "v": 1}, {"image": "b", "v": "x"}, {"image": "c", "v": {"k": [None]}}, {"image": "d"}])
    table = read(build_tables(run.export, manifest(*"abcd"), run.root))[0]
    assert table.column("v").to_pylist() == ["1", '"x"', '{"k":[null]}', None]


def test_nested_outputs_become_structs_and_lists(run, manifest):
    run.lines(
        [
            {"image": "a", "meta": {"size": {"w": 1}, "tags": ["x"]}},
            {"image": "b", "meta": {"size": {"h": 2.5}, "tags": []}},
        ]
    )
    table = read(build_tables(run.export, manifest("a", "b"), run.root))[0]
    assert table.column("meta").to_pylist() == [
        {"size": {"h": None, "w": 1}, "tags": ["x"]},
        {"size": {"h": 2.5, "w": None}, "tags": []},
    ]


def test_predictions_mixed_with_something_else_stay_json(run, manifest, boxes):
    run.lines([{"image": "a", "found": boxes("car")}, {"image": "b", "found": "none"}])
    tables = build_tables(run.export, manifest("a", "b"), run.root)
    results, predictions = read(tables)
    assert json.loads(results.column("found")[0].as_py()) == boxes("car")
    assert predictions.num_rows == 0


def test_hostile_names_and_classes_survive(run, manifest, boxes):
    name = 'a\n"b"<script>é.jpg'
    run.lines([{"image": name, "<b>": boxes("<script>alert(1)</script>"), "a.b": 1, "a": {"b": 2}}])
    results, predictions = read(build_tables(run.export, manifest(name), run.root))
    assert results.column("file").to_pylist() == [name]
    assert results.column_names[5:] == ["<b>_count", "a.b", "a"]
    assert predictions.column("class").to_pylist() == ["<script>alert(1)</script>"]


def test_leftover_of_a_killed_process_is_replaced(run, manifest):
    (run.root / ".results.sqlite").write_bytes(b"half a database")
    (run.root / "results.parquet.part").write_bytes(b"half a table")
    run.lines([{"image": "a"}])
    assert build_tables(run.export, manifest("a"), run.root).rows == 1


def test_failure_leaves_the_former_tables(run, manifest):
    run.lines([{"image": "a"}])
    tables = build_tables(run.export, manifest("a"), run.root)
    before = tables.results.read_bytes()

    def broken() -> Iterator[Entry]:
        yield Entry("a", "a")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        build_tables(run.export, broken(), run.root)
    assert tables.results.read_bytes() == before
    assert not (run.root / ".results.sqlite").exists()


def test_folder_that_is_missing_is_a_local_fault(run, manifest):
    with pytest.raises(LocalFault):
        build_tables(run.export, manifest("a"), run.root / "missing")


def test_memory_does_not_grow_with_the_results(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 64 << 10)
    monkeypatch.setattr(runs, "RUN_BYTES", 256 << 10)
    monkeypatch.setattr(arrange, "WINDOW_ROWS", 200)
    monkeypatch.setattr(tables_module, "ROWS_PER_GROUP", 500)
    monkeypatch.setattr(tables_module, "PREDICTIONS_PER_GROUP", 500)

    def peak(count: int) -> tuple[int, int]:
        """Bytes in use at most: Python's, and Arrow's."""
        root = tmp_path / str(count)
        root.mkdir()
        run = Run(root)
        run.lines({"image": f"{n:06d}", "n": n, "text": "x" * 300, "found": detections("car")} for n in range(count))
        usual = pa.default_memory_pool()
        counting = pa.proxy_memory_pool(usual)
        entries = (Entry(f"{n:06d}", f"{n:06d}") for n in range(count))
        pa.set_memory_pool(counting)
        tracemalloc.start()
        try:
            assert build_tables(run.export, entries, root).rows == count
            return tracemalloc.get_traced_memory()[1], counting.max_memory()
        finally:
            tracemalloc.stop()
            pa.set_memory_pool(usual)
            assert counting.bytes_allocated() < 1 << 20

    few, many = peak(3_000), peak(12_000)
    assert many[0] < few[0] + (1 << 20)
    assert many[1] < few[1] + (1 << 20)


def test_row_groups_are_bounded(run):
    count = 10_001
    numbers = list(range(count))
    random.Random(5).shuffle(numbers)
    run.lines({"image": f"{n:06d}", "n": n, "found": detections(*["car"] * 7, class_id=n)} for n in numbers)
    entries = (Entry(f"{n:06d}", f"{n:06d}") for n in range(count))
    tables = build_tables(run.export, entries, run.root)
    results, predictions = read(tables)
    assert results.column("n").to_pylist() == list(range(count))
    assert predictions.column("class_id").to_pylist() == [n for n in range(count) for _ in range(7)]
    assert row_groups(tables.results) == [10_000, 1]
    assert row_groups(tables.predictions_file) == [65_536, 7 * count - 65_536]


def test_row_groups_of_large_rows_are_small(run, manifest, monkeypatch):
    monkeypatch.setattr(writer, "BYTES_PER_GROUP", 10_000)
    names = [f"{n:02d}" for n in range(20)]
    monkeypatch.setattr(arrange, "WINDOW_BYTES", 2_500)
    run.lines({"image": name, "text": "x" * 1000} for name in names)
    assert row_groups(build_tables(run.export, manifest(*names), run.root).results) == [10, 10]


def row_groups(path: Path) -> list[int]:
    with pq.ParquetFile(path) as file:
        return [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]


def test_failures_are_written(tmp_path):
    path = tmp_path / "failures.parquet"
    rows = [Failure("a", "key a", "failed", "wait", "broken"), Failure("b", "key b", "rejected", "stage", "empty")]
    assert write_failures(path, iter(rows)) == 2
    table = pq.read_table(path)
    assert table.schema.equals(FAILURES_SCHEMA)
    assert table.to_pylist()[1] == {
        "file": "b",
        "source_key": "key b",
        "state": "rejected",
        "step": "stage",
        "reason": "empty",
    }


def test_no_failures_give_an_empty_table(tmp_path):
    assert write_failures(tmp_path / "failures.parquet", []) == 0
    assert pq.read_table(tmp_path / "failures.parquet").num_rows == 0
