"""Real photographs to try things on, made from those that scikit-image ships.

Runs in the engine's environment, which has scikit-image and a barcode writer:

    .venv-engine/bin/python deployments/samples.py DIR                            a small tree, a few with codes
    .venv-engine/bin/python deployments/samples.py DIR --count 500 --size-kb 40   many distinct ones

Files that exist are left alone; new ones appear whole, by rename; the same call makes the same bytes.
"""

import argparse
import importlib.util
import io
import math
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import zxingcpp  # type: ignore[import-not-found]
from PIL import Image

LONGEST_SIDE = 1024
QUALITY = 88
QUIET_ZONE = 12
"""White border around a code, in modules; readers want 4 for QR codes and 10 for barcodes."""


@dataclass(frozen=True)
class Sample:
    """One photograph of the tree, and the code laid on it, if any."""

    path: str
    source: str
    code: tuple[str, str] | None = None
    """Symbology as zxing names it, and text."""


SAMPLES = (
    Sample("animals/chelsea.jpg", "chelsea.png"),
    Sample("people/astronaut.jpg", "astronaut.png"),
    Sample("space/hubble_deep_field.jpg", "hubble_deep_field.jpg"),
    Sample("space/moon.jpg", "moon.png"),
    Sample("space/rocket.jpg", "rocket.jpg", ("QRCode", "https://example.org/launch/39A")),
    Sample("things/brick.jpg", "brick.png"),
    Sample("things/clock.jpg", "clock_motion.png"),
    Sample("things/coffee.jpg", "coffee.png", ("EAN13", "4006381333931")),
    Sample("things/coins.jpg", "coins.png", ("QRCode", "lot 7: 24 coins")),
    Sample("things/motorcycle_left.jpg", "motorcycle_left.png", ("Code128", "FRAME-0042")),
    Sample("things/motorcycle_right.jpg", "motorcycle_right.png"),
    Sample("medicine/retina.jpg", "retina.jpg"),
)
CROPPED = ("astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "motorcycle_left.png",
           "motorcycle_right.png", "retina.jpg", "rocket.jpg")  # fmt: skip
CROP = (640, 480)


def write_tree(folder: Path) -> int:
    """Write the tree of samples and give the number of its files."""
    for sample in SAMPLES:
        _write_once(folder / sample.path, partial(_draw, sample))
    return len(SAMPLES)


def write_many(folder: Path, count: int, size_kb: float) -> int:
    """Write `count` distinct photographs of about `size_kb` kilobytes and give their number."""
    sources = [_open(name) for name in CROPPED]
    for index in range(count):
        path = folder / f"photo-{index:05d}.jpg"
        _write_once(path, partial(_crop, sources[index % len(sources)], index, size_kb * 1000))
    return count


def _write_once(path: Path, draw: Callable[[], bytes]) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(draw())
    part.replace(path)


def _open(name: str) -> Image.Image:
    """Open a photograph of scikit-image's without importing that, which takes long."""
    package = importlib.util.find_spec("skimage")
    locations: Iterator[str] = iter((package and package.submodule_search_locations) or ())
    with Image.open(Path(next(locations)) / "data" / name) as image:
        return image.convert("RGB")


def _draw(sample: Sample) -> bytes:
    image = _open(sample.source)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    if sample.code is not None:
        code = _draw_code(*sample.code, width=image.width * 2 // 5)
        image.paste(code, (image.width - code.width - 8, image.height - code.height - 8))
    return _encode(image, QUALITY)


def _draw_code(symbology: str, text: str, width: int) -> Image.Image:
    """Draw a code of at most `width` pixels, its modules whole pixels wide, with its quiet zone."""
    bitmap = memoryview(zxingcpp.write_barcode(getattr(zxingcpp.BarcodeFormat, symbology), text, 0, 0, 0))
    rows, columns = bitmap.shape or (0, 0)
    bars = Image.frombytes("L", (columns, rows), bitmap.tobytes())
    scale = max(2, width // (columns + 2 * QUIET_ZONE))
    is_square = rows == columns
    bars = bars.resize((columns * scale, columns * scale if is_square else 60), Image.Resampling.NEAREST)
    border = QUIET_ZONE * scale // (2 if is_square else 1)
    label = Image.new("RGB", (bars.width + 2 * border, bars.height + 2 * min(border, 20)), "white")
    label.paste(bars, (border, min(border, 20)))
    return label


def _crop(source: Image.Image, index: int, size: float) -> bytes:
    """Cut a part of a photograph that is nobody else's, at the resolution that gives about `size` bytes."""
    chance = random.Random(index)  # noqa: S311 - for variety, not for secrets
    scale = chance.uniform(0.6, 0.95) * min(source.width / CROP[0], source.height / CROP[1])
    width, height = CROP[0] * scale, CROP[1] * scale
    left, top = chance.uniform(0, source.width - width), chance.uniform(0, source.height - height)
    box = (left, top, left + width, top + height)
    data = _encode(source.resize(CROP, Image.Resampling.BILINEAR, box), QUALITY)
    for _ in range(2):
        factor = math.sqrt(size / len(data))
        if 0.9 < factor < 1.1:
            break
        width, height = (max(16, round(side * factor)) for side in _size_of(data))
        data = _encode(source.resize((width, height), Image.Resampling.BILINEAR, box), QUALITY)
    return data


def _size_of(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as image:
        return image.size


def _encode(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def main() -> None:
    """Write what the command line asks for and print one line."""
    parser = argparse.ArgumentParser(description="Write sample photographs.")
    parser.add_argument("folder", type=Path, help="where they go; made if missing")
    parser.add_argument("--count", type=int, help="this many distinct photographs instead of the small tree")
    parser.add_argument("--size-kb", type=float, default=40, help="their size in kilobytes (default 40)")
    options = parser.parse_args()
    if options.count is None:
        written = write_tree(options.folder)
    else:
        written = write_many(options.folder, options.count, options.size_kb)
    print(f"{written} photographs in {options.folder}")  # noqa: T201 - what a script is for


if __name__ == "__main__":
    main()
