from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.core.errors import BadInput, LocalFault
from tasks.core.options import DatasetOptions
from tasks.results.exporters.base import Item
from tasks.results.exporters.facts import look
from tasks.results.exporters.reading import RunTables
from tests.tasks.results.exporters.made_run import HEIGHT, WIDTH, MadeRun, classification, detection, outline


def items(made: MadeRun, **options: Any) -> tuple[list[Item], Counter[str]]:
    skipped: Counter[str] = Counter()
    found = list(RunTables(made.root, DatasetOptions(**options)).items(skipped))
    return found, skipped


def rewrite(made, name: str, change) -> None:
    path = made.root / f"{name}.parquet"
    table = pq.read_table(path)
    pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), schema=table.schema), path)


def test_images_meet_their_predictions(made):
    made.tables({"b.jpg": [detection("car"), detection("bus")], "a.jpg": [], "é.jpg": [detection("tram")], "A.jpg": []})
    found, skipped = items(made)
    assert [(item.source_key, [each.label for each in item.predictions]) for item in found] == [
        ("A.jpg", []),
        ("a.jpg", []),
        ("b.jpg", ["car", "bus"]),
        ("é.jpg", ["tram"]),
    ]
    assert skipped == {}
    first = found[2]
    assert (first.width, first.height, first.frame) == (WIDTH, HEIGHT, None)
    assert first.outputs == {"focus": None, "found_count": 2, "other_count": None}
    assert first.predictions[0].row["confidence"] == 0.5


def test_predictions_without_an_image_are_counted(made):
    made.tables({name: [detection()] * 2 for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg")})
    rewrite(made, "results", lambda rows: [row for row in rows if row["file"] in ("b.jpg", "c.jpg")])
    found, skipped = items(made)
    assert [len(item.predictions) for item in found] == [2, 2]
    assert skipped == {"prediction without a row in results.parquet": 4}


@pytest.mark.parametrize("name", ["results", "predictions"])
def test_table_that_is_not_sorted_is_damaged(made, name):
    made.tables({"a.jpg": [detection()], "b.jpg": [detection()]})
    rewrite(made, name, lambda rows: rows[::-1])
    with pytest.raises(LocalFault, match=f"{name}.parquet is damaged"):
        items(made)


def test_image_that_comes_twice_is_damage(made):
    made.tables({"a.jpg": []})
    rewrite(made, "results", lambda rows: rows * 2)
    with pytest.raises(LocalFault):
        items(made)


@pytest.mark.parametrize("name", ["results", "predictions"])
def test_table_that_is_cut_short_is_damaged(made, name):
    made.tables({"a.jpg": [detection()]})
    path = made.root / f"{name}.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(LocalFault, match=f"{name}.parquet is damaged"):
        made.write("coco")


def test_frames_are_images_of_their_own(made):
    made.tables({"a.jpg": [], "b.mp4": []})
    frames = [row for row in pq.read_table(made.root / "results.parquet").to_pylist() if row["file"] == "b.mp4"]
    rewrite(made, "results", lambda rows: [rows[0], *({**frames[0], "frame": number} for number in (0, 2, 10))])
    about = {"file": "b.mp4", "source_key": "b.mp4"}
    rewrite(made, "predictions", lambda _: [{**about, **detection(f"at {n}"), "frame": n} for n in (2, 2, 3, 10)])
    found, skipped = items(made, validation=0.5)
    assert [(item.name, [each.label for each in item.predictions]) for item in found] == [
        ("a.jpg", []),
        ("b.mp4~frame-000000.jpg", []),
        ("b.mp4~frame-000002.jpg", ["at 2", "at 2"]),
        ("b.mp4~frame-000010.jpg", ["at 10"]),
    ]
    assert len({item.split for item in found if item.frame is not None}) == 1
    assert sum(skipped.values()) == 1
    written = made.write("yolo", images="link")
    assert (written.images, written.predictions) == (4, 3)
    assert written.skipped["image file of a video's frame"] == 3


def test_tables_without_frames_are_read_too(made):
    made.tables({"a.jpg": [detection()]})
    for name in ("results", "predictions"):
        table = pq.read_table(made.root / f"{name}.parquet")
        pq.write_table(table.drop_columns(["frame"]), made.root / f"{name}.parquet")
    found, _ = items(made)
    assert [(item.name, item.frame, len(item.predictions)) for item in found] == [("a.jpg", None, 1)]


def test_outputs_that_were_not_asked_for_are_left_aside(made):
    made.tables({"a.jpg": [detection("car"), detection("bus", output="other"), detection("tram", output="found/part")]})
    for asked, labels in ((["found"], ["car", "tram"]), (["other"], ["bus"]), ([], ["car", "bus", "tram"])):
        found, skipped = items(made, outputs=asked)
        assert [each.label for each in found[0].predictions] == labels
        assert skipped == {}
        assert look(made.root, DatasetOptions(outputs=asked)).detections.names == tuple(sorted(labels))


def test_output_that_the_workflow_does_not_have_is_told_with_those_it_has(made):
    made.tables({"a.jpg": []})
    with pytest.raises(BadInput, match="no output 'founds': it has focus, found, other"):
        look(made.root, DatasetOptions(outputs=["found", "founds"]))


def test_first_look_knows_classes_and_shapes(made):
    made.tables(
        {
            "a.jpg": [detection("zebra", class_id=0), detection("ant", class_id=1), detection("zebra", class_id=0)],
            "b.jpg": [classification("night", class_id=5), classification("day", class_id=2)],
        }
    )
    dataset = look(made.root, DatasetOptions(validation=0.1))
    assert dataset.detections.names == ("zebra", "ant")
    assert dataset.classifications.names == ("day", "night")
    assert (dataset.images, dataset.outlines, dataset.keypoints) == (2, False, {})
    assert (dataset.run, dataset.splits) == (made.root.name, ("train", "val"))
    assert dataset.outputs == ("focus", "found_count", "other_count")


@pytest.mark.parametrize(("points", "outlines"), [(2, False), (3, True)])
def test_outlines_have_three_points_at_least(made, points, outlines):
    made.tables({"a.jpg": [detection(points=outline(*[(1.0, 2.0)] * points))]})
    assert look(made.root, DatasetOptions()).outlines is outlines


def test_columns_that_look_like_fields_of_another_are_kept_apart(made):
    outputs = [pa.field("a.b", pa.int64()), pa.field("a", pa.struct([("b", pa.int64())]))]
    made.tables({"x.jpg": []}, outputs, **{"a.b": 1, "a": {"b": 2}})
    found, _ = items(made)
    assert found[0].outputs == {"a.b": 1, "a": {"b": 2}}
