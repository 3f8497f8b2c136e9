"""Small real pictures for tests."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image


def picture(path: Path, size: tuple[int, int] = (32, 24), format: str = "JPEG", noisy: bool = False) -> Path:
    """Writes a picture, and the folders above it; a noisy one is large for its size in pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.frombytes("RGB", size, os.urandom(3 * size[0] * size[1])) if noisy else Image.new("RGB", size, "teal")
    image.save(path, format)
    return path
