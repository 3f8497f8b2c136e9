import itertools
import json
import random
from typing import Any

import pyarrow as pa
import pytest

from tasks.results.kinds import (
    BOOL,
    EMPTY,
    FLOAT,
    IMAGE,
    INT,
    JSON,
    MAX_DEPTH,
    MAX_FIELDS,
    NULL,
    PREDICTIONS,
    STRING,
    Kind,
    arrow_type,
    convert,
    infer,
    join,
    list_of,
    struct_of,
    to_json,
)

BOXES = {"image": {"width": 4, "height": 3}, "predictions": [{"x": 1, "y": 1, "width": 1, "height": 1}]}
NO_BOXES = {"image": {"width": None, "height": None}, "predictions": []}
CLASSIFICATION = {"image": {}, "top": "cat", "predictions": [{"class": "cat", "confidence": 0.5}]}
VALUES: list[Any] = [
    None,
    True,
    7,
    7.5,
    "text",
    {"type": "image"},
    BOXES,
    NO_BOXES,
    [],
    [1, None],
    [0.5],
    ["a"],
    [1, "a"],
    [[1], []],
    {},
    {"a": 1},
    {"a": "b", "c": None},
    {"a": {"b": [1]}},
    {"found": BOXES},
    [BOXES],
    1 << 70,
    {str(n): n for n in range(MAX_FIELDS)},
]


def deep(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def image_path(value: Any, place: str) -> str:
    return f"found/{place}"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, NULL),
        (False, BOOL),
        (0, INT),
        ((1 << 63) - 1, INT),
        (1 << 63, JSON),
        (0.0, FLOAT),
        (float("inf"), NULL),
        ("", STRING),
        ("<deducted_image>", IMAGE),
        ({"type": "image"}, IMAGE),
        ({"type": "image", "file": "a.jpg/x.jpg"}, IMAGE),
        ({"type": "base64", "video_metadata": {}}, IMAGE),
        ({"type": "image", "score": 1}, struct_of({"type": STRING, "score": INT})),
        (BOXES, PREDICTIONS),
        (NO_BOXES, PREDICTIONS),
        ([BOXES], JSON),
        ({"found": BOXES}, struct_of({"found": PREDICTIONS})),
        ({"deeper": {"found": BOXES}}, JSON),
        ([1, 2.5, None], list_of(FLOAT)),
        ([1, "a"], JSON),
        ([{"a": 1}, {"b": True}], list_of(struct_of({"a": INT, "b": BOOL}))),
        ({}, EMPTY),
        ({str(n): n for n in range(MAX_FIELDS + 1)}, JSON),
        (deep(MAX_DEPTH + 1), JSON),
    ],
)
def test_kind_of_a_value(value, kind):
    assert infer(value) == kind


def test_classification_is_no_detection():
    assert infer(CLASSIFICATION).name == "struct"


def test_join_is_commutative_and_keeps_what_it_joins():
    for one, other in itertools.product([infer(value) for value in VALUES], repeat=2):
        both = join(one, other)
        assert both == join(other, one)
        assert join(both, one) == both
        assert join(NULL, one) == one
        assert join(JSON, one) == JSON


def test_join_does_not_depend_on_the_order():
    kinds = [infer(value) for value in VALUES]
    for one, two, three in itertools.product(kinds, repeat=3):
        assert join(join(one, two), three) == join(one, join(two, three))


def test_many_fields_over_many_rows_become_json():
    kind = NULL
    for n in range(MAX_FIELDS + 1):
        kind = join(kind, infer({f"key {n}": 1}))
    assert kind == JSON


@pytest.mark.parametrize(
    ("kind", "arrow"),
    [
        (NULL, pa.string()),
        (EMPTY, pa.string()),
        (PREDICTIONS, pa.int64()),
        (list_of(NULL), pa.list_(pa.string())),
        (struct_of({"b": INT, "a": list_of(BOOL)}), pa.struct([("a", pa.list_(pa.bool_())), ("b", pa.int64())])),
    ],
)
def test_arrow_type(kind: Kind, arrow):
    assert arrow_type(kind) == arrow


@pytest.mark.parametrize(
    ("kind", "value", "held"),
    [
        (FLOAT, 3, 3.0),
        (FLOAT, float("inf"), None),
        (JSON, "text", '"text"'),
        (JSON, {"a": [1, float("inf")]}, '{"a":[1,null]}'),
        (JSON, None, None),
        (EMPTY, {}, "{}"),
        (PREDICTIONS, BOXES, 1),
        (IMAGE, {"type": "image"}, "found/place"),
        (list_of(IMAGE), [{"type": "image"}, None], ["found/place/0", None]),
        (list_of(FLOAT), [1, None], [1.0, None]),
        (struct_of({"a": FLOAT, "b": STRING}), {"a": 1}, {"a": 1.0, "b": None}),
    ],
)
def test_convert(kind, value, held):
    assert convert(kind, value, image_path, "place") == held


def test_columns_of_any_mixture_can_be_written():
    choice = random.Random(7)
    for _ in range(200):
        values = choice.choices(VALUES, k=4)
        kind = NULL
        for value in values:
            kind = join(kind, infer(value))
        if any(field == PREDICTIONS for _, field in kind.fields):
            continue
        held = [convert(kind, value, image_path, "place") for value in values]
        assert len(pa.array(held, arrow_type(kind))) == 4


def test_json_text_is_json():
    assert json.loads(to_json({"é": "\n", "n": 0.1})) == {"é": "\n", "n": 0.1}
