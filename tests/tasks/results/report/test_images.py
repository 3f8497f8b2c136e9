import io
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tasks.core.errors import BadInput, ConnectionFailed
from tasks.results.report.images import OpenSource, contact_sheet
from tasks.results.report.model import Box, ContactImage
from tasks.results.report.pictures import Picture
from tasks.results.schemas import KIND_KEY, RESULT_FIELDS
from tasks.results.tables import build_tables
from tests.tasks.results.pictures import encoded, plain
from tests.tasks.results.run_on_disk import Entry, Run

SEEN = {"type": "image", "file": "000/seen.jpg"}


def sheet(
    run: Run, rows: list[dict[str, Any]], open_source: OpenSource | None = None, limit: int = 24
) -> list[ContactImage]:
    run.lines({"image": f"{n:03d}", **row} for n, row in enumerate(rows))
    made = build_tables(run.export, [Entry(f"{n:03d}", f"key {n}", 100, 80) for n in range(len(rows))], run.root)
    return contact_sheet(run.root, made.results, made.predictions_file, open_source, limit)


def of_size(width: int, height: int) -> OpenSource:
    return lambda key: io.BytesIO(plain(width, height))


def size(picture: Picture | None) -> tuple[int, int] | None:
    return None if picture is None else (picture.width, picture.height)


def test_source_is_shown_with_boxes_and_the_outputs_beside_it(run, boxes):
    run.write("images-archives/000/seen.jpg", plain(300, 100))
    (shown,) = sheet(run, [{"seen": SEEN, "found": boxes("car", data="7")}], of_size(200, 160))
    assert (shown.caption, shown.width, shown.height) == ("key 0", 100, 80)
    assert size(shown.picture) == (200, 160)
    assert shown.boxes == (Box(50, 40, 20, 10, "car", 0.5, "7"),)
    assert [(name, size(picture)) for name, picture in shown.outputs] == [("seen", (300, 100))]


@pytest.mark.parametrize("source", [None, (300, 100)], ids=["gone", "of another shape"])
def test_output_that_boxes_fit_stands_in_for_the_source(run, boxes, source):
    run.write("images-archives/000/seen.jpg", plain(200, 160))
    (shown,) = sheet(run, [{"seen": SEEN, "found": boxes("car")}], source and of_size(*source))
    assert size(shown.picture) == (200, 160)
    assert len(shown.boxes) == 1


def test_boxes_are_told_but_not_drawn_where_no_picture_has_their_shape(run, boxes):
    (shown,) = sheet(run, [{"found": boxes("car", "car")}], of_size(300, 100))
    assert (shown.boxes, shown.undrawn, shown.width, shown.height) == ((), 2, 300, 100)


@pytest.mark.parametrize("error", [FileNotFoundError("gone"), BadInput("refused")])
def test_source_that_cannot_be_opened_is_done_without(run, boxes, error):
    asked = []

    def open_source(key: str) -> IO[bytes]:
        asked.append(key)
        if key == "key 1":
            raise error
        return io.BytesIO(plain())

    shown = sheet(run, [{"found": boxes("car")}, {"found": boxes()}, {"found": boxes()}], open_source)
    assert asked == ["key 0", "key 1", "key 2"]
    assert [image.caption for image in shown] == ["key 0", "key 2"]


def test_source_that_does_not_answer_is_asked_once(run):
    asked = []

    def open_source(key: str) -> IO[bytes]:
        asked.append(key)
        raise ConnectionFailed("no answer")

    assert sheet(run, [{"n": 1}] * 5, open_source) == []
    assert asked == ["key 0"]


def test_boxes_alone_are_shown_where_there_is_no_picture(run, boxes):
    shown = sheet(run, [{"found": boxes("car")}, {"found": boxes()}])
    assert [(image.caption, image.picture, len(image.boxes)) for image in shown] == [("key 0", None, 1)]


def test_plain_outputs_are_told_with_the_picture(run):
    row = {"focus": 148.198, "count": 3, "blurred": True, "word": "a", "none": None, "list": [1], "deep": {"a": 1}}
    (shown,) = sheet(run, [row], of_size(100, 80))
    assert shown.values == (("focus", "148.2"), ("count", "3"), ("blurred", "yes"), ("word", "a"))


def test_images_with_predictions_are_preferred_and_the_rest_is_spread(run, boxes):
    rows = [{"found": boxes("car") if n in (3, 90) else boxes()} for n in range(100)]
    shown = sheet(run, rows, of_size(100, 80), limit=6)
    numbers = [int(image.caption.removeprefix("key ")) for image in shown]
    assert len(numbers) == 6
    assert {3, 90} <= set(numbers)
    assert numbers == sorted(numbers)
    assert max(numbers) - min(numbers) > 50


def test_image_that_is_broken_or_leads_out_is_left_out(run):
    run.write("images-archives/000/seen.jpg", b"broken")
    assert sheet(run, [{"seen": SEEN}, {"seen": {"type": "image"}}]) == []


def test_large_picture_stays_large_and_an_output_small(run):
    run.write("images-archives/000/seen.jpg", plain(2000, 1000))
    source = encoded(Image.linear_gradient("L").resize((2000, 1000)).convert("RGB"), "JPEG")
    (shown,) = sheet(run, [{"seen": SEEN}], lambda key: io.BytesIO(source))
    assert shown.picture is not None
    assert len(shown.picture.data_url) > 4 * len(shown.outputs[0][1].data_url)


def test_frames_of_a_video_have_their_own_boxes(tmp_path: Path):
    schema = pa.schema([*RESULT_FIELDS, pa.field("found_count", pa.int64(), metadata={KIND_KEY: b"count"})])
    results, predictions = tmp_path / "results.parquet", tmp_path / "predictions.parquet"
    frame = {"file": "v", "source_key": "a.mp4", "width": 100, "height": 80}
    pq.write_table(pa.Table.from_pylist([frame | {"frame": n, "found_count": n} for n in (1, 2)], schema), results)
    box = {"file": "v", "class": "car", "x": 9.0, "y": 9.0, "width": 4.0, "height": 4.0}
    pq.write_table(pa.Table.from_pylist([box | {"frame": n, "time_offset": n / 2} for n in (1, 2, 2, 3)]), predictions)
    shown = contact_sheet(tmp_path, results, predictions, None, 24)
    assert [(image.caption, len(image.boxes)) for image in shown] == [
        ("a.mp4, frame 1 (0.50 s)", 1),
        ("a.mp4, frame 2 (1.00 s)", 2),
    ]
