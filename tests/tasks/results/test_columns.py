import itertools
from typing import Any

from tasks.results.columns import OutputColumn, OutputKinds


def columns_of(*rows: tuple[str, dict[str, Any]]) -> tuple[OutputColumn, ...]:
    kinds = OutputKinds()
    for file, outputs in rows:
        kinds.look(file, outputs)
    return kinds.columns()


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
