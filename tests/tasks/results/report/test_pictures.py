import base64
import io
import random

import pytest
from PIL import Image

from tasks.results.report import pictures
from tasks.results.report.pictures import Picture, Size, shrink
from tests.tasks.results.pictures import encoded, plain

SMALL = Size(side=320, bytes=100_000)


def opened(picture: Picture | None) -> Image.Image:
    assert picture is not None
    start, _, data = picture.data_url.partition(",")
    assert start == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


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
def test_copy_is_a_small_upright_jpeg(mode, form, orientation):
    size = (1000, 2000) if orientation == 6 else (2000, 1000)
    small = shrink(io.BytesIO(plain(*size, mode, form, orientation)), SMALL)
    assert small is not None
    assert (small.width, small.height) == (2000, 1000)
    with opened(small) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (320, 160))


def test_copy_is_not_larger_than_the_original():
    with opened(shrink(io.BytesIO(plain(40, 30)), SMALL)) as image:
        assert image.size == (40, 30)


def test_copy_has_none_of_the_metadata():
    exif = Image.Exif()
    exif[0x010F] = "whose camera it is"
    data = encoded(Image.new("RGB", (40, 30)), "JPEG", exif=exif)
    assert b"whose camera" in data
    with opened(shrink(io.BytesIO(data), SMALL)) as image:
        assert not image.getexif()


def test_copy_of_noise_has_fewer_pixels_and_keeps_to_the_bytes():
    noise = Image.frombytes("RGB", (600, 400), random.Random(1).randbytes(600 * 400 * 3))
    small = shrink(io.BytesIO(encoded(noise, "PNG")), Size(side=600, bytes=20_000))
    with opened(small) as image:
        assert image.width < 600
        assert abs(image.width / image.height - 1.5) < 0.05
    assert small is not None
    assert 8_000 < len(small.data_url) * 3 / 4 < 20_100


def bomb() -> bytes:
    data = bytearray(plain(1, 1, form="BMP"))
    data[18:26] = (40_000).to_bytes(4, "little") * 2
    return bytes(data)


@pytest.mark.parametrize("data", [b"", b"text", plain()[:200], bomb()], ids=["empty", "text", "cut", "bomb"])
def test_what_is_no_image_has_no_copy(data):
    assert shrink(io.BytesIO(data), SMALL) is None


def test_large_file_is_not_read_to_its_end(monkeypatch):
    monkeypatch.setattr(pictures, "MAX_FILE_BYTES", 1_000)
    file = io.BytesIO(plain(form="BMP"))
    assert shrink(file, SMALL) is None
    assert file.tell() == 1_001
