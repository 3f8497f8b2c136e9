"""The predictions of the few images that a report shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

from tasks.results.facts import NO_CLASS
from tasks.results.report.model import Box, Tag

MAX_BOXES = 60
"""Detections drawn on one picture, and classes listed for it."""
MAX_POINTS = 48
"""Points of one outline; of more, every so many-th is drawn."""
_COLUMNS = (
    *("file", "frame", "time_offset", "class", "confidence", "data", "tracker_id", "points", "keypoints"),
    *("x", "y", "width", "height", "image_width", "image_height"),
)
_PLACE = ("x", "y", "width", "height")
_ROWS_READ = 1_000
_ASPECT_TOLERANCE = 0.03

Image = tuple[str, int | None]
"""File as staged, and frame."""


@dataclass
class Found:
    """What was predicted for one image."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    """The first detections."""
    detections: int = 0
    tags: list[Tag] = field(default_factory=list)
    """The first classes given to the whole image."""
    time_offset: float | None = None
    """Seconds from the begin of the video that the image is a frame of."""

    def add(self, row: dict[str, Any]) -> None:
        """Takes in a row of ``predictions.parquet``; one without a place is of the whole image."""
        self.time_offset = row["time_offset"]
        if any(row[name] is None for name in _PLACE):
            if len(self.tags) < MAX_BOXES:
                self.tags.append(Tag(row["class"] or NO_CLASS, row["confidence"]))
            return
        self.detections += 1
        if len(self.rows) < MAX_BOXES:
            self.rows.append(row)

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the image that the first detection refers to, where any says so."""
        return next((size for size in map(_size, self.rows) if size), None)

    def boxes(self, width: int, height: int) -> tuple[Box, ...]:
        """What to draw on an image of that size; without the detections that belong to another shape of image."""
        return tuple(box for row in self.rows if (box := _box(row, width, height)))


def find_predictions(predictions: Path, images: set[Image]) -> dict[Image, Found]:
    """The predictions of some images; row groups in which none of them can be are not read."""
    found: dict[Image, Found] = {}
    if not images or not predictions.exists():
        return found
    for row in _read(predictions, sorted({file for file, _ in images})):
        image = (row["file"], row["frame"])
        if image in images:
            found.setdefault(image, Found()).add(row)
    return found


def _read(predictions: Path, files: list[str]) -> Iterator[dict[str, Any]]:
    table = ds.dataset(predictions, format="parquet")
    batches = table.to_batches(
        columns=[name for name in _COLUMNS if name in table.schema.names],
        filter=ds.field("file").isin(files),
        batch_size=_ROWS_READ,
        # The defaults read ahead by far more than the few rows that are wanted here.
        batch_readahead=1,
        fragment_readahead=1,
    )
    missing = dict.fromkeys(_COLUMNS)
    for batch in batches:
        for row in batch.to_pylist():
            yield missing | row


def _size(row: dict[str, Any]) -> tuple[int, int] | None:
    width, height = row["image_width"], row["image_height"]
    return (width, height) if width and height else None


def _box(row: dict[str, Any], width: int, height: int) -> Box | None:
    own_width, own_height = _size(row) or (width, height)
    if abs(own_width * height / (own_height * width) - 1) > _ASPECT_TOLERANCE:
        return None
    scale = width / own_width
    x, y, box_width, box_height = (row[name] * scale for name in _PLACE)
    return Box(
        x,
        y,
        box_width,
        box_height,
        row["class"] or NO_CLASS,
        row["confidence"],
        row["data"] or "",
        row["tracker_id"],
        _points(row["points"], scale),
        _points(row["keypoints"], scale),
    )


def _points(points: list[dict[str, Any]] | None, scale: float) -> tuple[tuple[float, float], ...]:
    whole = [point for point in points or () if point["x"] is not None and point["y"] is not None]
    step = -(-len(whole) // MAX_POINTS) or 1
    return tuple((point["x"] * scale, point["y"] * scale) for point in whole[::step])
