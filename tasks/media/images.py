"""Looking into an image file: is it one, and how large is its picture?"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from tasks.roboflow_api.models import MAX_IMAGE_BYTES

Image.MAX_IMAGE_PIXELS = None  # only headers are read here; how many pixels are too many is the engine's business


@dataclass(frozen=True)
class ImageFacts:
    """What a header says.

    Attributes:
        width: pixels.
        height: pixels.
        format: such as ``JPEG``.
    """

    width: int
    height: int
    format: str


class NotAnImage(Exception):
    """The file cannot be staged; the text is the reason, for the failure table."""


def check_size(size: int) -> None:
    """Refuses empty files and those over the contract's limit of 20 MiB.

    Raises:
        NotAnImage: with the reason.
    """
    if size == 0:
        raise NotAnImage("the file is empty")
    if size > MAX_IMAGE_BYTES:
        raise NotAnImage(f"{size} bytes; the largest image that can be ingested has {MAX_IMAGE_BYTES} bytes")


def read_header(file: BinaryIO) -> ImageFacts:
    """Format and size in pixels, from the header alone.

    Raises:
        NotAnImage: no known image format begins so.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata is no reason to refuse a picture
            with Image.open(file) as image:
                return ImageFacts(image.width, image.height, image.format or "unknown")
    except UnidentifiedImageError:
        raise NotAnImage("not an image: no known image format begins so") from None
    except Exception as error:
        raise NotAnImage(f"the image header cannot be read: {type(error).__name__}") from error
