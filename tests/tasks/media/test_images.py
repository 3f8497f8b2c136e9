import io
from pathlib import Path

import pytest

from tasks.media.images import ImageFacts, NotAnImage, check_size, read_header
from tasks.roboflow_api.models import MAX_IMAGE_BYTES
from tests.tasks.pictures import picture


def facts(content: bytes) -> ImageFacts:
    return read_header(io.BytesIO(content))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "JPEG2000"])
def test_header_tells_format_and_size(tmp_path: Path, format: str) -> None:
    content = picture(tmp_path / "any", (40, 30), format).read_bytes()
    assert facts(content) == ImageFacts(40, 30, format)


def test_header_is_enough(tmp_path: Path) -> None:
    content = picture(tmp_path / "any", (400, 300), noisy=True).read_bytes()
    assert facts(content[: len(content) // 2]) == ImageFacts(400, 300, "JPEG")


@pytest.mark.parametrize("content", [b"hello, world\n", b"\0" * 500, b"%PDF-1.7", b"<svg/>", b"x"])
def test_header_of_something_else_is_refused(content: bytes) -> None:
    with pytest.raises(NotAnImage, match="not an image"):
        facts(content)


@pytest.mark.parametrize("kept", [2, 3, 11, 20, 25, 30])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "BMP"])
def test_header_that_is_cut_is_refused_or_read(tmp_path: Path, format: str, kept: int) -> None:
    content = picture(tmp_path / "any", format=format).read_bytes()[:kept]
    try:
        assert facts(content).width == 32
    except NotAnImage as error:
        assert "\n" not in str(error)


def test_header_of_a_huge_picture_is_read() -> None:
    content = b"BM" + (54).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little") + (40).to_bytes(4, "little")
    content += (100_000).to_bytes(4, "little") * 2 + b"\1\0\x18\0" + bytes(24)
    assert facts(content) == ImageFacts(100_000, 100_000, "BMP")


def test_size_limits_are_those_of_the_contract() -> None:
    check_size(1)
    check_size(20_971_520)
    for size in (0, MAX_IMAGE_BYTES + 1):
        with pytest.raises(NotAnImage):
            check_size(size)
