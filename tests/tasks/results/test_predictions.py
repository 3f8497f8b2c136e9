import math

import pytest

from tasks.results.predictions import detection_row, image_size, is_predictions

BOX = {"x": 10.5, "y": 20, "width": 3, "height": 4}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"image": {}, "predictions": [BOX]}, True),
        ({"image": None, "predictions": []}, True),
        ({"image": {}, "predictions": [{**BOX, "x": None}]}, True),
        ({"image": {}, "predictions": [{**BOX, "x": "1"}]}, False),
        ({"image": {}, "predictions": [{"class": "cat"}]}, False),
        ({"image": {}, "predictions": ["cat"]}, False),
        ({"image": {}, "predictions": {"cat": {}}}, False),
        ({"image": {}, "predictions": [], "top": ""}, False),
        ({"predictions": []}, False),
        ([], False),
    ],
)
def test_shape_of_predictions(value, expected):
    assert is_predictions(value) is expected


def test_detection_becomes_a_row():
    row = detection_row(
        {
            **BOX,
            "confidence": 1,
            "class": "car",
            "class_id": 2,
            "detection_id": "d",
            "tracker_id": 9,
            "points": [{"x": 1, "y": 2}, "junk"],
            "keypoints": [{"x": 1, "y": 2, "confidence": 0.5, "class": "nose", "class_id": 0}],
            "data": "4006381333931",
            "parent_id": "image.[0]",
            "area": 12,
        }
    )
    assert row["points"] == [{"x": 1.0, "y": 2.0}]
    assert row["keypoints"] == [{"x": 1.0, "y": 2.0, "confidence": 0.5, "class": "nose", "class_id": 0}]
    assert (row["x"], row["y"], row["width"], row["height"]) == (10.5, 20.0, 3.0, 4.0)
    assert (row["confidence"], row["class"], row["class_id"], row["tracker_id"]) == (1.0, "car", 2, 9)
    assert (row["data"], row["extra"]) == ("4006381333931", '{"area":12}')


def test_odd_fields_become_null_or_text():
    row = detection_row({**BOX, "x": math.inf, "class": 7, "class_id": "two", "tracker_id": 1 << 70, "data": [1]})
    assert (row["x"], row["class"], row["class_id"], row["tracker_id"]) == (None, "7", None, None)
    assert (row["data"], row["points"], row["extra"]) == ("[1]", None, None)


def test_fields_without_a_column_have_one_spelling():
    extra = {"speed": 2.0, "none": None, "angle": 0.5, "path": [1.0, math.inf, None], "é": {"b": 3.0, "a": True}}
    assert detection_row(BOX | extra)["extra"] == '{"angle":0.5,"path":[1,null,null],"speed":2,"é":{"b":3,"a":true}}'
    assert detection_row(BOX | {"speed": None})["extra"] is None


def test_image_size_where_nothing_was_detected():
    assert image_size({"image": {"width": None, "height": None}, "predictions": []}) == (None, None)
    assert image_size({"image": "odd", "predictions": []}) == (None, None)
    assert image_size({"image": {"width": 4.0, "height": 3}, "predictions": []}) == (4, 3)
