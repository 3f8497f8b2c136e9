"""The bytes of one image, and whether they are all there."""

from pathlib import Path


class ImageUnreadable(Exception):
    """The image's bytes cannot be used; says why in one line."""


def read_slice(path: Path, offset: int, size: int) -> bytes:
    """Read one image out of a larger file.

    Raises:
        ImageUnreadable: It is empty, cannot be read, or the file ends before it does.
    """
    if size == 0:
        raise ImageUnreadable("the file is empty")
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(size)
    except OSError as error:
        raise ImageUnreadable(f"the stored image cannot be read: {error.strerror}") from error
    if len(data) != size:
        raise ImageUnreadable("the stored image is incomplete")
    return data


def is_cut_jpeg(data: bytes) -> bool:
    """Tell whether a JPEG ends in mid-picture.

    Decoders fill what is missing with grey and succeed; a half-grey picture would count as processed. The
    end mark cannot occur inside the compressed picture, and thumbnails, which have one of their own, lie in
    segments that are skipped by their length (ITU-T T.81, B.1.1).
    """
    if data[:2] != b"\xff\xd8":
        return False
    position = 2
    while position + 4 <= len(data):
        marker = data[position + 1]
        if data[position] != 0xFF or marker == 0xD9:
            return False  # not the layout of a JPEG: for the decoder to judge
        if marker == 0xDA:
            return data.find(b"\xff\xd9", position) < 0
        standalone = marker in (0x01, 0xFF) or 0xD0 <= marker <= 0xD7
        fill = 1 if marker == 0xFF else 2
        position += fill if standalone else 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return True
