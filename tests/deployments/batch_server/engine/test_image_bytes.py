from pathlib import Path

import pytest

from deployments.batch_server.engine.image_bytes import ImageUnreadable, is_cut_jpeg, read_slice

from .conftest import jpeg


def test_a_slice_is_read_from_the_middle(tmp_path: Path):
    (tmp_path / "blob").write_bytes(b"0123456789")
    assert read_slice(tmp_path / "blob", 3, 4) == b"3456"


@pytest.mark.parametrize(
    ("file", "offset", "size", "message"),
    [
        ("blob", 0, 0, "the file is empty"),
        ("blob", 8, 4, "the stored image is incomplete"),
        ("gone", 0, 4, "the stored image cannot be read: No such file or directory"),
    ],
)
def test_a_slice_that_is_not_there_is_told(tmp_path: Path, file: str, offset: int, size: int, message: str):
    (tmp_path / "blob").write_bytes(b"0123456789")
    with pytest.raises(ImageUnreadable, match=message):
        read_slice(tmp_path / file, offset, size)


def test_a_jpeg_is_cut_wherever_it_ends_too_early():
    whole = jpeg(80, 60)
    assert not is_cut_jpeg(whole)
    assert not is_cut_jpeg(whole + b"\0trailer")
    assert all(is_cut_jpeg(whole[:end]) for end in range(2, len(whole) - 1))


def test_a_thumbnails_end_is_not_the_pictures_end():
    whole = jpeg(80, 60)
    thumbnail = b"\xff\xe1" + (2 + len(whole)).to_bytes(2, "big") + whole
    with_thumbnail = whole[:2] + thumbnail + whole[2:]
    assert not is_cut_jpeg(with_thumbnail)
    assert is_cut_jpeg(with_thumbnail[:-2])


@pytest.mark.parametrize("data", [b"", b"text", b"\x89PNG\r\n", b"\xff\xd8no segments"])
def test_what_is_no_jpeg_is_left_to_the_decoder(data: bytes):
    assert not is_cut_jpeg(data)
