import json
from typing import Any

import pyarrow.parquet as pq
import pytest

from tasks.results.classifications import classification_rows
from tasks.results.tables import build_tables

CLASSES = [
    {"class": "cat", "class_id": 3, "confidence": 0.9},
    {"class": "dog", "class_id": 4, "confidence": 0.1},
]
ONE: dict[str, Any] = {
    "inference_id": "i",
    "image": {"width": 640, "height": 320},
    "predictions": CLASSES,
    "top": "cat",
    "confidence": 0.9,
    "prediction_type": "classification",
    "parent_id": "image",
}
MANY: dict[str, Any] = {
    "image": {"width": 640, "height": 320},
    "predictions": {"cat": {"confidence": 0.9, "class_id": 3}, "dog": {"confidence": 0.8, "class_id": 4}},
    "predicted_classes": ["dog", "cat"],
    "parent_id": "image",
}


def row(name: str, class_id: int | None, confidence: float | None, parent_id: str | None = "image") -> dict[str, Any]:
    return {"class": name, "class_id": class_id, "confidence": confidence, "parent_id": parent_id}


@pytest.mark.parametrize(
    ("value", "rows"),
    [
        (ONE, [row("cat", 3, 0.9)]),
        (ONE | {"top": ""}, []),
        (ONE | {"top": "bird", "confidence": None}, [row("bird", None, None)]),
        (ONE | {"predictions": []}, [row("cat", None, 0.9)]),
        (ONE | {"predictions": ["cat", *CLASSES], "parent_id": 5}, [row("cat", 3, 0.9, None)]),
        (MANY, [row("dog", 4, 0.8), row("cat", 3, 0.9)]),
        (MANY | {"predicted_classes": []}, []),
        (MANY | {"predicted_classes": ["bird", None]}, [row("bird", None, None)]),
        (
            MANY | {"predictions": {"dog": None, "cat": {"class_id": "3"}}},
            [row(name, None, None) for name in ("dog", "cat")],
        ),
        (ONE | {"top": None}, None),
        (MANY | {"predictions": []}, None),
        ({"predictions": CLASSES}, None),
        ({}, None),
        (None, None),
        ("cat", None),
    ],
)
def test_rows_of_a_classification(value, rows):
    assert classification_rows(value) == rows


def test_classifications_get_rows_beside_detections(run, manifest, boxes):
    model = {"predictions": MANY, "model_id": "m/1"}
    none = {"image": "b", "kind": ONE | {"top": ""}, "model": model | {"predictions": None}, "found": boxes()}
    run.lines([{"image": "a", "kind": ONE, "model": model, "found": boxes("car")}, none])
    tables = build_tables(run.export, manifest("a", "b"), run.root)
    results, predictions = pq.read_table(tables.results), pq.read_table(tables.predictions_file)
    assert results.column_names[5:] == ["kind", "model", "found_count"]
    assert results.column("width").to_pylist() == [640, 640]
    assert results.column("kind")[0].as_py() == ONE
    found = predictions.select(["file", "output", "class", "confidence", "x", "image_width"]).to_pylist()
    names = ("file", "output", "class", "confidence", "x", "image_width")
    assert [tuple(item[name] for name in names) for item in found] == [
        ("a", "kind", "cat", 0.9, None, 640),
        ("a", "model/predictions", "dog", 0.8, None, 640),
        ("a", "model/predictions", "cat", 0.9, None, 640),
        ("a", "found", "car", 0.5, 50.0, 100),
    ]


def test_classes_too_many_for_columns_get_rows_all_the_same(run, manifest):
    names = [f"class {n}" for n in range(100)]
    found = {name: {"confidence": 0.5, "class_id": 1} for name in names}
    value = MANY | {"predictions": found, "predicted_classes": names[:2]}
    run.lines([{"image": "a", "plain": value, "model": {"inference_id": "i", "predictions": value}}])
    tables = build_tables(run.export, manifest("a"), run.root)
    assert json.loads(pq.read_table(tables.results).column("plain")[0].as_py()) == value
    predictions = pq.read_table(tables.predictions_file).select(["output", "class"]).to_pylist()
    assert [tuple(item.values()) for item in predictions] == [
        ("plain", "class 0"),
        ("plain", "class 1"),
        ("model/predictions", "class 0"),
        ("model/predictions", "class 1"),
    ]
