from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.results.report.boxes import MAX_BOXES, MAX_POINTS, Found, find_predictions
from tasks.results.report.model import Box, Tag
from tasks.results.schemas import PREDICTIONS_SCHEMA

BOX = {"file": "a", "class": "car", "confidence": 0.5, "x": 50.0, "y": 40.0, "width": 20.0, "height": 10.0}
SIZE = {"image_width": 100, "image_height": 80}


def found(tmp_path: Path, *rows: dict[str, Any], file: str = "a") -> Found:
    path = tmp_path / "predictions.parquet"
    named = [{"source_key": row.get("file", "a"), "output": "o"} | row for row in rows]
    pq.write_table(pa.Table.from_pylist(named, PREDICTIONS_SCHEMA), path, row_group_size=2)
    return find_predictions(path, {(file, None)}).get((file, None), Found())


def test_boxes_are_those_of_the_image(tmp_path):
    others = [BOX | {"file": name} for name in "bcdefgh"]
    seen = found(tmp_path, BOX | SIZE, *others, file="a")
    assert seen.boxes(100, 80) == (Box(50, 40, 20, 10, "car", 0.5),)
    assert found(tmp_path, BOX, *others, file="z").boxes(100, 80) == ()


def test_no_table_has_no_predictions(tmp_path):
    assert find_predictions(tmp_path / "predictions.parquet", {("a", None)}) == {}


def test_boxes_are_scaled_to_the_size_of_the_first(tmp_path):
    half = {"image_width": 50, "image_height": 40, "x": 25.0, "y": 20.0, "width": 10.0, "height": 5.0}
    points = [{"x": 1.0, "y": 2.0}, {"x": 3.0, "y": 4.0}, {"x": None, "y": 4.0}]
    seen = found(tmp_path, BOX | SIZE, BOX | half | {"points": points})
    assert seen.size == (100, 80)
    first, second = seen.boxes(100, 80)
    assert (second.x, second.y, second.width, second.height) == (first.x, first.y, first.width, first.height)
    assert second.points == ((2.0, 4.0), (6.0, 8.0))


def test_boxes_of_another_shape_of_image_are_not_drawn(tmp_path):
    seen = found(tmp_path, BOX | SIZE, BOX | {"image_width": 80, "image_height": 100})
    assert (len(seen.boxes(100, 80)), seen.detections) == (1, 2)


def test_predictions_without_a_place_are_of_the_whole_image(tmp_path):
    whole = dict.fromkeys(("x", "y", "width", "height"))
    seen = found(tmp_path, BOX | whole, BOX | whole | {"class": None, "confidence": None})
    assert (seen.boxes(100, 80), seen.detections) == ((), 0)
    assert seen.tags == [Tag("car", 0.5), Tag("(no class)", None)]


def test_crowd_is_cut_and_counted(tmp_path):
    outline = [{"x": float(n), "y": 0.0} for n in range(1000)]
    seen = found(tmp_path, *[BOX | {"points": outline}] * (MAX_BOXES + 7))
    boxes = seen.boxes(100, 80)
    assert (len(boxes), seen.detections) == (MAX_BOXES, MAX_BOXES + 7)
    assert MAX_POINTS / 2 < len(boxes[0].points) <= MAX_POINTS
    assert boxes[0].points[-1][0] > 900


def test_labels_name_class_tracker_and_confidence(tmp_path):
    seen = found(tmp_path, BOX | {"tracker_id": 12, "confidence": 0.866}, BOX | {"class": None, "confidence": None})
    assert [box.label for box in seen.boxes(100, 80)] == ["car #12 0.87", "(no class)"]


def test_keypoints_are_kept(tmp_path):
    points = [{"x": 1.0, "y": 2.0, "confidence": 0.5, "class": "nose", "class_id": 0}]
    (box,) = found(tmp_path, BOX | {"keypoints": points}).boxes(100, 80)
    assert box.keypoints == ((1.0, 2.0),)
