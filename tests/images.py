"""Small images for tests, no two alike."""

from __future__ import annotations

from pathlib import Path

from PIL import Image


def make_images(folder: Path, count: int, start: int = 0) -> list[Path]:
    """``count`` PNG files of 32 x 32 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    return [make_image(folder / f"image-{number:05d}.png", number) for number in range(start, start + count)]


def make_image(path: Path, number: int) -> Path:
    """One image whose colour is its number; the format follows the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), (number % 256, number // 256 % 256, 128)).save(path)
    return path
