"""The contact sheet: which images are shown, and small copies of them."""

from __future__ import annotations

import base64
import io
import warnings
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image, ImageOps

from tasks.core.errors import DarkroomError
from tasks.results.report_model import Box, ContactImage
from tasks.results.schemas import KIND_KEY
from tasks.results.writer import read_batches

THUMBNAIL_PIXELS = 320
JPEG_QUALITY = 70
MAX_BOXES = 100
"""Boxes drawn on one picture."""
_LABEL_CHARACTERS = 40
_ASPECT_TOLERANCE = 0.03

OpenSource = Callable[[str], IO[bytes]]
"""Opens a source image by its key."""


@dataclass(frozen=True)
class Thumbnail:
    """A small copy of an image.

    Attributes:
        data_url: JPEG as ``data:`` URL.
        width: pixels of the original, upright.
        height: likewise.
    """

    data_url: str
    width: int
    height: int


def thumbnail(file: IO[bytes]) -> Thumbnail | None:
    """A copy of at most 320 pixels a side; ``None`` where the file is no image that can be read."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of images so large that reading them would take gigabytes.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                return _shrink(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None


def contact_sheet(
    run_dir: Path, results: Path, predictions: Path, open_source: OpenSource | None, limit: int
) -> list[ContactImage]:
    """Up to ``limit`` images, in the order of ``results.parquet``.

    Half of them at most are picked for having predictions; all are spread evenly over the run. The first image
    output is shown; where there is none, the source image.
    """
    if not results.exists():
        return []
    rows = _rows(results, _pick(results, limit))
    boxes = _boxes(predictions, {row["file"] for row in rows})
    shown = (_contact_image(run_dir, row, boxes[row["file"]], open_source) for row in rows)
    return [image for image in shown if image.data_url is not None or image.boxes]


def _shrink(image: Image.Image) -> Thumbnail:
    size = image.size
    image.draft("RGB", (THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    small = ImageOps.exif_transpose(image)
    if small.mode.startswith("I"):
        # 16 bits a pixel, of which the upper 8 are what a screen can show.
        small = small.point(lambda value: value * (1 / 256)).convert("L")
    small.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    data = io.BytesIO()
    _flat(small).save(data, "JPEG", quality=JPEG_QUALITY, optimize=True)
    url = "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
    width, height = reversed(size) if turned else size
    return Thumbnail(url, width, height)


def _flat(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    ground = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(ground, layer).convert("RGB")


def _columns_of_kind(results: Path, kind: bytes) -> list[str]:
    found = []
    for field in pq.read_schema(results):
        if (field.metadata or {}).get(KIND_KEY) == kind and not pa.types.is_nested(field.type):
            found.append(field.name)
    return found


def _pick(results: Path, limit: int) -> set[int]:
    """Row numbers to show."""
    counts = _columns_of_kind(results, b"count")
    total, having = 0, array("q")
    for batch in read_batches(results, ["file", *counts]):
        columns = [pc.fill_null(batch.column(name), 0) for name in counts]
        if columns:
            found = reduce(pc.add, columns)
            having.extend(total + row for row in pc.indices_nonzero(found).to_pylist())
        total += batch.num_rows
    chosen = set(_spread(having, limit // 2))
    others = [row for row in _spread(range(total), limit + len(chosen)) if row not in chosen]
    return chosen | set(_spread(others, limit - len(chosen)))


def _spread(rows: Sequence[int], count: int) -> list[int]:
    if len(rows) <= count:
        return list(rows)
    return [rows[place * len(rows) // count] for place in range(count)]


def _rows(results: Path, picked: set[int]) -> list[dict[str, Any]]:
    image_columns = _columns_of_kind(results, b"image")[:1]
    names = ["file", "source_key", "width", "height", *image_columns]
    rows, start = [], 0
    for batch in read_batches(results, names):
        wanted = [row - start for row in sorted(picked) if start <= row < start + batch.num_rows]
        for row in batch.select(names).take(pa.array(wanted, pa.int64())).to_pylist():
            rows.append(row | {"image": row[image_columns[0]] if image_columns else None})
        start += batch.num_rows
    return rows


def _boxes(predictions: Path, files: set[str]) -> defaultdict[str, list[dict[str, Any]]]:
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    names = ["file", "class", "data", "x", "y", "width", "height", "image_width", "image_height"]
    for batch in read_batches(predictions, names):
        wanted = pc.is_in(batch.column("file"), value_set=pa.array(sorted(files), pa.string()))
        for row in batch.select(names).filter(wanted).to_pylist():
            found[row["file"]].append(row)
    return found


def _contact_image(
    run_dir: Path, row: dict[str, Any], detections: list[dict[str, Any]], open_source: OpenSource | None
) -> ContactImage:
    picture = _open_picture(run_dir, row, open_source)
    sizes = [(d["image_width"], d["image_height"]) for d in detections if d["image_width"] and d["image_height"]]
    width, height = sizes[0] if sizes else (row["width"], row["height"])
    if not width or not height:
        width, height = (picture.width, picture.height) if picture else (4, 3)
    fits = picture is None or abs(picture.width * height / (picture.height * width) - 1) < _ASPECT_TOLERANCE
    return ContactImage(
        caption=row["source_key"],
        detail=_describe(detections),
        data_url=picture.data_url if picture else None,
        width=width if fits or not picture else picture.width,
        height=height if fits or not picture else picture.height,
        boxes=tuple(_drawn(detections[:MAX_BOXES])) if fits else (),
    )


def _open_picture(run_dir: Path, row: dict[str, Any], open_source: OpenSource | None) -> Thumbnail | None:
    try:
        if row["image"] is not None:
            with (run_dir / row["image"]).open("rb") as file:
                return thumbnail(file)
        if open_source is not None:
            with open_source(row["source_key"]) as file:
                return thumbnail(file)
    except (OSError, DarkroomError):
        # A source may change or go away after its run; the report does without the picture.
        return None
    return None


def _drawn(detections: Iterable[dict[str, Any]]) -> Iterable[Box]:
    for detection in detections:
        place = [detection[name] for name in ("x", "y", "width", "height")]
        if None not in place:
            label = detection["class"] or ""
            if detection["data"]:
                label = f"{label}: {detection['data']}" if label else detection["data"]
            x, y, width, height = place
            yield Box(x, y, width, height, label[:_LABEL_CHARACTERS])


def _describe(detections: list[dict[str, Any]]) -> str:
    """Such as ``bicycle, 3 of car``."""
    counts = Counter(detection["class"] or "(no class)" for detection in detections)
    return ", ".join(name if count == 1 else f"{count} of {name}" for name, count in sorted(counts.items()))
