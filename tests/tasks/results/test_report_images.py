import base64
import io
from pathlib import Path
from typing import IO, Any

import pytest
from PIL import Image

from tasks.results.report_images import OpenSource, contact_sheet, thumbnail
from tasks.results.report_model import ContactImage
from tasks.results.tables import build_tables
from tests.tasks.results.run_on_disk import Entry, Run


def picture(width: int = 100, height: int = 80, mode: str = "RGB", form: str = "JPEG", orientation: int = 1) -> bytes:
    data = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new(mode, (width, height)).save(data, form, exif=exif)
    return data.getvalue()


def opened(data_url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(data_url.partition(",")[2])))


def sheet(
    run: Run, rows: list[dict[str, Any]], open_source: OpenSource | None = None, limit: int = 24
) -> list[ContactImage]:
    run.lines({"image": f"{n:03d}", **row} for n, row in enumerate(rows))
    made = build_tables(run.export, [Entry(f"{n:03d}", f"key {n}", 100, 80) for n in range(len(rows))], run.root)
    return contact_sheet(run.root, made.results, made.predictions_file, open_source, limit)


@pytest.mark.parametrize(
    ("mode", "form", "orientation"),
    [
        ("RGB", "JPEG", 1),
        ("RGB", "JPEG", 6),
        ("L", "JPEG", 1),
        ("CMYK", "JPEG", 1),
        ("RGBA", "PNG", 1),
        ("P", "PNG", 1),
        ("1", "PNG", 1),
        ("I;16", "PNG", 1),
    ],
)
def test_thumbnail_is_a_small_upright_jpeg(mode, form, orientation):
    size = (1000, 2000) if orientation == 6 else (2000, 1000)
    small = thumbnail(io.BytesIO(picture(*size, mode, form, orientation)))
    assert small is not None
    assert (small.width, small.height) == (2000, 1000)
    with opened(small.data_url) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (320, 160))


def bomb() -> bytes:
    data = bytearray(picture(1, 1, form="BMP"))
    data[18:26] = (40_000).to_bytes(4, "little") * 2
    return bytes(data)


@pytest.mark.parametrize("data", [b"", b"text", picture()[:200], bomb()], ids=["empty", "text", "cut", "bomb"])
def test_thumbnail_of_what_is_no_image(data):
    assert thumbnail(io.BytesIO(data)) is None


def test_image_outputs_are_shown_with_boxes(run, boxes):
    run.write("images-archives/000/seen.jpg", picture(200, 160))
    shown = sheet(run, [{"seen": {"type": "image", "file": "000/seen.jpg"}, "found": boxes("car", "car", data="7")}])
    assert len(shown) == 1
    assert (shown[0].caption, shown[0].detail) == ("key 0", "2 of car")
    assert (shown[0].width, shown[0].height) == (100, 80)
    assert shown[0].boxes[0].label == "car: 7"
    assert shown[0].data_url is not None


def test_boxes_are_left_out_where_the_picture_has_another_shape(run, boxes):
    run.write("images-archives/000/seen.jpg", picture(300, 100))
    shown = sheet(run, [{"seen": {"type": "image", "file": "000/seen.jpg"}, "found": boxes("car")}])
    assert (shown[0].boxes, shown[0].width, shown[0].height) == ((), 300, 100)


def test_source_images_are_shown_where_there_is_no_output(run, boxes):
    asked = []

    def open_source(key: str) -> IO[bytes]:
        asked.append(key)
        if key == "key 1":
            raise FileNotFoundError(key)
        return io.BytesIO(picture())

    shown = sheet(run, [{"found": boxes("car")}, {"found": boxes()}, {"found": boxes()}], open_source)
    assert asked == ["key 0", "key 1", "key 2"]
    assert [image.caption for image in shown] == ["key 0", "key 2"]


def test_boxes_alone_are_shown_where_there_is_no_picture(run, boxes):
    shown = sheet(run, [{"found": boxes("car")}, {"found": boxes()}])
    assert [(image.caption, image.data_url, len(image.boxes)) for image in shown] == [("key 0", None, 1)]


def test_images_with_predictions_are_preferred_and_the_rest_is_spread(run, boxes):
    rows = [{"found": boxes("car") if n in (3, 90) else boxes()} for n in range(100)]
    shown = sheet(run, rows, lambda key: io.BytesIO(picture()), limit=6)
    numbers = [int(image.caption.removeprefix("key ")) for image in shown]
    assert len(numbers) == 6
    assert {3, 90} <= set(numbers)
    assert numbers == sorted(numbers)
    assert max(numbers) - min(numbers) > 50


def test_image_that_is_broken_or_leads_out_is_left_out(run, tmp_path: Path):
    run.write("images-archives/000/seen.jpg", b"broken")
    assert sheet(run, [{"seen": {"type": "image", "file": "000/seen.jpg"}}, {"seen": {"type": "image"}}]) == []
