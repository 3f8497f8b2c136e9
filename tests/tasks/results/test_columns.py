import itertools
from typing import Any

import pyarrow as pa

from tasks.results.columns import OutputColumn, OutputKinds
from tasks.results.parse import MAX_OUTPUTS, Result


def columns_of(*rows: tuple[str, dict[str, Any]]) -> tuple[OutputColumn, ...]:
    kinds = OutputKinds()
    for file, outputs in rows:
        kinds.look(Result(file, outputs))
    return kinds.columns(lambda file: list(dict(rows)[file]))


def test_columns_are_the_same_whatever_the_order_of_results(boxes):
    rows = [
        ("a", {"n": 1, "v": None, "found": boxes()}),
        ("b", {"v": "text", "n": 2.5, "found": boxes("car")}),
        ("c", {"extra": True, "v": 3, "found": None}),
        ("d", {"n": None, "extra": None}),
    ]
    expected = columns_of(*rows)
    assert [(column.name, column.kind.name) for column in expected] == [
        ("n", "float"),
        ("v", "json"),
        ("found_count", "predictions"),
        ("extra", "bool"),
    ]
    for order in itertools.permutations(rows):
        assert columns_of(*order) == expected


def test_names_that_are_taken_are_changed(boxes):
    names = {
        "file": 1,
        "File": 2,
        "width": 3,
        "codes": boxes("x"),
        "codes_count": 5,
        "": 6,
        "output": 7,
        "N": 8,
        "n": 9,
    }
    columns = columns_of(("a", names))
    assert [column.name for column in columns] == [
        "output_file",
        "output_File_2",
        "output_width",
        "codes_count",
        "output_codes_count",
        "output",
        "output_output",
        "N",
        "output_n",
    ]
    assert [column.output for column in columns] == list(names)


def test_output_that_holds_predictions_is_taken_apart(boxes):
    value = {"inference_id": "i", "predictions": boxes("car", "car")}
    columns = columns_of(("a", {"model": value}), ("b", {"model": None}))
    assert [(column.name, column.source) for column in columns] == [
        ("model_inference_id", "model/inference_id"),
        ("model_predictions_count", "model/predictions"),
    ]
    values = [column.value({"model": value}, lambda value, place: None) for column in columns]
    assert values == ["i", 2]
    assert [column.value({"model": None}, lambda value, place: None) for column in columns] == [None, None]


def test_roles(boxes):
    outputs = {"n": 1, "found": boxes(), "image_out": {"type": "image"}, "crops": [{"type": "image"}], "odd": [1, "a"]}
    roles = [column.role for column in columns_of(("a", outputs))]
    assert roles == ["value", "count", "image", "image", "json"]


def test_order_is_the_same_when_results_are_looked_at_in_bulk():
    rows: dict[str, dict[str, Any]] = {
        "b": {"late": None, "n": 1, "never": None},
        "c": {"later": None, "x": 1, "late": 3, "n": None, "never": None},
        "d": {"later": 4, "late": None, "n": 2},
    }
    one_by_one = OutputKinds()
    for file, outputs in rows.items():
        one_by_one.look(Result(file, outputs))
    in_bulk = OutputKinds()
    in_bulk.by_output = one_by_one.by_output
    table = pa.Table.from_pylist(
        [{"image": file} | outputs for file, outputs in reversed(rows.items())],
        schema=pa.schema({"image": pa.string(), **dict.fromkeys(["n", "x", "late", "later"], pa.int64())}),
    )
    for batch in table.to_batches(max_chunksize=2):
        in_bulk.look_at(batch.column("image"), batch)
    expected = ["late", "n", "never", "x", "later"]
    for kinds in (one_by_one, in_bulk):
        assert [column.output for column in kinds.columns(lambda file: list(rows[file]))] == expected


def test_outputs_beyond_the_most_stand_in_one_column():
    rows: list[tuple[str, dict[str, Any]]] = [(f"{n:04d}", {f"k{n:04d}": n, "n": n}) for n in range(2000)]
    columns = columns_of(*rows)
    assert len(columns) == MAX_OUTPUTS + 1
    assert (columns[-1].name, columns[-1].role) == ("other_outputs", "json")
    held = [column.value(rows[-1][1], lambda value, place: None) for column in columns]
    assert {column.output: value for column, value in zip(columns, held, strict=True) if value is not None} == {
        "n": 1999,
        "other_outputs": '{"k1999":1999}',
    }
    assert columns[-1].value(rows[0][1], lambda value, place: None) is None
