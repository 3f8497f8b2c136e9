"""Pictures for reports, as files and as copies."""

import io
from typing import Any

from PIL import Image


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


def plain(width: int = 100, height: int = 80, mode: str = "RGB", form: str = "JPEG", orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(Image.new(mode, (width, height)), form, exif=exif)
