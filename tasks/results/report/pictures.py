"""Small copies of images, to be put into a page."""

from __future__ import annotations

import base64
import io
import math
import warnings
from dataclasses import dataclass
from typing import IO

from PIL import Image, ImageOps

JPEG_QUALITY = 76
MAX_FILE_BYTES = 64 * 1024**2
"""Images in larger files are not copied."""
_ATTEMPTS = 4
_SIDEWAYS = (5, 6, 7, 8)
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Picture:
    """A small copy of an image."""

    data_url: str
    """JPEG as ``data:`` URL."""
    width: int
    """Pixels of the original, upright."""
    height: int


@dataclass(frozen=True)
class Size:
    """How large a copy may be."""

    side: int
    """Most pixels a side."""
    bytes: int
    """About the most bytes of the JPEG; one that takes more, such as of noise, has fewer pixels."""


def shrink(file: IO[bytes], size: Size) -> Picture | None:
    """A copy without the metadata; ``None`` where the file is no image that can be read, or very large.

    Args:
        file: what is read, to its end at most.
        size: most pixels and bytes of the copy.
    """
    data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        return None
    try:
        with warnings.catch_warnings():
            # Pillow warns of images so large that reading them would take gigabytes.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                return _shrink(image, size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None


def _shrink(image: Image.Image, size: Size) -> Picture:
    width, height = image.size
    image.draft("RGB", (size.side, size.side))
    if image.getexif().get(_ORIENTATION, 1) in _SIDEWAYS:
        width, height = height, width
    small = ImageOps.exif_transpose(image)
    if small.mode.startswith("I"):
        # 16 bits a pixel, of which the upper 8 are what a screen can show.
        small = small.point(lambda value: value * (1 / 256)).convert("L")
    small.thumbnail((size.side, size.side))
    encoded = base64.b64encode(_jpeg(_flat(small), size.bytes)).decode()
    return Picture(f"data:image/jpeg;base64,{encoded}", width, height)


def _jpeg(image: Image.Image, most: int) -> bytes:
    for _ in range(_ATTEMPTS):
        data = io.BytesIO()
        image.save(data, "JPEG", quality=JPEG_QUALITY, optimize=True)
        encoded = data.getvalue()
        if len(encoded) <= most:
            break
        factor = max(math.sqrt(most / len(encoded)) * 0.95, 0.4)
        image = image.resize((max(round(image.width * factor), 1), max(round(image.height * factor), 1)))
    return encoded


def _flat(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    ground = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(ground, layer).convert("RGB")
